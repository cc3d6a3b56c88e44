"""A schema of every kind of column and target, graphs of it, and networks asked as the trainer asks them."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.graph import Graph, collate
from pipeline.network.config import NetworkConfig
from pipeline.network.ensemble import Ensemble
from pipeline.network.network import build_network
from pipeline.schema import Column, Schema, Target

SCHEMA = Schema(
    name="toy",
    data_kind="graph",
    targets=(
        Target("size", "regression"),
        Target("active", "binary", classes=("no", "yes")),
        Target("colour", "multiclass", classes=("red", "green", "blue")),
        Target("potency", "regression", transform="p", unit="nM"),
    ),
    # N was seen once in training and is read as unknown
    node_columns=(
        Column("symbol", "categorical", ("C", "N", "O"), (9, 1, 4)),
        Column("ring", "categorical", ("no", "yes"), (9, 5)),
        Column("charge", "numeric"),
    ),
    edge_columns=(Column("order", "categorical", ("1", "2"), (9, 9)), Column("length", "numeric")),
    graph_columns=(Column("pH", "numeric"),),
)
STATISTICS = {
    "x_float": {"mean": [0.5], "std": [2.0]},
    "edge_float": {"mean": [1.0], "std": [0.25]},
    "u": {"mean": [7.0], "std": [3.0]},
    "y": {"mean": [10.0, 0.5, 1.0, 6.0], "std": [4.0, 0.5, 0.8, 1.5]},
}


def graph(num_nodes: int, num_bonds: int, seed: int = 0) -> Graph:
    rng = np.random.default_rng((seed, num_nodes, num_bonds))
    bond = rng.integers(0, num_nodes, size=(num_bonds, 2))
    return Graph(
        x=rng.integers(0, 3, size=(num_nodes, 2)).astype(np.int32),
        x_float=rng.normal(size=(num_nodes, 1)).astype(np.float32),
        edge_index=np.stack([bond, bond[:, ::-1]], axis=1).reshape(-1, 2).T.astype(np.int32),
        edge_attr=np.repeat(rng.integers(0, 3, size=(num_bonds, 1)), 2, axis=0).astype(np.int32),
        edge_float=np.repeat(rng.normal(size=(num_bonds, 1)), 2, axis=0).astype(np.float32),
        u=rng.normal(7, 1, size=1).astype(np.float32),
        y=np.zeros(4, dtype=np.float32),
    )


def fields(batch):
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in batch._asdict().items()}


def answer(module, graphs, directed=False):
    module.eval()
    batch = fields(collate(graphs, directed=directed))
    with torch.no_grad():
        return module(*batch.values()) if isinstance(module, Ensemble) else module(batch)


SMALL = NetworkConfig("dmpnn", 8, 2, "mean")


def network(config: NetworkConfig = SMALL, schema: Schema = SCHEMA):
    torch.manual_seed(3)
    built = build_network(config, schema, STATISTICS)
    for parameter in built.parameters():  # also the biases and ε, which start at zero
        if parameter.ndim < 2:
            parameter.data.normal_(0, 0.3)
    return built


GRAPHS = [graph(5, 6), graph(1, 0), graph(3, 2), graph(0, 0), graph(7, 12), graph(0, 0)]
