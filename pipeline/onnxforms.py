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
from torch.library import custom_op, get_ctx
from torch.nn import functional as F

EDGE_SLOTS = 4  # an atom has rarely more bonds
NODE_SLOTS = 16

_FEW_KINDS = 1024
_LARGEST_KEY = 2**62


@custom_op("graphline::distinct", mutates_args=())
def distinct(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The first row of each distinct key, as keys ascend, and the key's number of each row.  # (C,), (K,) int64"""
    values, kind = torch.unique(keys, return_inverse=True)
    rows = torch.arange(len(keys), device=keys.device)
    return torch.full_like(values, len(keys)).scatter_reduce(0, kind, rows, "amin"), kind


@distinct.register_fake
def _(keys: Tensor) -> tuple[Tensor, Tensor]:
    return keys.new_empty(get_ctx().new_dynamic_size()), torch.empty_like(keys)


@custom_op("graphline::ascend", mutates_args=())
def ascend(index: Tensor) -> tuple[Tensor, Tensor]:
    """An index sorted, and the row of each entry; equal ones keep their order.  # (K,), (K,) int64"""
    return index.sort(stable=True)


@ascend.register_fake
def _(index: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(index), torch.empty_like(index)


@custom_op("graphline::positions", mutates_args=())
def positions(mask: Tensor) -> Tensor:
    """Where a row of bools is true.  # (X,) int64"""
    return mask.nonzero().squeeze(1)


@positions.register_fake
def _(mask: Tensor) -> Tensor:
    return mask.new_empty(get_ctx().new_dynamic_size(), dtype=torch.int64)


class Slots(NamedTuple):
    """Where the rows of each group stand: S slots a chunk, a first chunk a group, X more for groups that are larger."""

    table: Tensor  # (S, G + X) int64, row in each slot; the last row where there is none
    more: Tensor  # (X,) int64, the group of each chunk behind the first G


def sum_chunks(h: Tensor, index: Tensor, size: int, slots: int, ascending: bool = False) -> Tensor:
    """Add up the rows of `h` that share an index.

    Args:
        h: (K, H) float.
        index: (K,) int64, group of each row.
        size: G, number of groups.
        slots: S, at least 2; quick where most groups have at most S rows.
        ascending: whether the index is.

    Returns:
        (G + 1 + X, H), the sums of the groups and then rows without meaning. A group without rows has zero.
    """
    return sum_slots(add_zeros(h), find_slots(add_last(index, size), size + 1, slots, ascending))


def add_zeros(h: Tensor) -> Tensor:
    """A last row of zeros for the slots that are empty.  # (K + 1, H)"""
    return torch.cat([h, h.new_zeros((1, h.shape[1]))])


def add_last(index: Tensor, value: int) -> Tensor:
    """One more entry.  # (K + 1,)"""
    return torch.cat([index, index.new_full((1,), value)])


def find_slots(index: Tensor, size: int, slots: int, ascending: bool = False) -> Slots:
    """Give each row of an index a slot of its group; arguments as `sum_chunks`.

    The last row is the only one of the last group, and stands in all empty slots.
    """
    length = index.shape[0]
    group, row = (index, None) if ascending else ascend(index)
    count = count_rows(index, size)
    end = count.cumsum(0)
    start = end - count
    # One less than a row's rank in its group, so that a first chunk is none of those that begin at a multiple of S.
    before = torch.arange(-1, length - 1, device=index.device) - start.index_select(0, group)
    begin = positions(torch.fmod(before, slots) == slots - 1)  # (X,)
    more = group.index_select(0, begin)
    place = torch.cat([start, begin]) + torch.arange(slots, device=index.device)[:, None]  # (S, G + X)
    place = torch.where(place < torch.cat([end, end.index_select(0, more)]), place, length - 1)
    return Slots(place if row is None else row.take(place), more)


def sum_slots(h: Tensor, slots: Slots) -> Tensor:
    """Add up the rows of each group.

    Args:
        h: (K, H) float, the last row zero.

    Returns:
        (G + X, H), the sums of the groups and then X rows without meaning.
    """
    table, more = slots
    width = h.shape[1]
    rows = F.embedding(table, h).reshape(table.shape[0], -1)  # (S, (G + X) · H)
    # A product with ones, not sum(dim=0): four times as fast.
    chunks = (h.new_ones((1, table.shape[0])) @ rows).reshape(-1, width)
    return chunks.scatter_add(0, more[:, None].expand(-1, width), chunks[chunks.shape[0] - more.shape[0] :])


def count_rows(index: Tensor, size: int) -> Tensor:
    """Count the rows of each of `size` groups.  # (G,) int64"""
    return index.new_zeros(size).scatter_add(0, index, torch.ones_like(index))


def embed_distinct(codes: Tensor, table: Tensor, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Sum the vectors of the categories of each distinct row, or of each that there can be if those are few.

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
    kind = strides @ columns
    if math.prod(sizes) <= _FEW_KINDS:  # computed when the file is loaded
        columns = torch.cartesian_prod(*map(torch.arange, sizes)).reshape(-1, len(sizes)).T
    else:  # a row of each kind, not the digits of its key: the exporter divides integers as float32
        row, kind = distinct(kind)
        columns = columns.index_select(1, row)
    of_code = table.index_select(0, torch.tensor([row for column in rows for row in (*column, column[0])]))
    return F.embedding(columns + offsets, of_code).sum(dim=0), kind


def can_key(rows: Sequence[Sequence[int]]) -> bool:
    """Whether one int64 can tell all rows of these columns apart."""
    return bool(rows) and math.prod(len(column) + 1 for column in rows) < _LARGEST_KEY
