"""Random graphs, also odd ones, and the same batch as PyG makes it."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from torch_geometric.data import Batch, Data

from pipeline.graph import Graph
from pipeline.schema import Column, Schema, Target


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


SHAPES = Schema(
    "shapes",
    "graph",
    (Target("mass", "regression"),),
    (Column("kind", "categorical", ("a", "b")), Column("load", "numeric")),
    (Column("bond", "categorical", ("x",)), Column("length", "numeric")),
)
"""Graphs with a category and a number a node, and a number an edge."""


def make_shape(num_nodes, edges=(), load=None, kinds=None):
    e = 2 * len(edges)
    pairs = np.array([pair for s, t in edges for pair in ((s, t), (t, s))], dtype=np.int32).reshape(e, 2).T
    return Graph(
        x=np.array(kinds or [1] * num_nodes, dtype=np.int32).reshape(num_nodes, 1),
        x_float=np.array(load or [0.0] * num_nodes, dtype=np.float32).reshape(num_nodes, 1),
        edge_index=pairs,
        edge_attr=np.ones((e, 1), dtype=np.int32),
        edge_float=np.full((e, 1), 2.0, dtype=np.float32),
        u=np.empty(0, np.float32),
        y=np.empty(1, np.float32),
    )
