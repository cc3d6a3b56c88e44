"""Store → batches: many graphs read at once, as stored, and made into batches; no Python per graph, no workers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from pipeline.errors import ConfigError
from pipeline.graph import Floats, Ints, pointers, reverse_edges
from pipeline.store.store import Store

BLOCK_BYTES = 2**20
"""Batches are read together, about so many stored bytes at once: few calls, and what they bring stays in the cache."""


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

    Small batches are read several at once (`BLOCK_BYTES`): one that is kept keeps its neighbours' numbers in memory.

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
        graph_bytes = 64 + sum(rows.graph_bytes for rows in store.ragged.values())  # 64: its sizes, and where it stands
        num_batches = max(1, int(BLOCK_BYTES / (sampler.batch_size * graph_bytes)))
        batches = iter(sampler)
        while block := list(itertools.islice(batches, num_batches)):
            yield from _gather_block(store, block)


def _gather_block(store: Store, batches: Sequence[Ints]) -> Iterator[TensorDict]:
    """Read the graphs of several batches at once, as stored, then make one batch after the other of them.

    No element is in two batches.
    """
    arrays, ragged, directed = store.arrays, store.ragged, store.schema.directed
    copies = 1 if directed else 2
    ids = np.concatenate(batches)
    num_nodes, num_edges = _counts(arrays.node_ptr, ids), _counts(arrays.edge_ptr, ids)
    graph_ptr = [0, *itertools.accumulate(map(len, batches))]
    first_node = pointers(num_nodes)
    node_ptr, edge_ptr = first_node[graph_ptr].tolist(), pointers(num_edges)[graph_ptr].tolist()
    shift = first_node[:-1, None].repeat(copies, axis=1)  # (G, copies)
    x, x_float = (ragged[name].take(ids, node_ptr[-1]) for name in ("x", "x_float"))
    ends, edge_attr, edge_float = (
        ragged[name].take(ids, edge_ptr[-1]) for name in ("edge_index", "edge_attr", "edge_float")
    )
    u, y = arrays.u.take(ids, axis=0), arrays.y.take(ids, axis=0)
    most_edges = max(end - start for start, end in itertools.pairwise(edge_ptr))
    reverse = reverse_edges(copies * most_edges, directed=directed)
    for k in range(len(batches)):
        graphs = slice(graph_ptr[k], graph_ptr[k + 1])
        nodes = slice(node_ptr[k], node_ptr[k + 1])
        edges = slice(edge_ptr[k], edge_ptr[k + 1])
        edge_index = _edge_index(ends[edges], (shift[graphs] - node_ptr[k]).repeat(num_edges[graphs], axis=0))
        fields = {
            "x": arrays.x.decode(x[nodes]),
            "x_float": x_float[nodes],
            "edge_index": edge_index,
            "edge_attr": arrays.edge_attr.decode(edge_attr[edges]),
            "edge_float": _copies(edge_float[edges], copies),
            "u": u[graphs],
            "rev_edge_index": reverse[: edge_index.shape[1]].copy(),
            "batch": np.arange(len(batches[k])).repeat(num_nodes[graphs]),
            "y": y[graphs],
        }
        yield TensorDict({name: torch.from_numpy(values) for name, values in fields.items()}, batch_size=[])


def _counts(ptr: Ints, ids: Ints) -> NDArray[np.int64]:
    return np.subtract(ptr.take(ids + 1), ptr.take(ids), dtype=np.int64)


def _edge_index(ends: Ints, shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the nodes of stored edges through the batch.

    Args:
        ends: (B, 2) nodes of a graph.
        shift: (B, copies) first node of each edge's graph.

    Returns:
        (2, B * copies). Of two copies, the second runs back.
    """
    edge_index = np.empty((2, shift.size), dtype=np.int64)
    source, target = edge_index
    if shift.shape[1] == 1:
        np.add(ends, shift, out=edge_index.T)
    else:  # a bond (a, b) is the edges a -> b and b -> a, side by side
        source[:] = ends.reshape(-1)  # numpy adds numbers of one type faster than of two
        source += shift.reshape(-1)
        target[::2], target[1::2] = source[1::2], source[::2]
    return edge_index


def _copies(values: Floats, copies: int) -> Floats:
    """Each row `copies` times."""
    if values.shape[1] == 0:  # numpy walks through rows of no columns one by one
        return np.empty((copies * len(values), 0), dtype=values.dtype)
    return values.repeat(copies, axis=0)


def _distributed() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
