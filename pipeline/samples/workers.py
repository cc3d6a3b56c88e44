"""Processes that share the work on the rows of a file; what they make comes in the order of the rows."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain, pairwise
from multiprocessing import get_context, parent_process
from typing import TypeVar

Kept = TypeVar("Kept")
Given = TypeVar("Given")
Made = TypeVar("Made")


class Workers:
    """This process, and others that take work from it.

    The others start at the first work for several of them, or earlier by `start`; leaving the block ends them.

    Args:
        processes: this one and the others; 0 is all cores this process may use.
    """

    def __init__(self, processes: int) -> None:
        from pipeline.machine import usable_cores

        self.others = (processes or usable_cores()) - 1
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def start(self) -> None:
        """Let the other processes start while this one goes on."""
        if self.others and self._pool is None:
            self._pool = ProcessPoolExecutor(self.others, get_context("spawn"), _begin)
            for _ in range(self.others):
                self._pool.submit(int)  # a process starts when there is something to do

    def in_order(
        self, work: Callable[[list[Given]], Made], chunks: Iterator[tuple[Kept, list[Given]]], unit_rows: int
    ) -> Iterator[tuple[Kept, list[Made]]]:
        """Do the work of each chunk, and yield what was made of its units beside what was kept.

        Where there are several chunks, they are cut into units for all processes; this one works on those that the
        others have no need of yet.
        """
        waiting: deque[tuple[Kept, list[Future[Made]]]] = deque()
        away: list[Future[Made]] = []
        end: tuple[None, ...] = (None,)
        for chunk, after in pairwise(chain(chunks, end)):
            assert chunk is not None
            kept, given = chunk
            if after is not None:
                self.start()
            if self._pool is None:
                yield kept, [work(given)]
                continue
            units: list[Future[Made]] = []
            rows = unit_rows if after is not None else unit_rows // 4  # so that all end at the same time
            for start in range(0, len(given), rows):
                unit = given[start : start + rows]
                away = [future for future in away if not future.done()]
                if len(away) < 2 * self.others:  # each has one to work on and one at hand
                    units.append(self._pool.submit(work, unit))
                    away.append(units[-1])
                else:
                    units.append(Future())
                    units[-1].set_result(work(unit))
            waiting.append((kept, units))
            # bounds memory: where a unit takes long, no more chunks wait than are soon needed
            while waiting and (len(waiting) > 2 * (self.others + 1) or all(unit.done() for unit in waiting[0][1])):
                done, units = waiting.popleft()
                yield done, [unit.result() for unit in units]
        for done, units in waiting:
            yield done, [unit.result() for unit in units]


def _begin() -> None:
    """In a new process: leave Ctrl-C to the step (each would print where it met it), and end when the step ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    step = parent_process()
    assert step is not None

    def follow() -> None:
        step.join()
        os._exit(1)  # the queue of a pool waits for ever for a process that was killed

    threading.Thread(target=follow, daemon=True).start()
