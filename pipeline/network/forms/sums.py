"""Sums over an index in the forms that ONNX Runtime computes fast: by a table of slots, or by a product.

PyTorch's own forms become ScatterElements, 1.5 µs a row of 128 numbers, or ScatterND, which races between threads.
Here a sum is a gather: the rows of a group stand in a table of slots, which depends on the index alone; the exporter
finds that all layers compute the same table, and keeps one.

One small molecule has hardly anything to compute: there the number of operators counts, and a sum is a product with a
matrix of ones and zeros. Every sum has the same order in the forms `small` and `large`, so that an answer has the same
bits alone and in any company.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.network.forms.form import current_form
from pipeline.network.forms.operators import ascend, members, positions, quotients

EDGE_SLOTS = 4  # an atom has rarely more bonds
NODE_SLOTS = 16


class Slots(NamedTuple):
    """Where the rows of each group stand: S slots a chunk, a first chunk a group, X more for groups that are larger."""

    table: Tensor  # (S, G + X) int64, row in each slot; the last row where there is none
    more: Tensor  # (X,) int64, the group of each chunk behind the first G


def sum_in_slots(h: Tensor, index: Tensor, size: int, by_graph: bool) -> Tensor:
    """`scatter.sum_to` in the forms `only` and `large`."""
    return sum_chunks(h, index, size, NODE_SLOTS if by_graph else EDGE_SLOTS, ascending=by_graph)[:size]


def sum_in_products(h: Tensor, index: Tensor, size: int, by_graph: bool) -> Tensor:
    """`scatter.sum_to` in the form `small`, where all nodes are of one graph."""
    return sum_all(h) if by_graph else sum_members(h, index, size)


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


def sum_members(h: Tensor, index: Tensor, size: int) -> Tensor:
    """Add up the rows of `h` that share an index; arguments as `sum_chunks`.  # (G, H)"""
    return members(index, size) @ h  # type: ignore[no-any-return]


def sum_all(h: Tensor) -> Tensor:
    """Add up all rows, in the order of `sum_chunks` with `NODE_SLOTS`: first those of each chunk.  # (1, H)"""
    row = torch.arange(h.shape[0], device=h.device)
    # Of one column ONNX Runtime adds up the rows in another order.
    wide = h if h.shape[1] > 1 else h.expand(-1, 2)
    chunks = sum_members(wide, quotients(row, NODE_SLOTS), h.shape[0])
    return chunks.sum(dim=0, keepdim=True)[:, : h.shape[1]]


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
    one_by_one = current_form() == "large" and not ascending  # as the small form adds them up; atoms have rarely more
    begin = positions(before >= slots - 1 if one_by_one else torch.fmod(before, slots) == slots - 1)  # (X,)
    more = group.index_select(0, begin)
    place = torch.cat([start, begin]) + torch.arange(slots, device=index.device)[:, None]  # (S, G + X)
    stop = torch.cat([end, begin + 1 if one_by_one else end.index_select(0, more)])
    place = torch.where(place < stop, place, length - 1)
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
    # A product with ones, not sum(dim=0): four times as fast. With one row of ones ONNX Runtime adds up fours and then
    # those, with two row by row, as in the small form.
    num_slots = table.shape[0]
    chunks = h.new_ones((1, num_slots)) @ rows if num_slots <= 4 else (h.new_ones((2, num_slots)) @ rows)[:1]
    chunks = chunks.reshape(-1, width)
    return chunks.scatter_add(0, more[:, None].expand(-1, width), chunks[chunks.shape[0] - more.shape[0] :])


def count_rows(index: Tensor, size: int) -> Tensor:
    """Count the rows of each of `size` groups.  # (G,) int64"""
    return index.new_zeros(size).scatter_add(0, index, torch.ones_like(index))
