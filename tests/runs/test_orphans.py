"""Whose process is dead: only what is known to be dead is ended."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from pipeline.runs import orphans
from pipeline.runs.orphans import close_orphans, is_orphan, process_tag
from pipeline.runs.tags import COMPLETE, PROCESS


class Client:
    """As much of `MlflowClient` as there is to ask."""

    def __init__(self, *runs):
        self.runs = {run.info.run_id: run for run in runs}
        self.ended = {}

    def search_runs(self, experiments, condition, max_results):
        assert condition == "attributes.status = 'RUNNING'"
        return list(self.runs.values())

    def get_run(self, run_id):
        return self.runs[run_id]

    def set_terminated(self, run_id, status):
        self.ended[run_id] = status


def run(run_id, start_time=None, **tags):
    info = SimpleNamespace(run_id=run_id, start_time=start_time or time.time() * 1000)
    return SimpleNamespace(info=info, data=SimpleNamespace(tags=tags))


def tag(pid=None, started=0.0, host=None):
    here, me, start = process_tag().rsplit(" ", 2)
    return f"{host or here} {pid or me} {float(start) + started}"


@pytest.fixture(scope="module")
def dead():
    """Id of a process that is no more."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_run_is_an_orphan_when_its_process_is_known_to_be_dead(dead):
    for value, orphan in [
        (tag(), False),
        (tag(started=1.5), False),  # the boot time moves with the clock
        (tag(started=-60), True),  # another process has the number now
        (tag(pid=dead), True),
        (tag(pid=dead, host="elsewhere"), False),
    ]:
        assert is_orphan(Client(), run("r", **{PROCESS: value}), False) is orphan, value
    assert not is_orphan(Client(), run("r"), True)  # not ours


def test_a_run_that_its_process_has_not_yet_taken_over_is_judged_by_its_parent(dead):
    for value, orphan in [(tag(), False), (tag(pid=dead), True)]:
        parent = run("parent", **{PROCESS: value})
        child = run("child", **{"mlflow.parentRunId": "parent", "mlflow.project.entryPoint": "train"})
        assert is_orphan(Client(parent), child, True) is orphan


def test_on_a_server_a_run_that_nothing_took_over_is_an_orphan_after_a_day():
    ours = {"mlflow.project.entryPoint": "main", "mlflow.source.name": orphans.ROOT.as_uri()}
    for seconds, tags, orphan in [
        (90_000, ours, True),
        (80_000, ours, False),
        (90_000, ours | {"mlflow.source.name": "file:///elsewhere"}, False),
    ]:
        assert is_orphan(Client(), run("r", (time.time() - seconds) * 1000, **tags), False) is orphan


def test_a_run_of_mlflow_run_is_judged_by_whether_one_is_alive_that_may_have_made_it(tmp_path, monkeypatch):
    waiting = run("r", **{"mlflow.project.entryPoint": "main"})
    monkeypatch.setattr(orphans, "_older_launcher", lambda time_s: False)
    assert is_orphan(Client(), waiting, True)
    assert not is_orphan(Client(), waiting, False)  # on a server: it may be another host's
    monkeypatch.undo()
    script = tmp_path / "mlflow"
    script.write_text("import time; time.sleep(60)")
    launcher = subprocess.Popen([sys.executable, str(script), "run", "."])
    try:
        while not orphans._older_launcher(time.time() + 5):
            pass
        assert not is_orphan(Client(), waiting, True)
        assert is_orphan(Client(), run("r", start_time=1000, **{"mlflow.project.entryPoint": "main"}), True)
    finally:
        launcher.kill()
        launcher.wait()


def test_orphans_are_ended_as_they_are_and_said(dead):
    gone = {PROCESS: tag(pid=dead), "graphline.step": "train"}
    client = Client(run("a" * 32, **gone), run("b" * 32, **gone, **{COMPLETE: "d"}), run("c" * 32, **{PROCESS: tag()}))
    lines = close_orphans(client, "0", True)
    assert client.ended == {"a" * 32: "KILLED", "b" * 32: "FINISHED"}
    assert lines[0] == "run aaaaaaaa (train) was left by a process that is gone; it is KILLED now"
    assert str(os.getpid()) in client.runs["c" * 32].data.tags[PROCESS]
