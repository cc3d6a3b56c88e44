"""Servers that tests start on 127.0.0.1 and stop again: each is `running`, and answers as a `Served`."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pipeline.runs.server import SERVER_OPTIONS, SERVER_SETTINGS
from pipeline.telemetry import SWITCHES
from tests.conftest import PATIENCE_S, ROOT

ADMIN, PASSWORD = "admin", "admin's pass-phrase"
"""Who sets up a server with logins; MLflow wants passwords of 12 characters or more."""


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """Of a process beside the tests: this interpreter first, nothing of the caller's MLflow."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return found | {"PATH": path, "OMP_NUM_THREADS": "1"} | SWITCHES | more


class Reply(NamedTuple):
    """What came back; `json` refuses NaN and Infinity, which are no JSON."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        def refuse(constant: str) -> None:
            raise AssertionError(f"{constant} is no JSON")

        return json.loads(self.body, parse_constant=refuse)


def ask(
    uri: str,
    method: str,
    path: str,
    body: bytes | str | None = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = PATIENCE_S,
) -> Reply:
    """One HTTP request as it stands, on a connection of its own."""
    connection = http.client.HTTPConnection(urlsplit(uri).netloc, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


class Served:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log
        self.uri = f"http://127.0.0.1:{port}"

    def ask(self, method: str, path: str, body: Any = None, timeout: float = PATIENCE_S, **headers: str) -> Reply:
        """One request; bodies that are no bytes are sent as JSON."""
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content_Type": "application/json"} | headers
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return ask(self.uri, method, path, body, named, timeout)

    def invoke(self, body: Any, content_type: str = "application/json", **more: Any) -> Reply:
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", "/invocations", body, Content_Type=content_type, **more)

    def raw(self, data: bytes, timeout: float = 30) -> bytes:
        """Send bytes as they are; returns what came until the server closed or was silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as connection:
            connection.sendall(data)
            found = b""
            with contextlib.suppress(TimeoutError, ConnectionError):
                while part := connection.recv(65536):
                    found += part
            return found

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the log that are JSON."""
        found = []
        for line in self.log.read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.append(json.loads(line))
        return found

    def metric(self, start: str) -> float:
        """The sum of all samples whose line begins like this."""
        lines = self.ask("GET", "/metrics").body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def memory_mb(self) -> float:
        """Memory of the server and its workers that no file backs."""
        total = 0.0
        for pid in (self.process.pid, *self.workers()):
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3
        return total

    def open_files(self) -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in (self.process.pid, *self.workers()))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send the signal to the server's process alone; returns its exit code."""
        self.process.send_signal(number)
        return self.process.wait(120)


