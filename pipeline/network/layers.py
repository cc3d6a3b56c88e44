"""Message passing: what is done between node and edge vectors.

Sizes: N nodes, E directed edges, G graphs, H width of every vector. An edge runs from source `edge_index[0]` to
target `edge_index[1]`, and messages are summed at the target. Counts of nodes and graphs are given, never taken
from an index: the last node may have no edge, the last graph no node.

Every layer is called `layer(h, edge_index, edge_vectors, rev_edge_index) -> (N, H)`; those in `EDGE_BLIND`
do not read the edge vectors, as in their papers.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.network.equal_rows import (
    GineLayers,
    Neighbors,
    add_relu,
    group_equal,
    group_pairs,
    names,
    refine,
    to_tensors,
)
from pipeline.network.onnx_forms import EDGE_SLOTS, Slots, add_last, add_zeros, exports, find_slots, members, sum_slots
from pipeline.network.scatter import count_to, mean_to, softmax_to, sum_to

EDGE_BLIND = frozenset({"gin", "gcn", "sage"})


def bond_messages(h: Tensor, edge_index: Tensor, rev_edge_index: Tensor, num_nodes: int) -> Tensor:
    """Sum of what flows into each edge's source, but for what comes back along the edge itself.

    Args:
        h: (E, H), vector of each directed edge.
        edge_index: (2, E) int64.
        rev_edge_index: (E,) int64, the reverse of each edge; its own inverse.

    Returns:
        (E, H), m_vw = Σ_{k∈N(v)∖w} h_kv.
    """
    messages: Tensor = _BondMessages.apply(h, edge_index[0], edge_index[1], rev_edge_index, num_nodes)  # type: ignore[no-untyped-call]
    return messages


class _BondMessages(torch.autograd.Function):
    """Its gradient is the same sum with source and target swapped, since the reverse of the reverse is the edge.

    Autograd's own would scatter where this gathers, and negate and add the parts one by one.
    """

    @staticmethod
    def forward(ctx: Any, h: Tensor, source: Tensor, target: Tensor, reverse: Tensor, num_nodes: int) -> Tensor:
        ctx.save_for_backward(source, target, reverse)
        ctx.num_nodes = num_nodes
        total = h.new_zeros((num_nodes, h.shape[1])).index_add_(0, target, h)
        return total.index_select(0, source).sub_(h.index_select(0, reverse))

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        source, target, reverse = ctx.saved_tensors
        total = gradient.new_zeros((ctx.num_nodes, gradient.shape[1])).index_add_(0, source, gradient)
        return total.index_select(0, target).sub_(gradient.index_select(0, reverse)), None, None, None, None


def take_rows(h: Tensor, row: Tensor | None) -> Tensor:
    """The vector of each row, where `h` holds the distinct ones; None leaves `h`.

    Args:
        h: (C, H) float.
        row: (K,) int64.
    """
    return h if row is None else h.index_select(0, row)


class DMPNN(nn.Module):
    """Messages along directed edges that do not turn back at once; `num_layers` hops, h⁰ being the first.

        h⁰_vw = τ(W_i x_v + e_vw)          m_vw = Σ_{k∈N(v)∖w} h_kv          h_vw = τ(h⁰_vw + W_m m_vw)
        m_v = Σ_{w∈N(v)} h_wv              h_v = τ(W_o [x_v, m_v])

    Each hop after the first has its own W_m. Undirected graphs only: the sum leaves out the reverse of the edge.

    Edges that hold equal vectors are computed once (`equal_rows`): of the rows that W_m multiplies in a
    batch of 64 molecules of 25 atoms, a fifth in the first hop and less than half in the second.

    Source: Yang et al. 2019, arXiv:1904.01561, equations 2 to 7.
    """

    def __init__(self, hidden_dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.w_i = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.w_m = nn.ModuleList(nn.Linear(hidden_dim, hidden_dim, bias=False) for _ in range(num_layers - 1))
        self.w_o = nn.Linear(2 * hidden_dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor,
        e: Tensor,
        rev_edge_index: Tensor,
        x_row: Tensor | None = None,
        e_row: Tensor | None = None,
    ) -> Tensor:
        """As every layer; with `x_row` (N,) and `e_row` (E,), `x` and `e` hold only the distinct vectors."""
        if exports("small"):
            return self._small(take_rows(x, x_row), edge_index, take_rows(e, e_row), rev_edge_index)
        if x_row is None or e_row is None:
            return self._every_edge(x, edge_index, e, rev_edge_index)
        if torch.compiler.is_exporting():
            return self._exported(x, edge_index, e, rev_edge_index, x_row, e_row)
        # Dropout tells equal edges apart; where most rows differ, as with measured numbers, there is nothing to gain.
        if 2 * len(x) < len(x_row) and not (self.training and self.dropout.p > 0):
            return self._every_color(x, edge_index, e, rev_edge_index, x_row, e_row)
        return self._every_edge(x.index_select(0, x_row), edge_index, e.index_select(0, e_row), rev_edge_index)

    def _exported(
        self, x: Tensor, edge_index: Tensor, e: Tensor, rev_edge_index: Tensor, x_row: Tensor, e_row: Tensor
    ) -> Tensor:
        """As `_every_edge`; W_i and the left half of W_o multiply distinct rows only.

        Each hop turns the edges round: row e of `n` is the message of the reverse of e, so that it takes h as it lies.
        A last edge, at a last node of its own, has the vector 0, which fills the slots without an edge.
        """
        num_nodes, num_edges = x_row.shape[0], e_row.shape[0]
        h_0 = add_zeros(self.w_i(x).index_select(0, x_row.index_select(0, edge_index[0])) + e.index_select(0, e_row))
        source, target = torch.cat([edge_index, edge_index.new_full((2, 1), num_nodes)], dim=1)
        reverse = add_last(rev_edge_index, num_edges)
        into = find_slots(target, num_nodes + 1, EDGE_SLOTS)
        out_of = Slots(reverse.take(into.table), into.more)
        turns = (h_0.index_select(0, reverse), target, into), (h_0, source, out_of)
        h = F.relu(h_0)
        for hop, w_m in enumerate(self.w_m.parameters()):
            first, node, slots = turns[hop % 2]
            n = sum_slots(h, slots).index_select(0, node) - h
            h = F.relu(torch.addmm(first, n, w_m.T))
        m = sum_slots(h, turns[len(self.w_m) % 2][2])[:num_nodes]
        from_x, from_m = self.w_o.weight.chunk(2, dim=1)
        return F.relu(torch.addmm(F.linear(x, from_x, self.w_o.bias).index_select(0, x_row), m, from_m.T))

    def _small(self, x: Tensor, edge_index: Tensor, e: Tensor, rev_edge_index: Tensor) -> Tensor:
        """As `_exported`, with products instead of slots; `n` has the other sign."""
        target = edge_index[1]
        source = target.index_select(0, rev_edge_index)  # two operators less than edge_index[0]
        into = members(target, x.shape[0])  # (N, E)
        into_source = into.index_select(0, source)  # (E, E)
        h_0 = self.w_i(x).index_select(0, source) + e
        h = F.relu(h_0)
        for w_m in self.w_m.parameters():
            n = torch.addmm(h.index_select(0, rev_edge_index), into_source, h, alpha=-1)
            h = F.relu(torch.addmm(h_0, n, w_m.T, alpha=-1))
        from_x, from_m = self.w_o.weight.chunk(2, dim=1)
        return F.relu(torch.addmm(F.linear(x, from_x, self.w_o.bias), into @ h, from_m.T))

    def _every_edge(self, x: Tensor, edge_index: Tensor, e: Tensor, rev_edge_index: Tensor) -> Tensor:
        h_0 = self.w_i(x).index_select(0, edge_index[0]) + e  # (E, H)
        h = F.relu(h_0)
        for w_m in self.w_m:
            m = bond_messages(h, edge_index, rev_edge_index, x.shape[0])
            h = self.dropout(F.relu(h_0 + w_m(m)))
        m = sum_to(h, edge_index[1], x.shape[0])  # (N, H)
        return self.dropout(F.relu(self.w_o(torch.cat([x, m], dim=1))))  # type: ignore[no-any-return]

    def _every_color(
        self, x: Tensor, edge_index: Tensor, e: Tensor, reverse: Tensor, x_row: Tensor, e_row: Tensor
    ) -> Tensor:
        graph = Neighbors(edge_index, len(x_row))
        source, of_x, of_e, back = graph.source, x_row.numpy(), e_row.numpy(), reverse.numpy()
        edges = first = group_pairs(of_x.take(source), of_e, len(e))
        pick = to_tensors(of_x.take(source.take(first.first)), of_e.take(first.first))
        h_0 = self.w_i(x).index_select(0, pick[0]) + e.index_select(0, pick[1])
        h = F.relu(h_0)  # (C, H), as is all that is called h below
        for w_m in self.w_m:
            name, total = graph.name_in(edges)
            messages = group_equal(total.take(source) - name.take(back))
            pick = to_tensors(source.take(messages.first), edges.of.take(back.take(messages.first)))
            m = graph.sum_in(h, edges).index_select(0, pick[0]) - h.index_select(0, pick[1])
            edges = group_pairs(first.of, messages.of, len(messages.first))
            pick = to_tensors(first.of.take(edges.first), messages.of.take(edges.first))
            h = add_relu(h_0, pick[0], w_m(m), pick[1])
        nodes = group_equal(graph.name_in(edges)[1] + names(len(x), "node").take(of_x))
        pick = to_tensors(nodes.first, of_x.take(nodes.first), nodes.of)
        m = graph.sum_in(h, edges).index_select(0, pick[0])
        from_x, from_m = self.w_o.weight.chunk(2, dim=1)
        out = add_relu(F.linear(x, from_x), pick[1], F.linear(m, from_m, self.w_o.bias))
        return out.index_select(0, pick[2])


class GINEConv(nn.Module):
    """h_v' = MLP((1 + ε) h_v + Σ_u relu(h_u + e_uv)); ε is learned.

    Source: Hu et al. 2020, arXiv:1905.12265, section 5.1 (PyG: GINEConv).
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(()))
        self.mlp = _two_layers(hidden_dim)

    def forward(self, h: Tensor, edge_index: Tensor, e: Tensor, rev_edge_index: Tensor) -> Tensor:
        message = F.relu(h.index_select(0, edge_index[0]) + e)
        return self.mlp((1 + self.eps) * h + sum_to(message, edge_index[1], h.shape[0]))  # type: ignore[no-any-return]


