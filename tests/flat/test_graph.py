"""Packing and joining graphs, against PyG's Batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from pipeline.errors import ShapeError
from pipeline.graph import Graph, collate, pack, reverse_edges, select, unpack


def make_graph(num_nodes, bonds, *, seed=0, widths=(2, 1, 2, 1, 2, 3), directed=False):
    """A graph with given bonds (pairs of nodes) and random features of widths F, R, D, Q, U, T."""
    rng = np.random.default_rng(seed)
    f, r, d, q, u, t = widths
    pairs = np.array(bonds, dtype=np.int32).reshape(-1, 2)
    copies = 1 if directed else 2
    if not directed:
        pairs = np.stack([pairs, pairs[:, ::-1]], axis=1).reshape(-1, 2)
    return Graph(
        x=rng.integers(0, 5, (num_nodes, f)).astype(np.int32),
        x_float=rng.normal(size=(num_nodes, r)).astype(np.float32),
        edge_index=np.ascontiguousarray(pairs.T),
        edge_attr=np.repeat(rng.integers(0, 3, (len(bonds), d)), copies, axis=0).astype(np.int32),
        edge_float=np.repeat(rng.normal(size=(len(bonds), q)), copies, axis=0).astype(np.float32),
        u=rng.normal(size=u).astype(np.float32),
        y=rng.normal(size=t).astype(np.float32),
    )


@st.composite
def graphs(draw, max_graphs=6, max_nodes=6, widths=(2, 1, 2, 1, 2, 3), directed=False):
    """A few graphs, many of them odd: no nodes, one node, self loops, bonds that come twice."""
    result = []
    for seed in range(draw(st.integers(1, max_graphs))):
        num_nodes = draw(st.integers(0, max_nodes))
        node = st.integers(0, max(num_nodes - 1, 0))
        bonds = draw(st.lists(st.tuples(node, node), max_size=8)) if num_nodes else []
        result.append(make_graph(num_nodes, bonds, seed=seed, widths=widths, directed=directed))
    return result


def pyg_batch(many):
    """The same batch as PyG makes it."""
    return Batch.from_data_list(
        [
            Data(
                x=torch.from_numpy(g.x.astype(np.int64)),
                x_float=torch.from_numpy(g.x_float),
                edge_index=torch.from_numpy(g.edge_index.astype(np.int64)),
                edge_attr=torch.from_numpy(g.edge_attr.astype(np.int64)),
                edge_float=torch.from_numpy(g.edge_float),
                u=torch.from_numpy(g.u)[None],
                y=torch.from_numpy(g.y)[None],
                num_nodes=len(g.x),
            )
            for g in many
        ]
    )


def assert_graphs_equal(one, other):
    for name, a, b in zip(Graph._fields, one, other, strict=True):
        np.testing.assert_array_equal(a, b, err_msg=name)


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
