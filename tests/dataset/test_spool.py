"""Chunks on disk come back as they were."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.dataset.spool import Spool
from pipeline.errors import ShapeError
from pipeline.graph import pack
from tests.support.graphs import make_graph


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
