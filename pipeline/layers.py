"""Message passing and readouts: what is done between node, edge and graph vectors.

Sizes: N nodes, E directed edges, G graphs, H width of every vector. An edge runs from source `edge_index[0]` to
target `edge_index[1]`, and messages are summed at the target. Counts of nodes and graphs are given, never taken
from an index: the last node may have no edge, the last graph no node.

Every layer is called `layer(h, edge_index, edge_vectors, rev_edge_index) -> (N, H)`; those in `EDGE_BLIND`
do not read the edge vectors, as in their papers. Every readout is called `readout(h, batch, num_graphs) -> (G, H)`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EDGE_BLIND = frozenset({"gin", "gcn", "sage"})


# --- sums and softmax over an index -----------------------------------------------------------------------------


def sum_to(h: Tensor, index: Tensor, size: int) -> Tensor:
    """Add up the rows of `h` that share an index.

    Args:
        h: (E, H) float.
        index: (E,) int64, row of the answer to which each row of `h` goes.
        size: rows of the answer.

    Returns:
        (size, H). A row that nothing goes to is zero.
    """
    zeros = h.new_zeros((size, h.shape[1]))
    if torch.compiler.is_exporting():
        # Becomes ScatterElements(add). index_add becomes ScatterND(add), which ONNX Runtime runs as a data race
        # with more than one thread.
        return zeros.scatter_add(0, _like(index, h), h)
    return zeros.index_add(0, index, h)


def mean_to(h: Tensor, index: Tensor, size: int) -> Tensor:
    """Average the rows of `h` that share an index; arguments as `sum_to`. A row that nothing goes to is zero."""
    return sum_to(h, index, size) / count_to(h, index, size).clamp(min=1)


def count_to(h: Tensor, index: Tensor, size: int) -> Tensor:
    """Count the rows that share an index, in the dtype of `h`.  # (size, 1)"""
    return sum_to(h.new_ones((index.shape[0], 1)), index, size)


def max_to(h: Tensor, index: Tensor, size: int) -> Tensor:
    """Largest value per column of the rows of `h` that share an index; arguments as `sum_to`.

    Returns:
        (size, H). A row that nothing goes to is zero; maxima may be negative.
    """
    lowest = torch.finfo(h.dtype).min
    top = h.new_full((size, h.shape[1]), lowest).scatter_reduce(0, _like(index, h), h, "amax", include_self=True)
    # Not `include_self=False`: ScatterElements(max) always takes in what is there, zeros would hide negative maxima.
    return torch.where(top == lowest, torch.zeros_like(top), top)


def softmax_to(score: Tensor, index: Tensor, size: int) -> Tensor:
    """Softmax of each column of `score` among the rows that share an index.

    Args:
        score: (E, K) float, any size of numbers.
        index: (E,) int64.
        size: number of groups.

    Returns:
        (E, K), which sums to one in each group that has rows.
    """
    top = max_to(score.detach(), index, size)
    weight = torch.exp(score - top.index_select(0, index))
    # The largest score of a group has weight 1, so no total is near zero.
    return weight / sum_to(weight, index, size).index_select(0, index)


def bond_messages(h: Tensor, edge_index: Tensor, rev_edge_index: Tensor, num_nodes: int) -> Tensor:
    """Sum of what flows into each edge's source, but for what comes back along the edge itself.

    Args:
        h: (E, H), vector of each directed edge.
        edge_index: (2, E) int64.
        rev_edge_index: (E,) int64, the reverse of each edge; its own inverse.

    Returns:
        (E, H), m_vw = Σ_{k∈N(v)∖w} h_kv.
    """
    if torch.compiler.is_exporting():
        total = sum_to(h, edge_index[1], num_nodes)
        return total.index_select(0, edge_index[0]) - h.index_select(0, rev_edge_index)
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


def _like(index: Tensor, h: Tensor) -> Tensor:
    return index[:, None].expand(-1, h.shape[1])


# --- message passing --------------------------------------------------------------------------------------------


class DMPNN(nn.Module):
    """Messages along directed edges that do not turn back at once; `num_layers` hops, h⁰ being the first.

        h⁰_vw = τ(W_i x_v + e_vw)          m_vw = Σ_{k∈N(v)∖w} h_kv          h_vw = τ(h⁰_vw + W_m m_vw)
        m_v = Σ_{w∈N(v)} h_wv              h_v = τ(W_o [x_v, m_v])

    Each hop after the first has its own W_m. Undirected graphs only: the sum leaves out the reverse of the edge.

    Source: Yang et al. 2019, arXiv:1904.01561, equations 2 to 7.
    """

    def __init__(self, hidden_dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.w_i = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.w_m = nn.ModuleList(nn.Linear(hidden_dim, hidden_dim, bias=False) for _ in range(num_layers - 1))
        self.w_o = nn.Linear(2 * hidden_dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, edge_index: Tensor, e: Tensor, rev_edge_index: Tensor) -> Tensor:
        h_0 = self.w_i(x).index_select(0, edge_index[0]) + e  # (E, H)
        h = F.relu(h_0)
        for w_m in self.w_m:
            m = bond_messages(h, edge_index, rev_edge_index, x.shape[0])
            h = self.dropout(F.relu(h_0 + w_m(m)))
        m = sum_to(h, edge_index[1], x.shape[0])  # (N, H)
        return self.dropout(F.relu(self.w_o(torch.cat([x, m], dim=1))))  # type: ignore[no-any-return]


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

    def forward(self, h: Tensor, edge_index: Tensor, e: Tensor, rev_edge_index: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = h + self.dropout(F.relu(conv(norm(h), edge_index, e, rev_edge_index)))
        return self.last_norm(h)  # type: ignore[no-any-return]


def _two_layers(hidden_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim))


# --- readouts ---------------------------------------------------------------------------------------------------


class SumReadout(nn.Module):
    """Add up the node vectors of each graph (Gilmer et al. 2017, arXiv:1704.01212, the readout R)."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()

    def forward(self, h: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return sum_to(h, batch, num_graphs)


class MeanReadout(SumReadout):
    """Average the node vectors of each graph."""

    def forward(self, h: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return mean_to(h, batch, num_graphs)


class MaxReadout(SumReadout):
    """Largest value of each column among the nodes of each graph."""

    def forward(self, h: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return max_to(h, batch, num_graphs)


class AttentionReadout(nn.Module):
    """Σ_v α_v h_v with α = softmax over the graph's nodes of a learned score.

    Source: Li et al. 2016, arXiv:1511.05493, equation 7, with softmax (PyG: AttentionalAggregation).
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden_dim, 1)

    def forward(self, h: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return sum_to(h * softmax_to(self.gate(h), batch, num_graphs), batch, num_graphs)


READOUTS: dict[str, type[nn.Module]] = {
    "mean": MeanReadout,
    "sum": SumReadout,
    "max": MaxReadout,
    "attention": AttentionReadout,
}
