"""Which rows of a batch are equal before they are computed, so that each is computed once.

A molecule repeats itself, and the molecules of a batch repeat each other: of the messages of a first hop about one in
five differs from all others. Rows with one colour hold one vector; what is made of equal rows is equal again, which
is colour refinement.

Source: Weisfeiler and Leman 1968; its equality with what message passing can tell apart: Xu et al. 2019,
arXiv:1810.00826, lemma 2.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

_SEEDS = {"column": 0, "node": 1, "edge": 2}


class Groups(NamedTuple):
    """K rows in C groups."""

    of: Tensor  # (K,) int64, the group of each row
    first: Tensor  # (C,) int64, a row of each group
    order: Tensor  # (K,) int64, the rows group by group
    starts: Tensor  # (C,) int64, where each group begins in `order`; a group without rows begins where the next does


def group_equal(key: Tensor) -> Groups:
    """Group rows by equal keys; groups are numbered as their keys ascend.

    Args:
        key: (K,) int64.
    """
    values, order = key.sort(stable=True)
    new = torch.ones_like(values, dtype=torch.bool)
    torch.ne(values[1:], values[:-1], out=new[1:])
    starts = new.nonzero()[:, 0]
    of = torch.empty_like(order).scatter_(0, order, new.cumsum(0) - 1)
    return Groups(of, order.index_select(0, starts), order, starts)


def group_rows(codes: Tensor, numbers: Tensor) -> Groups:
    """Group rows that are equal in every column.

    Args:
        codes: (K, F) int64, any value.
        numbers: (K, R) float32; NaN equals NaN.
    """
    columns = torch.cat([codes, numbers.contiguous().view(torch.int32)], dim=1)
    return group_equal((columns * names(columns.shape[1], "column").bitwise_or(1)).sum(dim=1))


def names(count: int, of: Literal["column", "node", "edge"]) -> Tensor:
    """Random numbers that name things; the sum of the names of a multiset names the multiset.

    That two different multisets share a name has a probability of about 2⁻⁶²; a batch compares some 10⁷ pairs.

    Returns:
        (count,) int64, always the same.
    """
    generator = torch.Generator().manual_seed(_SEEDS[of])
    return torch.empty(count, dtype=torch.int64).random_(generator=generator)


class Neighbors:
    """The edges of a batch by the node in which they end."""

    def __init__(self, edge_index: Tensor, num_nodes: int) -> None:
        self.source, self.target, self.num_nodes = edge_index[0], edge_index[1], num_nodes
        self.into = self.target.argsort(stable=True)
        ends = torch.bincount(self.target, minlength=num_nodes).cumsum(0)
        self.starts = F.pad(ends[:-1], (1, 0))

    def bags(self, edges: Groups) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of each node, the groups of the edges into it; of each group of edges, the nodes they end in.

        Returns:
            index (E,) and starts (N,), and the same of the gradient, (E,) and (C,), as `embedding_bag` takes them.
        """
        return (
            edges.of.index_select(0, self.into),
            self.starts,
            self.target.index_select(0, edges.order),
            edges.starts,
        )

    def sum_in(self, h: Tensor, edges: Groups) -> Tensor:
        """Add up the vectors of the edges into each node.

        Args:
            h: (C, H), the vector of each group of edges.

        Returns:
            (N, H).
        """
        sums: Tensor = _SumGroups.apply(h, *self.bags(edges))  # type: ignore[no-untyped-call]
        return sums

    def name_in(self, edges: Groups) -> tuple[Tensor, Tensor]:
        """Names of the edges (E,), and of the multisets of edges into the nodes (N,)."""
        name = names(len(edges.first), "edge").index_select(0, edges.of)
        return name, name.new_zeros(self.num_nodes).index_add_(0, self.target, name)


def add_relu(a: Tensor, i: Tensor, b: Tensor, j: Tensor | None = None) -> Tensor:
    """relu(a[i] + b[j]); without `j`, relu(a[i] + b).

    Args:
        a: (C, H) float.
        i: (K,) int64.
        b: (C', H) float; (K, H) without `j`.
        j: (K,) int64.
    """
    out: Tensor = _AddRelu.apply(a, i, b, j)  # type: ignore[no-untyped-call]
    return out


