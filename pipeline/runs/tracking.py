"""Runs of steps in MLflow: take over the run that `mlflow run` made, write to it, and find finished ones.

A step is finished when its last write, the tag `graphline.complete`, is there; run status says nothing.
"""

from __future__ import annotations

import gc
import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from pipeline.errors import PipelineError, RegistryError
from pipeline.runs.keys import KeyFacts, StepKey
from pipeline.runs.orphans import close_orphans, process_tag
from pipeline.runs.server import check_server
from pipeline.runs.tags import COMPLETE, EDITED, ERROR, KEY, NAME, PROCESS, STEP
from pipeline.runs.workfolder import Say, hold, locked, scratch, sweep

WORK = Path(".graphline")
"""Work folder: stores, checkpoints, bundles; safe to delete when no run is going on."""

FACTS = "key.json"
"""Artifact of a step's run: what its key stands for."""


class StepRun:
    """The MLflow run of one step; `say` takes lines for people."""

    def __init__(self, step: str, run: Run, say: Say) -> None:
        self.step = step
        self.say = say
        self.run_id: str = run.info.run_id
        self.experiment_id: str = run.info.experiment_id
        self.client = MlflowClient()
        self._logged = set(run.data.params)
        self._key: StepKey | None = None
        self._held = ExitStack()

    def log_key(self, key: StepKey) -> None:
        """Say what the result rests on, so that it is found and can be told from others."""
        self._key = key
        self.set_tags({KEY: key})
        self.log_text(json.dumps(key.facts, indent=1, ensure_ascii=False), FACTS)

    def hold(self, product: Path) -> None:
        """Be the only process that builds this product, until the step ends."""
        self._held.enter_context(hold(product, self.say))

    def release(self) -> None:
        self._held.close()

    def log_params(self, values: Mapping[str, Any]) -> None:
        """Log parameters that the run lacks: `mlflow run` has logged the others in the user's spelling."""
        missing = {key: value for key, value in values.items() if key not in self._logged and value is not None}
        self._logged |= set(missing)
        self._batch(params=[Param(key, str(value)[:6000]) for key, value in missing.items()])

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        now = _now_ms()
        self._batch(metrics=[Metric(key, float(value), now, step) for key, value in values.items()])

    def set_tags(self, values: Mapping[str, Any]) -> None:
        self._batch(tags=[RunTag(key, str(value)) for key, value in values.items()])

    def log_file(self, path: Path, folder: str | None = None) -> None:
        self.client.log_artifact(self.run_id, str(path), folder)

    def log_folder(self, path: Path, folder: str) -> None:
        self.client.log_artifacts(self.run_id, str(path), folder)

    def log_text(self, text: str, name: str) -> None:
        self.client.log_text(self.run_id, text, name)

    def finish(self, digest: str) -> None:
        """Say that the step is whole: the last write of a step."""
        edited = self._key.edited() if self._key else []
        if edited:  # some modules are imported late
            self.say(f"{self.step}: {edited[0]} was edited meanwhile; this result is used now, and not reused later")
            self.set_tags({EDITED: edited[0]})
        self.set_tags({COMPLETE: digest})

    def kill_children(self) -> None:
        """Say KILLED of the step that Ctrl-C cut off: MLflow says FAILED of one that had not yet taken over its run."""
        _close_cursors()
        mine = f"tags.`mlflow.parentRunId` = '{self.run_id}'"
        for run in self.client.search_runs([self.experiment_id], mine):
            if run.info.status in ("RUNNING", "FAILED") and ERROR not in run.data.tags:
                self.client.set_terminated(run.info.run_id, "KILLED")

    def _batch(self, **values: Any) -> None:
        for key, items in values.items():
            for start in range(0, len(items), 100):  # a server takes 100 params or tags at once
                self.client.log_batch(self.run_id, **{key: items[start : start + 100]})


