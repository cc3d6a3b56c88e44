"""Graphs that are not molecules: a folder of graph tables, or rows whose cells hold nodes and edges as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError, DataError
from pipeline.graph import Floats, Ints, pack, unpack
from pipeline.rows.table import check_columns, open_table, read_rows
from pipeline.samples.graph.columns import graph_columns
from pipeline.samples.graph.tables import GRAPH_ID, SUFFIXES, GraphTables, open_graph_tables, read_graph_chunks
from pipeline.samples.packed import Names, Piece
from pipeline.samples.source import (
    Data,
    Keys,
    Options,
    Part,
    Question,
    Questions,
    Stored,
    features_of,
    parse_features,
    questions_of,
)
from pipeline.samples.workers import Workers
from pipeline.schema import Limits, Schema

CHUNK_CELLS = 1_000_000  # of nodes and edges: as lists of Python values about 60 MB, which a few chunks may take


class GraphSource:
    """See `pipeline.samples.source.Source`."""

    has_scaffolds = False
    has_descriptors = False

    def claim(self, path: Path) -> int:
        return int(path.is_dir())

    def columns(self, path: Path) -> tuple[str, ...]:
        return open_graph_tables(path).columns

    def open(self, path: Path, options: Options, targets: Sequence[str], workers: Workers) -> Data:
        if not options.header:
            raise ConfigError("header=false is for files of molecules; the columns of graph tables need their names.")
        if options.descriptors:
            raise ConfigError("descriptors=true is for molecules; pass number columns of graphs.csv as features=.")
        if options.forest:
            raise ConfigError("forest=true is for molecules: its trees look at descriptors and substructures.")
        tables = open_graph_tables(
            path,
            directed=options.directed,
            numeric=options.numeric,
            categorical=options.categorical,
            targets=targets,
        )
        facts = {
            "node_columns": tables.node_columns,
            "edge_columns": tables.edge_columns,
            "directed": options.directed,
        }
        values = partial(read_rows, tables.graphs)
        return Data(
            tables.columns, GRAPH_ID, tables.graphs.decimal_of, facts, values, partial(_parts, tables), tables.strays
        )

    def keys(
        self, found: Keys, spooled: Iterable[tuple[Piece, Names]], limits: Limits, workers: Workers
    ) -> tuple[Keys, Keys]:
        return found, found

    def questions(self, path: Path, schema: Schema, options: Options, chunk_rows: int) -> Questions:
        if not path.is_dir():
            return questions_of(open_table(path), {"nodes": "nodes", "edges": "edges"}, schema, chunk_rows)
        for name, columns in (("nodes", schema.node_columns), ("edges", schema.edge_columns)):
            _check_names(path, name, [column.name for column in columns])
        tables = open_graph_tables(path, directed=schema.directed, **_kinds(schema))
        check_columns(tables.graphs, [column.name for column in schema.graph_columns])
        files = tuple(table.path for table in (tables.graphs, tables.nodes, tables.edges))
        return Questions(tables.columns, files, tables.num_graphs, _ask(tables, schema, chunk_rows // 4))

    def requests(self, stored: Stored, indices: Ints) -> dict[str, list[Any]]:
        graphs = [graph_columns(stored.graph(int(i)), stored.schema) for i in indices]
        return {"nodes": [nodes for nodes, _ in graphs], "edges": [edges for _, edges in graphs]}

    def example(self, schema: Schema) -> dict[str, list[Any]] | None:
        return None

    def describe(self, stored: Stored, indices: Ints, pool: Executor) -> Floats:
        from pipeline.samples.graph.describe import describe_graphs

        return describe_graphs(pack([stored.graph(int(i)) for i in indices]), stored.schema)

    def groups(self, names: Sequence[str]) -> list[str] | None:
        return None

    def clusters(self, names: Sequence[str], *, named: bool) -> list[tuple[str, NDArray[np.bool_]]]:
        return []

    def draw(self, name: str, size: tuple[int, int] = (260, 180)) -> str | None:
        return None


def _parts(tables: GraphTables, columns: Sequence[str], schema: Schema, scaffolds: bool) -> Iterator[Part]:
    for part in read_graph_chunks(tables, columns, schema.limits):
        piece = Piece.of(part.chunk, directed=tables.directed)
        no_scaffolds = np.empty((0, 2), dtype=np.uint64)
        yield Part(part.rows, piece, part.good, part.errors, part.keys, no_scaffolds, part.rows.values[GRAPH_ID])


def _ask(tables: GraphTables, schema: Schema, chunk_graphs: int) -> Iterator[Question]:
    # The tables' own categories: the bundle reads them by their text and knows its own.
    own = Schema(schema.name, "graph", (), tables.node_columns, tables.edge_columns, directed=schema.directed)
    cells = tables.num_nodes * (1 + len(own.node_columns)) + tables.num_edges * (2 + len(own.edge_columns))
    size = max(1, min(chunk_graphs, CHUNK_CELLS * tables.num_graphs // max(1, cells)))
    for rows, chunk, good, found, _ in read_graph_chunks(tables, tables.columns, schema.limits, size):
        u, errors = parse_features(rows.values, schema.graph_columns, tables.graphs.decimal_of, len(rows.number))
        errors |= found
        kept = [(g, int(row)) for g, row in enumerate(good) if int(row) not in errors]
        graphs = [graph_columns(unpack(chunk, g), own) for g, _ in kept]
        asked = np.array([row for _, row in kept], dtype=np.int64)
        columns: dict[str, list[Any]] = {
            "nodes": [nodes for nodes, _ in graphs],
            "edges": [edges for _, edges in graphs],
        }
        yield Question(rows.values, asked, columns | features_of(u[asked], schema.graph_columns), errors)


def _kinds(schema: Schema) -> dict[str, list[str]]:
    """The kinds of columns, for the reader of graph tables, which would infer them from these rows."""
    kinds: dict[str, set[str]] = {}
    for column in (*schema.node_columns, *schema.edge_columns):
        kinds.setdefault(column.name, set()).add(column.kind)
    # A name that nodes and edges use for different kinds cannot be asked for; its kinds are inferred.
    return {kind: [name for name, found in kinds.items() if found == {kind}] for kind in ("numeric", "categorical")}


def _check_names(folder: Path, name: str, wanted: Sequence[str]) -> None:
    """
    Raises:
        DataError: if the table of nodes or of edges lacks a column that the model needs.
    """
    path = next((path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").exists()), None)
    if path is None:
        return  # the reader says what a folder of graph tables needs
    table = open_table(path)
    if missing := [column for column in wanted if column not in table.columns]:
        raise DataError(
            f"{table.path}: there is no column {missing}, which the model needs; it has {list(table.columns)}."
        )
