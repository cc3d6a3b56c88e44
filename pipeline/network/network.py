"""The network: from a batch of graphs, as ONNX takes it, to answers.

    x, x_float ──────────► nodes ─┐
    edge_attr, edge_float ► edges ┴► messages ► readout ┐
    u ────────────────────► features ───────────────────┴► head ► prediction (trained scale)

Whatever depends on the training data (means, standard deviations, which categories are known) is a buffer inside,
so that the ONNX file takes raw codes and numbers and answers in original units.
"""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tensordict.nn import TensorDictModule, TensorDictSequential
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import ConfigError, TrainingError
from pipeline.graph import GraphBatch
from pipeline.network.config import NetworkConfig
from pipeline.network.equal_rows import group_rows, to_tensors
from pipeline.network.forest import Forest
from pipeline.network.layers import DMPNN, EDGE_BLIND, Stack, take_rows
from pipeline.network.onnx_forms import can_key, embed, embed_distinct, exports, few_kinds
from pipeline.network.readouts import READOUTS
from pipeline.schema import Column, Schema

INPUTS: tuple[str, ...] = GraphBatch._fields
"""Names of the network's inputs, in order."""

Statistics = Mapping[str, Mapping[str, Sequence[float]]]
"""Mean and standard deviation of `x_float`, `edge_float`, `u` and `y` over the training split."""

_FARTHEST = 4.0  # standard deviations; descriptors have long tails, and an odd molecule must not rule the answer
_MULTI_HOT_CODES = 512  # up to here a multi-hot matmul is quicker than embedding_bag and its gradient (0.8 : 1.3 ms)


