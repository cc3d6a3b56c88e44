"""Nodes of GINE are told apart by what is around them."""

from __future__ import annotations

import itertools

import pytest

from pipeline.network.forms.gine import refine
from tests.network.forms.test_equal_rows import repeated


@pytest.mark.parametrize("seed", range(5))
def test_a_step_tells_nodes_apart_by_what_is_around_them(seed):
    edge_index, _, x_row, e_row = repeated(5, seed)
    before = x_row.tolist()
    edges = list(zip(*edge_index.tolist(), e_row.tolist(), strict=True))
    for step in itertools.islice(refine(edge_index, x_row.numpy(), 2, e_row.numpy(), 3), 3):
        around = [
            (row, *sorted((before[source], e) for source, target, e in edges if target == v))
            for v, row in enumerate(before)
        ]
        color = step.color.tolist()
        assert len(set(zip(around, color, strict=True))) == len(set(around)) == len(set(color))
        assert step.before[step.color].tolist() == before
        before = color
