"""The plugin of MLflow: plain `mlflow run` several times at once as the first use of a database."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager

import mlflow
import pytest
from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

from plugin.graphline_plugin import open_store
from tests.servers import postgres
from tests.test_end_to_end import Project


@contextmanager
def sqlite(tmp_path):
    yield f"sqlite:///{tmp_path / 'ein Ordner' / 'mlflow.db'}"


@contextmanager
def postgresql(tmp_path):
    with postgres() as cluster:
        yield cluster.database("first")


@pytest.mark.mlflow
@pytest.mark.parametrize("database", [sqlite, postgresql])
def test_first_use_by_several_mlflow_runs_at_once(tmp_path, database):
    """Without the plugin this fails nearly every time: "duplicate column name" before any step starts."""
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    with database(tmp_path) as uri:
        env = project.env | {"MLFLOW_TRACKING_URI": uri}
        command = ["mlflow", "run", ".", "--env-manager", "local", "-e", "verify"]
        started = [
            subprocess.Popen(
                command, cwd=project.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            for _ in range(3)
        ]
        texts = [process.communicate(timeout=300)[0] for process in started]
        assert [process.returncode for process in started] == [0, 0, 0], "\n".join(texts)
        runs = mlflow.MlflowClient(uri).search_runs(["0"])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3


def test_the_store_is_mlflows_own(tmp_path, monkeypatch):
    """MLflow finds the plugin, so `make` installed it, and nothing but the lock is new."""
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'a.db'}"
    made = mlflow.MlflowClient(uri)._tracking_client.store
    assert type(made) is type(_get_sqlalchemy_store(uri, None))
    assert (tmp_path / "a.db.tables.lock").is_file()


def test_a_database_in_memory_has_no_lock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store("sqlite:///:memory:", None).search_experiments()
    assert not list(tmp_path.glob("*.lock"))
