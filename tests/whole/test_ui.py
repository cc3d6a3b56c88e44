"""MLflow's assistant, which runs programs on the server's machine: `ui` has none, `grant` refuses a server with one."""

from __future__ import annotations

import os
import subprocess
import sys

import mlflow
import pytest

from tests.conftest import ROOT
from tests.support.attacks import FROM_ELSEWHERE, assistant_pages
from tests.support.logins import NAME, Scene
from tests.support.servers import ask, environment, mlflow_server, step_server

pytestmark = pytest.mark.mlflow
JSON = {"Content-Type": "application/json"}
CONFIG = "/ajax-api/3.0/mlflow/assistant/config"


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home of the test's own: there the assistant keeps its settings."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_ui_shows_the_runs_of_this_database_and_has_no_assistant(tmp_path, home):
    uri = f"sqlite:///{tmp_path / 'own.db'}"
    mlflow.MlflowClient(uri).create_experiment("seen")
    with step_server("ui", tmp_path, environment(MLFLOW_TRACKING_URI=uri)) as server:
        assert b"seen" in ask(server, "GET", "/api/2.0/mlflow/experiments/search?max_results=9").body
        for method, path in assistant_pages():
            for headers in ({}, *FROM_ELSEWHERE):
                assert ask(server, method, path, "{}", JSON | headers).status in (403, 404), (method, path, headers)
    assert not list(home.rglob("*assistant*"))


def test_grant_refuses_a_server_with_the_assistant(tmp_path, home):
    with mlflow_server(tmp_path / "server", auth="READ", options=()) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", server.uri)
        mlflow.set_tracking_uri(server.uri)
        scene = Scene(server, tmp_path, patch)
        try:
            assert scene.http("admin", "PUT", CONFIG, {})[0] == 200  # so it is on
            said = scene.grant(name=NAME, authors="ada")
        finally:
            mlflow.set_tracking_uri(None)
    assert (said.code, said.error.count("\n")) == (2, 1)
    assert "has MLflow's assistant" in said.error
    assert "--gunicorn-opts '--threads 8'" in said.error


def test_ui_says_where_the_pages_of_a_server_are():
    env = dict(os.environ) | {"MLFLOW_TRACKING_URI": "http://127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-m", "steps.ui"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 2
    assert "open http://127.0.0.1:1 in a browser" in done.stderr
