"""How a model is judged: the settings of the step `evaluate`, checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.evaluation.gate import GATE_FILE, Gate


@dataclass(frozen=True)
class EvaluateConfig:
    """How a model is judged.

    Attributes:
        train_run: run whose networks are judged; default: the newest finished one.
        gate: file of thresholds.
        resamples: of the bootstrap intervals.
    """

    train_run: str | None = None
    gate: str = GATE_FILE
    resamples: int = 1000

    def __post_init__(self) -> None:
        if self.resamples < 1:
            raise ConfigError(f"resamples={self.resamples}: expected a whole number of at least 1.")
        Gate.read(Path(self.gate))
