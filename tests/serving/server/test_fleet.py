"""The queue and the workers behind it, with workers that are no processes: who gets what, and what a death costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pipeline.errors import BundleError
from serving.server import fleet as fleets
from serving.server.fleet import Answer, Fleet, Job
from serving.server.limits import Limits
from serving.server.refusal import RequestError
from tests.support.fleets import RELEASE


class Pipe:
    """Stands for the socket of a worker: what the test puts in is what the server hears."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[Any] = asyncio.Queue()


class ToyWorker(fleets.Worker):
    """A worker whose answers the test gives."""

    all: list[ToyWorker] = []  # noqa: RUF012
    failure: str = ""

    async def start(self) -> None:
        if self.failure:
            raise BundleError(self.failure)
        self.reader, self.ready = Pipe(), {"answer": "x"}  # type: ignore[assignment]
        self.sent: list[Job] = []
        self.stopped = self.killed = False
        self.process = type("Process", (), {"returncode": -9})()
        ToyWorker.all.append(self)

    def send(self, job: Job) -> None:
        job.worker, job.sent = self, time.monotonic()
        self.jobs[job.head["id"]] = job
        self.sent.append(job)

    def say(self, job: Job, body: bytes = b"{}", status: int = 200) -> None:
        head = {"id": job.head["id"], "status": status, "rows": 1, "errors": {}, "batches": []}
        self.reader.heard.put_nowait((head, body))  # type: ignore[attr-defined]

    def die(self) -> None:
        self.reader.heard.put_nowait(None)  # type: ignore[attr-defined]

    def kill(self) -> None:
        self.killed = True

    async def stop(self) -> None:
        self.stopped = True


