"""Sums by slots and by products are those of index_add."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.network.forms.operators import members
from pipeline.network.forms.sums import count_rows, find_slots, sum_chunks


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
