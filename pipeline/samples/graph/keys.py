"""Keys of graphs: equal for equal graphs whatever the order of their nodes and edges, never equal for others.

Nodes are put into a canonical order by colour refinement, with one tied node at a time told apart. Where ties are
left (after `MAX_STEPS`), rows keep their order: such a graph may miss a copy of itself with reordered rows, but two
different graphs never share a key, since the key is the digest of the whole graph written in that order.

Source: Weisfeiler and Leman 1968 (colour refinement); McKay and Piperno 2014, arXiv:1301.1493 (individualisation).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.graph import GraphChunk

ROUNDS = 3  # rounds of refinement in one step
MAX_STEPS = 24
SKELETON_ROUNDS = 3

Ints = NDArray[np.int64]
Hashes = NDArray[np.uint64]


def graph_keys(chunk: GraphChunk) -> Hashes:
    """Compute the key of each graph: a 128-bit digest of nodes, edges and their features (not of `u` and `y`).

    Returns:
        (G, 2) uint64. The key of a graph does not depend on the graphs beside it.
    """
    nodes = np.concatenate([chunk.x, _bits(chunk.x_float)], axis=1).astype(np.int32)
    features = np.concatenate([chunk.edge_attr, _bits(chunk.edge_float)], axis=1).astype(np.int32)
    order = _canonical_order(chunk, nodes, features)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    of_edge = np.repeat(np.arange(chunk.num_graphs), np.diff(chunk.edge_ptr))
    first = chunk.node_ptr[of_edge]
    ends = place[chunk.edge_index.astype(np.int64) + first] - first
    edges = np.concatenate([ends.T.astype(np.int32), features], axis=1)
    edges = edges[np.lexsort((*edges.T[::-1], of_edge))]
    nodes = nodes[order]
    keys = np.empty((chunk.num_graphs, 2), dtype=np.uint64)
    for g in range(chunk.num_graphs):
        node_rows = nodes[chunk.node_ptr[g] : chunk.node_ptr[g + 1]]
        edge_rows = edges[chunk.edge_ptr[g] : chunk.edge_ptr[g + 1]]
        sizes = np.array([node_rows.shape, edge_rows.shape], dtype=np.int64)
        text = sizes.tobytes() + node_rows.tobytes() + edge_rows.tobytes()
        keys[g] = np.frombuffer(hashlib.blake2b(text, digest_size=16).digest(), dtype=np.uint64)
    return keys


def skeleton_hashes(chunk: GraphChunk, columns: Sequence[int]) -> Hashes:
    """Hash each undirected graph without the features of its edges: equal graphs have equal hashes.

    Different graphs may share one too: it tells which graphs need no closer look, because they share it with none.

    Args:
        columns: of x, those to look at.

    Returns:
        (G,) uint64.
    """
    colour = _hash_rows(chunk.x[:, columns].astype(np.int32))
    source, target = chunk.edge_index + np.repeat(chunk.node_ptr[:-1], np.diff(chunk.edge_ptr))  # (E,), (E,)
    for _ in range(SKELETON_ROUNDS):
        sums = np.zeros(len(colour), dtype=np.uint64)
        np.add.at(sums, target, colour[source])
        colour = _mix(_mix(colour) + sums)
    total = np.zeros(chunk.num_graphs, dtype=np.uint64)
    np.add.at(total, np.repeat(np.arange(chunk.num_graphs), np.diff(chunk.node_ptr)), colour)
    return total


class _Open(NamedTuple):
    """The graphs whose nodes still have ties, packed; nodes and edges keep their order."""

    node: Ints  # (n,) position of each node in the chunk
    graph: Ints  # (n,) ascending, 0-based
    ends: Ints  # (2, e)
    edge_hash: Hashes  # (e,)


def _canonical_order(chunk: GraphChunk, nodes: NDArray[np.int32], features: NDArray[np.int32]) -> Ints:
    """Node positions, graph by graph, in canonical order.  # (N,)"""
    num_nodes = np.diff(chunk.node_ptr)
    num_edges = np.diff(chunk.edge_ptr)
    order = np.arange(len(nodes))
    part = _Open(
        node=order,
        graph=np.repeat(np.arange(chunk.num_graphs), num_nodes),
        ends=chunk.edge_index.astype(np.int64) + np.repeat(chunk.node_ptr[:-1], num_edges),
        edge_hash=_hash_rows(features),
    )
    order = order.copy()
    colour = _split_twins(_hash_rows(nodes), part)
    classes = np.zeros(chunk.num_graphs, dtype=np.int64)
    for _ in range(MAX_STEPS):
        if not len(part.node):
            break
        colour = _refine(colour, part)
        ranked = np.lexsort((colour, part.graph))
        order[part.node] = part.node[ranked]  # nodes of a graph stand together, so each graph fills its own places
        tied = np.zeros(len(ranked) + 1, dtype=bool)
        tied[1:-1] = (colour[ranked][1:] == colour[ranked][:-1]) & (part.graph[1:] == part.graph[:-1])
        now = np.bincount(part.graph[~tied[:-1]], minlength=len(classes))
        _tell_apart(colour, ranked, tied, part.graph, now == classes)
        part, colour, classes = _unfinished(part, colour, now)
    return order


