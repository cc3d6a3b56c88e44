"""The network: from a batch of graphs, as ONNX takes it, to answers.

    x, x_float ──────────► nodes ─┐
    edge_attr, edge_float ► edges ┴► messages ► readout ┐
    u ────────────────────► features ───────────────────┴► head ► prediction (trained scale)

Whatever depends on the training data (means, standard deviations, which categories are known) is a buffer inside,
so that the ONNX file takes raw codes and numbers and answers in original units.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import ConfigError, TrainingError
from pipeline.graph import GraphBatch
from pipeline.network.config import NetworkConfig
from pipeline.network.encoder import Encoder, Standardize
from pipeline.network.forest import Forest
from pipeline.network.forms.table import compute
from pipeline.network.readouts import READOUTS
from pipeline.network.registry import NETWORKS
from pipeline.schema import Schema

INPUTS: tuple[str, ...] = GraphBatch._fields
"""Names of the network's inputs, in order."""

Statistics = Mapping[str, Mapping[str, Sequence[float]]]
"""Mean and standard deviation of `x_float`, `edge_float`, `u` and `y` over the training split."""

_FARTHEST = 4.0  # standard deviations; descriptors have long tails, and an odd molecule must not rule the answer


class Readout(nn.Module):
    """Node vectors to graph vectors; the number of graphs is the first dimension of `u`."""

    def __init__(self, readout: str, hidden_dim: int) -> None:
        super().__init__()
        self.readout = READOUTS[readout](hidden_dim)

    def forward(self, h: Tensor, batch: Tensor, u: Tensor) -> Tensor:
        return self.readout(h, batch, u.shape[0])  # type: ignore[no-any-return]


class OwnNetwork(nn.Module):
    """Holds a user's network and checks its answer.

    Its contract: an `nn.Module` class, built as `Class(hidden_dim=H, **init_args)`, with
    `forward(x, edge_index, edge_attr, batch, num_graphs) -> (num_graphs, H)`, where x (N, H) and edge_attr (E, H)
    are embedded vectors, edge_index (2, E), batch (N,) the graph of each node. PyG layers fit.
    """

    def __init__(self, own: nn.Module, class_path: str) -> None:
        super().__init__()
        self.own = own
        self.class_path = class_path

    def forward(self, x: Tensor, edge_index: Tensor, e: Tensor, batch: Tensor, u: Tensor) -> Tensor:
        graph = self.own(x, edge_index, e, batch, u.shape[0])
        if not torch.compiler.is_exporting():
            shape = tuple(graph.shape) if isinstance(graph, Tensor) else type(graph).__name__
            if shape != (len(u), x.shape[1]):
                raise TrainingError(
                    f"{self.class_path}: forward answered {shape}, expected one vector a graph, {(len(u), x.shape[1])}."
                )
        return graph  # type: ignore[no-any-return]


class GraphFeatures(nn.Module):
    """Graph features to a vector of their own: raw, a hundred descriptors drown in the graph vector or drown it.

    Descriptors overlap, so dropout takes some of them away as a forest does with its columns; a wide layer is then
    worth it. Without that, the same layer overfits (README, `descriptors=true`). The user's own are always there.
    """

    def __init__(self, schema: Schema, statistics: Statistics, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.width = 4 * hidden_dim
        self.num_own = len(schema.graph_columns)
        self.num_read = self.num_own + len(schema.descriptor_columns)  # what is behind is for the forest
        self.numbers = Standardize({name: values[: self.num_read] for name, values in statistics["u"].items()})
        self.drop = nn.Dropout(dropout)
        self.mlp = nn.Sequential(nn.Linear(self.num_read, self.width), nn.ReLU(), nn.Dropout(dropout))

    def forward(self, u: Tensor) -> Tensor:
        values = self.numbers(u if u.shape[1] == self.num_read else u[:, : self.num_read])
        own, descriptors = values[:, : self.num_own], values[:, self.num_own :]
        descriptors = self.drop(descriptors.clamp(-_FARTHEST, _FARTHEST))
        return self.mlp(torch.cat([own, descriptors], dim=1))  # type: ignore[no-any-return]


class Head(nn.Module):
    """Graph vector and graph features to the prediction on the trained scale.

    Inside, regression is in units of the training standard deviation, and a class weight shifts its logit: a loss
    that counts a class w times learns a logit that is log w too high, and taking it off makes it a probability again.
    """

    y_mean: Tensor
    y_std: Tensor
    class_weight: Tensor

    def __init__(self, hidden_dim: int, dropout: float, schema: Schema, statistics: Statistics) -> None:
        super().__init__()
        self.features = GraphFeatures(schema, statistics, hidden_dim, dropout) if schema.u_columns else None
        width = hidden_dim + (self.features.width if self.features is not None else 0)
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden_dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden_dim, schema.output_dim)
        )
        mean, std = torch.zeros(schema.output_dim), torch.ones(schema.output_dim)
        for t, (target, columns) in enumerate(zip(schema.targets, schema.slices, strict=True)):
            if not target.task.has_classes:
                mean[columns], std[columns] = statistics["y"]["mean"][t], statistics["y"]["std"][t]
        self.register_buffer("y_mean", mean)
        self.register_buffer("y_std", std)
        self.register_buffer("class_weight", torch.ones(schema.output_dim))

    def forward(self, graph: Tensor, u: Tensor) -> Tensor:
        # Scale and shift go into the last weights: two operators less for each batch that is served.
        last: Any = self.mlp[-1]
        weight = last.weight * self.y_std[:, None]
        bias = last.bias * self.y_std + self.y_mean - self.class_weight.log()
        return F.linear(self._hidden(graph, u), weight, bias)

    def inner(self, graph: Tensor, u: Tensor) -> Tensor:
        """What the loss compares: standardised values, logits before the class weights' shift.  # (G, O)"""
        return self.mlp[-1](self._hidden(graph, u))  # type: ignore[no-any-return]

    def _hidden(self, graph: Tensor, u: Tensor) -> Tensor:
        if self.features is not None:
            graph = torch.cat([graph, self.features(u)], dim=1)
        parts: list[Any] = list(self.mlp)
        for part in parts[:-1]:
            graph = part(graph)
        return graph