class GINConv(nn.Module):
    """h_v' = MLP((1 + ε) h_v + Σ_u h_u); ε is learned.

    Source: Xu et al. 2019, arXiv:1810.00826, equation 4.1.
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(()))
        self.mlp = _two_layers(hidden_dim)

    def forward(self, h: Tensor, edge_index: Tensor, e: Tensor, rev_edge_index: Tensor) -> Tensor:
        message = h.index_select(0, edge_index[0])
        return self.mlp((1 + self.eps) * h + sum_to(message, edge_index[1], h.shape[0]))  # type: ignore[no-any-return]


class GCNConv(nn.Module):
    """h_v' = W (h_v / d_v + Σ_u h_u / √(d_u d_v)) + b, where d counts the edges into a node and its own loop.

    A self loop of the data counts as an edge beside the loop that the layer adds.

    Source: Kipf and Welling 2017, arXiv:1609.02907, equation 2.
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, h: Tensor, edge_index: Tensor, e: Tensor, rev_edge_index: Tensor) -> Tensor:
        source, target = edge_index[0], edge_index[1]
        scale = (1 + count_to(h, target, h.shape[0])).rsqrt()  # (N, 1)
        scaled = h * scale
        total = scaled + sum_to(scaled.index_select(0, source), target, h.shape[0])
        return self.linear(total * scale)  # type: ignore[no-any-return]


