"""Runs whose process is dead: nobody would ever say how they ended, so a later run does."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.imports import ROOT
from pipeline.runs.tags import COMPLETE, PROCESS, STEP

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

NEVER_BEGUN_S = 86_400
"""A run of this project that no process has taken over by then has none, whichever host it was to be on."""

_PARENT, _ENTRY_POINT = "mlflow.parentRunId", "mlflow.project.entryPoint"


def process_tag() -> str:
    """This process, as other ones on the same host can find it."""
    import psutil

    return f"{_host()} {os.getpid()} {psutil.Process().create_time():.1f}"


def close_orphans(client: MlflowClient, experiment_id: str, local: bool) -> list[str]:
    """End the runs of an experiment that say RUNNING and whose process on this host is dead.

    One whose step is complete is FINISHED, the others KILLED.

    Args:
        local: the tracking database is a file, so that runs without a process yet are of this host.

    Returns:
        One line for people about each.
    """
    lines = []
    for run in client.search_runs([experiment_id], "attributes.status = 'RUNNING'", max_results=1000):
        if is_orphan(client, run, local):
            status = "FINISHED" if COMPLETE in run.data.tags else "KILLED"
            client.set_terminated(run.info.run_id, status)
            what = run.data.tags.get(STEP) or run.data.tags.get(_ENTRY_POINT, "step")
            lines.append(f"run {run.info.run_id[:8]} ({what}) was left by a process that is gone; it is {status} now")
    return lines


def is_orphan(client: MlflowClient, run: Run, local: bool) -> bool:
    """Whether the process of a run is known to be dead."""
    tags = run.data.tags
    if PROCESS in tags:
        return _is_dead(tags[PROCESS])
    if _PARENT in tags:  # started by `main`, not yet taken over by its own process
        parent = client.get_run(tags[_PARENT])
        return PROCESS in parent.data.tags and _is_dead(parent.data.tags[PROCESS])
    if _ENTRY_POINT not in tags:
        return False
    started = run.info.start_time / 1000
    if local:
        return not _older_launcher(started)
    return bool(tags.get("mlflow.source.name") == ROOT.as_uri()) and time.time() - started > NEVER_BEGUN_S


def _is_dead(tag: str) -> bool:
    import psutil

    host, pid, started = tag.rsplit(" ", 2)
    if host != _host():
        return False
    try:
        # Counted from the boot, whose time moves with the clock by a second.
        return bool(abs(psutil.Process(int(pid)).create_time() - float(started)) > 2)
    except psutil.NoSuchProcess:
        return True


def _older_launcher(time_s: float) -> bool:
    """Whether an `mlflow run` is alive that began before `time_s`, and so may be the one that made the run."""
    import psutil

    for process in psutil.process_iter(["cmdline", "create_time"]):
        words: list[str] = process.info["cmdline"] or []
        launcher = "run" in words and any("mlflow" in Path(word).name for word in words[:4])
        if launcher and process.info["create_time"] < time_s + 2:
            return True
    return False


def _host() -> str:
    """Name of this host, and on Linux of its space of process ids: containers have their own."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return f"{platform.node()}{space}".replace(" ", "-")