@contextlib.contextmanager
def running(
    command: list[str], folder: Path, env: Mapping[str, str], port: int, log: Path, page: str, wait: bool = True
) -> Iterator[Served]:
    """Start a server in a session of its own and end it, with all that it started, when the block is left.

    Args:
        page: the block begins once this page is answered, by whatever is no 5xx; with `wait=False` at once.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    served = Served(process, port, log)
    try:
        if wait:
            wait_until(lambda: _answers(served, page), PATIENCE_S, process, log)
        yield served
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(
    true: Callable[[], Any],
    seconds: float = 180,
    process: subprocess.Popen[bytes] | None = None,
    log: Path | None = None,
) -> None:
    """Wait until something holds; fails with the log when the process has ended or the time is over."""
    end = time.monotonic() + seconds
    while not true():
        over = time.monotonic() > end or (process is not None and process.poll() is not None)
        assert not over, log.read_text()[-3000:] if log else "it never held"
        time.sleep(0.05)


def _answers(served: Served, page: str) -> bool:
    try:
        return served.ask("GET", page).status < 500
    except OSError:
        return False


# --- the servers --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving_app(folder: Path, *options: str, wait: bool = True, cwd: Path = ROOT, **env: str) -> Iterator[Served]:
    """`python -m serving.app` with its log in `folder`."""
    port = free_port()
    command = [sys.executable, "-m", "serving.app", "--port", str(port), *options]
    with running(command, cwd, environment(**env), port, folder / f"app-{port}.log", "/ready", wait) as served:
        yield served


def refusal(options: list[str], **env: str) -> str:
    """The one line with which `python -m serving.app` ends, exit code 2."""
    command = [sys.executable, "-m", "serving.app", "--port", "0", *options]
    done = subprocess.run(command, cwd=ROOT, env=environment(**env), capture_output=True, text=True, timeout=PATIENCE_S)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
    assert done.returncode == 2, done.stderr
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


@contextlib.contextmanager
def models_serve(model: Path | str, folder: Path, **env: str) -> Iterator[Served]:
    """`mlflow models serve` of a bundle or a `models:/` address, run in `folder`."""
    port = free_port()
    words = ["mlflow", "models", "serve", "-m", str(model), "-p", str(port), "--env-manager", "local"]
    with running(words, folder, environment(**env), port, folder / f"plain-{port}.log", "/ping") as served:
        yield served


@contextlib.contextmanager
def step_server(step: str, folder: Path, env: Mapping[str, str], *words: str) -> Iterator[str]:
    """Run a step that serves until Ctrl-C; returns its address, and asserts that Ctrl-C ends it."""
    port = free_port()
    command = [sys.executable, "-m", f"steps.{step}", "--port", str(port), *words]
    env = {**env, "PYTHONPATH": str(ROOT)}
    with running(command, folder, env, port, folder / f"{step}-{port}.log", "/") as served:
        assert f":{port}" in served.log.read_text()  # it says where it is
        yield served.uri
        served.stop(signal.SIGINT)


class MlflowServer(NamedTuple):
    """A running `mlflow server`."""

    uri: str
    artifacts: Path  # what it serves as mlflow-artifacts:/
    log: Path

    def client_env(self, user: str = "", password: str = "") -> dict[str, str]:
        """The environment of a process that talks to it as `user`."""
        login = {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password} if user else {}
        return environment(MLFLOW_TRACKING_URI=self.uri, **login)


@contextlib.contextmanager
def mlflow_server(
    folder: Path,
    *,
    port: int | None = None,
    backend_uri: str | None = None,
    auth: str | None = None,
    auth_uri: str | None = None,
    options: Sequence[str] = SERVER_OPTIONS,
) -> Iterator[MlflowServer]:
    """Start `mlflow server`, which serves the artifacts too.

    Args:
        folder: where databases, artifacts and log lie.
        port: default: a free one.
        backend_uri: database of runs and models; default: SQLite in `folder`.
        auth: with logins, and what a user may do without a grant (`READ`, `NO_PERMISSIONS`); the administrator is
            `ADMIN` with `PASSWORD`.
        auth_uri: database of users; default: SQLite in `folder`.
        options: what keeps the assistant away; none: the server as MLflow starts it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    server = MlflowServer(f"http://127.0.0.1:{port}", folder / "artifacts", folder / "server.log")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += [*options, "--artifacts-destination", str(server.artifacts)]
    command += ["--app-name", "basic-auth", "--enable-workspaces"] if auth else []
    backend_uri = backend_uri or f"sqlite:///{folder / 'mlflow.db'}"
    env = environment(**SERVER_SETTINGS, MLFLOW_BACKEND_STORE_URI=backend_uri)
    if auth:
        database = auth_uri or f"sqlite:///{folder / 'users.db'}"
        (folder / "basic_auth.ini").write_text(
            f"[mlflow]\ndefault_permission = {auth}\ndatabase_uri = {database}\nadmin_username = {ADMIN}\n"
            "auth_cache_ttl_seconds = 600\n"  # to hash a password takes longer than all else
        )
        env |= server_settings(folder)
    with running(command, folder, env, port, server.log, "/health"):
        yield server


def server_settings(folder: Path) -> dict[str, str]:
    """What a server with logins wants in its environment."""
    return {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key of the tests",
    }
