"""May the finished run of a step be used again: its key fits, and its products are there and whole. And if not: why."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import BundleError, PipelineError, RegistryError
from pipeline.runs.keys import StepKey, differences
from pipeline.runs.tags import CARD, COMPLETE, KEY
from steps.cli.command import say
from steps.evaluate import fetch_training
from steps.train import fetch_store

if TYPE_CHECKING:
    from mlflow.entities import Run

PRODUCTS = {"prepare": "stores", "train": "checkpoints", "evaluate": "bundles"}
"""Room of the work folder in which a step builds."""


def find_reusable(step: str, key: StepKey, experiment_id: str) -> tuple[Run | None, str]:
    """The newest finished run with this key whose products can be reached and are whole.

    Returns:
        The run, or None and what is wrong with the newest one that has the key.
    """
    from pipeline.runs.tracking import find_finished

    reason = ""
    for run in find_finished(step, key, experiment_id):
        try:
            REACH[step](run)
            return run, ""
        except PipelineError as error:
            reason = reason or f"nothing changed since run {run.info.run_id[:8]}, but {error}"
    return None, reason


def explain(step: str, key: StepKey, name: str, experiment_id: str) -> str:
    """What changed since the newest finished run of this step for the same model."""
    from pipeline.runs.tracking import find_like, read_facts

    like = find_like(step, name, experiment_id)
    if like is None:
        return "there is no earlier run of this model"
    changes = differences(read_facts(like), key.facts)
    shown = "; ".join(changes[:8]) + (f"; and {len(changes) - 8} more" if len(changes) > 8 else "")
    return f"since run {like.info.run_id[:8]}: {shown or 'its code was edited while it ran'}"


def reach_evaluation(run: Run) -> None:
    """Check the bundle of an `evaluate` run as the registry will serve it, and what register and promote read.

    Raises:
        BundleError, RegistryError: if something is missing or changed.
    """
    from pipeline import digests
    from pipeline.runs.tracking import WORK, fetch_files, fetch_folder

    tags = run.data.tags
    names = ("predictions.json", "evaluation.json", "verdict.json", "card/card.md", "card/card.html", "bundle")
    with tempfile.TemporaryDirectory() as temporary:
        got = fetch_files(run, names, Path(temporary) / "logged")
        if digests.verify(got / "bundle") != tags[COMPLETE]:
            raise BundleError(f"run {run.info.run_id}: its bundle is not the one that was evaluated.")
        fetch_folder(run, "bundle", WORK / "bundles" / tags[KEY], digests.verify, tags[COMPLETE], say)
        page = Path(tags[CARD])
        if not page.is_file():
            page.write_bytes((got / "card" / "card.html").read_bytes())


def reach_version(run: Run) -> None:
    """Check that the version of a `register` run is still there.

    Raises:
        RegistryError: if it is not.
    """
    from pipeline.runs.registry import CHALLENGER, find_version

    name, _, version = run.data.tags[COMPLETE].rpartition("/")
    found = find_version(name, version, CHALLENGER)
    if found.status != "READY":
        raise RegistryError(f"{name} version {version} is {found.status}.")


REACH: dict[str, Callable[[Run], object]] = {
    "prepare": fetch_store,
    "train": fetch_training,
    "evaluate": reach_evaluation,
    "register": reach_version,
}
