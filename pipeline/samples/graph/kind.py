"""Graphs that come as tables: a request's row holds `nodes` and `edges`, each an object of equally long lists."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import RowError
from pipeline.graph import Graph, pack
from pipeline.samples.graph.columns import NODE_ID, build_graph
from pipeline.samples.kind import Ask, Columns, Nouns, Read
from pipeline.schema import Schema

if TYPE_CHECKING:
    from pipeline.samples.source import Source

MAX_NODES = 65_536  # nodes and edges that are read before a piece is handed on


class GraphKind:
    """See `pipeline.samples.kind.DataKind`."""

    name = "graph"
    nouns = Nouns("graph", "graphs", "node", "nodes", "a graph: its nodes and its edges")
    fixed_columns = False
    few_edges = False

    def columns(self, schema: Schema) -> tuple[Ask, ...]:
        """`AnyType`: with a stricter type one bad value would fail the whole request."""
        names = ("nodes", "edges", *(column.name for column in schema.graph_columns))
        return tuple(Ask(name, "any") for name in names)

    def read(self, columns: Columns, schema: Schema) -> Iterator[Read]:
        graphs: list[Graph] = []
        good: list[int] = []
        errors: dict[int, RowError] = {}
        size = 0
        for row in range(len(columns["nodes"])):
            try:
                graph = _read_graph({name: values[row] for name, values in columns.items()}, schema)
            except RowError as error:
                errors[row] = error
                continue
            graphs.append(graph)
            good.append(row)
            size += graph.num_nodes + graph.num_edges + 1
            if size >= MAX_NODES:
                yield Read(pack(graphs), np.array(good, dtype=np.int64), errors)
                graphs, good, errors, size = [], [], {}, 0
        if good or errors:
            yield Read(pack(graphs) if graphs else None, np.array(good, dtype=np.int64), errors)

    def smallest(self, schema: Schema) -> dict[str, list[Any]]:
        """Two nodes with unknown features, joined by an edge."""
        nodes: dict[str, list[Any]] = {column.name: [None, None] for column in schema.node_columns} or {NODE_ID: [0, 1]}
        edges: dict[str, list[Any]] = {column.name: [None] for column in schema.edge_columns} | {
            "source": [0],
            "target": [1],
        }
        return {"nodes": [nodes], "edges": [edges]} | {column.name: [0.0] for column in schema.graph_columns}

    def mismatch(self, schema: Schema) -> str | None:
        return None

    def source(self) -> Source:
        from pipeline.samples.graph.source import GraphSource

        return GraphSource()


KIND = GraphKind()


def _read_graph(values: Mapping[str, object], schema: Schema) -> Graph:
    nodes, edges = (_read_table(values[name], name) for name in ("nodes", "edges"))
    return build_graph(nodes, edges, {column.name: values[column.name] for column in schema.graph_columns}, schema)


def _read_table(value: object, name: str) -> object:
    """`nodes` or `edges` of one row: an object of lists, or the same as JSON text in a cell."""
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise RowError("wrong_type", f"'{name}' is text that is no JSON object of lists.") from None