class _SumGroups(torch.autograd.Function):
    """Rows of `h` added up group by group; the gradient of each row is the sum over the groups that it is in."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, index: Tensor, starts: Tensor, back_index: Tensor, back_starts: Tensor) -> Tensor:
        ctx.save_for_backward(back_index, back_starts)
        # embedding_bag adds sorted rows twice as fast as index_add adds unsorted ones
        return F.embedding_bag(index, h, starts, mode="sum")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        back_index, back_starts = ctx.saved_tensors
        return F.embedding_bag(back_index, gradient.contiguous(), back_starts, mode="sum"), None, None, None, None


class _AddRelu(torch.autograd.Function):
    """Four passes over memory where autograd's own take ten."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, i: Tensor, b: Tensor, j: Tensor | None) -> Tensor:
        out = a.index_select(0, i).add_(b if j is None else b.index_select(0, j)).relu_()
        ctx.save_for_backward(out, i, j)
        ctx.sizes = len(a), len(b)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, Tensor, None]:
        out, i, j = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, out, 0)  # ten times as fast as torch.where
        to_a = gradient.new_zeros((ctx.sizes[0], gradient.shape[1])).index_add_(0, i, gradient)
        if j is None:
            return to_a, None, gradient, None
        return to_a, None, gradient.new_zeros((ctx.sizes[1], gradient.shape[1])).index_add_(0, j, gradient), None


class GineLayer(torch.autograd.Function):
    """h[pick] + relu(MLP((1 + ε) n[pick] + Σ relu(n[i] + e[j]))) with n = LayerNorm(h), for `layers.Stack`.

    One node of the autograd graph where there would be fifteen, and half the passes over memory.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, e: Tensor, *given: Tensor) -> Tensor:
        gain, shift, eps, w_1, b_1, w_2, b_2, i, j, pick, first, *bags = given
        n, mean, rstd = torch.native_layer_norm(h, h.shape[1:], gain, shift, 1e-5)
        message = n.index_select(0, i).add_(e.index_select(0, j)).relu_()
        n_pick = n.index_select(0, pick)
        z = F.embedding_bag(bags[0], message, bags[1], mode="sum").index_select(0, first).addcmul_(n_pick, 1 + eps)
        a = torch.addmm(b_1, z, w_1.t()).relu_()
        o = torch.addmm(b_2, a, w_2.t()).relu_()
        ctx.save_for_backward(h, mean, rstd, message, n_pick, z, a, o, *given)
        ctx.sizes = len(e), len(bags[1])
        return h.index_select(0, pick).add_(o)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        h, mean, rstd, message, n_pick, z, a, o, *given = ctx.saved_tensors
        gain, shift, eps, w_1, _, w_2, _, i, j, pick, first, *bags = given
        num_e, num_nodes = ctx.sizes
        width = gradient.shape[1]
        to_o = torch.ops.aten.threshold_backward(gradient, o, 0)
        to_a = torch.ops.aten.threshold_backward(to_o @ w_2, a, 0)
        to_z = to_a @ w_1
        to_nodes = gradient.new_zeros((num_nodes, width)).index_copy_(0, first, to_z)
        to_message = F.embedding_bag(bags[2], to_nodes, bags[3], mode="sum")
        to_message = torch.ops.aten.threshold_backward(to_message, message, 0)
        to_n = torch.zeros_like(h).index_add_(0, i, to_message).index_add_(0, pick, to_z * (1 + eps))
        to_e = gradient.new_zeros((num_e, width)).index_add_(0, j, to_message)
        to_h, to_gain, to_shift = torch.ops.aten.native_layer_norm_backward(
            to_n, h, h.shape[1:], mean, rstd, gain, shift, (True, True, True)
        )
        to_eps = torch.dot(to_z.view(-1), n_pick.view(-1))
        to_h.index_add_(0, pick, gradient)
        weights = (to_gain, to_shift, to_eps, to_a.t() @ z, to_a.sum(0), to_o.t() @ a, to_o.sum(0))
        return to_h, to_e, *weights, *[None] * (len(given) - len(weights))
