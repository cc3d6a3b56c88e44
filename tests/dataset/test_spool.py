"""Chunks on disk come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.dataset.spool import Spool
from pipeline.errors import ShapeError
from pipeline.graph import pack
from pipeline.samples.packed import Names, Piece, distinct_rows, narrow_dtype
from tests.support.graphs import graphs, make_graph


def test_chunks_come_back_in_order_any_number_of_times(tmp_path):
    chunks = [pack([make_graph(3, [(0, 1), (1, 2)], seed=seed), make_graph(0, [])]) for seed in range(3)]
    spool = Spool(tmp_path)
    for number, chunk in enumerate(chunks):
        spool.append(chunk, [f"a{number}", "µ-é"])
    assert spool.num_graphs == 6
    for _ in range(2):
        for number, (piece, names) in enumerate(spool):
            chunk = chunks[number]
            assert names.list() == [f"a{number}", "µ-é"]
            assert (piece.num_nodes.tolist(), piece.num_edges.tolist()) == ([3, 0], [2, 0])
            np.testing.assert_array_equal(piece.x_table[piece.x_code], chunk.x)
            np.testing.assert_array_equal(piece.edge_table[piece.edge_code], chunk.edge_attr[::2])
            np.testing.assert_array_equal(piece.edge_index, chunk.edge_index[:, ::2].T)
            np.testing.assert_array_equal(piece.edge_float, chunk.edge_float[::2])
            for name in ("x_float", "u"):
                np.testing.assert_array_equal(getattr(piece, name), getattr(chunk, name))


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


def test_a_spool_starts_empty_and_checks_what_comes(tmp_path):
    chunk = pack([make_graph(1, [])])
    Spool(tmp_path).append(chunk, ["old"])
    spool = Spool(tmp_path)
    assert list(spool) == []
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ShapeError, match="2 ids came for 1 graphs"):
        spool.append(chunk, ["a", "b"])
    spool.append(chunk, ["a"])
    with pytest.raises(ShapeError, match="widths"):
        spool.append(pack([make_graph(1, [], widths=(1, 1, 1, 1, 1, 1))]), ["a"])


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
