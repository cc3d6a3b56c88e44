"""The plugin of MLflow: plain `mlflow run` several times at once as the first use of a database."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import contextmanager

import mlflow
import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store
from mlflow.utils.file_utils import path_to_local_sqlite_uri

from plugin.graphline_plugin import open_store
from tests.conftest import PATIENCE_S, ROOT
from tests.support.postgres import postgres
from tests.support.project import Project


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
        texts = [process.communicate(timeout=PATIENCE_S)[0] for process in started]
        assert [process.returncode for process in started] == [0, 0, 0], "\n".join(texts)
        runs = mlflow.MlflowClient(uri).search_runs(["0"])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3


def test_the_store_is_mlflows_own(tmp_path, monkeypatch):
    """MLflow finds the plugin, so `make` installed it, and it adds nothing but a lock."""
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{tmp_path / 'a.db'}"
    made = mlflow.MlflowClient(uri)._tracking_client.store
    assert type(made) is type(_get_sqlalchemy_store(uri, None))
    assert (tmp_path / "a.db.tables.lock").is_file()


def test_a_database_in_memory_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert open_store("sqlite:///:memory:", None).search_experiments()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("folder", ["a b", "a#b", "100% sure", "über"])
def test_a_quoted_name_is_one_file_for_mlflow_and_the_plugin(tmp_path, folder):
    """So MLflow quotes its default, `mlflow.db` in the working folder."""
    file = tmp_path / folder / "mlflow.db"
    uri = path_to_local_sqlite_uri(str(file))
    assert open_store(uri, None).search_experiments()
    assert sorted(path.name for path in tmp_path.iterdir()) == [folder]
    assert sorted(path.name for path in file.parent.iterdir()) == ["mlflow.db", "mlflow.db.tables.lock"]


VERIFY = [sys.executable, "-m", "steps.verify"]
KILLED = """
import os, sys
from alembic.ddl.impl import DefaultImpl
from plugin.graphline_plugin import open_store

DefaultImpl.drop_table = lambda *arguments, **options: os._exit(9)  # between a new table and the old one's end
open_store(sys.argv[1], None)
"""


def test_a_first_use_that_was_killed_leaves_no_half_of_the_tables(tmp_path):
    """MLflow alone ends for ever with "table _alembic_tmp_… already exists"."""
    uri = f"sqlite:///{tmp_path / 'a.db'}"
    assert subprocess.run([sys.executable, "-c", KILLED, uri], cwd=ROOT, capture_output=True).returncode == 9
    assert not (tmp_path / "a.db").exists()
    assert open_store(uri, None).search_experiments()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "a.db.tables.lock"]


def test_a_file_that_cannot_be_opened_is_refused_in_one_line(tmp_path):
    """MLflow alone shows a traceback of a hundred lines."""
    file = tmp_path / "mlflow.db"
    file.write_text("no database\n" * 100, encoding="utf-8")
    env = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{file}"}
    for command, code in ((["mlflow", "run", str(ROOT), "--env-manager", "local", "-e", "verify"], 1), (VERIFY, 2)):
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        assert done.returncode == code
        assert [line for line in done.stderr.splitlines() if "mlflow.db: cannot be opened" in line]
        assert "Traceback" not in done.stdout + done.stderr
    assert file.read_text(encoding="utf-8").startswith("no database")


def test_tables_of_another_version_are_refused_with_the_command_that_upgrades_them(tmp_path):
    file = tmp_path / "mlflow.db"
    uri = f"sqlite:///{file}"
    open_store(uri, None)
    with sqlite3.connect(file) as database:
        database.execute("UPDATE alembic_version SET version_num = 'older'")
    with pytest.raises(MlflowException, match=f"'mlflow db upgrade {uri}'"):
        open_store(uri, None)