@contextmanager
def start_step(step: str, say: Say, *, name: str | None = None) -> Iterator[StepRun]:
    """Take over the run of `mlflow run`, or create one when the step is started by hand.

    The run ends FINISHED, FAILED on an error, KILLED on Ctrl-C. What killed processes left is tidied up first:
    temporary folders, half-built products, and runs that still say RUNNING.

    Args:
        say: takes lines for people: why one must wait, what was tidied up.
        name: of the model, where it is known already.

    Raises:
        RegistryError: if the tracking server cannot be reached, is not MLflow 3, or takes no run of ours here.
    """
    check_server()
    open_database(say)
    # The tags come with the run: one that is killed between two writes would say RUNNING for ever.
    with _start_run(f"{step} {name}" if name else step, {STEP: step, PROCESS: process_tag()}) as active:
        run = StepRun(step, active, say)
        try:
            with scratch():
                tidy_up(run)
                yield run
        except KeyboardInterrupt:
            _close_cursors()
            mlflow.end_run("KILLED")
            raise
        except BaseException as error:
            with suppress(MlflowException):
                run.set_tags({ERROR: type(error).__name__})
            raise
        finally:
            run.release()


def _close_cursors() -> None:
    """End queries that were cut off: while a traceback holds their cursors, an SQLite file cannot be written."""
    for each in gc.get_objects():
        if type(each) is sqlite3.Cursor:
            with suppress(sqlite3.Error):  # another thread's
                each.close()


def open_database(say: Say) -> None:
    """Let one process at a time open the database: MLflow's own way to make its tables is not safe for two."""
    uri = mlflow.get_tracking_uri()
    if uri.startswith("http"):
        return
    lock = Path(f"{database_file(uri)}.lock") if uri.startswith(SQLITE) else WORK / "locks" / "database.lock"
    with locked(lock, say, "another run opens the database"):
        client, name = MlflowClient(), os.environ.get("MLFLOW_EXPERIMENT_NAME")
        if name and client.get_experiment_by_name(name) is None:
            client.create_experiment(name)
        client.search_experiments(max_results=1)


SQLITE = "sqlite:///"


def database_file(uri: str) -> Path:
    """The file of an SQLite database. The URI may be quoted (`a%20b`), as MLflow's default is: SQLAlchemy reads it."""
    from sqlalchemy import make_url

    return Path(str(make_url(uri).database))


def tidy_up(run: StepRun) -> None:
    """Remove what killed processes left, and end their runs; where that is not permitted, it stays."""
    with suppress(OSError, MlflowException):
        sweep(WORK)
        local = mlflow.get_tracking_uri().startswith(SQLITE)
        for line in close_orphans(run.client, run.experiment_id, local):
            run.say(line)


def _start_run(name: str, tags: dict[str, str]) -> mlflow.ActiveRun:
    try:
        return mlflow.start_run(run_name=name, tags=tags)
    except MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            raise
        raise RegistryError(
            f"{mlflow.get_tracking_uri()}: you may not write runs in experiment "
            f"'{os.environ.get('MLFLOW_EXPERIMENT_NAME', 'Default')}'. Set MLFLOW_EXPERIMENT_NAME to one of yours: "
            "graphline for authors, <name>-releases for reviewers."
        ) from None


def find_run(run_id: str, step: str) -> Run:
    """Open a finished run of `step`.

    Raises:
        RegistryError: if there is no such run, it is of another step, or it never finished.
    """
    try:
        run = MlflowClient().get_run(run_id)
    except MlflowException:
        raise RegistryError(f"run {run_id}: not on {mlflow.get_tracking_uri()}. Pass the id of a {step} run.") from None
    tags = run.data.tags
    if tags.get(STEP) != step:
        raise RegistryError(f"run {run_id} is of step '{tags.get(STEP, 'unknown')}'; pass the id of a {step} run.")
    if COMPLETE not in tags:
        raise RegistryError(f"run {run_id} of step '{step}' never finished; run the step again, or pass another run.")
    return run


