"""Samples packed and narrow: what is chosen or joined is what would have been packed at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.errors import ShapeError
from pipeline.graph import pack
from pipeline.samples.packed import Names, Piece, distinct_rows, narrow_dtype
from tests.support.graphs import graphs, make_graph


def test_directed_edges_stay_as_they_are():
    chunk = pack([make_graph(3, [(0, 1), (2, 1), (1, 1)], directed=True)])
    piece = Piece.of(chunk, directed=True)
    assert (piece.num_edges.tolist(), piece.edge_index.tolist()) == ([3], [[0, 1], [2, 1], [1, 1]])
    np.testing.assert_array_equal(piece.edge_table[piece.edge_code], chunk.edge_attr)
    with pytest.raises(ShapeError, match="reverse"):
        Piece.of(chunk)


@settings(max_examples=50, deadline=None)
@given(st.one_of(graphs(), graphs(widths=(2, 0, 2, 0, 0, 1))), st.data())
def test_some_of_a_piece_are_the_piece_of_some(many, data):
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(many), max_size=len(many))))
    some, names = Piece.of(pack(many)).select(keep), Names.of([f"{g} é" for g in range(len(many))]).select(keep)
    assert names.list() == [f"{g} é" for g in np.flatnonzero(keep)]
    assert some.num_graphs == keep.sum()
    if keep.any():
        alone = Piece.of(pack([graph for graph, stays in zip(many, keep, strict=True) if stays]))
        np.testing.assert_array_equal(some.x_table[some.x_code], alone.x_table[alone.x_code])
        np.testing.assert_array_equal(some.edge_table[some.edge_code], alone.edge_table[alone.edge_code])
        for name in ("num_nodes", "num_edges", "x_float", "edge_index", "edge_float", "u"):
            np.testing.assert_array_equal(getattr(some, name), getattr(alone, name))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(graphs(), graphs(max_graphs=1, max_nodes=0)), min_size=1, max_size=4))
def test_joined_pieces_are_the_piece_of_all(chunks):
    joined = Piece.join([Piece.of(pack(chunk)) for chunk in chunks])
    whole = Piece.of(pack([graph for chunk in chunks for graph in chunk]))
    for found, wanted in zip(joined, whole, strict=True):
        np.testing.assert_array_equal(found, wanted)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        np.int32,
        st.tuples(st.integers(0, 12), st.integers(0, 6)),
        elements=st.one_of(st.integers(0, 3), st.integers(0, 2**31 - 1)),
    )
)
def test_distinct_rows_is_np_unique(rows):
    table, code = distinct_rows(rows)
    np.testing.assert_array_equal(table[code] if len(rows) else rows, rows)
    if rows.size:
        np.testing.assert_array_equal(table, np.unique(rows, axis=0))


def test_narrow_types_by_hand():
    sizes = {0: "uint8", 255: "uint8", 256: "int16", 32767: "int16", 32768: "int32", 2**31 - 1: "int32", 2**31: "int64"}
    for value, name in sizes.items():
        assert narrow_dtype(value) == np.dtype(name)
    assert narrow_dtype(np.array([-1, 5])) == np.int16
    assert narrow_dtype(np.array([], dtype=np.int64)) == np.uint8


@given(st.lists(st.tuples(st.text(max_size=5), st.booleans()), max_size=9))
def test_names_are_bytes_one_behind_the_other(pairs):
    names = Names.of([name for name, _ in pairs])
    assert names.list() == [name for name, _ in pairs]
    assert names.size.tolist() == [len(name.encode()) for name, _ in pairs]
    keep = np.array([kept for _, kept in pairs], dtype=bool)
    assert names.select(keep).list() == [name for name, kept in pairs if kept]


def test_bonds_are_kept_once():
    piece = Piece.of(pack([make_graph(3, [(0, 1), (2, 1)]), make_graph(1, [])]))
    assert (piece.num_graphs, piece.num_nodes.tolist(), piece.num_edges.tolist()) == (2, [3, 1], [2, 0])
    assert piece.edge_index.tolist() == [[0, 1], [2, 1]]
    assert piece.edge_index.dtype == np.uint8


@pytest.mark.parametrize("harm", ["edge_index", "edge_attr", "edge_float"])
def test_edges_that_are_no_pairs_are_refused(harm):
    chunk = pack([make_graph(3, [(0, 1), (2, 1)])])
    array = getattr(chunk, harm).copy()
    array[(0, 1) if harm == "edge_index" else 1] += 1
    with pytest.raises(ShapeError, match="not each other's reverse"):
        Piece.of(chunk._replace(**{harm: array}))
