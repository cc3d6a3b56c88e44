"""Fixed seeds for every test, and no MLflow store but one in the test's own folder."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest

from pipeline.telemetry import SWITCHES

if TYPE_CHECKING:
    from tests.support.exported import Exported

os.environ.update(SWITCHES)

# How long an example takes says more of the machine than of the code, and the first one often imports.
hypothesis.settings.register_profile("graphline", deadline=None)
hypothesis.settings.load_profile("graphline")

ROOT = Path(__file__).parent.parent
PATIENCE_S = 600  # how long a test waits for another process: a busy machine takes its time


@pytest.fixture(autouse=True)
def seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    if "torch" in __import__("sys").modules:
        import torch

        torch.manual_seed(0)


@pytest.fixture(scope="module")  # a new database costs seconds
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A fresh MLflow database and artifact folder for one file of tests; the working directory moves there."""
    import mlflow

    folder = tmp_path_factory.mktemp("tracking")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("MLFLOW_REGISTRY_URI", uri)  # MLflow sets it itself and never takes it away
        patch.delenv("MLFLOW_RUN_ID", raising=False)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        yield uri
        while mlflow.active_run():
            mlflow.end_run()
        mlflow.set_tracking_uri(None)
        mlflow.set_registry_uri(None)


@pytest.fixture(scope="module")  # exporting takes seconds
def exported(tmp_path_factory: pytest.TempPathFactory) -> "Exported":
    from tests.support.exported import Exported

    with pytest.MonkeyPatch.context() as monkeypatch:  # later exports make a program of their own
        return Exported(tmp_path_factory.mktemp("export"), monkeypatch)