class SAGEConv(nn.Module):
    """h_v' = W_self h_v + W_near mean_u h_u + b; a node without edges has a mean of zero.

    Source: Hamilton et al. 2017, arXiv:1706.02216, algorithm 1 with the mean aggregator.
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.near = nn.Linear(hidden_dim, hidden_dim)
        self.self_ = nn.Linear(hidden_dim, hidden_dim, bias=False)

    def forward(self, h: Tensor, edge_index: Tensor, e: Tensor, rev_edge_index: Tensor) -> Tensor:
        mean = mean_to(h.index_select(0, edge_index[0]), edge_index[1], h.shape[0])
        return self.near(mean) + self.self_(h)  # type: ignore[no-any-return]


class GATv2Conv(nn.Module):
    """h_v' = ‖_k Σ_u α_uv W_s h_u + b with α = softmax_u(aᵀ LeakyReLU(W_s h_u + W_t h_v + W_e e_uv)), `heads` times.

    No self loops are added: a node without edges gets b, and the network's skip connection keeps it.

    Source: Brody et al. 2022, arXiv:2105.14491, equation 7; edges as in PyG's GATv2Conv.
    """

    def __init__(self, hidden_dim: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = math.gcd(heads, hidden_dim)
        self.w_s = nn.Linear(hidden_dim, hidden_dim)
        self.w_t = nn.Linear(hidden_dim, hidden_dim)
        self.w_e = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.a = nn.Parameter(torch.empty(self.heads, hidden_dim // self.heads))
        self.bias = nn.Parameter(torch.zeros(hidden_dim))
        nn.init.xavier_uniform_(self.a)

    def forward(self, h: Tensor, edge_index: Tensor, e: Tensor, rev_edge_index: Tensor) -> Tensor:
        source, target = edge_index[0], edge_index[1]
        from_source = self.w_s(h).index_select(0, source)  # (E, H)
        mixed = F.leaky_relu(from_source + self.w_t(h).index_select(0, target) + self.w_e(e), 0.2)
        by_head = (e.shape[0], *self.a.shape)
        score = (mixed.view(by_head) * self.a).sum(dim=2)  # (E, heads)
        alpha = softmax_to(score, target, h.shape[0])
        message = (from_source.view(by_head) * alpha[:, :, None]).flatten(1)
        return sum_to(message, target, h.shape[0]) + self.bias


CONVOLUTIONS: dict[str, type[nn.Module]] = {
    "gine": GINEConv,
    "gin": GINConv,
    "gcn": GCNConv,
    "sage": SAGEConv,
    "gatv2": GATv2Conv,
}


class Stack(nn.Module):
    """`num_layers` convolutions, each as h + dropout(relu(conv(norm(h)))).

    LayerNorm, not BatchNorm: the answer for one graph must not hang on the others of its batch.
    """

    def __init__(self, network: str, hidden_dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(CONVOLUTIONS[network](hidden_dim) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_dim) for _ in range(num_layers))
        self.last_norm = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)
        self.by_color = network == "gine"

    def forward(
        self,
        h: Tensor,
        edge_index: Tensor,
        e: Tensor,
        rev_edge_index: Tensor,
        x_row: Tensor | None = None,
        e_row: Tensor | None = None,
    ) -> Tensor:
        """As every layer; with `x_row` (N,) and `e_row` (E,), `h` and `e` hold only the distinct vectors."""
        dense = torch.compiler.is_exporting() or not self.by_color or (self.training and self.dropout.p > 0)
        dense = dense or torch.is_autocast_enabled("cpu")  # a layer's gradient by hand does not mix precisions
        if not dense and x_row is not None and e_row is not None and 2 * len(h) < len(x_row):
            return self._every_color(h, edge_index, e, x_row, e_row)
        h, e = take_rows(h, x_row), take_rows(e, e_row)
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = h + self.dropout(F.relu(conv(norm(h), edge_index, e, rev_edge_index)))
        return self.last_norm(h)  # type: ignore[no-any-return]

    def _every_color(self, h: Tensor, edge_index: Tensor, e: Tensor, x_row: Tensor, e_row: Tensor) -> Tensor:
        every = refine(edge_index, x_row.numpy(), len(h), e_row.numpy(), len(e))
        steps = list(itertools.islice(every, len(self.convs)))
        weights: list[Tensor] = []
        parts: Any = zip(self.norms, self.convs, strict=True)
        for norm, conv in parts:
            first, _, second = conv.mlp
            weights += [norm.weight, norm.bias, conv.eps, first.weight, first.bias, second.weight, second.bias]
        h = GineLayers.apply(h, e, steps, *weights)  # type: ignore[no-untyped-call]  # (C, H)
        return self.last_norm(h).index_select(0, steps[-1].color)  # type: ignore[no-any-return]


def _two_layers(hidden_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim))
