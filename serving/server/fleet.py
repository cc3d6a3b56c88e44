"""The workers of one bundle, the queue before them, and the change to the workers of another bundle.

    request ─► queue (bounded) ─► a free place in a worker of the current release ─► answer

The server's process holds no bundle's code: each worker is a process of its own (serving/server/engine.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import BundleError
from pipeline.imports import ROOT
from pipeline.machine import bare_environment
from pipeline.telemetry import SWITCHES
from serving.server.frames import pack_frame, read_frame
from serving.server.limits import Limits
from serving.server.refusal import RequestError

log = logging.getLogger("serving")


@dataclass(frozen=True)
class ServedBundle:
    """A verified bundle and what it is called.

    Attributes:
        folder: private copy, from which workers load.
        version: number in the registry; "" for a bundle of a folder.
        check: compares the bytes of `folder` again; raises BundleError.
    """

    name: str
    version: str
    digest: str
    folder: Path
    check: Callable[[], None]
    close: Callable[[], None]


class Job:
    """One request on its way."""

    def __init__(self, head: dict[str, Any], body: bytes) -> None:
        self.head, self.body = head, body
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.queued = self.sent = time.monotonic()
        self.worker: Worker | None = None
        self.alone = False  # it was in a worker that died, and shares none any more


@dataclass(frozen=True)
class Answer:
    """What a worker said, and which release it is of."""

    status: int
    body: bytes
    rows: int
    errors: dict[str, int]
    batches: list[tuple[int, int]]  # graphs and requests of each run of the network since the last answer
    release: ServedBundle


class Worker:
    """The server's side of one process."""

    def __init__(self, release: ServedBundle, limits: Limits) -> None:
        self.release, self.limits = release, limits
        self.jobs: dict[int, Job] = {}
        self.ready: dict[str, Any] = {}

    @property
    def load(self) -> tuple[int, int]:
        """Bytes and number of the requests it has."""
        return sum(len(job.body) for job in self.jobs.values()), len(self.jobs)

    async def start(self) -> None:
        """Start the process and wait until it has loaded the bundle and answered its example.

        Raises:
            BundleError: if it cannot.
        """
        await asyncio.to_thread(self.release.check)
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-B", "-m", "serving.server.engine"),
                *(str(theirs.fileno()), str(self.release.folder), str(self.limits.worker_bytes)),
                cwd=ROOT,
                env=_environment(),
                pass_fds=[theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=2,  # the server's own output is its log
            )
        self.reader, self.writer = await asyncio.open_connection(sock=ours)
        try:
            self.ready = await self._hear()
        except BaseException:
            self.kill()
            await self.stop()
            raise

    async def _hear(self) -> dict[str, Any]:
        """The worker's first words."""
        try:
            async with asyncio.timeout(self.limits.start_s):
                head, _ = await read_frame(self.reader)
        except (EOFError, TimeoutError):
            head = {"failure": "the worker ended or hung while it loaded the bundle"}
        if "failure" in head:
            raise BundleError(f"{self.release.name}: no worker can load the bundle ({head['failure']}).")
        return dict(head["ready"])

    def takes(self, job: Job) -> bool:
        """Whether there is a place for a request; one that must be alone shares no worker."""
        if job.alone:
            return not self.jobs
        return len(self.jobs) < self.limits.places and not any(other.alone for other in self.jobs.values())

    def send(self, job: Job) -> None:
        job.worker, job.sent = self, time.monotonic()
        self.jobs[job.head["id"]] = job
        self.writer.write(pack_frame(job.head, job.body))

    def give_up(self, job: Job) -> None:
        """Nobody waits for a request: it must end by its own deadline, else the worker is killed."""
        left = max(0.0, job.head["deadline"] - time.monotonic())
        asyncio.get_running_loop().call_later(left + self.limits.grace_s, self._kill_if_busy, job.head["id"])

    def _kill_if_busy(self, number: int) -> None:
        if number in self.jobs:
            log.warning(
                "a request did not end by its deadline and %g s more; its worker is killed", self.limits.grace_s
            )
            self.kill()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()

    async def stop(self) -> None:
        """End the process; it goes when its socket closes."""
        self.writer.close()
        try:
            async with asyncio.timeout(self.limits.grace_s):
                await self.process.wait()
        except TimeoutError:
            self.kill()
            await self.process.wait()


