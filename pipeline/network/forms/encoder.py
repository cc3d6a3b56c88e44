"""`Encoder` in its quick forms: each distinct row is encoded once, or by few operators."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.network.encoder import Encoder
from pipeline.network.forms.equal_rows import Rows, group_rows, to_tensors
from pipeline.network.forms.operators import distinct

_LARGEST_KEY = 2**62


def equal_rows(encoder: Encoder, codes: Tensor, numbers: Tensor) -> Rows:
    """As `Encoder`, each distinct row once; every row on a GPU, which multiplies faster than it sorts."""
    if codes.device.type != "cpu":
        return Rows(encoder(codes, numbers))
    rows = group_rows(codes, numbers)
    first, of = to_tensors(rows.first, rows.of)
    return Rows(encoder(codes.index_select(0, first), numbers.index_select(0, first)), of)


def exported(encoder: Encoder, codes: Tensor, numbers: Tensor) -> Rows:
    """As `Encoder`, each distinct row once where a row has a key and no numbers."""
    if encoder.table is not None and encoder.linear is None and can_key(encoder.rows):
        return Rows(*embed_distinct(codes, encoder.table, encoder.bias, encoder.rows))
    return each_row(encoder, codes, numbers)


def each_row(encoder: Encoder, codes: Tensor, numbers: Tensor) -> Rows:
    """As `Encoder`, with the tables of codes made when the file is loaded."""
    if encoder.table is None:
        return Rows(encoder(codes, numbers))
    return Rows(encoder.add_numbers(embed(codes, encoder.table, encoder.bias, encoder.rows), numbers))


def embed(codes: Tensor, table: Tensor, bias: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
    """Sum the vectors of the categories of each row, and the bias; arguments as `embed_distinct`.  # (K, H)"""
    of_code, last, offsets = _by_code(table, bias, rows)
    # (F, K): three times as fast as (K, F), and the same order of sums
    return F.embedding(codes.T.clamp(min=0).minimum(last) + offsets, of_code).sum(dim=0)


def embed_distinct(codes: Tensor, table: Tensor, bias: Tensor, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """As `embed`, of each distinct row.

    Args:
        codes: (K, F) int64, any value; one outside its column is read as 0.
        table: (T, H) float, vectors of categories.
        bias: (H,) float.
        rows: per column, the row of the table of each code; `can_key` holds.

    Returns:
        (C, H) one vector a distinct row, and (K,) int64, the one of each row.
    """
    of_code, last, offsets = _by_code(table, bias, rows)
    sizes = [len(column) + 1 for column in rows]
    strides = torch.tensor([math.prod(sizes[k + 1 :]) for k in range(len(sizes))])
    columns = codes.T.clamp(min=0).minimum(last)
    # A row of each kind, not the digits of its key: the exporter divides integers as float32.
    row, kind = distinct(strides @ columns)
    return F.embedding(columns.index_select(1, row) + offsets, of_code).sum(dim=0), kind


def _by_code(table: Tensor, bias: Tensor, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """A vector a code, column by column, with one more code for those above it; the last code and the place of each.

    The bias is in the first column's. Computed when the file is loaded.
    """
    sizes = [len(column) + 1 for column in rows]
    of_code = table.index_select(0, torch.tensor([row for column in rows for row in (*column, column[0])]))
    of_code = torch.cat([of_code[: sizes[0]] + bias, of_code[sizes[0] :]])
    last, offsets = torch.tensor(sizes) - 1, torch.tensor([sum(sizes[:k]) for k in range(len(sizes))])
    return of_code, last[:, None], offsets[:, None]


def can_key(rows: Sequence[Sequence[int]]) -> bool:
    """Whether one int64 can tell all rows of these columns apart."""
    return bool(rows) and math.prod(len(column) + 1 for column in rows) < _LARGEST_KEY
