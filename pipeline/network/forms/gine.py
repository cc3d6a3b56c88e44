"""`network=gine` with equal rows computed once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, NamedTuple

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
    sum_bags,
    to_tensors,
)
from pipeline.network.layers import Stack


def equal_rows(stack: Stack, x: Rows, edge_index: Tensor, e: Rows) -> Tensor | None:
    """As `Stack` of `GINEConv`, each node colour computed once; None where that does not pay."""
    if x.row is None or e.row is None or not pays(stack.dropout, x, e):
        return None
    h, color = x.vectors, x.row  # (C, H), (N,)
    every = refine(edge_index, x.row.numpy(), len(x.vectors), e.row.numpy(), len(e.vectors))
    layers: Any = zip(stack.norms, stack.convs, strict=True)
    for (norm, conv), step in zip(layers, itertools.islice(every, len(stack.convs)), strict=True):
        n, color = norm(h), step.color
        message = F.relu(n.index_select(0, step.source) + e.vectors.index_select(0, step.edge))
        total = sum_bags(message, step.into, step.into_starts, step.out_of, step.out_of_starts)
        h = h.index_select(0, step.before) + F.relu(conv.mlp((1 + conv.eps) * n.index_select(0, step.before) + total))
    return stack.last_norm(h).index_select(0, color)  # type: ignore[no-any-return]


class Step(NamedTuple):
    """How C' new colours of nodes are made of the C before, by way of K kinds of messages; all int64."""

    color: Tensor  # (N,) the new colour of each node
    before: Tensor  # (C',) the colour before of each new one
    source: Tensor  # (K,) the colour before that each message comes from
    edge: Tensor  # (K,) the colour of the edge that it takes
    into: Tensor  # (M,) the messages into each new colour, colour by colour
    into_starts: Tensor  # (C',) where those of each begin
    out_of: Tensor  # (M,) the new colours that each message goes to, message by message
    out_of_starts: Tensor  # (K,) where those of each begin


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
        edges, starts, owner = graph.into_nodes(nodes.first)
        messages = group_pairs(row.take(source.take(edges)), of_edge.take(edges), num_e)
        first = edges.take(messages.first)
        yield Step(
            *to_tensors(nodes.of, row.take(nodes.first), row.take(source.take(first)), of_edge.take(first)),
            *to_tensors(messages.of, starts, owner.take(messages.order), messages.starts),
        )
        row, num_rows = nodes.of, len(nodes.first)
