"""Descriptions of graphs: what is counted, by hand, and that the wiring is not seen."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.graph import Graph, pack
from pipeline.samples.graph.describe import describe_graphs
from pipeline.schema import Column, Schema, Target

NUMBER = Target("mass", "regression")
GRAPHS = Schema(
    "shapes",
    "graph",
    (NUMBER,),
    (Column("kind", "categorical", ("a", "b")), Column("load", "numeric")),
    (Column("bond", "categorical", ("x",)), Column("length", "numeric")),
)


def graph(num_nodes, edges=(), load=None, kinds=None):
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


def test_graph_statistics_by_hand():
    chunk = pack(
        [
            graph(3, [(0, 1), (1, 2)], load=[1.0, np.nan, 3.0], kinds=[1, 2, 1]),
            graph(0),
            graph(1, load=[np.nan], kinds=[0]),
        ]
    )
    found = describe_graphs(chunk, GRAPHS)
    #   nodes, edges | kind ?, a, b | load mean, std, min, max | bond ?, x | length mean, std, min, max
    expected = [
        [3, 4, 0, 2, 1, 2, 1, 1, 3, 0, 4, 2, 0, 2, 2],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(found, expected)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(st.floats(-1e3, 1e3, width=32) | st.just(np.nan), max_size=5), min_size=1, max_size=6))
def test_moments_are_numpys(loads):
    found = describe_graphs(pack([graph(len(load), load=load) for load in loads]), GRAPHS)[:, 5:9]
    for row, load in zip(found, loads, strict=True):
        numbers = np.array([value for value in load if not np.isnan(value)])
        expected = [numbers.mean(), numbers.std(), numbers.min(), numbers.max()] if len(numbers) else [0] * 4
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-4)


def test_graphs_are_described_without_their_wiring():
    star, path = graph(4, [(0, 1), (0, 2), (0, 3)]), graph(4, [(0, 1), (1, 2), (2, 3)])
    found = describe_graphs(pack([star, path]), GRAPHS)
    np.testing.assert_array_equal(found[0], found[1])
