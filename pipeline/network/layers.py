"""Message passing: what is done between node and edge vectors.

Sizes: N nodes, E directed edges, G graphs, H width of every vector. An edge runs from source `edge_index[0]` to
target `edge_index[1]`, and messages are summed at the target. Counts of nodes and graphs are given, never taken
from an index: the last node may have no edge, the last graph no node.

Each is called with what it reads (`registry`) of node vectors (N, H), edge_index (2, E), edge vectors (E, H) and
rev_edge_index (E,), and answers (N, H). Each is written as in its paper; `forms` holds ways to the same answer that are
quicker.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.network.scatter import count_to, mean_to, softmax_to, sum_to


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
        source, target = edge_index[0], edge_index[1]
        h_0 = self.w_i(x).index_select(0, source) + e  # (E, H)
        h = F.relu(h_0)
        for w_m in self.w_m:
            into = sum_to(h, target, x.shape[0])  # (N, H)
            m = into.index_select(0, source) - h.index_select(0, rev_edge_index)
            h = self.dropout(F.relu(h_0 + w_m(m)))
        m = sum_to(h, target, x.shape[0])
        return self.dropout(F.relu(self.w_o(torch.cat([x, m], dim=1))))  # type: ignore[no-any-return]


class GINEConv(nn.Module):
    """h_v' = MLP((1 + ε) h_v + Σ_u relu(h_u + e_uv)); ε is learned.

    Source: Hu et al. 2020, arXiv:1905.12265, section 5.1 (PyG: GINEConv).
    """

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.eps = nn.Parameter(torch.zeros(()))
        self.mlp = _two_layers(hidden_dim)

    def forward(self, h: Tensor, edge_index: Tensor, e: Tensor) -> Tensor:
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

    def forward(self, h: Tensor, edge_index: Tensor) -> Tensor:
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

    def forward(self, h: Tensor, edge_index: Tensor) -> Tensor:
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

    def forward(self, h: Tensor, edge_index: Tensor) -> Tensor:
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

    def forward(self, h: Tensor, edge_index: Tensor, e: Tensor) -> Tensor:
        source, target = edge_index[0], edge_index[1]
        from_source = self.w_s(h).index_select(0, source)  # (E, H)
        mixed = F.leaky_relu(from_source + self.w_t(h).index_select(0, target) + self.w_e(e), 0.2)
        by_head = (e.shape[0], *self.a.shape)
        score = (mixed.view(by_head) * self.a).sum(dim=2)  # (E, heads)
        alpha = softmax_to(score, target, h.shape[0])
        message = (from_source.view(by_head) * alpha[:, :, None]).flatten(1)
        return sum_to(message, target, h.shape[0]) + self.bias


class Stack(nn.Module):
    """`num_layers` convolutions, each as h + dropout(relu(conv(norm(h), …))).

    LayerNorm, not BatchNorm: the answer for one graph must not hang on the others of its batch.
    """

    def __init__(self, build: Callable[[int], nn.Module], hidden_dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(build(hidden_dim) for _ in range(num_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(hidden_dim) for _ in range(num_layers))
        self.last_norm = nn.LayerNorm(hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, *edges: Tensor) -> Tensor:
        """As each of the convolutions, which read the same edges."""
        for conv, norm in zip(self.convs, self.norms, strict=True):
            h = h + self.dropout(F.relu(conv(norm(h), *edges)))
        return self.last_norm(h)  # type: ignore[no-any-return]


def _two_layers(hidden_dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, hidden_dim))
