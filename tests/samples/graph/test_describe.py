"""Descriptions of graphs: what is counted, by hand, and that the wiring is not seen."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.graph import pack
from pipeline.samples.graph.describe import describe_graphs
from tests.support.graphs import SHAPES, make_shape


def test_graph_statistics_by_hand():
    chunk = pack(
        [
            make_shape(3, [(0, 1), (1, 2)], load=[1.0, np.nan, 3.0], kinds=[1, 2, 1]),
            make_shape(0),
            make_shape(1, load=[np.nan], kinds=[0]),
        ]
    )
    found = describe_graphs(chunk, SHAPES)
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
    found = describe_graphs(pack([make_shape(len(load), load=load) for load in loads]), SHAPES)[:, 5:9]
    for row, load in zip(found, loads, strict=True):
        numbers = np.array([value for value in load if not np.isnan(value)])
        expected = [numbers.mean(), numbers.std(), numbers.min(), numbers.max()] if len(numbers) else [0] * 4
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-4)


def test_graphs_are_described_without_their_wiring():
    star, path = make_shape(4, [(0, 1), (0, 2), (0, 3)]), make_shape(4, [(0, 1), (1, 2), (2, 3)])
    found = describe_graphs(pack([star, path]), SHAPES)
    np.testing.assert_array_equal(found[0], found[1])
