"""A network of one's own: `mlflow run . -P model.class_path=tests.examples.own_network.OwnNetwork`."""

from torch import Tensor, nn
from torch_geometric.nn import GINEConv, global_mean_pool


class OwnNetwork(nn.Module):
    """Embedded nodes x (N, H) and edges edge_attr (E, H) in, one vector a graph (num_graphs, H) out."""

    def __init__(self, hidden_dim: int, depth: int = 2) -> None:
        super().__init__()
        self.convs = nn.ModuleList(GINEConv(nn.Linear(hidden_dim, hidden_dim)) for _ in range(depth))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        for conv in self.convs:
            x = x + conv(x, edge_index, edge_attr).relu()
        return global_mean_pool(x, batch, num_graphs)
