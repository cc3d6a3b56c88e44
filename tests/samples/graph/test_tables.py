"""Folders of graph tables: kinds, order, errors; and the same graphs as a request would make."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.graph import Graph, unpack
from pipeline.samples.graph import tables as graphtable
from pipeline.samples.graph.columns import build_graph
from pipeline.samples.graph.tables import GraphRows, open_graph_tables, read_graph_chunks
from pipeline.schema import Column, Limits
from tests.support.schemas import toy_schema

GRAPHS = {"graph_id": ["a", "b", "c"], "y": [1.5, None, 3], "split": ["train", "train", "test"]}
NODES = {
    "graph_id": ["b", "a", "a", "c", "zzz"],
    "node_id": ["x", "p", "q", "1", "1"],
    "symbol": ["C", "C", "O", None, "N"],
    "charge": [0.5, 1.5, None, -1.0, 0.0],
}
EDGES = {"graph_id": ["a", "c", "a"], "source": ["q", "1", "p"], "target": ["p", "1", "q"], "order": [2, 1, 1]}


def write(folder: Path, kind: str = "csv", **tables: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    for name, values in ({"graphs": GRAPHS, "nodes": NODES, "edges": EDGES} | tables).items():
        frame = pd.DataFrame(values)
        if kind == "csv":
            frame.to_csv(folder / f"{name}.csv", index=False)
        else:
            frame.to_parquet(folder / f"{name}.parquet", index=False)
    return folder


def read(folder: Path, limits: Limits | None = None, chunk_graphs: int = 4096, **options: Any) -> list[GraphRows]:
    tables = open_graph_tables(folder, **options)
    return list(read_graph_chunks(tables, ("y",), limits or Limits(), chunk_graphs))


def graphs_of(chunks: Sequence[GraphRows]) -> dict[str, Graph]:
    return {
        part.rows.values["graph_id"][position]: unpack(part.chunk, g)
        for part in chunks
        for g, position in enumerate(part.good)
    }


def codes_of(chunks: Sequence[GraphRows]) -> dict[str, str]:
    return {part.rows.values["graph_id"][i]: error.code for part in chunks for i, error in part.errors.items()}


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("chunk_graphs", [1, 2, 4096])
def test_three_graphs_by_hand(tmp_path: Path, kind: str, chunk_graphs: int) -> None:
    tables = open_graph_tables(write(tmp_path, kind))
    assert tables.columns == ("graph_id", "y", "split")
    assert tables.node_columns == (Column("symbol", "categorical", ("C", "N", "O")), Column("charge", "numeric"))
    assert tables.edge_columns == (Column("order", "categorical", ("1", "2")),)
    assert (tables.num_graphs, tables.num_nodes, tables.num_edges) == (3, 5, 3)
    assert tables.strays == {"nodes": 1, "edges": 0}
    chunks = read(tmp_path, chunk_graphs=chunk_graphs)
    assert [len(part.rows.number) for part in chunks] == {1: [1, 1, 1], 2: [2, 1], 4096: [3]}[chunk_graphs]
    assert [n for part in chunks for n in part.rows.number] == [1, 2, 3]
    values = [1.5, None, 3.0] if kind == "parquet" else ["1.5", None, "3.0"]
    assert [value for part in chunks for value in part.rows.values["y"]] == values
    graphs = graphs_of(chunks)
    assert graphs["a"].x.tolist() == [[1], [3]]
    np.testing.assert_array_equal(graphs["a"].x_float, np.array([[1.5], [np.nan]], np.float32))
    assert graphs["a"].edge_index.tolist() == [[1, 0, 0, 1], [0, 1, 1, 0]]
    assert graphs["a"].edge_attr.tolist() == [[2], [2], [1], [1]]
    assert (graphs["b"].num_nodes, graphs["b"].edge_index.shape) == (1, (2, 0))
    assert graphs["c"].edge_index.tolist() == [[0, 0], [0, 0]]
    assert graphs["c"].x.tolist() == [[0]]
    assert (graphs["a"].u.shape, graphs["a"].y.shape) == ((0,), (0,))
    assert graphs_of(read(tmp_path, directed=True))["a"].edge_index.tolist() == [[1, 0], [0, 1]]


def test_kinds(tmp_path: Path) -> None:
    size = 40
    nodes = {
        "graph_id": ["a"] * size,
        "node_id": range(size),
        "whole": np.arange(size) % 32,
        "many": range(size),
        "fraction": [float(i) for i in range(size)],
        "flag": [i % 2 == 0 for i in range(size)],
        "gap": [None, *[i % 3 for i in range(size - 1)]],
        "word": [*["x", "10", "9", "NA"], *["y"] * (size - 4)],
    }
    for kind in ("csv", "parquet"):
        frame = pd.DataFrame(nodes)
        frame["gap"] = frame["gap"].astype("Int64")
        folder = write(tmp_path / kind, kind, nodes=frame)
        found = {column.name: column for column in open_graph_tables(folder).node_columns}
        assert {name: column.kind for name, column in found.items()} == {
            "whole": "categorical",
            "many": "numeric",
            "fraction": "numeric",
            "flag": "categorical",
            "gap": "categorical",
            "word": "categorical",
        }
        assert found["whole"].categories == tuple(str(i) for i in range(32))
        assert found["flag"].categories == ("false", "true")
        assert found["gap"].categories == ("0", "1", "2")
        assert found["word"].categories == ("9", "10", "NA", "x", "y")
        settled = open_graph_tables(folder, numeric=["whole"], categorical=["many", "fraction"]).node_columns
        assert [column.kind for column in settled[:3]] == ["numeric", "categorical", "categorical"]
        assert settled[1].categories == settled[2].categories == tuple(str(i) for i in range(size))


def test_bad_rows_spoil_only_their_graph(tmp_path: Path) -> None:
    names = ["good", "no nodes", "doubled", "lost", "text", "infinite", "wide", "anonymous", "large", "cut", "endless"]
    nodes = {name: [(f"{name},0,1.5")] for name in names if name != "no nodes"}
    nodes["doubled"] *= 2
    nodes["text"].append("text,1,abc")
    nodes["infinite"].append("infinite,1,inf")
    nodes["anonymous"].append("anonymous,,1")
    nodes["large"] = [f"large,{i},1" for i in range(6)]
    nodes["cut"].append("cut,1")
    edges = [f"{name},0,0" for name in nodes] + ["lost,0,7", "lost,,0", "wide,0,0,0,0"] + ["endless,0,0"] * 6
    write(tmp_path, graphs={"graph_id": [*names, None], "y": range(len(names) + 1)})
    (tmp_path / "nodes.csv").write_text(
        "\n".join(["graph_id,node_id,v", *(r for rows in nodes.values() for r in rows)])
    )
    (tmp_path / "edges.csv").write_text("\n".join(["graph_id,source,target", *edges]))
    chunks = read(tmp_path, Limits(max_nodes=5, max_edges=12), numeric=["v"])
    assert codes_of(chunks) == {
        "no nodes": "missing",
        "doubled": "duplicate_node",
        "lost": "missing",
        "text": "wrong_type",
        "infinite": "not_finite",
        "wide": "length_mismatch",
        "anonymous": "missing",
        "large": "too_large",
        "cut": "length_mismatch",
        "endless": "too_large",
        None: "missing",
    }
    assert list(graphs_of(chunks)) == ["good"]
    assert chunks[0].keys.shape == (1, 2)
    assert all("\n" not in error.detail for error in chunks[0].errors.values())


def test_an_edge_to_nowhere(tmp_path: Path) -> None:
    write(tmp_path, edges=EDGES | {"target": ["p", "x", "q"]})  # x is a node, but of another graph
    assert codes_of(read(tmp_path)) == {"c": "index_out_of_range"}


def test_a_monster_is_not_collected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphtable, "BATCH_ROWS", 100)
    size = 5000
    nodes = {"graph_id": ["a"] * size + ["b"], "node_id": range(size + 1), "symbol": "C"}
    write(tmp_path, nodes=nodes, edges={"graph_id": ["b"], "source": [size], "target": [size]})
    seen = []
    pack = graphtable.pack_bucket
    monkeypatch.setattr(
        graphtable, "pack_bucket", lambda nodes, *rest, **more: seen.append(nodes) or pack(nodes, *rest, **more)
    )
    chunks = read(tmp_path, Limits(max_nodes=50))
    assert codes_of(chunks) == {"a": "too_large", "c": "missing"}
    assert seen[0]._counts.max() <= 200


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"graphs": {"id": ["a"]}}, "no column 'graph_id'"),
        ({"graphs": {"graph_id": ["a", "b", "a"]}}, "row 3: graph_id 'a' stands in row 1 too"),
        ({"nodes": {"graph_id": ["a"], "node": [1]}}, "no column 'node_id'"),
        ({"edges": {"graph_id": ["a"], "source": [1]}}, "no column 'target'"),
        ({"nodes": NODES | {"split": "train"}}, "predicting nodes is not supported yet"),
        ({"nodes": NODES | {"y": 1}}, "predicting nodes is not supported yet"),
        ({"nodes_atom": NODES}, "not supported yet"),
        ({"edges_atom__bond__atom": EDGES}, "not supported yet"),
        ({"nodes": NODES | {"graph_id": "none"}}, "no row of nodes.csv names a graph"),
        ({"nodes": NODES | {"charge": ["1.5", "x", "2", "3", "4"]}}, "'charge' has fractions and words; pass numeric="),
    ],
)
def test_what_cannot_be_opened(tmp_path: Path, tables: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        open_graph_tables(write(tmp_path, **tables), targets=["y"] if "graphs" not in tables else [])
    assert "\n" not in str(caught.value)


def test_missing_and_doubled_tables(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_graph_tables(tmp_path / "none")
    write(tmp_path)
    with pytest.raises(DataError, match=r"names 'colour'.* charge, order, symbol"):
        open_graph_tables(tmp_path, numeric=["colour"])
    with pytest.raises(DataError, match="no column 'pIC50'"):
        open_graph_tables(tmp_path, targets=["pIC50"])
    with pytest.raises(DataError, match="no column 'other'"):
        next(read_graph_chunks(open_graph_tables(tmp_path), ["other"], Limits()))
    pd.DataFrame(NODES).to_parquet(tmp_path / "nodes.parquet")
    with pytest.raises(DataError, match="both there"):
        open_graph_tables(tmp_path)
    (tmp_path / "nodes.parquet").unlink()
    (tmp_path / "edges.csv").unlink()
    with pytest.raises(DataError, match=r"edges.csv or .parquet is missing. The folder has graphs.csv, nodes.csv"):
        open_graph_tables(tmp_path)


def test_ids_may_be_numbers_and_kinds_of_files_may_mix(tmp_path: Path) -> None:
    graphs = {"graph_id": [10, 20], "y": [1, 2]}
    nodes = {"graph_id": [20.0, 10.0, None], "node_id": [1, 1, 1], "v": [1, 2, 3]}
    edges = {"graph_id": [10, 20], "source": [1, 1], "target": [1, 1]}
    write(tmp_path, "parquet", graphs=graphs, nodes=nodes, edges=edges)
    (tmp_path / "edges.parquet").unlink()
    pd.DataFrame(edges).to_csv(tmp_path / "edges.csv.gz", index=False, sep="\t")
    chunks = read(tmp_path)
    assert {name: graph.x.tolist() for name, graph in graphs_of(chunks).items()} == {"10": [[2]], "20": [[1]]}
    assert codes_of(chunks) == {}
    assert open_graph_tables(tmp_path).strays == {"nodes": 1, "edges": 0}


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1000), kind=st.sampled_from(["csv", "parquet"]), directed=st.booleans())
def test_shuffled_tables_give_what_a_request_gives(
    seed: int, kind: str, directed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rng = np.random.default_rng(seed)
    requests: dict[str, tuple[pd.DataFrame, pd.DataFrame]] = {}
    for g in range(int(rng.integers(1, 9))):
        n, e = int(rng.integers(1, 6)), int(rng.integers(0, 8))
        nodes = pd.DataFrame({"symbol": rng.choice(["C", "N", "O"], n), "v": rng.normal(size=n)})
        edges = pd.DataFrame(
            {"source": rng.integers(0, n, e), "target": rng.integers(0, n, e), "kind": rng.integers(0, 3, e)}
        )
        requests[f"g{g}"] = nodes, edges
    all_nodes = pd.concat([nodes.assign(graph_id=g, node_id=range(len(nodes))) for g, (nodes, _) in requests.items()])
    all_edges = pd.concat([edges.assign(graph_id=g) for g, (_, edges) in requests.items()])
    if all_edges.empty:
        return
    folder = write(
        tmp_path_factory.mktemp("tables"),
        kind,
        graphs={"graph_id": list(requests), "y": range(len(requests))},
        nodes=all_nodes.sort_values("node_id", kind="stable"),  # graphs are mixed, rows of one keep their order
        edges=all_edges.sort_index(kind="stable"),
    )
    tables = open_graph_tables(folder, directed=directed)
    schema = toy_schema(
        data_kind="graph",
        targets=(),
        node_columns=tables.node_columns,
        edge_columns=tables.edge_columns,
        directed=directed,
    )
    chunks = list(read_graph_chunks(tables, (), Limits(), chunk_graphs=3))
    found = graphs_of(chunks)
    assert list(found) == list(requests)
    for name, (nodes, edges) in requests.items():
        wanted = build_graph(nodes.to_dict("list"), edges.to_dict("list"), {}, schema)
        for a, b in zip(found[name], wanted, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == b.dtype
