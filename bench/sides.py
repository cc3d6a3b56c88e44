"""The sides of bench.training that live in our environment.

python -m bench.sides dmpnn|gine|pyg FOLDER      FOLDER holds the store
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GINEConv, global_add_pool

from bench.epochs import serve, trainer_options
from pipeline.dataset.split import TRAIN
from pipeline.network.network import Encoder, GraphNetwork, build_network
from pipeline.store.loader import BatchLoader, EpochSampler
from pipeline.store.store import Store, open_store
from pipeline.training.config import TrainConfig
from pipeline.training.train import GraphDataModule, GraphModule

DMPNN = TrainConfig(network="dmpnn", hidden_dim=300, num_layers=3)
GINE = TrainConfig(network="gine", hidden_dim=128, num_layers=4)


def build_ours(store: Store, config: TrainConfig) -> GraphModule:
    torch.manual_seed(0)
    return GraphModule(build_network(config, store.schema, store.statistics), store.schema, config, 0)


def train_loader(store: Store) -> BatchLoader:
    """At most 1024 molecules an epoch, so that the slowest side takes seconds."""
    return BatchLoader(store, store.indices(TRAIN)[:1024], batch_size=64, shuffle=True, seed=0)


class Sample(GraphDataModule):
    """The product's, with the molecules of `train_loader`."""

    def train_dataloader(self) -> BatchLoader:
        return train_loader(self.store)


# --- the same network from PyG's layers -------------------------------------------------------------------------


class ColumnEmbeddings(nn.Module):
    """A table per column, summed, as in OGB's AtomEncoder."""

    def __init__(self, ours: Encoder) -> None:
        super().__init__()
        self.tables = nn.ModuleList()
        for start, size in zip(ours.offsets.tolist(), ours.sizes.tolist(), strict=True):
            rows = ours.table.detach()[ours.row_of_code[start : start + size]]  # type: ignore[index]
            self.tables.append(nn.Embedding.from_pretrained(rows.clone(), freeze=False))

    def forward(self, codes: Tensor) -> Tensor:
        return sum(table(codes[:, k]) for k, table in enumerate(self.tables))  # type: ignore[return-value]


class PygNetwork(nn.Module):
    """What `network=gine` builds, written with PyG's layers; the weights are copied."""

    def __init__(self, ours: GraphNetwork) -> None:
        super().__init__()
        parts: list[Any] = [part.module for part in ours.sequence.module]
        nodes, edges, stack = parts[:3]
        self.nodes, self.edges = ColumnEmbeddings(nodes), ColumnEmbeddings(edges)
        self.convs = nn.ModuleList()
        for conv in stack.convs:
            theirs = GINEConv(nn.Sequential(*(type(m)(128, 128) if isinstance(m, nn.Linear) else nn.ReLU() for m in conv.mlp)), train_eps=True)  # fmt: skip  # noqa: E501
            theirs.nn.load_state_dict(conv.mlp.state_dict())
            self.convs.append(theirs)
        self.norms = nn.ModuleList(nn.LayerNorm(128) for _ in range(len(self.convs) + 1))
        self.head = nn.Sequential(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 1))
        self.head[0].load_state_dict(ours.head.mlp[0].state_dict())
        self.head[2].load_state_dict(ours.head.mlp[3].state_dict())

    def forward(self, batch: Batch) -> Tensor:
        h, e = self.nodes(batch.x), self.edges(batch.edge_attr)
        for conv, norm in zip(self.convs, self.norms, strict=False):
            h = h + conv(norm(h), batch.edge_index, e).relu()
        return self.head(global_add_pool(self.norms[-1](h), batch.batch, batch.num_graphs))  # type: ignore[no-any-return]


class PygModule(L.LightningModule):  # type: ignore[misc]
    """One target; the optimizer and the schedule are ours."""

    configure_optimizers = GraphModule.configure_optimizers

    def __init__(self, network: PygNetwork, kind: str, config: TrainConfig) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.loss = nn.MSELoss() if kind == "regression" else nn.BCEWithLogitsLoss()

    def training_step(self, batch: Batch, index: int) -> Tensor:
        return self.loss(self.network(batch), batch.y)  # type: ignore[no-any-return]


class Batches:
    """Our order of graphs as a batch sampler of PyG's loader."""

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler, self.epoch = sampler, -1

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[int]]:
        self.epoch += 1
        self.sampler.set_epoch(self.epoch)
        return (ids.tolist() for ids in self.sampler)


def data_list(store: Store) -> list[Data]:
    """Every graph of the store as PyG has it; numbers to predict are standardised."""
    regression = store.schema.targets[0].kind == "regression"
    mean, std = (store.statistics["y"][name][0] if regression else float(name == "std") for name in ("mean", "std"))
    made = []
    for i in range(store.num_graphs):
        graph = store.graph(i)
        made.append(
            Data(
                x=torch.from_numpy(graph.x).long(),
                edge_index=torch.from_numpy(graph.edge_index).long(),
                edge_attr=torch.from_numpy(graph.edge_attr).long(),
                y=(torch.from_numpy(graph.y)[None] - mean) / std,
            )
        )
    return made


def pyg_loader(store: Store) -> DataLoader:
    return DataLoader(data_list(store), batch_sampler=Batches(train_loader(store).sampler))


# --- the child --------------------------------------------------------------------------------------------------


def main(which: str, folder: Path) -> None:
    store = open_store(folder)
    config = DMPNN if which == "dmpnn" else GINE
    module: L.LightningModule = build_ours(store, config)
    loader: object = Sample(store, config, 0)
    if which == "pyg":
        module, loader = PygModule(PygNetwork(module.network), store.schema.targets[0].kind, config), pyg_loader(store)
    facts = {
        "parameters": sum(p.numel() for p in module.parameters()),
        "molecules": len(train_loader(store).sampler.indices),
    }
    options = {"gradient_clip_val": config.gradient_clip, "log_every_n_steps": 1}
    serve(lambda gate: L.Trainer(**trainer_options(gate), **options).fit(module, loader), facts)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
