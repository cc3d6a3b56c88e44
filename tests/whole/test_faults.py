"""Killed, stopped, out of disk, not permitted: a clear line, a true status, and everything before it still valid."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from tests.support.forked import ALL, LATE, QUICK, Folder, ran

pytestmark = pytest.mark.mlflow

AT = {"prepare": "prepare: ", "train": "  store ", "evaluate": "  checkpoints ", "register": "  bundle "}
"""What `main` has printed when it comes to a step: the first line of it, or the last of the step before."""

needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a small disk")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    made = Folder(tmp_path_factory.mktemp("undisturbed"))
    made.main()
    return made


def results(folder: Folder) -> dict[str, object]:
    """What came out, but for times and for the bundle, which MLflow stamps with a new id each time."""
    (store,), (training,), (evaluation,) = (
        {run["tags"]["graphline.complete"] for run in folder.finished(step)}
        if step != "evaluate"
        else {run["tags"]["graphline.headline"] for run in folder.finished(step)}
        for step in ALL[:3]
    )
    metrics = "select key, value from latest_metrics where key like 'test/%' or key like 'baseline/%' order by key"
    return {"store": store, "training": training, "headline": evaluation, "metrics": dict(folder.query(metrics))}


def check_clean(folder: Folder) -> None:
    assert not [run for run in folder.runs() if run["status"] == "RUNNING"]
    assert folder.leftovers() == []
    assert "DAMAGED" not in folder.run("verify")


@pytest.mark.parametrize(
    "step", ["train", "evaluate", *(pytest.param(step, marks=pytest.mark.slow) for step in ("prepare", "register"))]
)
def test_ctrl_c_ends_main_and_step_as_killed(tmp_path, step):
    folder = Folder(tmp_path, graphs=60)
    words = ["--max_epochs=40"] if step == "train" else []
    running = folder.start("main", *QUICK, *words)
    folder.wait_for_step(step, running)
    running.kill(signal.SIGINT)
    assert running.wait() == 130, running.text()
    assert "Traceback" not in running.text()
    assert running.text().rstrip().endswith("stopped.")
    by_step = {run["tags"].get("graphline.step"): run["status"] for run in folder.runs()}
    assert by_step["main"] == "KILLED"
    assert by_step[step] in ("KILLED", "FINISHED")  # it may have ended just then
    before = ALL[: ALL.index(step)]
    assert not set(before) & set(ran(folder.main(*words)))
    check_clean(folder)


def test_a_step_that_ctrl_c_meets_before_it_took_over_its_run_is_killed(tmp_path):
    folder = Folder(tmp_path)
    running = folder.start("main", *QUICK, env={LATE: "prepare"})
    folder.wait_for_step("prepare", running, tag="mlflow.project.entryPoint")
    running.kill(signal.SIGINT)
    assert running.wait() == 130, running.text()
    assert [run["status"] for run in folder.runs()] == ["KILLED", "KILLED"]


@needs_root
@pytest.mark.parametrize(("size_kb", "step"), [(8, "prepare"), (120, "train")])
def test_a_full_disk_is_one_line_and_harms_nothing(undisturbed, tmp_path, size_kb, step):
    folder = Folder(tmp_path)
    work = folder.folder / ".graphline"
    work.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(work)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    try:
        text = folder.main(code=2)
        (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
        assert "No space left on device" in line
        assert f"stopped at step '{step}'." in text
        by_step = {run["tags"].get("graphline.step"): run["status"] for run in folder.runs()}
        assert by_step["main"] == by_step[step] == "FAILED"
        if step == "train":
            assert "DAMAGED" not in folder.run("verify")
        subprocess.run(["mount", "-o", "remount,size=64m", str(work)], check=True)
        folder.main()
        check_clean(folder)
        assert results(folder) == results(undisturbed)
    finally:
        subprocess.run(["umount", str(work)], check=True)


def test_a_work_folder_that_may_not_be_written_is_one_line(tmp_path):
    folder = Folder(tmp_path)
    work = folder.folder / ".graphline"
    work.write_text("")  # what root is refused, too
    text = folder.main(code=2)
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    assert ".graphline" in line


def test_a_main_killed_alone_leaves_a_step_that_the_next_one_waits_for(tmp_path):
    folder = Folder(tmp_path)
    running = folder.start("main", *QUICK, "--max_epochs=30")
    running.wait_for("  store ")
    while not folder.products("checkpoints"):
        time.sleep(0.01)
    running.kill(group=False)
    running.wait()
    text = folder.main("--max_epochs=30")
    assert ran(text) in (ALL[2:], ALL[1:])
    assert len(folder.finished("train")) == 1
    assert "(main) was left by a process that is gone; it is KILLED now" in text
    check_clean(folder)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments_of_every_step_it_ends_as_undisturbed(undisturbed, tmp_path, seed):
    rng = random.Random(seed)
    folder = Folder(tmp_path)
    kills = 0
    for step in [None, *ALL] * 2:
        running = folder.start("main", *QUICK)
        if step:  # wait until it is at this step, if it is still to be done
            running.wait_for(AT[step])
        time.sleep(rng.uniform(0, 3 if step else 1))
        running.kill()
        kills += running.wait() == -signal.SIGKILL
    text = folder.main()
    check_clean(folder)
    assert results(folder) == results(undisturbed), text
    assert kills >= 3
    shutil.rmtree(folder.folder)
