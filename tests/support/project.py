"""A copy of the project, used as its users use it: `mlflow run` in a shell."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.conftest import PATIENCE_S, ROOT
from tests.support.servers import environment


class Project:
    """A copy of the project in a folder of its own, with its own database."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("steps", "pipeline", "serving", "data"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("MLproject", "python_env.yaml", "requirements.txt", "pyproject.toml", "gate.yaml"):
            shutil.copy(ROOT / name, folder / name)
        self.env = environment(MLFLOW_TRACKING_URI=f"sqlite:///{folder / 'mlflow.db'}")

    def run(self, *words: str, code: int = 0) -> str:
        """`mlflow run . --env-manager local …`; returns what it printed."""
        return self.call("mlflow", "run", ".", "--env-manager", "local", *words, code=code)

    def call(self, *words: str, code: int = 0) -> str:
        done = subprocess.run(
            words,
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        text = done.stdout + done.stderr
        assert done.returncode == code, text
        assert "Traceback" not in text, text
        return text
