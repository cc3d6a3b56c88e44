"""The files of a store: what is written of which type, and what is refused before anything is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.dataset.split import TEST, TRAIN, VALIDATION
from pipeline.dataset.spool import Piece, Spool
from pipeline.errors import ShapeError
from pipeline.graph import pack
from pipeline.store import files
from pipeline.store.files import Layout, StoredGraphs, write_rows, write_tensors
from pipeline.store.survey import Survey
from tests.support.graphs import make_graph
from tests.support.stores import SCHEMA

GRAPHS = [make_graph(n, [(0, n - 1)] * (n > 1), seed=n) for n in (3, 0, 1, 2)]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool")
    for part in (GRAPHS[:2], GRAPHS[2:]):
        spool.append(Piece.of(pack(part)), [f"größe {graph.num_nodes}" for graph in part])
    return spool


def stored(spool: Spool, keep=(True, True, False, True), split=(0, 1, 0, 2)) -> StoredGraphs:
    return StoredGraphs(
        spool,
        keep=np.array(keep),
        y=np.arange(12, dtype=np.float32).reshape(4, 3),
        split=np.array(split, dtype=np.int8),
        row=np.array([10, 20, 30, 400]),
    )


def test_kept_graphs_come_piece_by_piece_with_their_columns(spool: Spool) -> None:
    pieces = list(stored(spool).pieces())
    assert [piece.num_nodes.tolist() for piece, _ in pieces] == [[3, 0], [2]]
    assert [columns["row"].tolist() for _, columns in pieces] == [[10, 20], [400]]
    assert [columns["y"].tolist() for _, columns in pieces] == [[[0, 1, 2], [3, 4, 5]], [[9, 10, 11]]]
    names = [names.list() for names, _ in stored(spool).names()]
    assert names == [["größe 3", "größe 0"], ["größe 2"]]


def test_columns_that_do_not_fit_and_graphs_without_a_side_are_refused(spool: Spool) -> None:
    with pytest.raises(ShapeError, match="keep has 3 rows for 4 graphs"):
        stored(spool, keep=[True] * 3)
    with pytest.raises(ShapeError, match="a graph that is kept stands on no side"):
        stored(spool, split=(0, -1, 0, 0))
    assert stored(spool, split=(0, 1, -1, 2))  # which leaves anyway


def layout_of(spool: Spool, graphs: StoredGraphs) -> Layout:
    survey = Survey(SCHEMA)
    for piece, columns in graphs.pieces():
        survey.add(piece, columns["y"], columns["split"] == TRAIN)
    return Layout(survey, graphs.columns["row"])


def test_the_types_are_the_narrowest_and_bonds_are_written_once(spool: Spool, tmp_path: Path) -> None:
    graphs = stored(spool)
    layout = layout_of(spool, graphs)
    nodes, bonds = 5, 2
    shapes = {key: (str(one.dtype), one.shape) for key, one in layout.tensors.items()}
    assert shapes["nodes/code"] == ("uint8", (nodes,))
    assert shapes["edges/index"] == ("uint8", (bonds, 2))
    assert shapes["graphs/node_ptr"] == ("uint8", (4,))
    assert shapes["graphs/row"] == ("int16", (3,))  # torch has no uint16 that can be indexed
    assert shapes["graphs/y"] == ("float32", (3, 3))
    (tmp_path / "out").mkdir()
    write_tensors(tmp_path / "out", graphs, layout)
    ptr = np.fromfile(tmp_path / "out/graphs/node_ptr.memmap", dtype=np.uint8)
    assert ptr.tolist() == [0, 3, 3, 5]
    table = np.fromfile(tmp_path / "out/nodes/table.memmap", dtype=layout.tensors["nodes/table"].dtype).reshape(-1, 2)
    code = np.fromfile(tmp_path / "out/nodes/code.memmap", dtype=np.uint8)
    np.testing.assert_array_equal(table[code], np.concatenate([GRAPHS[0].x, GRAPHS[1].x, GRAPHS[3].x]))
    floats = np.fromfile(tmp_path / "out/nodes/x_float.memmap", dtype=np.float32)
    np.testing.assert_array_equal(floats, np.concatenate([GRAPHS[0].x_float, GRAPHS[3].x_float]).ravel())


def test_rows_are_for_people(spool: Spool, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.parquet", stored(spool))
    table = pq.read_table(tmp_path / "rows.parquet").to_pydict()
    assert table == {
        "row": [10, 20, 400],
        "id": ["größe 3", "größe 0", "größe 2"],
        "split": ["train", "validation", "test"],
    }
    assert (TRAIN, VALIDATION, TEST) == (0, 1, 2)


def test_the_manifest_counts_directed_edges_and_comes_last(spool: Spool, tmp_path: Path) -> None:
    graphs = stored(spool)
    survey = Survey(SCHEMA)
    for piece, columns in graphs.pieces():
        survey.add(piece, columns["y"], columns["split"] == TRAIN)
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "a").write_text("abc")
    split = graphs.columns["split"][graphs.keep]
    files.write_manifest(folder, survey, Layout(survey, graphs.columns["row"]), split, {"file": "größe.csv"})
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["num_graphs"], manifest["num_nodes"], manifest["num_edges"]) == (3, 5, 4)
    assert manifest["sides"] == {"train": 1, "validation": 1, "test": 1}
    assert manifest["files"]["a"]["size_bytes"] == 3
    assert list(manifest["files"]) == ["a"]
