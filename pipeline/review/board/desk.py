"""Who sits at the board: a person, and a process of that person's own that speaks to MLflow with that person's login.

MLflow takes a login from the environment of its process. Several reviewers use one board, so each gets a process:
nothing that one of them asks can travel under the name of another.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, Thread
from typing import Any, TypeVar

from pipeline.errors import RegistryError
from pipeline.evaluation.gate import GATE_FILE
from pipeline.runs.person import Person

T = TypeVar("T")

MAX_DESKS = 16  # processes of about 300 MB; who comes back later waits seconds for a new one


@dataclass(frozen=True)
class Settings:
    """How the board was started.

    Attributes:
        name: model that is shown when the address names none; None: the first there is.
        gate: file of thresholds that candidates are held against.
    """

    name: str | None = None
    gate: Path = Path(GATE_FILE)


@dataclass(frozen=True)
class Seat:
    """A reviewer.

    Attributes:
        login: user and password for the tracking server; None where it has no login, or the board's own is used.
        proxied: a proxy says who it is, and the tracking server sees the board's own login.
    """

    person: Person
    login: tuple[str, str] | None = field(default=None, repr=False)
    proxied: bool = False


class Desk:
    """A person's place at the board; safe to use from several threads."""

    def __init__(self, seat: Seat, settings: Settings) -> None:
        self.person = seat.person
        self.proxied = seat.proxied
        self.settings = settings
        self._login = seat.login
        self._lock = Lock()
        self._pool = self._start()

    def ask(self, function: Callable[..., T], *args: Any) -> T:
        """Call an importable function in the person's process.

        Raises:
            PipelineError: what the function raises.
            RegistryError: if the process ended under it.
        """
        with self._lock:
            pool = self._pool
        try:
            return pool.submit(function, *args).result()
        except BrokenProcessPool:
            with self._lock:
                if self._pool is pool:
                    self._pool = self._start()
            raise RegistryError(
                "the process that asks the tracking server ended. Load the page again: the decisions below it say "
                "what was done."
            ) from None

    def close(self) -> None:
        """End the process when it has finished what it was asked."""
        self._pool.shutdown(wait=False)

    def _start(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(1, spawn, initializer=_sit_down, initargs=(self._login,))
        pool.submit(_warm_up)  # while the browser still loads the page
        return pool


class Desks:
    """The desks of all who came, the longest unused cleared first."""

    def __init__(self, settings: Settings, limit: int = MAX_DESKS) -> None:
        self.settings = settings
        self.limit = limit
        self._lock = Lock()
        self._desks: OrderedDict[Seat, Desk] = OrderedDict()

    def of(self, seat: Seat) -> Desk:
        with self._lock:
            desk = self._desks.pop(seat, None) or Desk(seat, self.settings)
            self._desks[seat] = desk
            if len(self._desks) > self.limit:
                self._desks.popitem(last=False)[1].close()
            return desk

    def close(self) -> None:
        with self._lock:
            while self._desks:
                self._desks.popitem()[1].close()


def _sit_down(login: tuple[str, str] | None) -> None:
    """Give this process one login and no other, and leave Ctrl-C to the board."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    Thread(target=_leave_with_the_board, daemon=True).start()
    if login is not None:
        for name in ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH", "MLFLOW_TRACKING_AWS_SIGV4"):
            os.environ.pop(name, None)
        os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"] = login


def _leave_with_the_board() -> None:
    """A board that is killed takes its desks, and the passwords in them, along."""
    board = multiprocessing.parent_process()
    if board:
        board.join()
        os._exit(0)


def _warm_up() -> None:
    import warnings

    warnings.filterwarnings("ignore")  # of other people's packages
    import pipeline.review.board.facts
    import pipeline.review.board.page  # noqa: F401
