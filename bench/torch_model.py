"""The peer of bench/servers.py: the default network served as one would write it with torch and PyG.

MLflow runs this file when it loads the model. One `Data` a molecule from RDKit, as PyG's `from_smiles` makes it (with
our categories, so that both sides can be compared), `Batch.from_data_list`, the network in eager mode, one table out.
`context.artifacts["network.pt"]` holds the columns' categories and the weights, see `bench.servers.plain_weights`.
"""

from __future__ import annotations

from typing import Any

import mlflow
import pandas as pd
import torch
from mlflow.pyfunc import PythonModel, PythonModelContext
from rdkit import Chem
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Batch, Data
from torch_geometric.nn import global_add_pool
from torch_geometric.utils import scatter


class Network(nn.Module):
    """D-MPNN: a table a category column, messages along edges without their reverse, sum, two layers."""

    def __init__(self, sizes: dict[str, list[int]], hidden_dim: int, num_layers: int) -> None:
        super().__init__()
        self.node_tables = nn.ModuleList(nn.Embedding(size, hidden_dim) for size in sizes["nodes"])
        self.edge_tables = nn.ModuleList(nn.Embedding(size, hidden_dim) for size in sizes["edges"])
        self.node_bias, self.edge_bias = (nn.Parameter(torch.zeros(hidden_dim)) for _ in range(2))
        self.w_i = nn.Linear(hidden_dim, hidden_dim, bias=False)
        self.w_m = nn.ModuleList(nn.Linear(hidden_dim, hidden_dim, bias=False) for _ in range(num_layers - 1))
        self.w_o = nn.Linear(2 * hidden_dim, hidden_dim)
        self.mlp = nn.Sequential(nn.Linear(hidden_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, 1))
        self.y_mean, self.y_std = (nn.Parameter(torch.zeros(1)) for _ in range(2))

    def forward(self, data: Batch) -> Tensor:
        x = self.node_bias + sum(table(data.x[:, k]) for k, table in enumerate(self.node_tables))
        e = self.edge_bias + sum(table(data.edge_attr[:, k]) for k, table in enumerate(self.edge_tables))
        source, target = data.edge_index
        h_0 = self.w_i(x)[source] + e
        h = F.relu(h_0)
        reverse = torch.arange(len(h)) ^ 1
        for w_m in self.w_m:
            m = scatter(h, target, dim_size=len(x), reduce="sum")[source] - h[reverse]
            h = F.relu(h_0 + w_m(m))
        m = scatter(h, target, dim_size=len(x), reduce="sum")
        h = F.relu(self.w_o(torch.cat([x, m], dim=1)))
        return self.mlp(global_add_pool(h, data.batch, data.num_graphs)) * self.y_std + self.y_mean


class TorchModel(PythonModel):
    """Answers `smiles` with `logS`."""

    def load_context(self, context: PythonModelContext) -> None:
        saved = torch.load(context.artifacts["network.pt"], weights_only=True)
        self.codes = {
            name: {label: k + 1 for k, label in enumerate(labels)} for name, labels in saved["labels"].items()
        }
        self.target = saved["target"]
        self.network = Network(**saved["settings"])
        self.network.load_state_dict(saved["weights"])
        self.network.eval()

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        batch = Batch.from_data_list([self.from_smiles(smiles) for smiles in model_input["smiles"]])
        with torch.inference_mode():
            answer = self.network(batch)
        return pd.DataFrame({self.target: answer[:, 0].numpy()})

    def from_smiles(self, smiles: str) -> Data:
        codes = self.codes
        mol = Chem.MolFromSmiles(smiles)
        xs = []
        for atom in mol.GetAtoms():
            ring = mol.GetRingInfo().MinAtomRingSize(atom.GetIdx())
            charge = atom.GetFormalCharge()
            xs.append(
                [
                    codes["element"].get(atom.GetSymbol(), 0),
                    codes["degree"].get(str(atom.GetTotalDegree()), 0),
                    codes["charge"].get(f"{charge:+d}" if charge else "0", 0),
                    codes["chirality"].get(atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else "none", 0),
                    codes["hydrogens"].get(str(atom.GetTotalNumHs()), 0),
                    codes["hybridization"].get(str(atom.GetHybridization()), 0),
                    codes["aromatic"]["yes" if atom.GetIsAromatic() else "no"],
                    codes["ring"]["none" if ring == 0 else str(ring) if ring <= 8 else "larger"],
                ]
            )
        ends, edges = [], []
        for bond in mol.GetBonds():
            i, j = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            ends += [[i, j], [j, i]]
            edges += 2 * [
                [
                    codes["bond"].get(str(bond.GetBondType()), 0),
                    codes["conjugated"]["yes" if bond.GetIsConjugated() else "no"],
                    codes["in_ring"]["yes" if bond.IsInRing() else "no"],
                    codes["stereo"].get(str(bond.GetStereo()).removeprefix("STEREO"), 0),
                ]
            ]
        return Data(
            x=torch.tensor(xs, dtype=torch.long).view(-1, 8),
            edge_index=torch.tensor(ends, dtype=torch.long).t().contiguous().view(2, -1),
            edge_attr=torch.tensor(edges, dtype=torch.long).view(-1, 4),
            smiles=smiles,
        )


mlflow.models.set_model(TorchModel())
