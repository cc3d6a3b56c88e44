"""Operations that the exporter writes worse than ONNX has them; `bundle.export` holds the ONNX operator of each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.library import custom_op, get_ctx


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
