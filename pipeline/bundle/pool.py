"""Several processes that hold the same bundle answer tables at once; the answers come in the order of the tables."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import LifoQueue
from typing import Any, TypeVar

from pipeline.bundle.child import Child

Table = Mapping[str, list[Any]]
Answers = dict[str, list[Any]]
Kept = TypeVar("Kept")


class Children:
    """Up to `processes` processes; one is started at once, another only where a table would wait. A context manager.

    Attributes:
        columns: of an answer.
    """

    def __init__(self, folder: Path, processes: int) -> None:
        self._folder, self._processes = folder, processes
        self._stack = contextlib.ExitStack()
        # The last that came back goes first: those not yet started lie at the bottom.
        self._idle: LifoQueue[Child | None] = LifoQueue()
        self.columns: tuple[str, ...] = ()

    def __enter__(self) -> Children:
        for _ in range(self._processes - 1):
            self._idle.put(None)
        child = self._start()
        self.columns = child.columns
        self._idle.put(child)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def answer(self, tables: Iterator[tuple[Kept, Table]]) -> Iterator[tuple[Kept, Answers]]:
        """Answer tables; beside each answer stands what came with its table.

        At most two tables a process are read ahead, which bounds the memory.

        Raises:
            PipelineError: if a process fails, with its reason.
        """
        waiting: deque[tuple[Kept, Future[Answers]]] = deque()
        pool = ThreadPoolExecutor(self._processes)
        try:
            for kept, table in tables:
                waiting.append((kept, pool.submit(self._ask, table)))
                if len(waiting) >= 2 * self._processes:
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        finally:
            pool.shutdown(cancel_futures=True)

    def _ask(self, table: Table) -> Answers:
        if not any(map(len, table.values())):
            return {name: [] for name in self.columns}
        child = self._idle.get()
        try:
            child = child or self._start()
            return child.ask(table).answers
        finally:
            self._idle.put(child)  # a dead one, too: who asks it gets its reason, and nobody waits for ever

    def _start(self) -> Child:
        return self._stack.enter_context(Child(self._folder))


def _first(waiting: deque[tuple[Kept, Future[Answers]]]) -> tuple[Kept, Answers]:
    kept, answers = waiting.popleft()
    return kept, answers.result()
