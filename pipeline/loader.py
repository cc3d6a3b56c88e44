"""Store → batches: one vectorised gather a batch, no Python per graph, no worker processes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from tensordict import TensorDict

from pipeline.errors import ConfigError
from pipeline.graph import Floats, Ints, reverse_edges
from pipeline.store import Store


def gather(store: Store, ids: NDArray[np.int64]) -> TensorDict:
    """Read graphs as one batch, in the order of `ids`.

    Args:
        ids: (G,) graphs of the store; one may come several times.

    Returns:
        TensorDict of batch_size [] with the fields of `pipeline.graph.GraphBatch` and `y` (G, T).

    Raises:
        IndexError: if a graph is not in the store.
    """
    arrays, directed = store.arrays, store.schema.directed
    if len(ids) and (ids.min() < 0 or ids.max() >= store.num_graphs):
        raise IndexError(f"graphs {ids.min()} to {ids.max()} asked; the store has {store.num_graphs}.")
    nodes, num_nodes = _ragged(arrays.node_ptr, ids)
    edges, num_edges = _ragged(arrays.edge_ptr, ids)  # undirected: bonds
    first_node = np.cumsum(num_nodes) - num_nodes
    # int64 before the shift: the stored type is as narrow as one graph needs
    ends = arrays.edge_index.take(edges, axis=0).astype(np.int64).ravel()
    ends += np.repeat(first_node, 2 * num_edges)  # flat, which numpy adds twice as fast as (B, 2) and (B, 1)
    if directed:
        edge_index = np.ascontiguousarray(ends.reshape(-1, 2).T)
        edge_rows = edges
    else:  # a bond (a, b) is the edges a -> b and b -> a, side by side
        edge_index = np.empty((2, len(ends)), dtype=np.int64)
        edge_index[0] = ends
        edge_index[1, 0::2] = ends[1::2]
        edge_index[1, 1::2] = ends[0::2]
        edge_rows = np.repeat(edges, 2)
    fields = {
        "x": arrays.x.take(nodes),
        "x_float": _take(arrays.x_float, nodes),
        "edge_index": edge_index,
        "edge_attr": arrays.edge_attr.take(edge_rows),
        "edge_float": _take(arrays.edge_float, edge_rows),
        "u": arrays.u.take(ids, axis=0),
        "rev_edge_index": reverse_edges(edge_index.shape[1], directed=directed),
        "batch": np.repeat(np.arange(len(ids)), num_nodes),
        "y": arrays.y.take(ids, axis=0),
    }
    return TensorDict({name: torch.from_numpy(values) for name, values in fields.items()})


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
        self.indices, self.batch_size, self.shuffle, self.seed = indices, batch_size, shuffle, seed
        self.epoch = 0
        self._rank, self._world_size = rank, world_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the order; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self._share(self.world_size) / self.batch_size)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        order = self.indices
        if self.shuffle:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        # every world_size-th graph, from the front again where the last round is not full
        share = np.arange(self._share(self.world_size)) * self.world_size + self.rank
        yield from np.array_split(order[share % len(order)], len(self))

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
        for ids in self.sampler:
            yield gather(self.store, ids)


def _ragged(ptr: Ints, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the graphs `ids`, one graph behind the other, and how many each has."""
    start = ptr.take(ids).astype(np.int64)
    sizes = ptr.take(ids + 1) - start
    ends = np.cumsum(sizes)
    rows = np.arange(ends[-1] if len(ends) else 0)
    rows += np.repeat(start - (ends - sizes), sizes)
    return rows, sizes


def _take(values: Floats, rows: NDArray[np.int64]) -> Floats:
    if values.shape[1] == 0:  # numpy walks through rows of no columns one by one
        return np.empty((len(rows), 0), dtype=values.dtype)
    return values.take(rows, axis=0)


def _distributed() -> tuple[int, int]:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
