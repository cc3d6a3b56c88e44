"""Columns of nodes and edges become graphs, and the way back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RowError
from pipeline.graph import Graph
from pipeline.samples.graph.columns import build_graph, category_text, encode, graph_columns
from pipeline.schema import Column, Limits, Schema
from tests.support.schemas import toy_schema

NODES = (Column("symbol", "categorical", ("C", "O")), Column("charge", "numeric"))
EDGES = (Column("order", "categorical", ("1", "2")), Column("length", "numeric"))


def schema(**changes: Any) -> Schema:
    columns = {"node_columns": NODES, "edge_columns": EDGES, "graph_columns": (Column("ph", "numeric"),)}
    return toy_schema(data_kind="graph", **columns | changes)


def request(**changes: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Carbon monoxide with a stranger beside it."""
    nodes = {"symbol": ["C", "O", "Xx"], "charge": [0.5, None, -1]}
    edges = {"source": [0], "target": [1], "order": [2], "length": [1.25]}
    tables = {"nodes": nodes, "edges": edges, "features": {"ph": 7, "other": "x"}}
    for name, value in changes.items():
        table, _, column = name.partition("__")
        if column:
            tables[table] = tables[table] | {column: value}
        else:
            tables[table] = value
    return tables["nodes"], tables["edges"], tables["features"]


def same(a: Graph, b: Graph) -> bool:
    return all(np.array_equal(x, y, equal_nan=x.dtype.kind == "f") for x, y in zip(a, b, strict=True))


def test_a_graph_by_hand() -> None:
    graph = build_graph(*request(), schema())
    assert graph.x.tolist() == [[1], [2], [0]]
    np.testing.assert_array_equal(graph.x_float, np.array([[0.5], [np.nan], [-1]], np.float32))
    assert graph.edge_index.tolist() == [[0, 1], [1, 0]]
    assert graph.edge_attr.tolist() == [[2], [2]]
    assert graph.edge_float.tolist() == [[1.25], [1.25]]
    assert graph.u.tolist() == [7]
    assert np.isnan(graph.y).tolist() == [True]
    assert [field.dtype for field in graph] == [np.int32, *[np.float32], np.int32, np.int32, *[np.float32] * 3]


def test_a_directed_graph_keeps_single_edges() -> None:
    graph = build_graph(*request(edges__target=np.array([1.0])), schema(directed=True))
    assert graph.edge_index.tolist() == [[0], [1]]
    assert graph.edge_attr.tolist() == [[2]]


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (["1", 1, 1.0, "1.0", " 1 ", np.int8(1), np.float32(1)], [1] * 7),
        (["01", "1.5", "+1", 2, 10**400, float("inf")], [0] * 6),
        ([True, "true", "TRUE", np.True_], [2] * 4),
        ([None, math.nan, "", "  "], [0] * 4),
        (["0.5", 0.5, "0.50", np.float32(0.5)], [3] * 4),
        (["007"], [4]),
    ],
)
def test_equal_things_are_one_category(values: list[object], codes: list[int]) -> None:
    column = Column("c", "categorical", ("1", "true", "0.5", "007"))
    encoded = encode(values, column, "nodes")
    assert encoded.tolist() == codes
    assert encoded.dtype == np.int32


