"""Sums over an index, and equal rows, in the form that ONNX Runtime computes fast: used while a network is exported.

PyTorch's own forms become ScatterElements, 1.5 µs a row of 128 numbers, or ScatterND, which races between threads.
Here a sum is a gather: the rows of a group stand in a table of slots, which depends on the index alone; the exporter
finds that all layers compute the same table, and keeps one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

EDGE_SLOTS = 4  # an atom has rarely more bonds
NODE_SLOTS = 16

_LARGEST_KEY = 2**62


class Slots(NamedTuple):
    """Where the rows of each group stand: S slots a chunk, a first chunk a group, X more for groups that are larger."""

    table: Tensor  # (S, G + X) int64, row in each slot; one behind the last row where there is none
    more: Tensor  # (X,) int64, the group of each chunk behind the first G


def sum_chunks(h: Tensor, index: Tensor, size: int, slots: int) -> Tensor:
    """Add up the rows of `h` that share an index.

    Args:
        h: (K, H) float.
        index: (K,) int64, group of each row.
        size: G, number of groups.
        slots: S, at least 2; quick where most groups have at most S rows.

    Returns:
        (G + X, H), the sums of the groups and then X rows without meaning. A group without rows has zero.
    """
    table, more = find_slots(index, size, slots)
    padded = torch.cat([h, h.new_zeros((1, h.shape[1]))])
    rows = F.embedding(table, padded).reshape(slots, -1)  # (S, (G + X) · H)
    # A product with ones, not sum(dim=0): four times as fast.
    chunks = (h.new_ones((1, slots)) @ rows).reshape(-1, h.shape[1])
    return chunks.scatter_add(0, more[:, None].expand(-1, h.shape[1]), chunks[size:])


def find_slots(index: Tensor, size: int, slots: int) -> Slots:
    """Give each row of an index a slot of its group; arguments as `sum_chunks`."""
    length = index.shape[0]
    group, row = torch.topk(index, length, largest=False)
    count = count_rows(index, size)
    end = count.cumsum(0)
    start = end - count
    # One less than a row's rank in its group, so that a first chunk is none of those that begin at a multiple of S.
    before = torch.arange(-1, length - 1, device=index.device) - start.index_select(0, group)
    begin = torch.nonzero(torch.fmod(before, slots) == slots - 1).squeeze(1)  # (X,)
    more = group.index_select(0, begin)
    place = torch.cat([start, begin]) + torch.arange(slots, device=index.device)[:, None]  # (S, G + X)
    place = torch.where(place < torch.cat([end, end.index_select(0, more)]), place, length)
    return Slots(F.embedding(place, torch.cat([row, row.new_full((1,), length)])[:, None]).squeeze(2), more)


def count_rows(index: Tensor, size: int) -> Tensor:
    """Count the rows of each of `size` groups.  # (G,) int64"""
    return index.new_zeros(size).scatter_add(0, index, torch.ones_like(index))


def embed_distinct(codes: Tensor, table: Tensor, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Sum the vectors of the categories of each distinct row.

    Args:
        codes: (K, F) int64, any value; one outside its column is read as 0.
        table: (T, H) float, vectors of categories.
        rows: per column, the row of the table of each code; `can_key` holds.

    Returns:
        (C, H) one vector a distinct row, and (K,) int64, the one of each row.
    """
    sizes = [len(column) + 1 for column in rows]  # one more code for those above the column
    strides = torch.tensor([math.prod(sizes[k + 1 :]) for k in range(len(sizes))])
    offsets = torch.tensor([[sum(sizes[:k])] for k in range(len(sizes))])
    columns = codes.T.clamp(min=0).minimum(torch.tensor(sizes)[:, None] - 1)  # (F, K): three times as fast as (K, F)
    keys, kind = torch.unique(strides @ columns, return_inverse=True)
    # A row of each kind, not the digits of its key: the exporter divides integers as float32.
    row = torch.full_like(keys, -1).scatter_reduce(0, kind, torch.arange(codes.shape[0]), "amax")
    of_code = table.index_select(0, torch.tensor([row for column in rows for row in (*column, column[0])]))
    return F.embedding(columns.index_select(1, row) + offsets, of_code).sum(dim=0), kind


def can_key(rows: Sequence[Sequence[int]]) -> bool:
    """Whether one int64 can tell all rows of these columns apart."""
    return bool(rows) and math.prod(len(column) + 1 for column in rows) < _LARGEST_KEY
