"""Sums over an index, and equal rows, in the form that ONNX Runtime computes fast: used while a network is exported.

PyTorch's own forms become ScatterElements, 1.5 µs a row of 128 numbers, or ScatterND, which races between threads.
Here a sum is a gather: the rows of a group stand in a table of slots, which depends on the index alone; the exporter
finds that all layers compute the same table, and keeps one.

One small molecule has hardly anything to compute: there the number of operators counts, a sum is a product with a
matrix of ones and zeros, and every row is computed. An ONNX file of molecules holds its network in both forms, `small`
and `large`. Every sum has the same order in both, so that an answer has the same bits alone and in any company.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.library import custom_op, get_ctx
from torch.nn import functional as F

EDGE_SLOTS = 4  # an atom has rarely more bonds
NODE_SLOTS = 16
# D-MPNN takes 64 µs in the small form and 114 µs in the other with 20 edges, 0.11 and 0.15 ms with 44, 0.21 and 0.23
# with 96, 0.29 and 0.28 with 125.
SMALL_EDGES = 96
Form = Literal["only", "small", "large"]
"""Of a network that is exported: `small` for one small molecule, `large` beside it, or `only`."""

_FEW_KINDS = 1024
_LARGEST_KEY = 2**62
_form: ContextVar[Form] = ContextVar("form", default="only")


def form_for(num_graphs: int, num_edges: int) -> Form:
    """In which of its two forms a network answers a batch: no matrix has zero rows, so without an edge in the large."""
    return "small" if num_graphs == 1 and 0 < num_edges <= SMALL_EDGES else "large"


@contextlib.contextmanager
def exported_form(form: Form) -> Iterator[None]:
    """Export what is exported inside in this form."""
    before = _form.set(form)
    try:
        yield
    finally:
        _form.reset(before)


def exports(form: Form) -> bool:
    """Whether a network is being exported in this form."""
    return torch.compiler.is_exporting() and _form.get() == form


@custom_op("graphline::members", mutates_args=())
def members(index: Tensor, size: int) -> Tensor:
    """Which rows share an index, as ones among zeros: times rows, their sums.  # (size, K) float32"""
    return (torch.arange(size, device=index.device)[:, None] == index).float()


@members.register_fake
def _(index: Tensor, size: int) -> Tensor:
    return index.new_empty((size, index.shape[0]), dtype=torch.float32)


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


@custom_op("graphline::quotients", mutates_args=())
def quotients(numbers: Tensor, divisor: int) -> Tensor:
    """Numbers of 0 and more divided, rounded down; the exporter writes nine operators of `//`.  # (K,) int64"""
    return numbers // divisor


@quotients.register_fake
def _(numbers: Tensor, divisor: int) -> Tensor:
    return torch.empty_like(numbers)


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


def sum_members(h: Tensor, index: Tensor, size: int) -> Tensor:
    """Add up the rows of `h` that share an index, in the small form; arguments as `sum_chunks`.  # (G, H)"""
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
    one_by_one = exports("large") and not ascending  # as the small form adds them up; atoms have rarely more
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


def embed(codes: Tensor, table: Tensor, bias: Tensor, rows: Sequence[Sequence[int]]) -> Tensor:
    """Sum the vectors of the categories of each row, and the bias; arguments as `embed_distinct`.  # (K, H)"""
    of_code, last, offsets = _by_code(table, bias, rows)
    # (F, K): three times as fast as (K, F), and the same order of sums
    return F.embedding(codes.T.clamp(min=0).minimum(last) + offsets, of_code).sum(dim=0)


def embed_distinct(codes: Tensor, table: Tensor, bias: Tensor, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """As `embed`, of each distinct row, or of each that there can be if those are few.

    Args:
        codes: (K, F) int64, any value; one outside its column is read as 0.
        table: (T, H) float, vectors of categories.
        bias: (H,) float.
        rows: per column, the row of the table of each code; `can_key` holds.

    Returns:
        (C, H) one vector a distinct row, and (K,) int64, the one of each row.
    """
    of_code, last, offsets = _by_code(table, bias, rows)
    sizes = [len(column) + 1 for column in rows]
    strides = torch.tensor([math.prod(sizes[k + 1 :]) for k in range(len(sizes))])
    columns = codes.T.clamp(min=0).minimum(last)
    kind = strides @ columns
    if few_kinds(rows):  # computed when the file is loaded
        columns = torch.cartesian_prod(*map(torch.arange, sizes)).reshape(-1, len(sizes)).T
    else:  # a row of each kind, not the digits of its key: the exporter divides integers as float32
        row, kind = distinct(kind)
        columns = columns.index_select(1, row)
    return F.embedding(columns + offsets, of_code).sum(dim=0), kind


def _by_code(table: Tensor, bias: Tensor, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """A vector a code, column by column, with one more code for those above it; the last code and the place of each.

    The bias is in the first column's. Computed when the file is loaded.
    """
    sizes = [len(column) + 1 for column in rows]
    of_code = table.index_select(0, torch.tensor([row for column in rows for row in (*column, column[0])]))
    of_code = torch.cat([of_code[: sizes[0]] + bias, of_code[sizes[0] :]])
    last, offsets = torch.tensor(sizes) - 1, torch.tensor([sum(sizes[:k]) for k in range(len(sizes))])
    return of_code, last[:, None], offsets[:, None]


def few_kinds(rows: Sequence[Sequence[int]]) -> bool:
    """Whether there are so few kinds of rows that all are computed when the file is loaded."""
    return bool(rows) and math.prod(len(column) + 1 for column in rows) <= _FEW_KINDS


def can_key(rows: Sequence[Sequence[int]]) -> bool:
    """Whether one int64 can tell all rows of these columns apart."""
    return bool(rows) and math.prod(len(column) + 1 for column in rows) < _LARGEST_KEY