@settings(max_examples=50)
@given(st.none() | st.text() | st.integers() | st.floats() | st.booleans())
def test_category_text_is_idempotent(value: object) -> None:
    text = category_text(value)
    assert category_text(text) == text


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"nodes": None}, "missing"),
        ({"nodes": "C"}, "wrong_type"),
        ({"nodes": [1]}, "wrong_type"),
        ({"nodes": {"symbol": ["C"]}}, "missing"),
        ({"nodes": {"symbol": [], "charge": []}}, "missing"),
        ({"nodes__symbol": "COX"}, "wrong_type"),
        ({"nodes__symbol": ["C", "O"]}, "length_mismatch"),
        ({"nodes__symbol": ["C", "O", ["X"]]}, "wrong_type"),
        ({"nodes__symbol": ["C", "O", {}]}, "wrong_type"),
        ({"nodes__charge": None}, "missing"),
        ({"nodes__charge": [1, 2, "3"]}, "wrong_type"),
        ({"nodes__charge": [1, 2, True]}, "wrong_type"),
        ({"nodes__charge": [1, 2, math.inf]}, "not_finite"),
        ({"nodes__charge": [1, 2, 1e300]}, "not_finite"),
        ({"nodes__charge": [1, 2, 10**400]}, "not_finite"),
        ({"nodes__charge": np.zeros((3, 1))}, "wrong_type"),
        ({"edges": None}, "missing"),
        ({"edges": {}}, "missing"),
        ({"edges__source": [3]}, "index_out_of_range"),
        ({"edges__source": [-1]}, "index_out_of_range"),
        ({"edges__source": [10**30]}, "index_out_of_range"),
        ({"edges__source": [1e300]}, "index_out_of_range"),
        ({"edges__source": [0.5]}, "wrong_type"),
        ({"edges__source": [math.nan]}, "wrong_type"),
        ({"edges__source": [True]}, "wrong_type"),
        ({"edges__source": ["0"]}, "wrong_type"),
        ({"edges__source": [None]}, "missing"),
        ({"edges__source": [[0]]}, "wrong_type"),
        ({"edges__source": [0, 1]}, "length_mismatch"),
        ({"edges__order": []}, "length_mismatch"),
        ({"features": {}}, "missing"),
        ({"features__ph": None}, "missing"),
        ({"features__ph": "7"}, "wrong_type"),
        ({"features__ph": False}, "wrong_type"),
        ({"features__ph": math.nan}, "not_finite"),
        ({"features__ph": -math.inf}, "not_finite"),
    ],
)
def test_what_is_wrong_has_a_code_and_one_line(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(RowError) as caught:
        build_graph(*request(**changes), schema())
    assert caught.value.code == code
    assert "\n" not in caught.value.detail


def test_too_large_comes_before_the_values_are_read() -> None:
    nodes, edges, features = request(nodes__charge=["no", "numbers", "here"])
    for limits in (Limits(max_nodes=2), Limits(max_edges=1)):
        with pytest.raises(RowError) as caught:
            build_graph(nodes, edges, features, schema(limits=limits))
        assert caught.value.code == "too_large"


def test_no_edges_and_no_columns() -> None:
    empty = {"source": [], "target": []}
    graph = build_graph(*request(edges=empty), schema())
    assert (graph.edge_index.shape, graph.edge_attr.shape, graph.edge_float.shape) == ((2, 0), (0, 1), (0, 1))
    bare = schema(node_columns=(), edge_columns=(), graph_columns=(), targets=())
    graph = build_graph({"node_id": ["a", "b"]}, {"source": [0, 1], "target": [1, 1]}, {}, bare)
    assert graph.edge_index.tolist() == [[0, 1, 1, 1], [1, 0, 1, 1]]
    assert (graph.x.shape, graph.u.shape, graph.y.shape) == ((2, 0), (0,), (0,))
    assert graph_columns(graph, bare) == ({"node_id": [0, 1]}, {"source": [0, 1], "target": [1, 1]})


number = st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.booleans())
def test_graph_columns_is_the_way_back(data: st.DataObject, directed: bool) -> None:
    size = data.draw(st.integers(1, 5))
    num_rows = data.draw(st.integers(0, 5))
    column = lambda of, length: data.draw(st.lists(of, min_size=length, max_size=length))  # noqa: E731
    place = st.integers(0, size - 1)
    kinds = st.sampled_from([1, 2, None, "?"])
    nodes = {"symbol": column(st.sampled_from(["C", "O", None, "?"]), size), "charge": column(number, size)}
    edges = {"source": column(place, num_rows), "target": column(place, num_rows)}
    edges |= {"order": column(kinds, num_rows), "length": column(number, num_rows)}
    ours = schema(directed=directed, graph_columns=())
    graph = build_graph(nodes, edges, {}, ours)
    back_nodes, back_edges = graph_columns(graph, ours)
    assert same(build_graph(back_nodes, back_edges, {}, ours), graph)
    assert (back_edges["source"], back_edges["target"]) == (edges["source"], edges["target"])
    assert back_edges["order"] == [None if value == "?" else value for value in edges["order"]]
