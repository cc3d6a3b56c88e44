"""What network is built and how it is trained: the settings of the step `train`, checked.

In a file without torch, so that a command line can be checked, and a finished step reused, in no time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.errors import ConfigError

NETWORKS = ("dmpnn", "gine", "gin", "gcn", "sage", "gatv2")
READOUTS = ("mean", "sum", "max", "attention")


@dataclass(frozen=True)
class NetworkConfig:
    """What network is built.

    Attributes:
        network: `dmpnn` (undirected graphs only), `gine`, `gin`, `gcn`, `sage` or `gatv2`; `gin`, `gcn` and `sage`
            do not read edge features.
        hidden_dim: width H of node, edge and graph vectors.
        num_layers: steps of message passing.
        readout: node vectors to graph vector: `mean`, `sum`, `max` or `attention`.
        dropout: share of values dropped in training, after each layer and in the head.
        class_path: an own network, `package.module.Class`; then `network`, `num_layers` and `readout` are not used.
        init_args: arguments of that class, besides `hidden_dim`.
    """

    network: Literal["dmpnn", "gine", "gin", "gcn", "sage", "gatv2"] = "dmpnn"
    hidden_dim: int = 128
    num_layers: int = 4
    readout: Literal["mean", "sum", "max", "attention"] = "sum"
    dropout: float = 0.0
    class_path: str | None = field(default=None, metadata={"dotted": "model"})
    init_args: Mapping[str, Any] = field(default_factory=dict, metadata={"dotted": "model"})

    def __post_init__(self) -> None:
        _one_of("network", self.network, NETWORKS)
        _one_of("readout", self.readout, READOUTS)
        _at_least("hidden_dim", self.hidden_dim, 1)
        _at_least("num_layers", self.num_layers, 1)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout={self.dropout}: expected a share from 0 up to, not including, 1.")
        if self.class_path is not None and "." not in self.class_path:
            raise ConfigError(f"model.class_path={self.class_path}: expected package.module.Class.")
        if self.init_args and self.class_path is None:
            raise ConfigError("model.init_args needs model.class_path, the network they belong to.")


@dataclass(frozen=True)
class TrainConfig(NetworkConfig):
    """How the network is trained; the network's own settings come first.

    Attributes:
        seed: decides everything random: weights, order of graphs, dropout. Member k of an ensemble has `seed + k`.
        ensemble: networks trained one after another and answered as one.
        max_epochs: passes over the training side; the one-cycle schedule ends with the last of them.
        batch_size: graphs a step (on each device).
        learning_rate: the highest of the one-cycle schedule.
        weight_decay: AdamW's, on matrices only.
        gradient_clip: largest norm of the gradient; 0 does not clip.
        early_stopping: epochs without a better validation loss after which training ends; 0 never does.
            It cuts the schedule's annealing, where most of the accuracy comes from.
        class_weights: `balanced` counts the classes of a target alike in the loss, however rare they are; the
            answers stay probabilities, because the network takes the shift off again.
    """

    seed: int = 0
    ensemble: int = 1
    max_epochs: int = 60
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    gradient_clip: float = 1.0
    early_stopping: int = 0
    class_weights: Literal["none", "balanced"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        _one_of("class_weights", self.class_weights, ("none", "balanced"))
        for name, least in {"seed": 0, "ensemble": 1, "max_epochs": 1, "batch_size": 1, "early_stopping": 0}.items():
            _at_least(name, getattr(self, name), least)
        if self.seed + self.ensemble > 2**32:  # more is no seed to scikit-learn
            raise ConfigError(f"seed={self.seed}: expected a whole number of at most {2**32 - self.ensemble}.")
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise ConfigError(f"learning_rate={self.learning_rate}: expected a number above 0.")
        for name in ("weight_decay", "gradient_clip"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"{name}={value}: expected a number of at least 0.")

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return dataclasses.asdict(self)


def _one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name}={value}: expected one of {', '.join(choices)}.")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name}={value}: expected a whole number of at least {least}.")
