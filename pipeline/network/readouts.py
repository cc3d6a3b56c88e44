"""Readouts: node vectors to graph vectors.

Every readout is called `readout(h, batch, num_graphs) -> (G, H)`, with h (N, H) and batch (N,), ascending, the graph of
each node.
"""

from __future__ import annotations

from torch import Tensor, nn

from pipeline.network.scatter import max_to, mean_to, softmax_to, sum_to


class SumReadout(nn.Module):
    """Add up the node vectors of each graph (Gilmer et al. 2017, arXiv:1704.01212, the readout R)."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()

    def forward(self, h: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return sum_to(h, batch, num_graphs, by_graph=True)


class MeanReadout(SumReadout):
    """Average the node vectors of each graph."""

    def forward(self, h: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        return mean_to(h, batch, num_graphs, by_graph=True)


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
        alpha = softmax_to(self.gate(h), batch, num_graphs, by_graph=True)
        return sum_to(h * alpha, batch, num_graphs, by_graph=True)


READOUTS: dict[str, type[nn.Module]] = {
    "mean": MeanReadout,
    "sum": SumReadout,
    "max": MaxReadout,
    "attention": AttentionReadout,
}
