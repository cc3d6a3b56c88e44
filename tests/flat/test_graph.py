"""Packing and joining graphs, against PyG's Batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ShapeError
from pipeline.graph import collate, pack, reverse_edges, select, unpack
from tests.support.graphs import assert_graphs_equal, graphs, make_graph, pyg_batch


def test_water_by_hand():
    """The worked example of the module, beside an empty graph and a self loop."""
    water = make_graph(3, [(0, 1), (0, 2)])
    empty = make_graph(0, [])
    loop = make_graph(1, [(0, 0)])
    batch = collate([water, empty, loop])
    assert batch.edge_index.tolist() == [[0, 1, 0, 2, 3, 3], [1, 0, 2, 0, 3, 3]]
    assert batch.rev_edge_index.tolist() == [1, 0, 3, 2, 5, 4]
    assert batch.batch.tolist() == [0, 0, 0, 2]
    assert batch.num_graphs == 3
    assert (water.num_nodes, water.num_edges) == (3, 4)


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_collate_is_pyg_batch(many):
    ours, theirs = collate(many), pyg_batch(many)
    for name in ("x", "x_float", "edge_index", "edge_attr", "edge_float", "u", "batch"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name).numpy(), err_msg=name)
    assert ours.num_graphs == theirs.num_graphs
    for name in ("x", "edge_index", "edge_attr", "rev_edge_index", "batch"):
        assert getattr(ours, name).dtype == np.int64


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_the_reverse_of_an_edge_goes_back(many):
    batch = collate(many)
    np.testing.assert_array_equal(batch.edge_index[:, batch.rev_edge_index], batch.edge_index[::-1])
    np.testing.assert_array_equal(batch.edge_attr[batch.rev_edge_index], batch.edge_attr)


@settings(max_examples=40, deadline=None)
@given(graphs())
def test_unpack_takes_out_what_pack_put_in(many):
    chunk = pack(many)
    assert chunk.num_graphs == len(many)
    for g, graph in enumerate(many):
        assert_graphs_equal(unpack(chunk, g), graph)


@given(graphs(), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_select_keeps_what_packing_only_those_gives(many, bits):
    keep = np.array([bits >> g & 1 for g in range(len(many))], dtype=bool)
    if not keep.any():
        keep[0] = True
    chosen = select(pack(many), keep)
    expected = pack([graph for graph, kept in zip(many, keep, strict=True) if kept])
    for found, wanted in zip(chosen, expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_empty_graph_keeps_its_row_wherever_it_stands(place):
    many = [make_graph(2, [(0, 1)]), make_graph(1, [])]
    many.insert(place, make_graph(0, []))
    batch = collate(many)
    assert batch.num_graphs == 3
    assert np.bincount(batch.batch, minlength=3)[place] == 0


def test_only_empty_graphs_and_no_columns_at_all():
    batch = collate([make_graph(0, [], widths=(0, 0, 0, 0, 0, 0))] * 2)
    assert [field.shape for field in batch] == [(0, 0), (0, 0), (2, 0), (0, 0), (0, 0), (2, 0), (0,), (0,)]
    assert batch.num_graphs == 2


def test_directed_graphs_have_no_reverse():
    batch = collate([make_graph(2, [(0, 1)], directed=True)] * 2, directed=True)
    assert batch.edge_index.tolist() == [[0, 2], [1, 3]]
    assert batch.rev_edge_index.tolist() == [-1, -1]
    assert reverse_edges(4, directed=False).tolist() == [1, 0, 3, 2]


def test_the_callers_arrays_stay_as_they_were():
    graph = make_graph(3, [(0, 1), (1, 2)])
    before = [field.copy() for field in graph]
    batch = collate([graph, graph])
    batch.edge_index[:] = 0
    batch.x[:] = 0
    for field, old in zip(graph, before, strict=True):
        np.testing.assert_array_equal(field, old)


def test_graphs_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="no graphs"):
        pack([])
    with pytest.raises(ShapeError, match="width"):
        collate([make_graph(1, []), make_graph(1, [], widths=(3, 1, 2, 1, 2, 3))])
