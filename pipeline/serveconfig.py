"""How a bundle answers: limits of a request, threads, waiting; MLflow's `model_config` of the bundle."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class ServeConfig:
    """Settable when a bundle is loaded: `load_model(uri, model_config={"max_rows": 5})`.

    Attributes:
        max_rows, max_bytes: of one request; bytes of the columns that the model reads.
        threads: how many batches the network computes at the same time, one thread each; 0: one a usable core.
        wait_ms: how long a batch waits for the rows of other clients, when there are some. 0 joins only what waits
            for a free thread anyway.
    """

    max_rows: int = 100_000
    max_bytes: int = 32 * 2**20
    threads: int = 0
    wait_ms: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("max_rows", 1), ("max_bytes", 1), ("threads", 0), ("wait_ms", 0)):
            value = getattr(self, name)
            kind = float | int if name == "wait_ms" else int
            if not isinstance(value, kind) or isinstance(value, bool) or not least <= value < math.inf:
                raise ConfigError(f"model_config {name}={value!r}: expected a number of at least {least}.")
