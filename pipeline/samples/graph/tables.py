"""A folder of graph tables: graphs, nodes and edges, each CSV or Parquet; read as packed graphs, chunk by chunk.

graphs.csv  graph_id, targets, split     nodes.csv  graph_id, node_id, features
                                         edges.csv  graph_id, source, target, features
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, RowError
from pipeline.graph import GraphChunk
from pipeline.rows import parquet
from pipeline.rows.table import Rows, Table, check_columns, open_table, read_rows
from pipeline.samples.graph.buckets import Buckets, GraphIds, Reasons, pack_bucket
from pipeline.samples.graph.column_types import Kind, KindScan, encode_array
from pipeline.samples.graph.keys import graph_keys
from pipeline.schema import Column, Limits

GRAPH_ID, NODE_ID, SOURCE, TARGET = "graph_id", "node_id", "source", "target"
KEYS = {"graphs": (GRAPH_ID,), "nodes": (GRAPH_ID, NODE_ID), "edges": (GRAPH_ID, SOURCE, TARGET)}
SUFFIXES = (".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet")
BATCH_ROWS = 65_536
MAX_WHOLE = 2.0**53  # beyond it a fraction has lost digits of the whole number
CHUNK_VALUES = 20_000_000  # cells of nodes and edges that are packed at a time: about 100 MB


@dataclass(frozen=True)
class GraphTables:
    """A folder of graph tables after one look at all rows.

    Attributes:
        node_columns, edge_columns: feature columns in file order, with kinds and categories.
        num_nodes, num_edges: rows of nodes and edges.
        strays: rows of "nodes" and of "edges" that name no graph of the table of graphs; they are left out.
    """

    folder: Path
    directed: bool
    graphs: Table
    nodes: Table
    edges: Table
    node_columns: tuple[Column, ...]
    edge_columns: tuple[Column, ...]
    num_graphs: int
    num_nodes: int
    num_edges: int
    strays: dict[str, int]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table of graphs: the id, targets, graph features, split."""
        return self.graphs.columns


class GraphRows(NamedTuple):
    """B rows of the table of graphs, K of them with a graph that can be used."""

    rows: Rows  # asked columns and graph_id; (B,) each
    chunk: GraphChunk  # K graphs; u and y have width 0
    good: NDArray[np.int64]  # (K,) positions in `rows` of the graphs in `chunk`, ascending
    errors: dict[int, RowError]  # position in `rows` -> why there is no graph
    keys: NDArray[np.uint64]  # (K, 2) equal for equal graphs, see pipeline/samples/graph/keys.py


def open_graph_tables(
    folder: str | Path,
    *,
    directed: bool = False,
    numeric: Sequence[str] = (),
    categorical: Sequence[str] = (),
    targets: Sequence[str] = (),
) -> GraphTables:
    """Find the three tables and read nodes and edges once, for kinds, categories and counts.

    Args:
        directed: each row of edges is one edge from source to target, not an undirected pair.
        numeric, categorical: feature columns whose kind is not to be inferred.
        targets: columns that will be predicted, if known; they must be in the table of graphs.

    Raises:
        DataError: if a table or a key column is missing, a graph id is doubled, or the layout is a reserved one.
    """
    folder = Path(folder).expanduser().absolute()
    graphs, nodes, edges = _find_tables(folder)
    _refuse_node_tasks(graphs, nodes, targets)
    asked: dict[str, Kind] = {}
    for kind, names in (("numeric", numeric), ("categorical", categorical)):
        asked |= dict.fromkeys(names, cast(Kind, kind))
    features = {*nodes.columns, *edges.columns} - {name for names in KEYS.values() for name in names}
    for name in asked:
        if name not in features:
            raise DataError(
                f"{folder}: numeric= or categorical= names '{name}', but nodes and edges have the feature columns "
                f"{', '.join(sorted(features)) or '(none)'}."
            )
    ids = GraphIds(_read_ids(graphs), graphs.path)
    node_columns, num_nodes, node_strays = _scan(nodes, KEYS["nodes"], asked, ids)
    edge_columns, num_edges, edge_strays = _scan(edges, KEYS["edges"], asked, ids)
    strays = {"nodes": node_strays, "edges": edge_strays}
    if num_nodes == node_strays:
        raise DataError(
            f"{folder}: no row of {nodes.path.name} names a graph of {graphs.path.name}; compare their {GRAPH_ID}."
        )
    return GraphTables(
        folder, directed, graphs, nodes, edges, node_columns, edge_columns, len(ids), num_nodes, num_edges, strays
    )


