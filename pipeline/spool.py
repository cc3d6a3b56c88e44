"""Chunks of graphs on disk, between featurising them and knowing which ones stay and on which side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ShapeError
from pipeline.graph import Floats, GraphChunk, Ints


class Piece(NamedTuple):
    """A packed chunk as it comes back: K graphs, the category rows as a table of distinct rows and a code."""

    num_nodes: Ints  # (K,) int64
    num_edges: Ints  # (K,) int64, directed edges
    x_table: Ints  # (C, F) distinct rows of x
    x_code: Ints  # (N,) row of x_table
    x_float: Floats  # (N, R)
    edge_index: Ints  # (2, E) node ids local to their graph
    edge_table: Ints  # (C', D) distinct rows of edge_attr
    edge_code: Ints  # (E,) row of edge_table
    edge_float: Floats  # (E, Q)
    u: Floats  # (K, U)

    @classmethod
    def of(cls, chunk: GraphChunk) -> Piece:
        """Shorten a chunk; its labels are left out."""
        x_table, x_code = distinct_rows(chunk.x)
        edge_table, edge_code = distinct_rows(chunk.edge_attr)
        return cls(
            num_nodes=np.diff(chunk.node_ptr),
            num_edges=np.diff(chunk.edge_ptr),
            x_table=x_table,
            x_code=x_code,
            x_float=chunk.x_float,
            edge_index=chunk.edge_index.astype(narrow_dtype(chunk.edge_index)),
            edge_table=edge_table,
            edge_code=edge_code,
            edge_float=chunk.edge_float,
            u=chunk.u,
        )

    @property
    def num_graphs(self) -> int:
        return len(self.num_nodes)

    def select(self, keep: NDArray[np.bool_]) -> Piece:
        """The graphs where `keep` (K,) is true; the tables stay whole."""
        if keep.all():
            return self
        nodes, edges = np.repeat(keep, self.num_nodes), np.repeat(keep, self.num_edges)
        return self._replace(
            num_nodes=self.num_nodes[keep],
            num_edges=self.num_edges[keep],
            x_code=self.x_code[nodes],
            x_float=self.x_float[nodes],
            edge_index=self.edge_index[:, edges],
            edge_code=self.edge_code[edges],
            edge_float=self.edge_float[edges],
            u=self.u[keep],
        )

    def bonds_once(self) -> Piece:
        """The same undirected graphs with each bond once, from its first edge: `num_edges` counts bonds.

        Raises:
            ShapeError: if edges 2k and 2k + 1 are not each other's reverse with equal features.
        """
        first, second = self.edge_index[:, 0::2], self.edge_index[::-1, 1::2]
        paired = (
            not np.any(self.num_edges % 2)
            and np.array_equal(first, second)
            and np.array_equal(self.edge_code[0::2], self.edge_code[1::2])
            and np.array_equal(self.edge_float[0::2], self.edge_float[1::2], equal_nan=True)
        )
        if not paired:
            raise ShapeError("an undirected graph has edges 2k and 2k + 1 that are not each other's reverse.")
        return self._replace(
            num_edges=self.num_edges // 2,
            edge_index=first,
            edge_code=self.edge_code[0::2],
            edge_float=self.edge_float[0::2],
        )


class Spool:
    """A folder of chunk files, written once from front to back and read any number of times.

    One chunk is in memory at a time, whatever the number of graphs. Chunk files that stand in the folder
    from an earlier spool are removed at the start. Labels (`y`) are not kept.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.num_graphs = 0
        self._widths: tuple[int, ...] | None = None
        self._num_files = 0
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("chunk-*.npz"):
            stale.unlink()

    def append(self, graphs: GraphChunk | Piece, ids: Sequence[str]) -> None:
        """Write one chunk.

        Args:
            ids: one name a graph, for people (the SMILES, the graph_id).

        Raises:
            ShapeError: if `ids` or the widths of the fields do not fit.
        """
        piece = graphs if isinstance(graphs, Piece) else Piece.of(graphs)
        if len(ids) != piece.num_graphs:
            raise ShapeError(f"spool: {len(ids)} ids came for {piece.num_graphs} graphs; one for each is needed.")
        widths = tuple(
            rows.shape[1] for rows in (piece.x_table, piece.x_float, piece.edge_table, piece.edge_float, piece.u)
        )
        if self._widths not in (None, widths):
            raise ShapeError(f"spool: a chunk has fields of widths {widths}, those before {self._widths}.")
        self._widths = widths
        if piece.num_graphs == 0:
            return
        texts = [name.encode() for name in ids]
        np.savez(
            self._file(self._num_files),
            allow_pickle=False,
            **piece._asdict(),
            id_size=np.array([len(text) for text in texts], dtype=np.int64),
            id_bytes=np.frombuffer(b"".join(texts), dtype=np.uint8),
        )
        self._num_files += 1
        self.num_graphs += piece.num_graphs

    def ids(self) -> Iterator[list[str]]:
        """The names of the graphs, chunk by chunk."""
        for number in range(self._num_files):
            with np.load(self._file(number), allow_pickle=False) as arrays:
                yield _names(arrays)

    def __iter__(self) -> Iterator[tuple[Piece, list[str]]]:
        """The chunks in order, each with the names of its graphs."""
        for number in range(self._num_files):
            with np.load(self._file(number), allow_pickle=False) as arrays:
                piece = Piece(**{name: arrays[name] for name in Piece._fields})
                ids = _names(arrays)
            yield piece, ids

    def _file(self, number: int) -> Path:
        return self.folder / f"chunk-{number:06d}.npz"


def _names(arrays: Mapping[str, NDArray[Any]]) -> list[str]:
    ends = np.cumsum(arrays["id_size"]).tolist()
    text = arrays["id_bytes"].tobytes()
    return [text[a:b].decode() for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def distinct_rows(rows: Ints) -> tuple[Ints, Ints]:
    """Part rows of category codes into the distinct ones and a code.

    Args:
        rows: (N, F), not negative.

    Returns:
        table (C, F) in lexicographic order and code (N,) with `table[code] == rows`, both narrow.
    """
    if rows.size == 0:
        return rows[:1], np.zeros(len(rows), dtype=np.uint8)
    sizes = rows.max(axis=0).astype(np.int64) + 1
    if np.prod(sizes.astype(np.float64)) < 2**62:  # one number a row: thirty times as fast as np.unique by rows
        strides = np.append(np.cumprod(sizes[:0:-1])[::-1], 1)
        _, first, code = np.unique(rows @ strides, return_index=True, return_inverse=True)
        table = rows[first]
    else:
        table, code = np.unique(rows, axis=0, return_inverse=True)
    return table.astype(narrow_dtype(table)), code.ravel().astype(narrow_dtype(code))


def narrow_dtype(values: Ints | int) -> np.dtype[np.integer]:
    """The narrowest of uint8, int16, int32, int64 that holds the values (torch indexes by no uint16)."""
    largest = int(np.max(values, initial=0))
    smallest = int(np.min(values, initial=0))
    for dtype in (np.uint8, np.int16, np.int32):
        if np.iinfo(dtype).min <= smallest and largest <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.int64)
