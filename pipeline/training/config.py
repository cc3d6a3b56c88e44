"""How a network is trained: the settings of the step `train`, checked. No torch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.errors import ConfigError
from pipeline.network.config import NetworkConfig, at_least, one_of


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
        one_of("class_weights", self.class_weights, ("none", "balanced"))
        for name, least in {"seed": 0, "ensemble": 1, "max_epochs": 1, "batch_size": 1, "early_stopping": 0}.items():
            at_least(name, getattr(self, name), least)
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
