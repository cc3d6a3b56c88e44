"""Rows of categories that are equal are encoded once."""

from __future__ import annotations

import torch

from pipeline.network.forms.encoder import can_key, embed, embed_distinct


def test_each_distinct_row_is_embedded_once():
    table, bias = torch.tensor([[1.0], [2.0], [10.0], [20.0], [40.0]]), torch.tensor([100.0])
    rows = [[0, 1], [2, 3, 4]]
    codes = torch.tensor([[1, 2], [0, 0], [1, 2], [9, 1], [1, -5]])  # 9 and -5 are outside: read as 0
    h, row = embed_distinct(codes, table, bias, rows)
    assert h.index_select(0, row)[:, 0].tolist() == [142, 111, 142, 121, 112]
    assert len(h) == 4
    assert torch.equal(embed(codes, table, bias, rows), h.index_select(0, row))


def test_rows_of_many_large_columns_have_no_key():
    assert can_key([range(100)] * 9)
    assert not can_key([range(100)] * 10)
    assert not can_key([])