def _split_twins(colour: Hashes, part: _Open) -> Hashes:
    """Number the nodes that are alike and have the very same neighbours (leaves of one node, say).

    They can change places without changing the graph, so any order of them is as good; told apart at the start they
    cost no steps later.
    """
    source, target = part.ends
    node_hash = _mix(part.node.astype(np.uint64))
    out = _sums(_mix(node_hash[target] ^ part.edge_hash), np.argsort(source, kind="stable"), source, len(colour))
    into = _sums(_mix(~node_hash[source] ^ part.edge_hash), np.argsort(target, kind="stable"), target, len(colour))
    alike = _mix(_mix(_mix(colour) + into) + out)
    ranked = np.lexsort((alike, part.graph))
    new = np.ones(len(ranked), dtype=bool)
    new[1:] = (alike[ranked][1:] != alike[ranked][:-1]) | (part.graph[1:] != part.graph[:-1])
    starts = np.flatnonzero(new)
    number = np.empty(len(ranked), dtype=np.uint64)
    number[ranked] = np.arange(len(ranked)) - np.repeat(starts, np.diff(starts, append=len(ranked)))
    return _mix(colour ^ _mix(number))


def _refine(colour: Hashes, part: _Open) -> Hashes:
    """Mix into each node's colour those of its neighbours, `ROUNDS` times."""
    source, target = part.ends
    by_target, by_source = np.argsort(target, kind="stable"), np.argsort(source, kind="stable")
    for _ in range(ROUNDS):
        incoming = _sums(_mix(colour[source] ^ part.edge_hash), by_target, target, len(colour))
        outgoing = _sums(_mix(~colour[target] ^ part.edge_hash), by_source, source, len(colour))
        colour = _mix(_mix(_mix(colour) + incoming) + outgoing)
    return colour


def _sums(values: Hashes, by_node: Ints, node: Ints, num_nodes: int) -> Hashes:
    """Sums modulo 2**64 of the values that belong to each node; a node without any gets 0."""
    sums = np.zeros(num_nodes, dtype=np.uint64)
    if len(values):
        sorted_node = node[by_node]
        starts = np.flatnonzero(np.diff(sorted_node, prepend=-1))
        sums[sorted_node[starts]] = np.add.reduceat(values[by_node], starts)
    return sums


def _tell_apart(colour: Hashes, ranked: Ints, tied: NDArray[np.bool_], graph: Ints, stuck: NDArray[np.bool_]) -> None:
    """Give one node of the first tie of each stuck graph a colour of its own (in place)."""
    firsts = np.flatnonzero(tied[1:] & ~tied[:-1])  # heads of ties, in the order of `ranked`
    _, where = np.unique(graph[firsts], return_index=True)
    chosen = firsts[where]
    chosen = chosen[stuck[graph[chosen]]]
    colour[ranked[chosen]] = _mix(colour[ranked[chosen]] + np.uint64(1))


def _unfinished(part: _Open, colour: Hashes, classes: Ints) -> tuple[_Open, Hashes, Ints]:
    """Keep the graphs that have fewer colours than nodes."""
    keep = classes < np.bincount(part.graph, minlength=len(classes))
    nodes = keep[part.graph]
    edges = nodes[part.ends[0]] if part.ends.size else np.zeros(0, dtype=bool)
    new_place = np.cumsum(nodes) - 1
    new_graph = np.cumsum(keep) - 1
    kept = _Open(part.node[nodes], new_graph[part.graph[nodes]], new_place[part.ends[:, edges]], part.edge_hash[edges])
    return kept, colour[nodes], classes[keep]


def _bits(numbers: NDArray[np.float32]) -> NDArray[np.int32]:
    """Numbers as integers: one NaN, and no negative zero."""
    plain = np.where(np.isnan(numbers), np.float32(np.nan), numbers + np.float32(0))
    return plain.astype(np.float32).view(np.int32)


def _hash_rows(rows: NDArray[np.int32]) -> Hashes:
    hashes = np.full(len(rows), 0x9E3779B97F4A7C15, dtype=np.uint64)
    for column in rows.T:
        hashes = _mix(hashes ^ column.astype(np.uint32).astype(np.uint64))
    return hashes


def _mix(values: Hashes) -> Hashes:
    """Scatter 64 bits (the finaliser of splitmix64, plus a constant so that 0 moves)."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
