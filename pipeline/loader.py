"""Store → batches: a vectorised gather of several batches at once, no Python per graph, no worker processes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from pipeline.errors import ConfigError
from pipeline.graph import Floats, Ints, reverse_edges
from pipeline.store import Arrays, Store

BLOCK_ROWS = 32768
"""Small batches are read together, about so many nodes and edges at once: one of 64 molecules is mostly calls."""


def gather(store: Store, ids: NDArray[np.int64]) -> TensorDict:
    """Read graphs as one batch, in the order of `ids`.

    Args:
        ids: (G,) graphs of the store; one may come several times.

    Returns:
        TensorDict of batch_size [] with the fields of `pipeline.graph.GraphBatch` and `y` (G, T).

    Raises:
        IndexError: if a graph is not in the store.
    """
    store.check(ids)
    return next(_gather_block(store, [ids]))


class EpochSampler:
    """Batches of graph ids whose order is a function of seed and epoch alone.

    Under DDP each device gets its own share, all of the same number of batches and of graphs, or they would wait
    for each other for ever: at most `world_size - 1` graphs of an epoch come twice.

    The batches differ by at most one graph in size: a last batch of a single graph would be all noise.
    """

    def __init__(
        self,
        indices: NDArray[np.int64],
        *,
        batch_size: int,
        shuffle: bool,
        seed: int,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size={batch_size}: at least 1 is needed.")
        if len(indices) == 0:
            raise ConfigError("the loader got no graphs; the side of the split that it should read is empty.")
        narrow = np.int32 if indices.max() < 2**31 - 1 else np.int64  # an epoch's order is all that we hold in memory
        self.indices: Ints = indices.astype(narrow, copy=False)
        self.batch_size = batch_size
        self.shuffle, self.seed = shuffle, seed
        self.epoch = 0
        self._rank, self._world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self._share(self.world_size) / self.batch_size)

    def __iter__(self) -> Iterator[Ints]:
        order = self.indices
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        share, size = order[self.rank :: self.world_size], self._share(self.world_size)
        if len(share) < size:  # from the front again where the last round is not full
            share = np.append(share, order[((size - 1) * self.world_size + self.rank) % len(order)])
        smaller, larger = divmod(size, len(self))  # so many graphs a batch, so many batches of one more
        ends = itertools.accumulate(smaller + (k < larger) for k in range(len(self)))
        for start, end in itertools.pairwise(itertools.chain([0], ends)):
            yield share[start:end]

    @property
    def rank(self) -> int:
        return _distributed()[0] if self._rank is None else self._rank

    @property
    def world_size(self) -> int:
        return _distributed()[1] if self._world_size is None else self._world_size

    def _share(self, world_size: int) -> int:
        return math.ceil(len(self.indices) / world_size)


class BatchLoader:
    """Batches of a store; can be iterated any number of times.

    Small batches are read several at once (`BLOCK_ROWS`): one that is kept keeps the memory of its neighbours.

    Args:
        indices: (K,) the graphs to read.
        shuffle: a new order each epoch, else the order of `indices`.
        rank, world_size: this device and their number; None takes them from `torch.distributed` where it runs.

    Raises:
        ConfigError: if `batch_size` is below 1, or there is no graph.
    """

    batch_sampler = None  # Lightning looks for it beside `sampler`

    def __init__(
        self,
        store: Store,
        indices: NDArray[np.int64],
        batch_size: int,
        shuffle: bool,
        seed: int,
        *,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        self.store = store
        self.sampler = EpochSampler(
            indices, batch_size=batch_size, shuffle=shuffle, seed=seed, rank=rank, world_size=world_size
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next iteration."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[TensorDict]:
        store, sampler = self.store, self.sampler
        store.check(sampler.indices)
        rows = sampler.batch_size * (store.num_nodes + store.num_edges) / store.num_graphs  # of a batch, on average
        num_batches = max(1, int(BLOCK_ROWS / max(1, rows)))
        batches = iter(sampler)
        while block := list(itertools.islice(batches, num_batches)):
            yield from _gather_block(store, block)


class _Rows(NamedTuple):
    """The nodes and stored edges (undirected: bonds) of several batches of graphs, one graph behind the other."""

    nodes: NDArray[np.int64]  # (N,) where they stand in the store
    edges: NDArray[np.int64]  # (B,)
    batch: NDArray[np.int64]  # (N,) the graph of each node, counted within its batch
    shift: NDArray[np.int64]  # (B,) the first node of each edge's graph, counted within its batch
    graph_ptr: list[int]  # where each batch begins and ends
    node_ptr: list[int]
    edge_ptr: list[int]


def _find_rows(arrays: Arrays, ids: Ints, sizes: Iterable[int]) -> _Rows:
    """Args: ids (G,) the graphs of all batches; sizes: graphs a batch."""
    num_graphs = len(ids)
    # nodes in front, edges behind, in common arrays: half the calls  # (2G,)
    start = np.concatenate([arrays.node_ptr.take(ids), arrays.edge_ptr.take(ids)])
    stop = np.concatenate([arrays.node_ptr.take(ids + 1), arrays.edge_ptr.take(ids + 1)])
    _touch(arrays, start, stop)
    counts = stop - start
    first = counts.cumsum(dtype=np.int64) - counts
    rows = (start - first).repeat(counts)
    rows += np.arange(len(rows))
    ptr = np.append(first, len(rows))
    graph_ptr = [0, *itertools.accumulate(sizes)]
    node_ptr, edge_ptr = ptr[graph_ptr].tolist(), (ptr[num_graphs:] - ptr[num_graphs])[graph_ptr].tolist()
    number, first_node = np.arange(num_graphs), first[:num_graphs]
    for k in range(1, len(graph_ptr) - 1):  # both begin anew in each batch
        number[graph_ptr[k] : graph_ptr[k + 1]] -= graph_ptr[k]
        first_node[graph_ptr[k] : graph_ptr[k + 1]] -= node_ptr[k]
    owner = np.concatenate([number, first_node]).repeat(counts)
    num_nodes = node_ptr[-1]
    parts = (rows[:num_nodes], rows[num_nodes:], owner[:num_nodes], owner[num_nodes:])
    return _Rows(*parts, graph_ptr, node_ptr, edge_ptr)


def _gather_block(store: Store, batches: Sequence[Ints]) -> Iterator[TensorDict]:
    """Read several batches at once; their tensors are parts of common arrays, no element in two of them."""
    arrays, directed = store.arrays, store.schema.directed
    copies = 1 if directed else 2
    ids = np.concatenate(batches)
    rows = _find_rows(arrays, ids, map(len, batches))
    x, x_float = arrays.x.take(rows.nodes), _take(arrays.x_float, rows.nodes)
    edge_index = _edge_index(arrays.edge_index.take(rows.edges, axis=0), rows.shift, copies)
    edge_attr, edge_float = arrays.edge_attr.take(rows.edges), _take(arrays.edge_float, rows.edges, copies)
    reverse = reverse_edges(edge_index.shape[1], directed=directed)
    u, y = arrays.u.take(ids, axis=0), arrays.y.take(ids, axis=0)
    for k in range(len(batches)):
        of_graphs = slice(rows.graph_ptr[k], rows.graph_ptr[k + 1])
        of_nodes = slice(rows.node_ptr[k], rows.node_ptr[k + 1])
        of_edges = slice(copies * rows.edge_ptr[k], copies * rows.edge_ptr[k + 1])
        fields = {
            "x": x[of_nodes],
            "x_float": x_float[of_nodes],
            "edge_index": np.ascontiguousarray(edge_index[:, of_edges]),
            "edge_attr": edge_attr[of_edges],
            "edge_float": edge_float[of_edges],
            "u": u[of_graphs],
            "rev_edge_index": reverse[: of_edges.stop - of_edges.start].copy(),
            "batch": rows.batch[of_nodes],
            "y": y[of_graphs],
        }
        yield TensorDict({name: torch.from_numpy(values) for name, values in fields.items()}, batch_size=[])


def _touch(arrays: Arrays, start: Ints, stop: Ints) -> None:
    """Fetch the first and the last row of each graph into the cache: here the processor waits for many at once."""
    num_graphs = len(start) // 2
    for values, rows in (
        (arrays.x.stored, start[:num_graphs]),
        (arrays.edge_attr.stored, start[num_graphs:]),
        (arrays.edge_index, start[num_graphs:]),
        (arrays.edge_index, stop[num_graphs:]),
    ):
        if len(values):
            values.take(rows, axis=0, mode="clip")  # a graph without rows may start behind the last one


def _edge_index(ends: Ints, shift: NDArray[np.int64], copies: int) -> NDArray[np.int64]:
    """Ends (B, 2) of stored edges, moved to the nodes of the batch; undirected ones there and back.  # (2, E)"""
    edge_index = np.empty((2, copies * len(ends)), dtype=np.int64)
    for side in (0, 1):
        np.add(ends[:, side], shift, out=edge_index[side, ::copies])
    if copies == 2:  # a bond (a, b) is the edges a -> b and b -> a, side by side
        edge_index[0, 1::2] = edge_index[1, ::2]
        edge_index[1, 1::2] = edge_index[0, ::2]
    return edge_index


def _take(values: Floats, rows: NDArray[np.int64], copies: int = 1) -> Floats:
    """Each of the rows, `copies` times."""
    if values.shape[1] == 0:  # numpy walks through rows of no columns one by one
        return np.empty((copies * len(rows), 0), dtype=values.dtype)
    return values.take(np.repeat(rows, copies), axis=0)


def _distributed() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
