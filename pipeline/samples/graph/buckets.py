"""Rows of nodes and edges on their way to packed graphs: spread over files by graph, then sorted, checked, packed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError, RowError
from pipeline.graph import GraphChunk
from pipeline.samples.graph.columns import both_ways, stack_columns
from pipeline.schema import Column

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]


class GraphIds:
    """Where each graph stands in the table of graphs; about 12 bytes a graph and its id.

    Args:
        ids: all ids in order, an Arrow array of text; None is no graph.

    Raises:
        DataError: if an id stands twice.
    """

    def __init__(self, ids: Any, path: Path) -> None:
        self._ids = ids
        hashes = _hash(ids)
        self._order = np.argsort(hashes, kind="stable").astype(np.int32)
        self._hashes = hashes[self._order]
        same = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        for i in same:
            a, b = self._order[i], self._order[i + 1]
            if ids[a].is_valid and ids[a] == ids[b]:
                raise DataError(f"{path} row {b + 1}: graph_id '{ids[a]}' stands in row {a + 1} too; make them unique.")

    def __len__(self) -> int:
        return len(self._ids)

    def find(self, ids: Any) -> Ints:
        """Position of the graph of each row, -1 if there is none.  # (B,)"""
        import pyarrow.compute as pc

        packed = ids.dictionary_encode()
        hashes = _hash(packed.dictionary)
        near = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        place = self._order[near].astype(np.int64)
        same = pc.equal(self._ids.take(_arrow(place)), packed.dictionary)  # the hash alone could deceive
        place = np.where(pc.fill_null(same, False).to_numpy(zero_copy_only=False), place, -1)
        index = pc.fill_null(packed.indices, len(place)).to_numpy(zero_copy_only=False)
        found: Ints = np.append(place, -1)[index]
        return found


class Reasons:
    """Short codes for the few different things that can be wrong with a row; 0 is nothing."""

    def __init__(self) -> None:
        self._errors: list[RowError] = []
        self._codes: dict[tuple[str, str], int] = {}

    def code(self, error: RowError) -> int:
        key = (error.code, error.detail)
        if key not in self._codes:
            self._errors.append(error)
            self._codes[key] = len(self._errors)
        return self._codes[key]

    def error(self, code: int) -> RowError:
        return self._errors[code - 1]


