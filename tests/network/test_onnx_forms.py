import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.network.onnx_forms import can_key, count_rows, embed, embed_distinct, find_slots, members, sum_chunks


def test_slots_of_a_group_that_needs_two_chunks():
    table, more = find_slots(torch.tensor([2, 0, 2, 2, 3]), size=4, slots=2)
    assert more.tolist() == [2]
    # groups 0 to 3, the last of which is the last row alone, then the second chunk of group 2
    assert sorted(table[:, 2].tolist() + table[:, 4].tolist()) == [0, 2, 3, 4]
    assert table[:, [0, 1, 3]].tolist() == [[1, 4, 4], [4, 4, 4]]


@given(st.lists(st.integers(0, 4), max_size=60), st.integers(2, 6))
def test_sums_are_those_of_index_add(index, slots):
    index = torch.tensor(index, dtype=torch.int64)
    h = torch.arange(2.0 * len(index)).view(-1, 2)  # whole numbers: any order gives the same sum
    found = sum_chunks(h, index, 5, slots)[:5]
    assert torch.equal(found, torch.zeros(5, 2).index_add(0, index, h))
    index = index.sort().values
    found = sum_chunks(h, index, 5, slots, ascending=True)[:5]
    assert torch.equal(found, torch.zeros(5, 2).index_add(0, index, h))
    assert torch.equal(members(index, 5) @ h, found)
    assert torch.equal(count_rows(index, 5), torch.bincount(index, minlength=5))


def test_each_distinct_row_is_embedded_once(monkeypatch):
    monkeypatch.setattr("pipeline.network.onnx_forms._FEW_KINDS", 0)
    table, bias = torch.tensor([[1.0], [2.0], [10.0], [20.0], [40.0]]), torch.tensor([100.0])
    rows = [[0, 1], [2, 3, 4]]
    codes = torch.tensor([[1, 2], [0, 0], [1, 2], [9, 1], [1, -5]])  # 9 and -5 are outside: read as 0
    h, row = embed_distinct(codes, table, bias, rows)
    assert h.index_select(0, row)[:, 0].tolist() == [142, 111, 142, 121, 112]
    assert len(h) == 4
    assert torch.equal(embed(codes, table, bias, rows), h.index_select(0, row))
    monkeypatch.undo()
    every, kind = embed_distinct(codes, table, bias, rows)  # 3 × 4 kinds are few: all of them, whatever comes
    assert torch.equal(every.index_select(0, kind), h.index_select(0, row))
    assert len(every) == 12


def test_rows_of_many_large_columns_have_no_key():
    assert can_key([range(100)] * 9)
    assert not can_key([range(100)] * 10)
    assert not can_key([])
