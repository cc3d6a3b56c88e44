"""ui: MLflow's own pages on the runs and models of this tracking database, for this machine only.

Plain `mlflow ui` also has an assistant, which runs programs on this machine for any page of a browser that asks.
Serves until Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import ConfigError
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say


@dataclass(frozen=True)
class UiConfig:
    """`port`: where it listens, on 127.0.0.1."""

    port: int = 5000

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ConfigError(f"port={self.port}: expected a number from 1 to 65535.")


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(UiConfig, argv, prog="ui")
    import mlflow

    from pipeline.runs.server import SERVER_OPTIONS, SERVER_SETTINGS
    from pipeline.runs.tracking import open_database

    uri = mlflow.get_tracking_uri()
    if uri.startswith("http"):
        raise ConfigError(f"the tracking server has pages of its own: open {uri} in a browser.")
    open_database(say)
    place = ["--host", "127.0.0.1", "--port", str(config.port), "--workers", "2", "--backend-store-uri", uri]
    command = [sys.executable, "-m", "mlflow", "server", *place, *SERVER_OPTIONS]
    os.execve(sys.executable, command, os.environ | SERVER_SETTINGS)


if __name__ == "__main__":
    run(main)