class Fleet:
    """The workers that answer, and the requests that wait for one.

    Args:
        size: workers of a release.
        limits: of the queue, and of the work of a worker.
        on_change: called with "restarted" or "swapped", for the metrics.
    """

    def __init__(self, size: int, limits: Limits, on_change: Callable[[str], None] = lambda _: None) -> None:
        self.size, self.limits, self.on_change = size, limits, on_change
        self.queue: deque[Job] = deque()
        self.workers: list[Worker] = []
        self.release: ServedBundle | None = None
        self.ready: dict[str, Any] = {}
        self.broken = False  # the last worker that should have started did not
        self.mean_s = 0.1  # of one request in a worker, recent ones weigh more
        self._ids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        return sum(len(worker.jobs) for worker in self.workers)

    @property
    def alive(self) -> bool:
        return bool(self.workers)

    async def take_over(self, release: ServedBundle, accept: Callable[[dict[str, Any]], None]) -> None:
        """Start the workers of a release beside those that run; then they answer, and the old ones drain.

        Args:
            accept: looks at what a worker says of itself; raises BundleError when it must not answer.

        Raises:
            BundleError: if one cannot start or is not accepted; then nothing has changed.
        """
        workers = [Worker(release, self.limits) for _ in range(self.size)]
        try:
            async with asyncio.TaskGroup() as group:
                for worker in workers:
                    group.create_task(worker.start())
            for worker in workers:
                accept(worker.ready)
        except BaseException as error:
            await asyncio.gather(*(worker.stop() for worker in workers if worker.ready), return_exceptions=True)
            release.close()
            raise error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error from None
        old, before = self.workers, self.release
        self.workers, self.release, self.ready, self.broken = workers, release, workers[0].ready, False
        for worker in workers:
            self._spawn(self._attend(worker))
        self._dispatch()
        if before is not None:
            self.on_change("swapped")
            self._spawn(self._retire(old, before))

    def ask(self, head: dict[str, Any], body: bytes) -> Job:
        """Give a request to a worker, or let it wait for one.

        Raises:
            RequestError: 429, if too many wait; 503, if no worker can be started.
        """
        if self.broken and not self.workers:
            raise RequestError(503, "TEMPORARILY_UNAVAILABLE", "no worker is running", Retry_After="5")
        job = Job(head | {"id": next(self._ids)}, body)
        self.queue.append(job)
        self._dispatch()
        if len(self.queue) > self.limits.queue:
            self.queue.remove(job)
            raise RequestError(
                429, "RESOURCE_EXHAUSTED", "too many requests are waiting", Retry_After=str(self.retry_after())
            )
        return job

    def drop(self, job: Job) -> None:
        """Nobody waits for this request any more: take it from the queue, or see that the work on it ends."""
        if job.answer.done():
            return
        job.answer.cancel()
        if job.worker is None:
            self.queue.remove(job)
        else:
            job.worker.give_up(job)

    def retry_after(self) -> int:
        """Seconds until the requests that wait now are likely done."""
        places = max(1, self.limits.places * len(self.workers))
        return max(1, math.ceil(len(self.queue) * self.mean_s / places))

    async def close(self) -> None:
        """End all workers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self.workers))
        if self.release is not None:
            self.release.close()

    def _dispatch(self) -> None:
        kept: list[Worker] = []  # each for a request that must be alone in it
        for job in list(self.queue):
            able = [worker for worker in self._workers_for(job) if worker not in kept]
            free = [worker for worker in able if worker.takes(job)]
            if free:
                self.queue.remove(job)
                min(free, key=lambda worker: worker.load).send(job)
            elif job.alone and able:
                kept.append(min(able, key=lambda worker: worker.load))

    def _workers_for(self, job: Job) -> list[Worker]:
        """Of several workers the first one takes no large request: a small one never has to wait for those."""
        return self.workers[1:] or self.workers if len(job.body) > self.limits.large_bytes else self.workers

    async def _attend(self, worker: Worker) -> None:
        """Take a worker's answers until it ends; then start another one in its place."""
        with contextlib.suppress(EOFError):
            while True:
                head, body = await read_frame(worker.reader)
                job = worker.jobs.pop(head.pop("id"))
                taken = time.monotonic() - job.sent
                self.mean_s += 0.05 * (taken - self.mean_s)
                if not job.answer.done():
                    job.answer.set_result(Answer(body=body, release=worker.release, **head))
                self._dispatch()
        current = worker in self.workers
        if current:
            self.workers.remove(worker)
        self._give_back(worker)
        if not current:
            return
        self.on_change("restarted")
        await worker.stop()
        log.warning("a worker ended by itself (status %s); another one starts", worker.process.returncode)
        await self._replace(worker.release)

    def _give_back(self, worker: Worker) -> None:
        """A request that was alone in a worker that is gone may be why: it is refused.

        Of several, each is tried once more, first in the queue and alone; answering has no effects.
        """
        to_blame = len(worker.jobs) == 1
        for job in reversed(worker.jobs.values()):
            if job.answer.done():
                continue
            job.worker = None
            if to_blame:
                job.answer.set_exception(
                    RequestError(503, "TEMPORARILY_UNAVAILABLE", "the worker ended while it answered", Retry_After="1")
                )
            else:
                job.alone = True
                self.queue.appendleft(job)
        worker.jobs.clear()
        self._dispatch()

    async def _replace(self, release: ServedBundle) -> None:
        """Start one worker of the current release; try again, ever more slowly."""
        for pause in itertools.chain((0.0, 1.0, 2.0, 5.0, 10.0), itertools.repeat(30.0)):
            await asyncio.sleep(pause)
            if self.release is not release:
                return
            worker = Worker(release, self.limits)
            try:
                await worker.start()
            except (BundleError, OSError) as error:
                self.broken = True
                log.error("%s", error)
                continue
            if self.release is not release:
                await worker.stop()
                return
            self.broken = False
            self.workers.append(worker)
            self._spawn(self._attend(worker))
            self._dispatch()
            return

    async def _retire(self, workers: list[Worker], release: ServedBundle) -> None:
        """Let workers finish what they have, and end them."""
        try:
            while any(worker.jobs for worker in workers):
                await asyncio.sleep(0.05)
        finally:  # also when the server stops meanwhile
            await asyncio.gather(*(worker.stop() for worker in workers))
            release.close()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _environment() -> dict[str, str]:
    """One computing thread a worker, no pickles, no telemetry, no credentials, and nobody else's code."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_NUM_THREADS"), "1")
    return {
        **bare_environment(),
        **threads,
        "ARROW_DEFAULT_MEMORY_POOL": "system",  # gives memory back
        "MALLOC_ARENA_MAX": "2",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_LOGGING_LEVEL": "ERROR",  # its warnings name what a client sent
        **SWITCHES,
    }