def read_graph_chunks(
    tables: GraphTables, graph_values: Sequence[str], limits: Limits, chunk_graphs: int = 4096
) -> Iterator[GraphRows]:
    """Read the graphs in the order of their table, a chunk at a time; rows of nodes and edges may come in any order.

    Nodes and edges are first spread over temporary files, one for each chunk of graphs, so that memory holds one
    chunk. A graph with a bad row of nodes or edges is an error of that graph.

    Args:
        graph_values: columns of the table of graphs to read along.
        chunk_graphs: most graphs in a chunk; less where graphs are large.

    Raises:
        DataError: if a column is not there or a file is damaged.
    """
    width = len(tables.node_columns) + 2 * len(tables.edge_columns) + 8
    values = max(1, (tables.num_nodes + tables.num_edges) * width)
    size = max(1, min(chunk_graphs, CHUNK_VALUES * tables.num_graphs // values))
    ids = GraphIds(_read_ids(tables.graphs), tables.graphs.path)
    reasons = Reasons()
    asked = list(dict.fromkeys((GRAPH_ID, *graph_values)))
    check_columns(tables.graphs, asked)
    max_rows = limits.max_edges if tables.directed else limits.max_edges // 2
    with TemporaryDirectory(prefix="graphline-") as scratch:
        nodes = Buckets(Path(scratch), "nodes", size, len(ids), limits.max_nodes)
        edges = Buckets(Path(scratch), "edges", size, len(ids), max_rows)
        _spread(tables.nodes, tables.node_columns, KEYS["nodes"], ids, nodes, reasons)
        _spread(tables.edges, tables.edge_columns, KEYS["edges"], ids, edges, reasons)
        for bucket, rows in enumerate(read_rows(tables.graphs, asked, size)):
            rows.values[GRAPH_ID] = _id_values(rows.values[GRAPH_ID])
            errors = dict(rows.errors)
            for position, value in enumerate(rows.values[GRAPH_ID]):
                if value is None:
                    errors.setdefault(position, RowError("missing", f"{GRAPH_ID} is empty"))
            chunk, good = pack_bucket(
                nodes,
                edges,
                bucket,
                len(rows.number),
                errors,
                (tables.node_columns, tables.edge_columns),
                reasons,
                directed=tables.directed,
            )
            yield GraphRows(rows, chunk, good, errors, graph_keys(chunk))


def _find_tables(folder: Path) -> tuple[Table, Table, Table]:
    if not folder.is_dir():
        raise DataError(f"{folder}: there is no such folder; graph tables are a folder with graphs, nodes and edges.")
    found = sorted(file.name for file in folder.iterdir() if file.name.endswith(SUFFIXES))
    reserved = [name for name in found if name.startswith(("nodes_", "edges_"))]
    if reserved:
        raise DataError(f"{folder}: {reserved[0]}: several kinds of nodes or edges are not supported yet.")
    tables = []
    for name, keys in KEYS.items():
        files = [file for file in found if file in {name + suffix for suffix in SUFFIXES}]
        if len(files) != 1:
            what = f"{' and '.join(files)} are both there; keep one" if files else f"{name}.csv or .parquet is missing"
            raise DataError(f"{folder}: {what}. The folder has {', '.join(found) or 'no tables'}.")
        table = open_table(folder / files[0])
        check_columns(table, keys)
        tables.append(table)
    graphs, nodes, edges = tables
    return graphs, nodes, edges


def _refuse_node_tasks(graphs: Table, nodes: Table, targets: Sequence[str]) -> None:
    for name in ("split", *targets):
        if name in nodes.columns:
            raise DataError(
                f"{nodes.path}: column '{name}' in the table of nodes: predicting nodes is not supported yet; "
                f"targets and split belong into {graphs.path.name}."
            )
    check_columns(graphs, targets)


def _batches(table: Table, columns: Sequence[str]) -> Iterator[tuple[dict[str, Any], dict[int, RowError]]]:
    """Read columns as Arrow arrays: typed from Parquet, text from CSV."""
    import pyarrow as pa

    if table.format == "parquet":
        for arrays in parquet.read_batches(table.path, columns, BATCH_ROWS):
            yield arrays, {}
        return
    for rows in read_rows(table, columns, BATCH_ROWS):
        yield {name: pa.array(rows.values[name], pa.string()) for name in columns}, rows.errors


def _scan(
    table: Table, keys: Sequence[str], asked: dict[str, Kind], ids: GraphIds
) -> tuple[tuple[Column, ...], int, int]:
    """Feature columns with kinds and categories; rows; rows of unknown graphs."""
    names = [name for name in table.columns if name not in keys]
    text = table.format != "parquet"
    scans = {
        name: KindScan(table.path, name, text=text, decimal=table.decimal_of(name), kind=asked.get(name))
        for name in names
    }
    total = strays = 0
    for arrays, _ in _batches(table, [GRAPH_ID, *names]):
        for name, scan in scans.items():
            scan.add(arrays[name])
        place = ids.find(_id_array(arrays[GRAPH_ID]))
        total, strays = total + len(place), strays + int((place < 0).sum())
    return tuple(scan.column() for scan in scans.values()), total, strays


def _spread(
    table: Table, columns: Sequence[Column], keys: Sequence[str], ids: GraphIds, buckets: Buckets, reasons: Reasons
) -> None:
    """Encode all rows of nodes or of edges and put them into the buckets of their graphs."""
    import pyarrow.compute as pc

    where = table.path.name
    for arrays, row_errors in _batches(table, [*keys, *(column.name for column in columns)]):
        place = ids.find(_id_array(arrays[GRAPH_ID]))
        reason = np.zeros(len(place), dtype=np.int16)
        for row, error in row_errors.items():
            reason[row] = reasons.code(RowError(error.code, f"{where}: {error.detail}"))
        values: dict[str, Any] = {key: _id_array(arrays[key]) for key in keys[1:]}
        for key, array in values.items():
            empty = pc.is_null(array).to_numpy(zero_copy_only=False)
            reason[empty & (reason == 0)] = reasons.code(RowError("missing", f"{where} column '{key}' is empty"))
        for i, column in enumerate(columns):
            values[f"{i}"], problems = encode_array(arrays[column.name], column, where, table.decimal_of(column.name))
            for bad, error in problems:
                reason[bad & (reason == 0)] = reasons.code(error)
        buckets.add(place, values | {"reason": reason})


def _read_ids(graphs: Table) -> Any:
    """All graph ids in order, as one Arrow array of text."""
    import pyarrow as pa

    pieces = [_id_array(arrays[GRAPH_ID]) for arrays, _ in _batches(graphs, [GRAPH_ID])]
    return pa.concat_arrays(pieces) if len(pieces) != 1 else pieces[0]


def _id_array(array: Any) -> Any:
    """Ids as text: whole numbers that pandas stored as fractions (for a gap somewhere) are whole again, one by one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)
        whole = pc.and_(pc.equal(array, pc.floor(array)), pc.less(pc.abs(array), MAX_WHOLE))
        texts = array.cast(pa.int64(), safe=False).cast(pa.large_string())
        return pc.if_else(whole, texts, array.cast(pa.large_string()))
    return array.cast(pa.large_string())


def _id_values(values: NDArray[np.object_]) -> NDArray[np.object_]:
    """The same for the values of `Rows`."""
    texts = np.empty(len(values), dtype=object)
    for i, value in enumerate(values):
        if value is not None:
            whole = isinstance(value, float) and value.is_integer() and abs(value) < MAX_WHOLE
            texts[i] = str(int(value) if whole else value)
    return texts
