"""`network=dmpnn` in its quick forms: equal rows computed once, by a table of slots, and by products."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.network.forms.equal_rows import (
    Neighbors,
    Rows,
    group_equal,
    group_pairs,
    names,
    pays,
    to_tensors,
)
from pipeline.network.forms.operators import members
from pipeline.network.forms.sums import EDGE_SLOTS, Slots, add_last, add_zeros, find_slots, sum_slots
from pipeline.network.layers import DMPNN


def equal_rows(layers: DMPNN, x: Rows, edge_index: Tensor, e: Rows, rev_edge_index: Tensor) -> Tensor | None:
    """As `DMPNN`, each kind of edge computed once; None where that does not pay.

    Of the rows that W_m multiplies in a batch of 64 molecules of 25 atoms, a fifth is left in the first hop and less
    than half in the second.
    """
    if x.row is None or e.row is None or not pays(layers.dropout, x, e):
        return None
    graph = Neighbors(edge_index, x.num_rows)
    source, of_x, of_e, back = graph.source, x.row.numpy(), e.row.numpy(), rev_edge_index.numpy()
    edges = first = group_pairs(of_x.take(source), of_e, len(e.vectors))
    pick = to_tensors(of_x.take(source.take(first.first)), of_e.take(first.first))
    h_0 = layers.w_i(x.vectors).index_select(0, pick[0]) + e.vectors.index_select(0, pick[1])
    h = F.relu(h_0)  # (C, H), as is all that is called h below
    for w_m in layers.w_m:
        name, total = graph.name_in(edges)
        messages = group_equal(total.take(source) - name.take(back))
        pick = to_tensors(source.take(messages.first), edges.of.take(back.take(messages.first)))
        m = graph.sum_in(h, edges).index_select(0, pick[0]) - h.index_select(0, pick[1])
        edges = group_pairs(first.of, messages.of, len(messages.first))
        pick = to_tensors(first.of.take(edges.first), messages.of.take(edges.first))
        h = F.relu(h_0.index_select(0, pick[0]) + w_m(m).index_select(0, pick[1]))
    nodes = group_equal(graph.name_in(edges)[1] + names(len(x.vectors), "node").take(of_x))
    pick = to_tensors(nodes.first, of_x.take(nodes.first), nodes.of)
    m = graph.sum_in(h, edges).index_select(0, pick[0])
    from_x, from_m = layers.w_o.weight.chunk(2, dim=1)
    out = F.relu(F.linear(x.vectors, from_x).index_select(0, pick[1]) + F.linear(m, from_m, layers.w_o.bias))
    return out.index_select(0, pick[2])


def in_slots(layers: DMPNN, x: Rows, edge_index: Tensor, e: Rows, rev_edge_index: Tensor) -> Tensor:
    """As `DMPNN`, its sums by one table of slots; W_i and the left half of W_o multiply distinct rows only.

    Each hop turns the edges round: row e of `n` is the message of the reverse of e, so that it takes h as it lies.
    A last edge, at a last node of its own, has the vector 0, which fills the slots without an edge.
    """
    num_nodes, num_edges = x.num_rows, edge_index.shape[1]
    h_0 = add_zeros(Rows(layers.w_i(x.vectors), x.row).at(edge_index[0]) + e.each())
    source, target = torch.cat([edge_index, edge_index.new_full((2, 1), num_nodes)], dim=1)
    reverse = add_last(rev_edge_index, num_edges)
    into = find_slots(target, num_nodes + 1, EDGE_SLOTS)
    out_of = Slots(reverse.take(into.table), into.more)
    turns = (h_0.index_select(0, reverse), target, into), (h_0, source, out_of)
    h = F.relu(h_0)
    for hop, w_m in enumerate(layers.w_m.parameters()):
        first, node, slots = turns[hop % 2]
        n = sum_slots(h, slots).index_select(0, node) - h
        h = F.relu(torch.addmm(first, n, w_m.T))
    m = sum_slots(h, turns[len(layers.w_m) % 2][2])[:num_nodes]
    from_x, from_m = layers.w_o.weight.chunk(2, dim=1)
    return F.relu(torch.addmm(Rows(F.linear(x.vectors, from_x, layers.w_o.bias), x.row).each(), m, from_m.T))


def in_products(layers: DMPNN, x: Rows, edge_index: Tensor, e: Rows, rev_edge_index: Tensor) -> Tensor:
    """As `in_slots`, with products instead of slots, and every row computed; `n` has the other sign."""
    target = edge_index[1]
    source = target.index_select(0, rev_edge_index)  # two operators less than edge_index[0]
    nodes = x.each()
    into = members(target, nodes.shape[0])  # (N, E)
    into_source = into.index_select(0, source)  # (E, E)
    h_0 = layers.w_i(nodes).index_select(0, source) + e.each()
    h = F.relu(h_0)
    for w_m in layers.w_m.parameters():
        n = torch.addmm(h.index_select(0, rev_edge_index), into_source, h, alpha=-1)
        h = F.relu(torch.addmm(h_0, n, w_m.T, alpha=-1))
    from_x, from_m = layers.w_o.weight.chunk(2, dim=1)
    return F.relu(torch.addmm(F.linear(nodes, from_x, layers.w_o.bias), into @ h, from_m.T))
