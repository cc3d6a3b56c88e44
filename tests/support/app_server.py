"""The two ways in, really started on 127.0.0.1: `python -m serving.app` and plain `mlflow models serve`."""

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]


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


class Served:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.process, self.port, self.log = process, port, log

    def ask(self, method: str, path: str, body: Any = None, timeout: float = 60, **headers: str) -> Reply:
        """One request on a connection of its own; bodies that are no bytes are sent as JSON."""
        if body is not None and not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content_Type": "application/json"} | headers
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

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

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """Of a server: this interpreter first, nothing of the caller's MLflow."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return found | {"PATH": path, "OMP_NUM_THREADS": "1", "MLFLOW_DISABLE_TELEMETRY": "true"} | more


@contextlib.contextmanager
def serving_app(folder: Path, *options: str, wait: bool = True, **env: str) -> Iterator[Served]:
    """`python -m serving.app` with its log in `folder`."""
    port = free_port()
    command = [sys.executable, "-m", "serving.app", "--port", str(port), *options]
    with running(command, ROOT, environment(**env), port, folder / f"app-{port}.log", "/ready", wait) as served:
        yield served


@contextlib.contextmanager
def models_serve(bundle: Path, **env: str) -> Iterator[Served]:
    """`mlflow models serve` of a bundle."""
    port = free_port()
    words = ["mlflow", "models", "serve", "-m", str(bundle), "-p", str(port), "--env-manager", "local"]
    with running(words, bundle.parent, environment(**env), port, bundle.parent / "plain.log", "/ping", True) as served:
        yield served


@contextlib.contextmanager
def running(
    command: list[str], folder: Path, env: dict[str, str], port: int, log: Path, page: str, wait: bool
) -> Iterator[Served]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    served = Served(process, port, log)
    try:
        if wait:
            wait_until(lambda: _answers(served, page), process=process, log=log)
        yield served
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(true: Any, seconds: float = 180, process: Any = None, log: Path | None = None) -> None:
    """Wait until something holds; fails with the log when the process has ended or the time is over."""
    end = time.monotonic() + seconds
    while not true():
        over = time.monotonic() > end or (process is not None and process.poll() is not None)
        assert not over, log.read_text()[-3000:] if log else "it never held"
        time.sleep(0.1)


def _answers(served: Served, page: str) -> bool:
    try:
        return served.ask("GET", page).status == 200
    except OSError:
        return False
