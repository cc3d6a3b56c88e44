"""`network=gine` with equal rows computed once, and its gradient by hand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.network.forms.equal_rows import (
    Ints,
    Neighbors,
    Rows,
    group_equal,
    group_pairs,
    names,
    pays,
    sort_small,
    to_tensors,
)
from pipeline.network.layers import Stack


def equal_rows(stack: Stack, x: Rows, edge_index: Tensor, e: Rows) -> Tensor | None:
    """As `Stack` of `GINEConv`, each node colour computed once; None where that does not pay."""
    # A gradient by hand does not mix precisions.
    if x.row is None or e.row is None or not pays(stack.dropout, x, e) or torch.is_autocast_enabled("cpu"):
        return None
    every = refine(edge_index, x.row.numpy(), len(x.vectors), e.row.numpy(), len(e.vectors))
    steps = list(itertools.islice(every, len(stack.convs)))
    weights: list[Tensor] = []
    parts: Any = zip(stack.norms, stack.convs, strict=True)
    for norm, conv in parts:
        first, _, second = conv.mlp
        weights += [norm.weight, norm.bias, conv.eps, first.weight, first.bias, second.weight, second.bias]
    h = GineLayers.apply(x.vectors, e.vectors, steps, *weights)  # type: ignore[no-untyped-call]  # (C, H)
    return stack.last_norm(h).index_select(0, steps[-1].color)  # type: ignore[no-any-return]


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


class GineLayers(torch.autograd.Function):
    """h[pick] + relu(MLP((1 + ε) n[pick] + Σ relu(n[i] + e[j]))) with n = LayerNorm(h), for `Stack`;
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


def _mask_(gradient: Tensor, out: Tensor) -> Tensor:
    """The gradient of relu, in place: zero where `out` is zero."""
    return torch.ops.aten.threshold_backward.grad_input(gradient, out, 0, grad_input=gradient)  # type: ignore[no-any-return]


def _sum_bags(h: Tensor, index: Tensor, starts: Tensor) -> Tensor:
    """Add up rows of `h` bag by bag; embedding_bag adds sorted rows twice as fast as index_add adds unsorted ones."""
    return torch.embedding_bag(h, index, starts)[0]
