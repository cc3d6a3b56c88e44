"""Sums, means, maxima and softmax of the rows that share an index: of the edges of a node, of the nodes of a graph.

How many rows the answer has is given, never taken from the index: the last node may have no edge, the last graph no
node.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.network.forms.form import Form, current_form
from pipeline.network.forms.sums import count_rows, sum_in_products, sum_in_slots

_SUMS: dict[Form, Callable[[Tensor, Tensor, int, bool], Tensor]] = {
    "only": sum_in_slots,
    "large": sum_in_slots,
    "small": sum_in_products,
}
"""The forms of `sum_to` besides the plain one."""


def sum_to(h: Tensor, index: Tensor, size: int, *, by_graph: bool = False) -> Tensor:
    """Add up the rows of `h` that share an index.

    Args:
        h: (E, H) float.
        index: (E,) int64, row of the answer to which each row of `h` goes.
        size: rows of the answer.
        by_graph: whether the rows are nodes, graph by graph, and not edges in any order; an export is quicker for it.

    Returns:
        (size, H). A row that nothing goes to is zero.
    """
    quick = _SUMS.get(current_form())
    if quick is not None:
        return quick(h, index, size, by_graph)
    return h.new_zeros((size, h.shape[1])).index_add(0, index, h)


def mean_to(h: Tensor, index: Tensor, size: int, *, by_graph: bool = False) -> Tensor:
    """Average the rows of `h` that share an index; arguments as `sum_to`. A row that nothing goes to is zero."""
    return sum_to(h, index, size, by_graph=by_graph) / count_to(h, index, size).clamp(min=1)


def count_to(h: Tensor, index: Tensor, size: int) -> Tensor:
    """Count the rows that share an index, in the dtype of `h`.  # (size, 1)"""
    return count_rows(index, size).to(h.dtype)[:, None]


def max_to(h: Tensor, index: Tensor, size: int) -> Tensor:
    """Largest value per column of the rows of `h` that share an index; arguments as `sum_to`.

    Returns:
        (size, H). A row that nothing goes to is zero; maxima may be negative.
    """
    lowest = torch.finfo(h.dtype).min
    top = h.new_full((size, h.shape[1]), lowest).scatter_reduce(0, _like(index, h), h, "amax", include_self=True)
    # Not `include_self=False`: ScatterElements(max) always takes in what is there, zeros would hide negative maxima.
    return torch.where(top == lowest, torch.zeros_like(top), top)


def softmax_to(score: Tensor, index: Tensor, size: int, *, by_graph: bool = False) -> Tensor:
    """Softmax of each column of `score` among the rows that share an index.

    Args:
        score: (E, K) float, any size of numbers.
        index: (E,) int64.
        size: number of groups.
        by_graph: as in `sum_to`.

    Returns:
        (E, K), which sums to one in each group that has rows.
    """
    top = max_to(score.detach(), index, size)
    weight = torch.exp(score - top.index_select(0, index))
    # The largest score of a group has weight 1, so no total is near zero.
    return weight / sum_to(weight, index, size, by_graph=by_graph).index_select(0, index)


def _like(index: Tensor, h: Tensor) -> Tensor:
    return index[:, None].expand(-1, h.shape[1])
