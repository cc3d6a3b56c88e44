"""Rows of nodes and edges on their way to packed graphs: ids, files by graph, and what is wrong with a graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError, RowError
from pipeline.graph import unpack
from pipeline.samples.graph import buckets
from pipeline.samples.graph.buckets import Buckets, GraphIds, Reasons, pack_bucket
from pipeline.schema import Column

PATH = Path("graphs.csv")
NODE = (Column("kind", "categorical", ("a", "b")), Column("size", "numeric"))
EDGE = (Column("length", "numeric"),)


@given(st.lists(st.text(max_size=3), unique=True, min_size=1, max_size=20), st.data())
def test_every_id_is_found_where_it_stands_and_no_other(ids: list[str], data: st.DataObject) -> None:
    known = GraphIds(pa.array(ids, pa.large_string()), PATH)
    asked = data.draw(st.lists(st.none() | st.sampled_from(ids) | st.text(max_size=3), max_size=10))
    found = known.find(pa.array(asked, pa.large_string()))
    assert found.tolist() == [ids.index(one) if one in ids else -1 for one in asked]
    assert len(known) == len(ids)


def test_ids_with_the_same_hash_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buckets, "_hash", lambda texts: np.zeros(len(texts), np.uint64))
    known = GraphIds(pa.array(["a"], pa.large_string()), PATH)
    assert known.find(pa.array(["a", "b"], pa.large_string())).tolist() == [0, -1]


def test_an_id_that_stands_twice_is_named_with_both_rows() -> None:
    with pytest.raises(DataError, match=r"graphs\.csv row 3: graph_id 'a' stands in row 1 too; make them unique"):
        GraphIds(pa.array(["a", "b", "a"], pa.large_string()), PATH)
    assert len(GraphIds(pa.array([None, None], pa.large_string()), PATH)) == 2  # no graphs


def test_equal_reasons_have_one_code_and_nothing_is_0() -> None:
    reasons = Reasons()
    codes = [reasons.code(RowError("missing", text)) for text in ("a", "b", "a")]
    assert codes == [1, 2, 1]
    assert reasons.error(2).detail == "b"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-1, 9), max_size=40), st.integers(1, 4), st.integers(1, 10))
def test_rows_come_back_sorted_by_graph_and_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, place: list[int], size: int, chunk: int
) -> None:
    spread = Buckets(tmp_path_factory.mktemp("buckets"), "nodes", size, 10, max_rows=100)
    for start in range(0, len(place), chunk):
        part = np.array(place[start : start + chunk], dtype=np.int64)
        spread.add(part, {"n": np.arange(start, start + len(part))})
    for bucket in range(-(-10 // size)):
        graph, columns, counts = spread.read(bucket)
        own = range(bucket * size, min((bucket + 1) * size, 10))
        wanted = [(g - bucket * size, n) for g in own for n, at in enumerate(place) if at == g]
        assert list(zip(graph.tolist(), columns.get("n", np.zeros(0)).tolist(), strict=True)) == wanted
        assert counts.tolist() == [place.count(g) for g in own]
        assert not spread._file(bucket).exists()


def test_a_monster_stops_collecting_but_is_counted_on(tmp_path: Path) -> None:
    spread = Buckets(tmp_path, "nodes", 1, 1, max_rows=5)
    for _ in range(4):
        spread.add(np.zeros(3, np.int64), {"n": np.arange(3)})
    graph, _, counts = spread.read(0)
    assert len(graph) == counts[0] == 6  # two chunks: the second one went beyond


def packed(
    tmp_path: Path, nodes: list[tuple], edges: list[tuple], size: int, *, directed: bool = False, limit: int = 9
):
    """Pack graphs of rows (graph, id, kind, size) and (graph, source, target, length)."""
    reasons, errors = Reasons(), dict[int, RowError]()
    rooms = []
    for name, rows, ids in (("nodes", nodes, 1), ("edges", edges, 2)):
        room = Buckets(tmp_path, name, size, size, max_rows=9)
        columns = list(zip(*rows, strict=True)) or [()] * (2 + ids + (1 if name == "nodes" else 0))
        values = {key: pa.array(columns[1 + k], pa.large_string()) for k, key in enumerate(("source", "target")[:ids])}
        if name == "nodes":
            values = {"node_id": values["source"], "0": np.array(columns[2], np.int32)}
            values |= {"1": np.array(columns[3], np.float32)}
        else:
            values |= {"0": np.array(columns[3], np.float32)}
        values["reason"] = np.zeros(len(rows), np.int16)
        room.add(np.array(columns[0], np.int64), values)
        rooms.append(room)
    chunk, good = pack_bucket(*rooms, 0, size, errors, (NODE, EDGE), reasons, directed=directed)
    return chunk, good.tolist(), {graph: error.code for graph, error in sorted(errors.items())}


def test_two_graphs_by_hand(tmp_path: Path) -> None:
    nodes = [(1, "x", 1, 0.5), (0, "a", 2, 1.5), (0, "b", 1, 2.5), (1, "y", 0, 3.5)]
    chunk, good, errors = packed(tmp_path, nodes, [(1, "y", "x", 7.0), (0, "a", "b", 8.0)], 2)
    assert (good, errors) == ([0, 1], {})
    one, two = unpack(chunk, 0), unpack(chunk, 1)
    assert (one.x.tolist(), one.x_float.tolist()) == ([[2], [1]], [[1.5], [2.5]])
    assert one.edge_index.tolist() == [[0, 1], [1, 0]]  # there and back
    assert two.edge_index.tolist() == [[1, 0], [0, 1]]
    assert two.edge_float.tolist() == [[7.0], [7.0]]


def test_directed_edges_go_one_way(tmp_path: Path) -> None:
    chunk, _, _ = packed(tmp_path, [(0, "a", 1, 0.0), (0, "b", 1, 0.0)], [(0, "b", "a", 1.0)], 1, directed=True)
    assert unpack(chunk, 0).edge_index.tolist() == [[1], [0]]


def test_each_wrong_graph_says_why_and_the_others_stay(tmp_path: Path) -> None:
    nodes = [(0, "a", 1, 0.0), (1, "a", 1, 0.0), (1, "a", 1, 0.0), (3, "a", 1, 0.0)]
    nodes += [(4, f"n{k}", 1, 0.0) for k in range(10)]
    chunk, good, errors = packed(tmp_path, nodes, [(0, "a", "z", 1.0), (3, "a", "a", 1.0)], 5)
    assert errors == {0: "index_out_of_range", 1: "duplicate_node", 2: "missing", 4: "too_large"}
    assert good == [3]
    assert chunk.num_graphs == 1
    assert unpack(chunk, 0).edge_index.tolist() == [[0, 0], [0, 0]]  # a self loop is such a pair
