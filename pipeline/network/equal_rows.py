"""Which rows of a batch are equal before they are computed, so that each is computed once.

A molecule repeats itself, and the molecules of a batch repeat each other: of the messages of a first hop about one in
five differs from all others. Rows with one colour hold one vector; what is made of equal rows is equal again, which
is colour refinement.

Source: Weisfeiler and Leman 1968; its equality with what message passing can tell apart: Xu et al. 2019,
arXiv:1810.00826, lemma 2.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Ints = NDArray[np.int64]

_SEEDS = {"column": 0, "node": 1, "edge": 2}


class Groups(NamedTuple):
    """K rows in C groups, numbered as their keys ascend."""

    of: Ints  # (K,) the group of each row
    first: Ints  # (C,) the first row of each group


class Sorted(NamedTuple):
    """As `Groups`, with the rows of each group."""

    of: Ints
    first: Ints
    order: Ints  # (K,) the rows group by group, in each as they come
    starts: Ints  # (C,) where each group begins in `order`


def group_equal(key: Ints) -> Groups:
    """Group rows by equal keys (K,); in numpy, which sorts a batch's numbers in a fifth of torch's time."""
    order = key.argsort()  # in any order where equal
    of, starts = _number(key.take(order), order)
    first = np.minimum.reduceat(order, starts) if len(key) else order
    return Groups(of, first)


def group_pairs(a: Ints, b: Ints, num_b: int) -> Sorted:
    """Group rows by equal pairs of numbers, (K,) each, of 0 and more; groups ascend by `a`, then by `b` < num_b."""
    order, ascending = sort_small(a * num_b + b)
    of, starts = _number(ascending, order)
    return Sorted(of, order.take(starts), order, starts)


def sort_small(key: Ints) -> tuple[Ints, Ints]:
    """The rows as their keys ascend, in order where equal, and those keys; quick for small keys of 0 and more."""
    shift = len(key).bit_length()
    if int(key.max(initial=0)) >> (63 - shift):
        order = key.argsort(kind="stable")
        return order, key.take(order)
    packed = (key << shift) | np.arange(len(key))  # key and row as one number: nothing is sorted faster
    packed.sort()
    return packed & ((1 << shift) - 1), packed >> shift


def _number(ascending: Ints, order: Ints) -> tuple[Ints, Ints]:
    """Group of each row, and where each group begins, from sorted keys and the rows that they are of."""
    new = np.empty(len(ascending), dtype=np.bool_)
    new[:1] = True
    np.not_equal(ascending[1:], ascending[:-1], out=new[1:])
    of = np.empty_like(order)
    of[order] = new.cumsum() - 1
    return of, np.flatnonzero(new)


def group_rows(codes: Tensor, numbers: Tensor) -> Groups:
    """Group rows that are equal in every column.

    Args:
        codes: (K, F) int64, any value.
        numbers: (K, R) float32; NaN equals NaN.
    """
    columns = codes.numpy()
    if numbers.shape[1]:
        columns = np.concatenate([columns, numbers.detach().contiguous().view(torch.int32).numpy()], axis=1)
    return group_equal(columns @ (names(columns.shape[1], "column") | 1))


def names(count: int, of: Literal["column", "node", "edge"]) -> Ints:
    """Random numbers that name things; the sum of the names of a multiset names the multiset.

    A node beside an edge is named by the product of their names. That two different multisets share a name has a
    probability of about 2⁻⁵⁷; a batch compares some 10⁷ pairs.

    Returns:
        (count,), always the same.
    """
    return _names(of, count.bit_length())[:count]


@functools.cache
def _names(of: str, bits: int) -> Ints:
    return np.random.default_rng(_SEEDS[of]).integers(2**63, size=1 << bits)


def to_tensors(*arrays: Ints) -> tuple[Tensor, ...]:
    """The same numbers, not copied."""
    return tuple(torch.from_numpy(array) for array in arrays)


class Neighbors:
    """The edges of a batch by the node in which they end."""

    def __init__(self, edge_index: Tensor, num_nodes: int) -> None:
        self.source, self.target = edge_index.numpy()
        self.into = sort_small(self.target)[0]
        self.degree = np.bincount(self.target, minlength=num_nodes)
        self.ends = self.degree.cumsum()
        self.starts = self.ends - self.degree

    def into_nodes(self, nodes: Ints) -> tuple[Ints, Ints, Ints]:
        """The edges into some of the nodes, (C,).

        Returns:
            place (M,) of the edges in `into`, node by node; starts (C,), where those of each node begin; owner (M,),
            the one of `nodes`.
        """
        degree = self.degree.take(nodes)
        starts = degree.cumsum() - degree
        owner = np.arange(len(nodes)).repeat(degree)
        return (self.starts.take(nodes) - starts).take(owner) + np.arange(len(owner)), starts, owner

    def sum_sorted(self, name: Ints) -> Ints:
        """Names of the multisets of edges into the nodes (N,), from those of the edges in the order of `into` (E,)."""
        total = np.zeros(len(name) + 1, dtype=np.int64)
        name.cumsum(out=total[1:])  # may run over, and comes back in the difference
        return total.take(self.ends) - total.take(self.starts)

    def bags(self, edges: Sorted) -> tuple[Tensor, ...]:
        """Of each node, the groups of the edges into it; of each group of edges, the nodes they end in.

        Returns:
            index (E,) and starts (N,), and the same of the gradient, (E,) and (C,), as `embedding_bag` takes them.
        """
        return to_tensors(edges.of.take(self.into), self.starts, self.target.take(edges.order), edges.starts)

    def sum_in(self, h: Tensor, edges: Sorted) -> Tensor:
        """Add up the vectors of the edges into each node.

        Args:
            h: (C, H), the vector of each group of edges.

        Returns:
            (N, H).
        """
        sums: Tensor = _SumGroups.apply(h, *self.bags(edges))  # type: ignore[no-untyped-call]
        return sums

    def name_in(self, edges: Sorted) -> tuple[Ints, Ints]:
        """Names of the edges (E,), and of the multisets of edges into the nodes (N,)."""
        name = names(len(edges.first), "edge").take(edges.of)
        return name, self.sum_sorted(name.take(self.into))


class Step(NamedTuple):
    """How C' new colours of nodes are made of the C before, by way of K kinds of messages; all int64."""

    color: Tensor  # (N,) the new colour of each node
    pick: Tensor  # (C',) ascending, the colour before of each new one
    pick_starts: Tensor  # (C,) where each colour before begins in `pick`
    i: Tensor  # (K,) ascending, the colour that each message comes from
    i_starts: Tensor  # (C,) where each colour begins in `i`
    j: Tensor  # (K,) the colour of the edge that it takes
    into: Tensor  # (M,) the messages into each new colour, colour by colour
    into_starts: Tensor  # (C',) where those of each begin
    out_of: Tensor  # (M,) the new colours that each message goes to, message by message
    out_of_starts: Tensor  # (K,) where those of each begin
    every_pick: Tensor  # 0, 1, …, C' - 1
    every_i: Tensor  # 0, 1, …, K - 1