class Buckets:
    """Rows of one table spread over files, `size` graphs a file.

    A graph stops collecting rows soon after `max_rows`: one monster must not fill memory.
    """

    def __init__(self, folder: Path, name: str, size: int, num_graphs: int, max_rows: int) -> None:
        self.name, self.size, self.max_rows = name, size, max_rows
        self._folder = folder
        self._counts = np.zeros(num_graphs, dtype=np.int64)

    def add(self, place: Ints, values: Mapping[str, Any]) -> None:
        """Append rows; those with a place below 0 are left out.

        Args:
            place: (B,) position of the graph of each row.
            values: columns (B,), numpy or Arrow.
        """
        import pyarrow as pa

        rows = np.flatnonzero(place >= 0)
        rows = rows[self._counts[place[rows]] <= self.max_rows]
        if not len(rows):
            return
        graphs, counts = np.unique(place[rows], return_counts=True)
        self._counts[graphs] += counts
        rows = rows[np.argsort(place[rows] // self.size, kind="stable")]
        batch = pa.record_batch({"graph": pa.array(place)} | {name: _arrow(column) for name, column in values.items()})
        batch = batch.take(_arrow(rows))
        bucket = place[rows] // self.size
        starts = np.flatnonzero(np.diff(bucket, prepend=-1))
        for a, b in zip(starts, [*starts[1:], len(rows)], strict=True):
            with self._file(int(bucket[a])).open("ab") as file, pa.ipc.new_stream(file, batch.schema) as stream:
                stream.write_batch(batch.slice(a, b - a))

    def read(self, bucket: int) -> tuple[Ints, dict[str, Any], Ints]:
        """Take the rows of one file, sorted by graph, and remove it.

        Returns:
            (R,) position of the graph in the bucket; columns by name, (R,), empty if no row came; (size,) how many
            rows came for each graph of the bucket, also those beyond `max_rows`.
        """
        import pyarrow as pa

        first = bucket * self.size
        counts = self._counts[first : first + self.size]
        path = self._file(bucket)
        if not path.exists():
            return np.zeros(0, dtype=np.int64), {}, counts
        batches = []
        with path.open("rb") as file:
            size = path.stat().st_size
            while file.tell() < size:
                with pa.ipc.open_stream(file) as stream:
                    batches.extend(stream)
        path.unlink()
        table = pa.Table.from_batches(batches)
        graph = table.column("graph").to_numpy() - first
        order = np.argsort(graph, kind="stable")
        table = table.take(_arrow(order))
        columns: dict[str, Any] = {}
        for name in table.column_names[1:]:
            column = table.column(name)
            columns[name] = column.combine_chunks() if pa.types.is_large_string(column.type) else column.to_numpy()
        return graph[order], columns, counts

    def _file(self, bucket: int) -> Path:
        return self._folder / f"{self.name}-{bucket}.arrows"


def pack_bucket(
    nodes: Buckets,
    edges: Buckets,
    bucket: int,
    size: int,
    errors: dict[int, RowError],
    columns: tuple[Sequence[Column], Sequence[Column]],
    reasons: Reasons,
    *,
    directed: bool,
) -> tuple[GraphChunk, Ints]:
    """Sort, check and pack the graphs of one bucket.

    Args:
        size: graphs in the bucket, G.
        errors: what is known to be wrong, by position; what is found here is added.
        columns: of nodes and of edges.

    Returns:
        The K good graphs, and their positions (K,).
    """
    node_columns, edge_columns = columns
    node_graph, node_values, node_counts = nodes.read(bucket)
    edge_graph, edge_values, edge_counts = edges.read(bucket)
    num_nodes = np.bincount(node_graph, minlength=size)
    starts = np.cumsum(num_nodes) - num_nodes
    node_code, edge_codes = _id_codes(node_values, edge_values)
    place = np.arange(len(node_graph)) - starts[node_graph]  # of each node in its graph
    ends, lost, doubled = _find_ends(node_graph, node_code, place, edge_graph, edge_codes)

    _note(errors, np.flatnonzero(node_counts == 0), lambda g: RowError("missing", "the graph has no nodes"))
    many = np.flatnonzero((node_counts > nodes.max_rows) | (edge_counts > edges.max_rows))
    _note(errors, many, lambda g: _too_large(int(node_counts[g]), int(edge_counts[g]), nodes, edges, directed))
    for graph, values in ((node_graph, node_values), (edge_graph, edge_values)):
        reason = values.get("reason", np.zeros(0, dtype=np.int16))
        bad, where = np.unique(graph[reason > 0], return_index=True)
        found = dict(zip(bad, reason[reason > 0][where], strict=True))
        _note(errors, bad, lambda g, found=found: reasons.error(found[g]))
    _note(errors, doubled, lambda g: RowError("duplicate_node", "two nodes of the graph have one node_id"))
    _note(errors, lost, lambda g: RowError("index_out_of_range", "an edge names a node_id that the graph lacks"))

    ok = np.ones(size, dtype=bool)
    ok[list(errors)] = False
    keep_nodes, keep_edges = ok[node_graph], ok[edge_graph]
    x, x_float = _features(node_values, node_columns, keep_nodes)
    edge_attr, edge_float = _features(edge_values, edge_columns, keep_edges)
    edge_index = ends[:, keep_edges].astype(np.int32)
    num_edges = np.bincount(edge_graph, minlength=size)[ok]
    if not directed:
        edge_index, edge_attr, edge_float = (
            both_ways(edge_index),
            np.repeat(edge_attr, 2, 0),
            np.repeat(edge_float, 2, 0),
        )
        num_edges = num_edges * 2
    empty = np.zeros((int(ok.sum()), 0), dtype=np.float32)
    node_ptr, edge_ptr = (np.append(0, np.cumsum(sizes)).astype(np.int64) for sizes in (num_nodes[ok], num_edges))
    chunk = GraphChunk(node_ptr, edge_ptr, x, x_float, edge_index, edge_attr, edge_float, empty, empty)
    return chunk, np.flatnonzero(ok)


def _id_codes(nodes: dict[str, Any], edges: dict[str, Any]) -> tuple[Ints, list[Ints]]:
    """Number the node ids of nodes, sources and targets alike; an empty id is -1."""
    import pyarrow as pa
    import pyarrow.compute as pc

    empty = pa.array([], pa.large_string())
    arrays = [nodes.get("node_id", empty), edges.get("source", empty), edges.get("target", empty)]
    indices = pa.concat_arrays(arrays).dictionary_encode().indices
    codes = pc.fill_null(indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    node_code, source, target = np.split(codes, np.cumsum([len(array) for array in arrays])[:-1])
    return node_code, [source, target]


def _find_ends(
    node_graph: Ints, node_code: Ints, place: Ints, edge_graph: Ints, edge_codes: Sequence[Ints]
) -> tuple[Ints, Ints, Ints]:
    """Look up the nodes that edges name.

    Returns:
        (2, R) place of source and target in their graph; graphs with an edge to nowhere; graphs with a doubled id.
    """
    width = max((int(codes.max(initial=0)) for codes in (node_code, *edge_codes)), default=0) + 2
    keys = node_graph * width + node_code
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    twice = np.flatnonzero(sorted_keys[1:] == sorted_keys[:-1])
    doubled = np.unique(node_graph[order[twice]])
    ends = np.zeros((2, len(edge_graph)), dtype=np.int64)
    lost = np.zeros(len(edge_graph), dtype=bool)
    for side, codes in enumerate(edge_codes):
        wanted = edge_graph * width + codes
        near = np.minimum(np.searchsorted(sorted_keys, wanted), max(len(keys) - 1, 0))
        if len(keys):
            lost |= sorted_keys[near] != wanted
            ends[side] = place[order[near]]
        else:
            lost[:] = True
    return ends, np.unique(edge_graph[lost]), doubled


def _too_large(num_nodes: int, num_rows: int, nodes: Buckets, edges: Buckets, directed: bool) -> RowError:
    factor = 1 if directed else 2
    return RowError(
        "too_large",
        f"{num_nodes} nodes or more and {num_rows * factor} directed edges or more; "
        f"{nodes.max_rows} and {edges.max_rows * factor} are allowed",
    )


def _note(errors: dict[int, RowError], graphs: Ints, reason: Any) -> None:
    for g in graphs:
        if int(g) not in errors:
            errors[int(g)] = reason(g)


def _features(values: dict[str, Any], columns: Sequence[Column], keep: Mask) -> tuple[NDArray[Any], NDArray[Any]]:
    size = int(keep.sum())
    kinds: dict[str, list[NDArray[Any]]] = {"categorical": [], "numeric": []}
    for i, column in enumerate(columns):
        kinds[column.kind].append(values[f"{i}"][keep] if values else np.zeros(0))
    return stack_columns(kinds["categorical"], size, np.int32), stack_columns(kinds["numeric"], size, np.float32)


def _hash(texts: Any) -> NDArray[np.uint64]:
    from pandas.util import hash_array

    values = np.empty(len(texts), dtype=object)
    values[:] = texts.fill_null("").to_pylist()
    return np.asarray(hash_array(values, categorize=False), dtype=np.uint64)


def _arrow(values: Any) -> Any:
    import pyarrow as pa

    return pa.array(values) if isinstance(values, np.ndarray) else values
