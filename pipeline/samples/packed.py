"""Samples on their way to the store: packed and narrow, so that they are small on disk and between processes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ShapeError
from pipeline.graph import Floats, GraphChunk, Ints


class Piece(NamedTuple):
    """A packed chunk as it is stored: K graphs, the category rows as a table and a code.

    Undirected graphs have each bond once, from its first edge: B bonds, or B directed edges.
    """

    num_nodes: Ints  # (K,)
    num_edges: Ints  # (K,) of the B
    x_table: Ints  # (C, F) all distinct rows of x, and perhaps others
    x_code: Ints  # (N,) row of x_table
    x_float: Floats  # (N, R)
    edge_index: Ints  # (B, 2) node ids local to their graph
    edge_table: Ints  # (C', D) as x_table, of edge_attr
    edge_code: Ints  # (B,) row of edge_table
    edge_float: Floats  # (B, Q)
    u: Floats  # (K, U)

    @classmethod
    def of(cls, chunk: GraphChunk, *, directed: bool = False) -> Piece:
        """Shorten a chunk; its labels are left out.

        Raises:
            ShapeError: if edges 2k and 2k + 1 of an undirected one are not each other's reverse with equal features.
        """
        num_nodes, num_edges = np.diff(chunk.node_ptr), np.diff(chunk.edge_ptr)
        edge_index, edge_attr, edge_float = chunk.edge_index, chunk.edge_attr, chunk.edge_float
        if not directed:
            paired = (
                not np.any(num_edges % 2)
                and np.array_equal(edge_index[:, 0::2], edge_index[::-1, 1::2])
                and np.array_equal(edge_attr[0::2], edge_attr[1::2])
                and np.array_equal(edge_float[0::2], edge_float[1::2], equal_nan=True)
            )
            if not paired:
                raise ShapeError("an undirected graph has edges 2k and 2k + 1 that are not each other's reverse.")
            num_edges, edge_index = num_edges // 2, edge_index[:, 0::2]
            edge_attr, edge_float = edge_attr[0::2], edge_float[0::2]
        x_table, x_code = distinct_rows(chunk.x)
        edge_table, edge_code = distinct_rows(edge_attr)
        return cls(
            num_nodes=num_nodes.astype(narrow_dtype(num_nodes)),
            num_edges=num_edges.astype(narrow_dtype(num_edges)),
            x_table=x_table,
            x_code=x_code,
            x_float=chunk.x_float,
            edge_index=np.ascontiguousarray(edge_index.T, dtype=narrow_dtype(edge_index)),
            edge_table=edge_table,
            edge_code=edge_code,
            edge_float=edge_float,
            u=chunk.u,
        )

    @classmethod
    def join(cls, pieces: Sequence[Piece]) -> Piece:
        """Pack pieces one behind the other."""
        x_table, x_code = _join_rows([(piece.x_table, piece.x_code) for piece in pieces])
        edge_table, edge_code = _join_rows([(piece.edge_table, piece.edge_code) for piece in pieces])
        fields = (np.concatenate(arrays) for arrays in zip(*pieces, strict=True))
        joined = cls(*fields)
        return joined._replace(x_table=x_table, x_code=x_code, edge_table=edge_table, edge_code=edge_code)

    @property
    def num_graphs(self) -> int:
        return len(self.num_nodes)

    def select(self, keep: NDArray[np.bool_]) -> Piece:
        """The graphs where `keep` (K,) is true; the tables stay whole."""
        if keep.all():
            return self
        graphs = np.flatnonzero(keep)
        nodes, edges = (np.flatnonzero(np.repeat(keep, size)) for size in (self.num_nodes, self.num_edges))
        return self._replace(
            num_nodes=_take(self.num_nodes, graphs),
            num_edges=_take(self.num_edges, graphs),
            x_code=_take(self.x_code, nodes),
            x_float=_take(self.x_float, nodes),
            edge_index=_take(self.edge_index, edges),
            edge_code=_take(self.edge_code, edges),
            edge_float=_take(self.edge_float, edges),
            u=_take(self.u, graphs),
        )


class Names(NamedTuple):
    """The names of K graphs, for people (the SMILES, the graph_id), one behind the other."""

    size: Ints  # (K,) int64, bytes of each
    text: NDArray[np.uint8]  # UTF-8

    @classmethod
    def of(cls, names: Sequence[str]) -> Names:
        texts = [name.encode() for name in names]
        size = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        return cls(size, np.frombuffer(b"".join(texts), dtype=np.uint8))

    def select(self, keep: NDArray[np.bool_]) -> Names:
        """The names where `keep` (K,) is true."""
        return self if keep.all() else Names(self.size[keep], self.text[np.repeat(keep, self.size)])

    def list(self) -> list[str]:
        ends, text = np.cumsum(self.size).tolist(), self.text.tobytes()
        return [text[a:b].decode() for a, b in pairwise([0, *ends])]


def _take(rows: NDArray[Any], index: Ints) -> NDArray[Any]:
    # take: a tenth of the time of rows[mask] for pairs; numpy walks rows even where they have no columns
    return rows.take(index, axis=0) if rows.size else rows[: len(index)]


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


def _join_rows(parts: Sequence[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    """Tables and codes one behind the other, as `distinct_rows` of all rows."""
    table, place = distinct_rows(np.concatenate([table for table, _ in parts]))
    ends = np.cumsum([len(table) for table, _ in parts])
    places = np.split(place, ends[:-1])
    return table, np.concatenate([one.take(code) for one, (_, code) in zip(places, parts, strict=True)])


def narrow_dtype(values: Ints | int) -> np.dtype[np.integer]:
    """The narrowest of uint8, int16, int32, int64 that holds the values (torch indexes by no uint16)."""
    largest = int(np.max(values, initial=0))
    smallest = int(np.min(values, initial=0))
    for dtype in (np.uint8, np.int16, np.int32):
        if np.iinfo(dtype).min <= smallest and largest <= np.iinfo(dtype).max:
            return np.dtype(dtype)
    return np.dtype(np.int64)