def refine(edge_index: Tensor, row: Ints, num_rows: int, e_row: Ints, num_e: int) -> Iterator[Step]:
    """Tell nodes apart by what is around them, one step farther at a time, without end.

    Args:
        edge_index: (2, E) int64.
        row: (N,) colour of each node, below `num_rows`.
        e_row: (E,) colour of each edge, below `num_e`.
    """
    graph = Neighbors(edge_index, len(row))
    source, of_edge = graph.source.take(graph.into), e_row.take(graph.into)
    edge_name = names(num_e + 1, "edge")
    name_of_edge = edge_name.take(of_edge)
    while True:
        name = names(num_rows, "node").take(row)
        nodes = group_equal(graph.sum_sorted(name.take(source) * name_of_edge) + name * edge_name[-1])
        # Numbered as the colours before ascend, so that gradients are added up in the order in which they lie.
        before = row.take(nodes.first)
        order, pick = sort_small(before)
        number = np.empty_like(order)
        number[order] = np.arange(len(order))
        edges, starts, owner = graph.into_nodes(nodes.first.take(order))
        messages = group_pairs(row.take(source.take(edges)), of_edge.take(edges), num_e)
        edges = edges.take(messages.first)
        i, j = row.take(source.take(edges)), of_edge.take(edges)
        all_before, row = np.arange(num_rows), number.take(nodes.of)
        num_rows = len(pick)
        yield Step(
            *to_tensors(row, pick, pick.searchsorted(all_before), i, i.searchsorted(all_before), j),
            *to_tensors(messages.of, starts, owner.take(messages.order), messages.starts),
            *to_tensors(np.arange(num_rows), np.arange(len(i))),
        )


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
        return _sum_bags(h, index, starts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        back_index, back_starts = ctx.saved_tensors
        return _sum_bags(gradient.contiguous(), back_index, back_starts), None, None, None, None


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


class GineLayers(torch.autograd.Function):
    """h[pick] + relu(MLP((1 + ε) n[pick] + Σ relu(n[i] + e[j]))) with n = LayerNorm(h), for `layers.Stack`;
    a `Step` and seven weights a layer.

    One node of the autograd graph where there would be fifteen a layer, and half the passes over memory.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, e: Tensor, steps: Sequence[Step], *weights: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for k, step in enumerate(steps):
            gain, shift, eps, w_1, b_1, w_2, b_2 = weights[7 * k : 7 * k + 7]
            n, mean, rstd = torch.native_layer_norm(h, h.shape[1:], gain, shift, 1e-5)
            message = n.index_select(0, step.i).add_(e.index_select(0, step.j)).relu_()
            z = _sum_bags(message, step.into, step.into_starts).addcmul_(n.index_select(0, step.pick), 1 + eps)
            a = F.linear(z, w_1, b_1).relu_()
            o = F.linear(a, w_2, b_2).relu_()
            kept += [h, mean, rstd, message, n, z, a, o]
            h = h.index_select(0, step.pick).add_(o)
        ctx.save_for_backward(*weights, *kept)
        ctx.steps, ctx.num_e = steps, len(e)
        return h

    @staticmethod
    def backward(ctx: Any, to_h: Tensor) -> tuple[Tensor | None, ...]:
        number = 7 * len(ctx.steps)
        weights, kept = ctx.saved_tensors[:number], ctx.saved_tensors[number:]
        to_e = to_h.new_zeros((ctx.num_e, to_h.shape[1]))
        to_weights: list[Tensor] = []
        for k in reversed(range(len(ctx.steps))):
            gain, shift, eps, w_1, _, w_2, _ = weights[7 * k : 7 * k + 7]
            h, mean, rstd, message, n, z, a, o = kept[8 * k : 8 * k + 8]
            step: Step = ctx.steps[k]
            to_o = torch.ops.aten.threshold_backward(to_h, o, 0)
            to_a = _mask_(to_o @ w_2, a)
            to_z = to_a @ w_1
            to_message = _mask_(_sum_bags(to_z, step.out_of, step.out_of_starts), message)
            to_n = _sum_bags(to_z, step.every_pick, step.pick_starts)
            to_eps = torch.dot(to_n.view(-1), n.view(-1))
            to_n.mul_(1 + eps).add_(_sum_bags(to_message, step.every_i, step.i_starts))
            to_e.index_add_(0, step.j, to_message)
            skipped = _sum_bags(to_h, step.every_pick, step.pick_starts)
            to_h, to_gain, to_shift = torch.ops.aten.native_layer_norm_backward(
                to_n, h, h.shape[1:], mean, rstd, gain, shift, (True, True, True)
            )
            to_h.add_(skipped)
            to_mlp = to_a.t() @ z, to_a.sum(0), to_o.t() @ a, to_o.sum(0)
            to_weights = [to_gain, to_shift, to_eps, *to_mlp, *to_weights]
        return to_h, to_e, None, *to_weights


def _sum_bags(h: Tensor, index: Tensor, starts: Tensor) -> Tensor:
    """Add up rows of `h` bag by bag; embedding_bag adds sorted rows twice as fast as index_add adds unsorted ones."""
    return torch.embedding_bag(h, index, starts)[0]


def _mask_(gradient: Tensor, out: Tensor) -> Tensor:
    """The gradient of relu, in place: zero where `out` is zero."""
    return torch.ops.aten.threshold_backward.grad_input(gradient, out, 0, grad_input=gradient)  # type: ignore[no-any-return]
