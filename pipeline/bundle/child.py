"""A process that holds one bundle, and nothing of this project but the bundle's own code (bundle/answering.py).

A process holds the code of one `pipeline`, and this one has its own already; nor must a bundle see torch or the
project. So scoring takes a process, and scoring two bundles takes two.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

from pipeline.errors import PipelineError
from pipeline.machine import bare_environment
from pipeline.telemetry import SWITCHES


class Reply(NamedTuple):
    """What came back for one table.

    Attributes:
        answers: column -> its values, in the order of the rows.
        seconds: that the bundle took, without the way between the processes.
        peak_memory_bytes: largest resident memory of the process so far.
    """

    answers: dict[str, list[Any]]
    seconds: float
    peak_memory_bytes: int


class Child:
    """The process that holds a bundle; a context manager.

    Args:
        folder: the verified private copy of the bundle.

    Attributes:
        columns: of an answer, once the context is entered.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.columns: tuple[str, ...] = ()

    def __enter__(self) -> Child:
        environment = bare_environment() | SWITCHES | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
        self._log: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            # -P: the folder of the script is not searched for modules; -B: nothing is written into the bundle.
            [sys.executable, "-P", "-B", str(Path(__file__).with_name("answering.py")), str(self._folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=self._folder.parent,
            env=environment,
            encoding="utf-8",
        )
        try:
            self.columns = tuple(self._receive()["columns"])
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(timeout=30) if self._process.poll() is None else None
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._log.close()

    def ask(self, columns: Mapping[str, list[Any]]) -> Reply:
        """Let the bundle answer a table.

        Raises:
            PipelineError: if the process fails, with its reason.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(columns, allow_nan=False) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail("")
        return Reply(**self._receive())

    def _receive(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line.endswith("\n") else {"failure": ""}
        if "failure" in answer:
            self._fail(answer["failure"])
        return answer

    def _fail(self, reason: str) -> None:
        """
        Raises:
            PipelineError: always.
        """
        code = self._process.wait()
        self._log.seek(0)
        lines = [line.strip() for line in self._log.read()[-4000:].splitlines() if line.strip()]
        reason = reason or (lines[-1][:300] if lines else "no reason given")
        ended = f"was killed by signal {-code} (memory?)" if code < 0 else "failed"
        raise PipelineError(f"the process that holds the bundle {ended}: {reason}")
