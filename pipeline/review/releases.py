"""Releases: copies of candidates that only reviewers can write, and the aliases that say which one is live.

<name>             one version a release; aliases `champion` (live) and `previous` (where a rollback goes)
<name>-releases    experiment with a run a release: its bytes, and the evidence that the decision rests on
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline import digests
from pipeline.errors import RegistryError
from pipeline.runs.registry import CHAMPION, PREVIOUS
from pipeline.runs.tags import CANDIDATE, CLAIM, DIGEST, EVALUATE_RUN
from pipeline.runs.tracking import fetch_files


def copy_release(name: str, candidate: ModelVersion, bundle_folder: Path, evidence: Path, claim: int) -> ModelVersion:
    """Copy verified bytes to a run of `<name>-releases` and make a version of `<name>` of them, without an alias.

    Nothing points at it until a record of the log names it; one that no record names is removed by `drop_leftovers`.

    Args:
        bundle_folder: the candidate's bundle, already verified against its digest.
        evidence: what the decision rests on, kept beside the bytes; with `digests.json`.
        claim: number of the record that is to name this release.

    Raises:
        RegistryError: if the copy does not have the digest of the candidate.
    """
    client = MlflowClient()
    title = f"release of {candidate.name} {candidate.version}"
    tags = {CLAIM: str(claim), CANDIDATE: f"{candidate.name}/{candidate.version}"}
    run = client.create_run(_release_experiment(client, name), run_name=title, tags=tags)
    try:
        for folder, place in ((bundle_folder, "bundle"), (evidence, "evidence")):
            _copy_folder(client, run, folder, place)
    except BaseException:
        client.set_terminated(run.info.run_id, "FAILED")
        raise
    client.set_terminated(run.info.run_id, "FINISHED")
    return client.create_model_version(
        name,
        f"{run.info.artifact_uri}/bundle",
        run_id=run.info.run_id,
        tags=tags | {DIGEST: digests.verify(bundle_folder), EVALUATE_RUN: candidate.tags.get(EVALUATE_RUN, "")},
        description=candidate.description,
    )


def _copy_folder(client: MlflowClient, run: Run, folder: Path, place: str) -> None:
    """Upload the listed files of a folder with digests to a run and read them back."""
    with tempfile.TemporaryDirectory() as temporary:
        listed = Path(temporary) / "listed"
        digests.copy_listed(folder, listed)
        client.log_artifacts(run.info.run_id, str(listed), place)
    with tempfile.TemporaryDirectory() as temporary:
        copied = fetch_files(run, [place], Path(temporary)) / place
        if digests.verify(copied) != digests.verify(folder):
            where = f"see the artifact store of run {run.info.run_id}"
            raise RegistryError(f"the copy of the {place} came out different; {where}.")


def drop_leftovers(name: str, versions: Sequence[ModelVersion], kept: Mapping[int, str], written: int) -> list[str]:
    """Remove copies of releases that no record names: what a killed or refused command left.

    Args:
        versions: all of `name`.
        kept: releases that records name -> their runs.
        written: number of the newest record. A copy claims the number of its record, so one that claims a number up to
            this can never be named any more, and one above may be a release that is going on.

    Returns:
        What was removed. Without the right to delete it stays: nothing points at it.
    """
    client = MlflowClient()
    runs = set(kept.values())
    left = [v for v in versions if int(v.version) not in kept and _is_left(v.tags, written)]
    pointed = set(aliases_of(name).values()) if left else set()
    removed = []
    for version in left:
        if int(version.version) in pointed:  # somebody put an alias there: for audit to say
            runs.add(version.run_id)
        else:
            removed += _try(f"release {version.version}", partial(client.delete_model_version, name, version.version))
    found = client.get_experiment_by_name(f"{name}-releases")
    for run in _runs(client, found.experiment_id) if found else ():
        if run.info.run_id not in runs and _is_left(run.data.tags, written):
            removed += _try(f"run {run.info.run_id[:8]}", partial(client.delete_run, run.info.run_id))
    return removed


def _is_left(tags: Mapping[str, str], written: int) -> bool:
    claim = tags.get(CLAIM, "")
    return claim.isdecimal() and int(claim) <= written


def _try(what: str, delete: Callable[[], None]) -> list[str]:
    try:
        delete()
    except MlflowException as error:
        if error.error_code not in ("PERMISSION_DENIED", "RESOURCE_DOES_NOT_EXIST"):
            raise
        return []
    return [what]


def point_aliases(name: str, champion: int, previous: int) -> None:
    """Put `champion` and `previous` on these releases; 0 takes the alias away."""
    client = MlflowClient()
    there = client.get_registered_model(name).aliases
    for alias, release in ((CHAMPION, champion), (PREVIOUS, previous)):
        if release and str(there.get(alias)) != str(release):
            client.set_registered_model_alias(name, alias, str(release))
        elif not release and alias in there:
            client.delete_registered_model_alias(name, alias)


def aliases_of(name: str) -> dict[str, int]:
    """Alias -> release; empty if there is no such model."""
    try:
        return {alias: int(version) for alias, version in MlflowClient().get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}


def _release_experiment(client: MlflowClient, name: str) -> str:
    """The experiment that holds the bytes of releases; authors need no right to write there."""
    title = f"{name}-releases"
    found = client.get_experiment_by_name(title)
    if found is None:
        try:
            return str(client.create_experiment(title))
        except MlflowException:
            found = client.get_experiment_by_name(title)
            if found is None:  # else somebody was quicker: fine
                raise
    return str(found.experiment_id)


def _runs(client: MlflowClient, experiment_id: str) -> list[Run]:
    token, runs = None, []
    while True:
        page = client.search_runs([experiment_id], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            return runs