def find_newest(step: str, experiment_id: str) -> str:
    """Id of the newest finished run of a step.

    Raises:
        RegistryError: if there is none.
    """
    runs = MlflowClient().search_runs(
        [experiment_id], f"tags.`{STEP}` = '{step}'", order_by=["attributes.start_time DESC"], max_results=100
    )
    found = next((run for run in runs if COMPLETE in run.data.tags), None)
    if found is None:
        raise RegistryError(
            f"no finished {step} run in experiment {experiment_id}; run `mlflow run . -e {step}` first."
        )
    return str(found.info.run_id)


def find_finished(step: str, key: str, experiment_id: str) -> list[Run]:
    """The finished runs of a step with this key, newest first."""
    runs = _search_finished(f"tags.`{STEP}` = '{step}' AND tags.`{KEY}` = '{key}'", experiment_id)
    return [run for run in runs if EDITED not in run.data.tags]


def find_like(step: str, name: str, experiment_id: str) -> Run | None:
    """The newest finished run of a step for the model `name`, whatever its key."""
    found = _search_finished(f"tags.`{STEP}` = '{step}' AND tags.`{NAME}` = '{name}'", experiment_id)
    return found[0] if found else None


def _search_finished(condition: str, experiment_id: str) -> list[Run]:
    runs = MlflowClient().search_runs(
        [experiment_id], condition, order_by=["attributes.start_time DESC"], max_results=20
    )
    return [run for run in runs if COMPLETE in run.data.tags]


def read_facts(run: Run) -> KeyFacts:
    """What the key of a run stood for; {} of a run that has not noted it."""
    try:
        return dict(json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{FACTS}")))
    except (MlflowException, OSError, ValueError):
        return {}


def fetch_folder(run: Run, folder: str, local: Path, digest: Callable[[Path], str], expected: str, say: Say) -> Path:
    """The local copy whose digest fits, else a download of the run's artifact.

    Args:
        folder: artifact folder of the run.
        local: where a copy may lie, and where a download goes.
        digest: function from a folder to its digest; raises when the folder is damaged.
        expected: the digest that the run names.
        say: takes lines for people.

    Raises:
        RegistryError: if neither fits.
    """
    with hold(local, say):
        reason = _misfit(local, digest, expected) if local.is_dir() else ""
        if reason is None:
            return local
        if reason:
            say(f"{reason} Looking for it in run {run.info.run_id[:8]}.")
        _download(run, folder, local, digest, expected)
    return local


def _misfit(local: Path, digest: Callable[[Path], str], expected: str) -> str | None:
    """Why a local copy is not what the run named; None if it is."""
    try:
        found = digest(local)
    except PipelineError as error:
        return str(error)
    return None if found == expected else f"{local}: has digest {found[:12]}, expected {expected[:12]}."


def _download(run: Run, folder: str, local: Path, digest: Callable[[Path], str], expected: str) -> None:
    import shutil
    import tempfile

    local.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{local.name}-", dir=local.parent) as temporary:
        try:
            got = Path(
                mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=folder, dst_path=temporary)
            )
            found = digest(got)
        except (MlflowException, OSError, PipelineError) as error:
            reason = str(error) if isinstance(error, PipelineError) else type(error).__name__
            raise RegistryError(
                f"run {run.info.run_id}: its {folder} is neither whole at {local} nor among its artifacts "
                f"({reason}). Run the step again."
            ) from None
        if found != expected:
            raise RegistryError(
                f"run {run.info.run_id}: its {folder} has digest {found[:12]}, expected {expected[:12]}."
            )
        shutil.rmtree(local, ignore_errors=True)
        got.replace(local)


def fetch_files(run: Run, names: Sequence[str], folder: Path) -> Path:
    """Download some artifacts of a run into `folder`.

    Raises:
        RegistryError: if one is missing.
    """
    for name in names:
        place = (folder / name).parent
        place.mkdir(parents=True, exist_ok=True)
        try:
            # By URI: by run, MLflow first asks the server for logged models of that name.
            mlflow.artifacts.download_artifacts(f"{run.info.artifact_uri}/{name}", dst_path=str(place))
        except (MlflowException, OSError):
            raise RegistryError(f"run {run.info.run_id}: its artifact {name} is missing") from None
    return folder


def _now_ms() -> int:
    import time

    return int(time.time() * 1000)
