"""Servers that tests start on 127.0.0.1 and stop again: PostgreSQL (Debian's package) and MLflow, also with logins."""

from __future__ import annotations

import contextlib
import http.client
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

ADMIN, PASSWORD = "admin", "admin's pass-phrase"
"""Who sets up a server with logins; MLflow wants passwords of 12 characters or more."""


class Postgres(NamedTuple):
    """A running cluster."""

    address: str  # user@host:port

    def database(self, name: str) -> str:
        """Create an empty database; returns its SQLAlchemy URI."""
        import psycopg2

        connection = psycopg2.connect(f"postgresql://{self.address}/postgres")
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(f'CREATE DATABASE "{name}"')
        connection.close()
        # The driver is named: SQLAlchemy 2.1 takes psycopg 3 where it is not.
        return f"postgresql+psycopg2://{self.address}/{name}"


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """Start a cluster of its own, as user `postgres` when we are root; skip the test where it is not installed."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=None, key=_release)
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    pytest.importorskip("psycopg2")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    user = _owner(folder)  # PostgreSQL refuses to run as root

    def call(program: str, *words: str) -> None:
        command = [str(programs.with_name(program)), "-D", str(folder / "data"), *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, **user)
        log = folder / "log"
        assert done.returncode == 0, done.stderr + (log.read_text() if log.is_file() else "")

    try:
        port = free_port()
        settings = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off -c synchronous_commit=off"
        call("initdb", "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        call("pg_ctl", "start", "-w", "-l", str(folder / "log"), "-o", settings)
        try:
            yield Postgres(f"tester@127.0.0.1:{port}")
        finally:
            call("pg_ctl", "stop", "-m", "fast", "-w")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class MlflowServer(NamedTuple):
    """A running `mlflow server`."""

    uri: str
    artifacts: Path  # what it serves as mlflow-artifacts:/
    log: Path


@contextlib.contextmanager
def mlflow_server(
    folder: Path, *, backend_uri: str | None = None, auth: str | None = None, auth_uri: str | None = None
) -> Iterator[MlflowServer]:
    """Start `mlflow server`, which serves the artifacts too.

    Args:
        folder: where databases, artifacts and log lie.
        backend_uri: database of runs and models; default: SQLite in `folder`.
        auth: with logins, and what a user may do without a grant (`READ`, `NO_PERMISSIONS`); the administrator is
            `ADMIN` with `PASSWORD`.
        auth_uri: database of users; default: SQLite in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    backend_uri = backend_uri or f"sqlite:///{folder / 'mlflow.db'}"
    port = free_port()
    server = MlflowServer(f"http://127.0.0.1:{port}", folder / "artifacts", folder / "server.log")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--artifacts-destination", str(server.artifacts)]
    command += ["--app-name", "basic-auth", "--enable-workspaces"] if auth else []
    env = client_env() | {"MLFLOW_BACKEND_STORE_URI": backend_uri, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    if auth:
        database = auth_uri or f"sqlite:///{folder / 'users.db'}"
        (folder / "basic_auth.ini").write_text(
            f"[mlflow]\ndefault_permission = {auth}\ndatabase_uri = {database}\nadmin_username = {ADMIN}\n"
            "auth_cache_ttl_seconds = 600\n"  # to hash a password takes longer than all else
        )
        env |= server_settings(folder)
    with open(server.log, "w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _wait(port, process, server.log)
        yield server
    finally:
        _stop(process)


def server_settings(folder: Path) -> dict[str, str]:
    """What a server with logins wants in its environment."""
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key of the tests",
    }


def client_env(server: MlflowServer | None = None, user: str = "", password: str = "") -> dict[str, str]:
    """The environment of a process that talks to `server` as `user`, without any MLflow setting of ours."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    env |= {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    if server:
        env["MLFLOW_TRACKING_URI"] = server.uri
    if user:
        env |= {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
    return env


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def ask(
    uri: str, method: str, path: str, body: bytes | str | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """One HTTP request as it stands, without any client of MLflow's; returns status and body."""
    connection = http.client.HTTPConnection(urlsplit(uri).netloc, timeout=60)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(2400):
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            if ask(f"http://127.0.0.1:{port}", "GET", "/health")[0] == 200:
                return
        time.sleep(0.25)
    raise AssertionError(f"the server did not come up in ten minutes: {log.read_text()}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and those it started in the session of its own; it has 20 s to do so itself."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _owner(folder: Path) -> dict[str, str]:
    """How to start a program that must not run as root: as `postgres`, who then owns `folder`."""
    if os.geteuid() != 0:
        return {}
    user = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
    group = pwd.getpwnam(user).pw_gid
    shutil.chown(folder, user, group)
    return {"user": user, "group": group, "extra_groups": []}


def _release(path: Path) -> int:
    return int(path.parts[-3]) if path.parts[-3].isdigit() else 0