async def read_frame(pipe: Pipe) -> Any:
    message = await pipe.heard.get()
    if message is None:
        raise EOFError
    return message


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Play a scene with a fleet of toy workers."""
    monkeypatch.setattr(fleets, "Worker", ToyWorker)
    monkeypatch.setattr(fleets, "read_frame", read_frame)
    monkeypatch.setattr(ToyWorker, "failure", "")

    def run(scene: Callable[[Fleet], Awaitable[None]], size: int = 1, grace_s: float = 5.0, **more: Any) -> None:
        async def whole() -> None:
            ToyWorker.all.clear()
            fleet = Fleet(size, Limits(queue=2, grace_s=grace_s), **more)
            await fleet.take_over(RELEASE, lambda ready: None)
            try:
                await asyncio.wait_for(scene(fleet), 10)
            finally:
                await fleet.close()

        asyncio.run(whole())

    return run


def ask(fleet: Fleet, body: bytes = b"x", seconds: float = 60) -> Job:
    return fleet.ask({"deadline": time.monotonic() + seconds}, body)


async def until(true: Callable[[], Any]) -> None:
    while not true():
        await asyncio.sleep(0)


def test_an_answer_comes_from_the_release_that_gave_it(play: Any) -> None:
    async def scene(fleet: Fleet) -> None:
        job = ask(fleet)
        (worker,) = ToyWorker.all
        worker.say(job, b"answer")
        assert await job.answer == Answer(200, b"answer", 1, {}, [], RELEASE)
        assert (fleet.in_flight, len(fleet.queue)) == (0, 0)

    play(scene)


def test_a_worker_has_its_places_then_requests_wait_then_they_are_refused(play: Any) -> None:
    async def scene(fleet: Fleet) -> None:
        jobs = [ask(fleet) for _ in range(Limits.places + 2)]
        assert (fleet.in_flight, len(fleet.queue)) == (Limits.places, 2)
        with pytest.raises(RequestError, match="too many requests are waiting") as refused:
            ask(fleet)
        assert refused.value.status == 429
        assert int(refused.value.headers["Retry-After"]) >= 1
        ToyWorker.all[0].say(jobs[2])
        await jobs[2].answer
        await until(lambda: len(fleet.queue) == 1)
        assert ToyWorker.all[0].sent[-1] is jobs[Limits.places]  # first come, first served

    play(scene)


def test_the_least_loaded_worker_is_asked(play: Any) -> None:
    async def scene(fleet: Fleet) -> None:
        jobs = [ask(fleet, b"x" * size) for size in (100, 10, 10, 1)]
        first, second = ToyWorker.all
        assert [job.worker for job in jobs] == [first, second, second, second]
        assert first.load == (100, 1)

    play(scene, size=2)


def test_large_requests_leave_one_worker_to_the_small_ones(play: Any) -> None:
    async def scene(fleet: Fleet) -> None:
        large = [ask(fleet, b"x" * (Limits.large_bytes + 1)) for _ in range(Limits.places + 1)]
        first, second = ToyWorker.all
        assert {job.worker for job in large} == {second, None}
        assert ask(fleet).worker is first

    play(scene, size=2)


def test_a_request_that_was_alone_in_a_dead_worker_is_refused(play: Any) -> None:
    async def scene(fleet: Fleet) -> None:
        job = ask(fleet)
        ToyWorker.all[0].die()
        with pytest.raises(RequestError, match="the worker ended while it answered") as refused:
            await job.answer
        assert refused.value.status == 503
        await until(lambda: len(ToyWorker.all) == 2)
        assert changes == ["restarted"]
        assert fleet.alive

    changes: list[str] = []
    play(scene, on_change=changes.append)


def test_requests_that_shared_a_dead_worker_are_tried_once_more_each_alone(play: Any) -> None:
    async def scene(fleet: Fleet) -> None:
        jobs = [ask(fleet) for _ in range(3)]
        assert {job.worker for job in jobs} == {ToyWorker.all[0]}
        ToyWorker.all[0].die()
        await until(lambda: len(ToyWorker.all) == 2)
        second = ToyWorker.all[1]
        assert [job.worker for job in jobs] == [second, None, None]
        second.say(jobs[0])
        assert (await jobs[0].answer).status == 200
        await until(lambda: jobs[1].worker is second)
        later = ask(fleet)
        assert (jobs[2].worker, later.worker) == (None, None)  # no company for one that may be the reason
        second.die()  # the culprit
        with pytest.raises(RequestError, match="the worker ended while it answered"):
            await jobs[1].answer
        await until(lambda: len(ToyWorker.all) == 3)
        third = ToyWorker.all[2]
        assert [jobs[2].worker, later.worker] == [third, None]
        third.say(jobs[2])
        await jobs[2].answer
        await until(lambda: later.worker is third)
        third.say(later)
        assert (await later.answer).status == 200

    play(scene)


def test_a_worker_is_kept_for_a_request_that_must_be_alone(play: Any) -> None:
    """Else those that came later would take each place as it becomes free."""

    async def scene(fleet: Fleet) -> None:
        first, second = ToyWorker.all
        crowd = [ask(fleet) for _ in range(4)]  # two in each worker
        first.die()
        await until(lambda: len(ToyWorker.all) == 3)
        third = ToyWorker.all[2]
        suspects = [job for job in crowd if job.alone]
        assert [job.worker for job in suspects] == [third, None]
        small = ask(fleet)
        assert small.worker is second
        third.say(suspects[0])
        await until(lambda: suspects[1].worker is third)
        more = [ask(fleet) for _ in range(2)]
        assert [job.worker for job in more] == [second, None]  # that one has no place left, and the third is no company
        third.say(suspects[1])
        await until(lambda: more[1].worker is third)

    play(scene, size=2)


def test_without_any_worker_that_starts_requests_are_refused_at_once(play: Any) -> None:
    async def scene(fleet: Fleet) -> None:
        ToyWorker.failure = "no worker can load the bundle"
        ToyWorker.all[0].die()
        await until(lambda: fleet.broken)
        with pytest.raises(RequestError, match="no worker is running") as refused:
            ask(fleet)
        assert refused.value.status == 503
        assert not fleet.alive

    play(scene)


def test_a_request_that_nobody_waits_for_leaves_the_queue_or_its_worker_is_told(play: Any) -> None:
    async def scene(fleet: Fleet) -> None:
        jobs = [ask(fleet, seconds=0) for _ in range(Limits.places + 1)]
        fleet.drop(jobs[-1])
        assert len(fleet.queue) == 0
        ToyWorker.all[0].say(jobs[0])
        await jobs[0].answer
        fleet.drop(jobs[0])  # done: nothing to do
        await asyncio.sleep(0.01)
        assert not ToyWorker.all[0].killed
        fleet.drop(jobs[1])
        assert jobs[1].answer.cancelled()
        await until(lambda: ToyWorker.all[0].killed)

    play(scene, grace_s=0.0)


def test_another_release_takes_over_while_the_old_one_finishes(play: Any) -> None:
    async def scene(fleet: Fleet) -> None:
        job = ask(fleet)
        old = ToyWorker.all[0]
        await fleet.take_over(other, lambda ready: None)
        assert (fleet.release, fleet.alive) == (other, True)
        assert ask(fleet).worker is ToyWorker.all[1]
        assert not old.stopped
        old.say(job)
        assert (await job.answer).release is RELEASE
        await until(lambda: old.stopped)
        assert changes == ["swapped"]

    other = fleets.ServedBundle("toy", "4", "e" * 64, RELEASE.folder, lambda: None, lambda: None)
    changes: list[str] = []
    play(scene, on_change=changes.append)


def test_a_release_that_is_not_accepted_changes_nothing(play: Any) -> None:
    async def scene(fleet: Fleet) -> None:
        closed: list[bool] = []
        other = fleets.ServedBundle("toy", "4", "e" * 64, RELEASE.folder, lambda: None, lambda: closed.append(True))

        def refuse(ready: dict[str, Any]) -> None:
            raise BundleError("it answers otherwise")

        with pytest.raises(BundleError, match="it answers otherwise"):
            await fleet.take_over(other, refuse)
        ToyWorker.failure = "cannot load"
        with pytest.raises(BundleError, match="cannot load"):
            await fleet.take_over(other, lambda ready: None)
        assert (fleet.release, closed) == (RELEASE, [True, True])
        assert ToyWorker.all[1].stopped
        assert ask(fleet).worker is ToyWorker.all[0]

    play(scene)


def test_a_worker_sees_nothing_of_the_callers_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PYTHONSTARTUP", "/elsewhere/x.py")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    env = fleets._environment()
    assert not {"PYTHONPATH", "PYTHONSTARTUP", "MLFLOW_TRACKING_PASSWORD"} & env.keys()
    assert env["OMP_NUM_THREADS"] == "1"
    assert env["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
