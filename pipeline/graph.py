"""One graph, many graphs packed, and a batch of graphs as the network and ONNX take it.

Sizes: N nodes, E directed edges, G graphs; F, D category columns and R, Q number columns of nodes and edges;
U graph features; T targets.

A worked example, water with its hydrogens (O=0, H=1, H=2): bonds O-H and O-H are four edges
    edge_index = [[0, 1, 0, 2],
                  [1, 0, 2, 0]]
so the reverse of edge e is `e ^ 1`; no other order of edges is promised.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ShapeError

Ints = NDArray[np.integer]
Floats = NDArray[np.float32]


class Graph(NamedTuple):
    """One graph.

    An undirected bond k is the two edges 2k and 2k+1; a self loop is one such pair. A directed graph
    has single edges without that pairing: the schema says which it is.

    Category code 0 is unknown or missing. Numbers are raw; NaN is missing.
    """

    x: Ints  # (N, F) int32, category codes of nodes
    x_float: Floats  # (N, R) numbers of nodes
    edge_index: Ints  # (2, E) int32, source and target node of each edge
    edge_attr: Ints  # (E, D) int32, category codes of edges
    edge_float: Floats  # (E, Q) numbers of edges
    u: Floats  # (U,) graph features
    y: Floats  # (T,) labels on the trained scale, class index for classes; NaN is missing

    @property
    def num_nodes(self) -> int:
        return len(self.x)

    @property
    def num_edges(self) -> int:
        return int(self.edge_index.shape[1])


class GraphChunk(NamedTuple):
    """Many graphs packed one behind the other; node ids stay local to their graph.

    The arrays of graph g are rows `node_ptr[g]:node_ptr[g + 1]` and `edge_ptr[g]:edge_ptr[g + 1]`.
    """

    node_ptr: Ints  # (G + 1,) int64
    edge_ptr: Ints  # (G + 1,) int64, directed edges
    x: Ints  # (N, F) int32
    x_float: Floats  # (N, R)
    edge_index: Ints  # (2, E) int32, local node ids
    edge_attr: Ints  # (E, D) int32
    edge_float: Floats  # (E, Q)
    u: Floats  # (G, U)
    y: Floats  # (G, T)

    @property
    def num_graphs(self) -> int:
        return len(self.node_ptr) - 1


class GraphBatch(NamedTuple):
    """A batch of graphs: the inputs of the network and of its ONNX file, under these names."""

    x: Ints  # (N, F) int64
    x_float: Floats  # (N, R)
    edge_index: Ints  # (2, E) int64, node ids of the whole batch
    edge_attr: Ints  # (E, D) int64
    edge_float: Floats  # (E, Q)
    u: Floats  # (G, U); its first dimension is the number of graphs even when U is 0
    rev_edge_index: Ints  # (E,) int64, the reverse of each edge; -1 in directed graphs
    batch: Ints  # (N,) int64, ascending, the graph of each node

    @property
    def num_graphs(self) -> int:
        return len(self.u)


def pack(graphs: Sequence[Graph]) -> GraphChunk:
    """Pack graphs one behind the other.

    Raises:
        ShapeError: if `graphs` is empty or the graphs differ in the width of a field.
    """
    if not graphs:
        raise ShapeError("pack: no graphs came; at least one is needed to know the widths.")
    try:
        return GraphChunk(
            node_ptr=pointers([len(g.x) for g in graphs]),
            edge_ptr=pointers([g.edge_index.shape[1] for g in graphs]),
            x=np.concatenate([g.x for g in graphs]).astype(np.int32, copy=False),
            x_float=np.concatenate([g.x_float for g in graphs]).astype(np.float32, copy=False),
            edge_index=np.concatenate([g.edge_index for g in graphs], axis=1).astype(np.int32, copy=False),
            edge_attr=np.concatenate([g.edge_attr for g in graphs]).astype(np.int32, copy=False),
            edge_float=np.concatenate([g.edge_float for g in graphs]).astype(np.float32, copy=False),
            u=np.stack([g.u for g in graphs]).astype(np.float32, copy=False),
            y=np.stack([g.y for g in graphs]).astype(np.float32, copy=False),
        )
    except ValueError as error:
        raise ShapeError(f"pack: the graphs differ in the width of a field ({error}).") from None


def unpack(chunk: GraphChunk, g: int) -> Graph:
    """Take graph `g` out of a chunk (views, no copies)."""
    nodes = slice(chunk.node_ptr[g], chunk.node_ptr[g + 1])
    edges = slice(chunk.edge_ptr[g], chunk.edge_ptr[g + 1])
    return Graph(
        x=chunk.x[nodes],
        x_float=chunk.x_float[nodes],
        edge_index=chunk.edge_index[:, edges],
        edge_attr=chunk.edge_attr[edges],
        edge_float=chunk.edge_float[edges],
        u=chunk.u[g],
        y=chunk.y[g],
    )


def select(chunk: GraphChunk, keep: NDArray[np.bool_]) -> GraphChunk:
    """The graphs of a chunk that are kept, in order.

    Args:
        keep: (G,).
    """
    if keep.all():
        return chunk
    num_nodes, num_edges = np.diff(chunk.node_ptr), np.diff(chunk.edge_ptr)
    nodes, edges = np.repeat(keep, num_nodes), np.repeat(keep, num_edges)
    return GraphChunk(
        node_ptr=pointers(num_nodes[keep]),
        edge_ptr=pointers(num_edges[keep]),
        x=chunk.x[nodes],
        x_float=chunk.x_float[nodes],
        edge_index=chunk.edge_index[:, edges],
        edge_attr=chunk.edge_attr[edges],
        edge_float=chunk.edge_float[edges],
        u=chunk.u[keep],
        y=chunk.y[keep],
    )


def join(chunks: Sequence[GraphChunk]) -> GraphChunk:
    """Put packed graphs one behind the other, in order; at least one chunk."""
    if len(chunks) == 1:
        return chunks[0]
    node_ptr = pointers(np.concatenate([np.diff(chunk.node_ptr) for chunk in chunks]))
    edge_ptr = pointers(np.concatenate([np.diff(chunk.edge_ptr) for chunk in chunks]))
    edge_index = np.concatenate([chunk.edge_index for chunk in chunks], axis=1)
    joined = {
        name: np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in ("x", "x_float", "edge_attr", "edge_float", "u", "y")
    }
    return GraphChunk(node_ptr=node_ptr, edge_ptr=edge_ptr, edge_index=edge_index, **joined)


def batch_of(chunk: GraphChunk, *, directed: bool = False) -> GraphBatch:
    """Turn packed graphs into one batch: node ids move behind those of the graphs before."""
    edge_index: Ints
    batch: Ints
    if chunk.num_graphs == 1:  # for so few numbers, the calls below take longer than the network
        edge_index, batch = chunk.edge_index.astype(np.int64), np.zeros(len(chunk.x), np.int64)
    else:
        edge_index = chunk.edge_index + np.repeat(chunk.node_ptr[:-1], np.diff(chunk.edge_ptr))
        batch = np.repeat(np.arange(chunk.num_graphs, dtype=np.int64), np.diff(chunk.node_ptr))
    return GraphBatch(
        x=chunk.x.astype(np.int64),
        x_float=chunk.x_float,
        edge_index=edge_index,
        edge_attr=chunk.edge_attr.astype(np.int64),
        edge_float=chunk.edge_float,
        u=chunk.u,
        rev_edge_index=reverse_edges(len(chunk.edge_attr), directed=directed),
        batch=batch,
    )


def collate(graphs: Sequence[Graph], *, directed: bool = False) -> GraphBatch:
    """Join graphs into one batch, in order.

    Raises:
        ShapeError: if `graphs` is empty or the graphs differ in the width of a field.
    """
    return batch_of(pack(graphs), directed=directed)


def reverse_edges(num_edges: int, *, directed: bool) -> Ints:
    """Number the reverse of each edge: `e ^ 1`, or -1 in directed graphs.  # (E,) int64"""
    if directed:
        return np.full(num_edges, -1, dtype=np.int64)
    reverse = np.arange(num_edges, dtype=np.int64)
    reverse ^= 1
    return reverse


def pointers(sizes: Sequence[int] | Ints) -> NDArray[np.int64]:
    """Where each of the graphs begins and ends.  # (G + 1,)"""
    ptr = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=ptr[1:])
    return ptr