class Encoder(nn.Module):
    """Categories and numbers of nodes or edges to vectors: a table per category column, a linear map of the numbers.

    Codes outside a column, and categories that training hardly saw (`Column.known`), are read as code 0.
    """

    offsets: Tensor
    sizes: Tensor
    row_of_code: Tensor

    def __init__(self, columns: Sequence[Column], statistics: Mapping[str, Sequence[float]], hidden_dim: int) -> None:
        super().__init__()
        categorical = [column for column in columns if column.kind == "categorical"]
        # Only categories that are told apart have a row of their own, after the column's row for "unknown".
        rows: list[int] = []
        for column in categorical:
            unknown = max(rows, default=-1) + 1
            own = itertools.count(unknown + 1)
            rows += [next(own) if known else unknown for known in column.known]
        sizes = [column.num_codes for column in categorical]
        offsets = [sum(sizes[:k]) for k in range(len(sizes))]
        self.rows = [rows[start : start + size] for start, size in zip(offsets, sizes, strict=True)]
        self.register_buffer("sizes", torch.tensor(sizes, dtype=torch.int64))
        self.register_buffer("offsets", torch.tensor(offsets, dtype=torch.int64))
        self.register_buffer("row_of_code", torch.tensor(rows, dtype=torch.int64))
        # The columns are summed: scaled down so that the sum starts with the variance of one.
        scale = 1 / math.sqrt(max(len(columns), 1))
        self.table = nn.Parameter(torch.randn(max(rows) + 1, hidden_dim) * scale) if rows else None
        self.numbers = Standardize(statistics)
        width = len(columns) - len(categorical)
        self.linear = nn.Linear(width, hidden_dim, bias=False) if width else None
        self.bias = nn.Parameter(torch.zeros(hidden_dim))

    def forward(self, codes: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode each distinct row once.

        Args:
            codes: (N, F) int64, any value.
            numbers: (N, R), raw, NaN is missing.

        Returns:
            (C, H) vectors of the distinct rows, and (N,) the one of each row. On a GPU, which multiplies faster than
            it sorts, all N vectors in order; in an export also where there are numbers. In the small form None
            stands for that order.
        """
        is_worth = few_kinds if exports("small") else can_key
        if torch.compiler.is_exporting() and self.table is not None and self.linear is None and is_worth(self.rows):
            return embed_distinct(codes, self.table, self.bias, self.rows)
        if exports("small"):
            return self._encode(codes, numbers), None
        if torch.compiler.is_exporting() or codes.device.type != "cpu":
            return self._encode(codes, numbers), torch.arange(codes.shape[0], device=codes.device)
        rows = group_rows(codes, numbers)
        first, of = to_tensors(rows.first, rows.of)
        return self._encode(codes.index_select(0, first), numbers.index_select(0, first)), of

    def _encode(self, codes: Tensor, numbers: Tensor) -> Tensor:
        if self.table is None:
            h = self.bias.expand(codes.shape[0], -1)
        elif torch.compiler.is_exporting():
            h = embed(codes, self.table, self.bias, self.rows)
        elif len(self.table) > _MULTI_HOT_CODES:
            h = self.bias + F.embedding_bag(self._rows(codes), self.table, mode="sum")
        else:
            rows = self._rows(codes)
            multi_hot = self.table.new_zeros(len(rows), len(self.table)).scatter_(1, rows, 1.0)
            h = torch.addmm(self.bias, multi_hot, self.table)
        if self.linear is not None:
            h = h + self.linear(self.numbers(numbers))
        return h

    def _rows(self, codes: Tensor) -> Tensor:
        """The row of the table of each code.  # (N, F)"""
        inside = (codes >= 0) & (codes < self.sizes)
        return self.row_of_code[torch.where(inside, codes, 0) + self.offsets]


class Standardize(nn.Module):
    """Numbers to mean 0 and standard deviation 1 of the training split; a missing one is the mean."""

    mean: Tensor
    std: Tensor

    def __init__(self, statistics: Mapping[str, Sequence[float]]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(list(statistics["mean"]), dtype=torch.float32))
        self.register_buffer("std", torch.tensor(list(statistics["std"]), dtype=torch.float32))

    def forward(self, values: Tensor) -> Tensor:
        return torch.where(torch.isnan(values), 0.0, (values - self.mean) / self.std)


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

    def forward(
        self,
        x: Tensor,
        x_row: Tensor | None,
        edge_index: Tensor,
        e: Tensor,
        e_row: Tensor | None,
        batch: Tensor,
        u: Tensor,
    ) -> Tensor:
        x, e = take_rows(x, x_row), take_rows(e, e_row)
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
        values = {name: batch[name] for name in INPUTS}
        for part in list(self.sequence.module)[:-1]:
            found = part.module(*(values[name] for name in part.in_keys))
            values.update(zip(part.out_keys, found if isinstance(found, tuple) else (found,), strict=True))
        return values["graph"]


def build_network(config: NetworkConfig, schema: Schema, statistics: Statistics) -> GraphNetwork:
    """Build a network with fresh weights from torch's global random state.

    Raises:
        ConfigError: if the network cannot work on these graphs, or an own network cannot be built.
    """
    if config.class_path is None and config.network == "dmpnn" and schema.directed:
        raise ConfigError(
            "network=dmpnn needs undirected graphs: its messages leave out the reverse edge. Pass network=gine."
        )
    width = config.hidden_dim
    nodes = Encoder(schema.node_columns, statistics["x_float"], width)
    edges = TensorDictModule(
        Encoder(schema.edge_columns, statistics["edge_float"], width), ["edge_attr", "edge_float"], ["e", "e_row"]
    )
    modules = [TensorDictModule(nodes, ["x", "x_float"], ["nodes", "x_row"])]
    if config.class_path is not None:
        own = OwnNetwork(_build_own(config), config.class_path)
        keys = ["nodes", "x_row", "edge_index", "e", "e_row", "batch", "u"]
        modules += [edges, TensorDictModule(own, keys, ["graph"])]
    else:
        blind = config.network in EDGE_BLIND
        messages: nn.Module = (
            DMPNN(width, config.num_layers, config.dropout)
            if config.network == "dmpnn"
            else Stack(config.network, width, config.num_layers, config.dropout)
        )
        keys = ["nodes", "edge_index", *(["nodes"] if blind else ["e"]), "rev_edge_index", "x_row"]
        modules += [] if blind else [edges]  # no weights that never get a gradient: DDP refuses them
        modules += [
            TensorDictModule(messages, keys if blind else [*keys, "e_row"], ["h"]),
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
