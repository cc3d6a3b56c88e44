"""Operators of the exporter: by hand, as numpy has them, and of the shapes that an export is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.network.forms.operators import ascend, distinct, members, positions, quotients

NUMBERS = st.lists(st.integers(0, 6), min_size=1, max_size=20)


def test_members_times_rows_are_their_sums():
    found = members(torch.tensor([2, 0, 2]), 4)
    assert found.tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 1], [0, 0, 0]]
    assert (found @ torch.tensor([[1.0], [10.0], [100.0]])).flatten().tolist() == [10, 0, 101, 0]


@given(NUMBERS)
def test_distinct_keys_are_numpys(keys):
    row, kind = distinct(torch.tensor(keys))
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    assert (row.tolist(), kind.tolist()) == (first.tolist(), inverse.tolist())


@given(NUMBERS)
def test_equal_entries_keep_their_order(index):
    values, row = ascend(torch.tensor(index))
    assert values.tolist() == sorted(index)
    assert row.tolist() == sorted(range(len(index)), key=lambda k: index[k])


@given(st.lists(st.booleans(), max_size=20))
def test_positions_are_where_it_is_true(mask):
    assert positions(torch.tensor(mask, dtype=torch.bool)).tolist() == [k for k, one in enumerate(mask) if one]


@given(NUMBERS, st.integers(1, 9))
def test_quotients_are_rounded_down(numbers, divisor):
    assert quotients(torch.tensor(numbers), divisor).tolist() == [number // divisor for number in numbers]


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (members, (torch.tensor([1, 0]), 3)),
        (distinct, (torch.tensor([5, 1, 5]),)),
        (ascend, (torch.tensor([5, 1, 5]),)),
        (positions, (torch.tensor([True, False]),)),
        (quotients, (torch.tensor([5, 1]), 2)),
    ],
    ids=lambda value: getattr(value, "_name", None),
)
def test_an_export_is_told_the_shapes_that_come(operator, arguments):
    torch.library.opcheck(operator, arguments, test_utils=("test_schema", "test_faketensor"))
