"""The champion in the registry: which version it is, its verified bytes, and the run that prepared its data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pipeline import digests
from pipeline.errors import BundleError, RegistryError
from pipeline.evaluation.champion import Champion
from pipeline.runs.registry import CHAMPION, fetch_model
from pipeline.runs.tags import DIGEST, EVALUATE_RUN, PREPARE_RUN
from pipeline.runs.tracking import find_run


def find_champion(name: str) -> Champion | None:
    """The version of `name` that is live, or None.

    Raises:
        RegistryError: if the registry cannot be asked, or the version has no digest to be verified against.
    """
    client = MlflowClient()
    try:
        version = client.get_registered_model(name).aliases.get(CHAMPION)
        tags = client.get_model_version(name, str(version)).tags if version else {}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        reason = " ".join(str(error).split())[:200]
        raise RegistryError(
            f"{name}: its champion cannot be looked up ({reason}). Ask for the right to read."
        ) from None
    if version is None:
        return None
    if not tags.get(DIGEST):
        raise RegistryError(
            f"{name}: its champion, version {version}, has no tag {DIGEST}: it was not released by graphline. "
            "Point the alias at a release, or pass another name=."
        )
    return Champion(str(version), tags[DIGEST], name, tags.get(EVALUATE_RUN, ""))


def fetch_champion(champion: Champion, folder: Path) -> Champion:
    """Download its bundle into `folder` and verify it.

    Returns:
        The champion with its `folder`.

    Raises:
        RegistryError: if its bytes are gone.
        BundleError: if they are not those that were released.
    """
    title = f"{champion.name}: its champion, version {champion.version}"
    got = fetch_model(f"models:/{champion.name}/{champion.version}", folder)
    try:
        found = digests.verify(got)
    except BundleError as error:
        raise BundleError(f"{title}, is damaged: {error}") from None
    if found != champion.digest:
        raise BundleError(f"{title}, has digest {found[:12]}, released was {champion.digest[:12]}. Roll it back.")
    return replace(champion, folder=got)


def find_preparation(champion: Champion) -> Run | None:
    """The finished `prepare` run of the data that the champion was trained on, or None if it cannot be found."""
    try:
        evaluated = find_run(champion.evaluate_run, "evaluate")
        return find_run(evaluated.data.tags.get(PREPARE_RUN, ""), "prepare")
    except RegistryError:
        return None
