"""A schema of everything, small networks of it, and the ONNX file of two: for the tests of export and parity."""

import dataclasses

import numpy as np
import onnx
import torch

from pipeline.bundle import export
from pipeline.bundle.export import build_program, export_onnx, random_graph
from pipeline.graph import collate
from pipeline.network.config import NetworkConfig
from pipeline.network.forms.form import SMALL_EDGES
from pipeline.network.forms.sums import NODE_SLOTS
from pipeline.network.network import build_network
from pipeline.schema import Column, Schema, Target

SCHEMA = Schema(
    name="toy",
    data_kind="molecule",
    targets=(
        Target("size", "regression", unit="m"),
        Target("potency", "regression", unit="nM", transform="p"),
        Target("active", "binary", classes=("no", "yes")),
        Target("colour", "multiclass", classes=("red", "green", "blue")),
    ),
    node_columns=(Column("symbol", "categorical", ("C", "N", "O")), Column("charge", "numeric")),
    edge_columns=(Column("order", "categorical", ("1", "2")),),
    graph_columns=(Column("temperature", "numeric"),),
)
GRAPHS = dataclasses.replace(SCHEMA, data_kind="graph")
FORMS = ("small", "large")
STATISTICS = {
    "x_float": {"mean": [0.5], "std": [2.0]},
    "edge_float": {"mean": [], "std": []},
    "u": {"mean": [0.0], "std": [1.0]},
    "y": {"mean": [1.0, 6.0, 0.0, 0.0], "std": [3.0, 2.0, 1.0, 1.0]},
}
SCALE = np.array([3.0, 2.0, 1, 1, 1, 1])


def networks(count, **config):
    torch.manual_seed(0)
    config = {"hidden_dim": 8, "num_layers": 1, "readout": "max"} | config
    return [build_network(NetworkConfig(**config), SCHEMA, STATISTICS) for _ in range(count)]


def some_graphs(count=20, schema=SCHEMA):
    rng = np.random.default_rng(0)
    return [random_graph(schema, int(n), int(n) + 1, rng) for n in rng.integers(1, 9, count)]


class Exported:
    """Two small networks, their ONNX file, and the torch graphs behind it: exporting takes seconds."""

    def __init__(self, folder, monkeypatch):
        self.programs = {}
        monkeypatch.setattr(export, "build_program", self._build)
        self.networks = networks(2)
        self.path = folder / "model.onnx"
        export_onnx(self.networks, SCHEMA, self.path, {"run": "17"})

    def _build(self, ensemble, schema, form):
        self.programs[form] = build_program(ensemble, schema, form)
        return self.programs[form]

    def sabotage(self, folder, harm, forms=FORMS):
        """A copy of the file after `harm(model, graph)` of the graph of each form."""
        model = onnx.load(self.path)
        for form in forms:
            harm(model, graph_of(model, form))
        onnx.save(model, folder / "sabotaged.onnx")
        return folder / "sabotaged.onnx"


def graph_of(model, form):
    """The graph of a form inside a model."""
    if form == "only":
        return model.graph
    choice = next(node for node in model.graph.node if node.op_type == "If")
    branch = {"small": "then_branch", "large": "else_branch"}[form]
    return next(one.g for one in choice.attribute if one.name == branch)


def all_sizes():
    """Graphs without loops, of up to `SMALL_EDGES` edges and a few more, among them hubs and nodes without an edge."""
    rng = np.random.default_rng(0)
    sizes = [(n, m) for n in (2, 5, 13, NODE_SLOTS + 1, 40) for m in (0, 1, n, SMALL_EDGES // 2, SMALL_EDGES // 2 + 1)]
    graphs = [random_graph(SCHEMA, n, m, rng) for n, m in sizes]
    for graph in graphs:
        source, target = graph.edge_index
        target[source == target] = (source[source == target] + 1) % graph.num_nodes
        graph.edge_index[:, 1::2] = graph.edge_index[::-1, ::2]
    return graphs


def alone_and_together(session, graphs):
    """The answers to each graph alone, in the small form where it is small, and to all of them in one batch."""
    together = session.run(collate(graphs))["prediction"]
    alone = np.concatenate([session.run(collate([graph]))["prediction"] for graph in graphs])
    return alone, together