class GraphNetwork(nn.Module):
    """A batch of graphs to predictions on the trained scale (class targets: logits).

    Attributes:
        sequence: the parts in order; called with a TensorDict, all that they compute, in the plain form.
        forest: trees whose answers an `Ensemble` mixes into those of this network, which is trained without them.
    """

    def __init__(self, modules: Sequence[TensorDictModule], head: Head) -> None:
        super().__init__()
        self.sequence = TensorDictSequential(*modules, TensorDictModule(head, ["graph", "u"], ["prediction"]))
        self.head = head
        self.forest: Forest | None = None

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Predict from the fields of a `GraphBatch`.  # (G, O)"""
        return self.head(self._graph_vectors(batch), batch["u"])  # type: ignore[no-any-return]

    def inner(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Predict what the loss compares, see `Head.inner`.  # (G, O)"""
        return self.head.inner(self._graph_vectors(batch), batch["u"])

    def _graph_vectors(self, batch: Mapping[str, Tensor]) -> Tensor:
        # As TensorDictSequential does it, with a plain dictionary: a TensorDict takes 0.2 ms, 2 % of a small step.
        values: dict[str, Any] = {name: batch[name] for name in INPUTS}
        for part in list(self.sequence.module)[:-1]:
            values[part.out_keys[0]] = compute(part.module, *(values[name] for name in part.in_keys))
        return values["graph"]  # type: ignore[no-any-return]


def build_network(config: NetworkConfig, schema: Schema, statistics: Statistics) -> GraphNetwork:
    """Build a network with fresh weights from torch's global random state.

    Raises:
        ConfigError: if the network cannot work on these graphs, or an own network cannot be built.
    """
    width = config.hidden_dim
    nodes, edges = (
        TensorDictModule(Encoder(columns, statistics[numbers], width), [codes, numbers], [vectors])
        for columns, codes, numbers, vectors in (
            (schema.node_columns, "x", "x_float", "nodes"),
            (schema.edge_columns, "edge_attr", "edge_float", "edges"),
        )
    )
    if config.class_path is not None:
        own = OwnNetwork(_build_own(config), config.class_path)
        modules = [nodes, edges, TensorDictModule(own, ["nodes", "edge_index", "edges", "batch", "u"], ["graph"])]
    else:
        spec = NETWORKS[config.network]
        refusal = spec.refuse(schema)
        if refusal is not None:
            raise ConfigError(f"network={config.network} {refusal}")
        layers = spec.build(width, config.num_layers, config.dropout)
        modules = [
            nodes,
            *([edges] if "edges" in spec.reads else []),  # no weights that never get a gradient: DDP refuses them
            TensorDictModule(layers, list(spec.reads), ["h"]),
            TensorDictModule(Readout(config.readout, width), ["h", "batch", "u"], ["graph"]),
        ]
    return GraphNetwork(modules, Head(width, config.dropout, schema, statistics))


def import_class(class_path: str) -> Any:
    """Import `package.module.Class`.

    Raises:
        ConfigError: if there is no such class.
    """
    module, _, name = class_path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"class_path={class_path}: cannot import it ({error}). Expected package.module.Class."
        ) from None


def _build_own(config: NetworkConfig) -> nn.Module:
    built = import_class(str(config.class_path))
    if not (isinstance(built, type) and issubclass(built, nn.Module)):
        raise ConfigError(f"model.class_path={config.class_path}: expected a class of torch.nn.Module.")
    try:
        return built(hidden_dim=config.hidden_dim, **config.init_args)
    except TypeError as error:
        raise ConfigError(
            f"model.class_path={config.class_path}: cannot be built with hidden_dim and "
            f"{sorted(config.init_args) or 'no init_args'} ({error})."
        ) from None
