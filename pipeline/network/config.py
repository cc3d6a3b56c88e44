"""What network is built: its settings, checked.

No torch: a command line is checked, and a finished step reused, at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from pipeline.errors import ConfigError

NetworkName = Literal["dmpnn", "gine", "gin", "gcn", "sage", "gatv2"]  # those of `registry.NETWORKS`
ReadoutName = Literal["mean", "sum", "max", "attention"]  # those of `readouts.READOUTS`


@dataclass(frozen=True)
class NetworkConfig:
    """What network is built.

    Attributes:
        network: message passing; `dmpnn` is for undirected graphs only, `gin`, `gcn` and `sage` do not read edge
            features.
        hidden_dim: width H of node, edge and graph vectors.
        num_layers: steps of message passing.
        readout: node vectors to graph vector: `mean`, `sum`, `max` or `attention`.
        dropout: share of values dropped in training, after each layer and in the head.
        class_path: an own network, `package.module.Class`; then `network`, `num_layers` and `readout` are not used.
        init_args: arguments of that class, besides `hidden_dim`.
    """

    network: NetworkName = "dmpnn"
    hidden_dim: int = 128
    num_layers: int = 4
    readout: ReadoutName = "sum"
    dropout: float = 0.0
    class_path: str | None = field(default=None, metadata={"dotted": "model"})
    init_args: Mapping[str, Any] = field(default_factory=dict, metadata={"dotted": "model"})

    def __post_init__(self) -> None:
        one_of("network", self.network, get_args(NetworkName))
        one_of("readout", self.readout, get_args(ReadoutName))
        at_least("hidden_dim", self.hidden_dim, 1)
        at_least("num_layers", self.num_layers, 1)
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout={self.dropout}: expected a share from 0 up to, not including, 1.")
        if self.class_path is not None and "." not in self.class_path:
            raise ConfigError(f"model.class_path={self.class_path}: expected package.module.Class.")
        if self.init_args and self.class_path is None:
            raise ConfigError("model.init_args needs model.class_path, the network they belong to.")


def one_of(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name}={value}: expected one of {', '.join(choices)}.")


def at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ConfigError(f"{name}={value}: expected a whole number of at least {least}.")
