"""ui: MLflow's pages for this machine only, without its assistant."""

from __future__ import annotations

import sys

import pytest

from pipeline.errors import ConfigError
from pipeline.runs.server import SERVER_OPTIONS
from steps import ui


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_is_one(port):
    with pytest.raises(ConfigError, match=f"ui: port={port}: expected a number from 1 to 65535"):
        ui.main([f"--port={port}"])


def test_a_server_has_pages_of_its_own(monkeypatch):
    monkeypatch.setattr("mlflow.get_tracking_uri", lambda: "http://server:5000")
    with pytest.raises(ConfigError, match="open http://server:5000 in a browser"):
        ui.main([])


def test_it_becomes_a_server_of_this_database_on_this_machine(tracking, monkeypatch):
    started = []
    monkeypatch.setattr("os.execve", lambda *program: started.append(program))
    ui.main(["--port=5055"])
    ((program, command, env),) = started
    assert program == sys.executable
    pairs = dict(zip(command[4::2], command[5::2], strict=True))
    assert (pairs["--host"], pairs["--port"], pairs["--backend-store-uri"]) == ("127.0.0.1", "5055", tracking)
    assert pairs[SERVER_OPTIONS[0]] == SERVER_OPTIONS[1]
    assert env["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
