"""Versions and aliases: register a candidate, release it with its own copy of the bytes, roll back.

<name>-candidates   written by authors; alias `challenger` is the newest
<name>              written by reviewers; aliases `champion` and `previous`
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline import digests
from pipeline.errors import RegistryError
from pipeline.runs.tags import DIGEST, EVALUATE_RUN

CHALLENGER, CHAMPION, PREVIOUS = "challenger", "champion", "previous"


def candidates_of(name: str) -> str:
    """The registered model that holds the candidates of `name`."""
    return f"{name}-candidates"


def register_candidate(
    name: str, run_id: str, source: str, *, digest: str, tags: Mapping[str, Any], description: str
) -> ModelVersion:
    """Create a version of `<name>-candidates` and point `challenger` at it.

    Args:
        run_id: evaluate run whose artifact `source` is the bundle.
        tags: short facts; digest and run are added.
    """
    client = MlflowClient()
    candidates = candidates_of(name)
    ensure_model(client, candidates, f"Candidates of {name}. Reviewers release them as versions of {name}.")
    version = client.create_model_version(
        candidates,
        source,
        run_id=run_id,
        tags={DIGEST: digest, EVALUATE_RUN: run_id} | {key: str(value) for key, value in tags.items()},
        description=description,
    )
    client.set_registered_model_alias(candidates, CHALLENGER, version.version)
    return version


def find_version(name: str, version: str | None, alias: str) -> ModelVersion:
    """Open one version by number, or by alias when no number is given.

    Raises:
        RegistryError: if it is not there; the message lists what is.
    """
    client = MlflowClient()
    try:
        return client.get_model_version(name, version) if version else client.get_model_version_by_alias(name, alias)
    except MlflowException:
        try:
            there = sorted(int(v.version) for v in client.search_model_versions(f"name = '{name}'"))
        except MlflowException:
            there = []
        known = f"versions {', '.join(map(str, there))}" if there else "no versions"
        asked = f"version {version}" if version else f"alias '{alias}'"
        raise RegistryError(f"{name}: no {asked}; it has {known} on {mlflow.get_tracking_uri()}.") from None


def settle_name(name: str | None) -> str:
    """The model that is meant: `name`, or the only one that has candidates.

    Raises:
        RegistryError: if none is named and there is not exactly one.
    """
    if name:
        return name
    suffix = candidates_of("")
    models = MlflowClient().search_registered_models(f"name LIKE '%{suffix}'")
    there = sorted(model.name.removesuffix(suffix) for model in models)
    if len(there) != 1:
        choice = f"pass name= with one of {', '.join(there)}" if there else "run `mlflow run .` first"
        raise RegistryError(f"{len(there)} models have candidates on {mlflow.get_tracking_uri()}; {choice}.")
    return str(there[0])


def released(name: str | None) -> str:
    """URI of the live release: of `name`, or of the only model that has one.

    Raises:
        RegistryError: if there is none, or not exactly one; with the way to ask a candidate.
    """
    models = MlflowClient().search_registered_models(f"name = '{name}'" if name else None)
    live = [model.name for model in models if CHAMPION in model.aliases]
    if len(live) == 1:
        return f"models:/{live[0]}@{CHAMPION}"
    where = f"on {mlflow.get_tracking_uri()}"
    if live:
        raise RegistryError(f"{len(live)} models are released {where}; pass name= with one of {', '.join(live)}.")
    raise RegistryError(
        f"no release {f'of {name} ' if name else ''}is live {where}. `promote` makes one; to ask a candidate that "
        f"nobody reviewed, pass model=models:/{candidates_of(settle_name(name))}@{CHALLENGER}."
    )


def pin_version(uri: str) -> str:
    """The same model by its number, if `uri` names it by an alias or as the latest: both may move meanwhile.

    Raises:
        RegistryError: if there is no such version.
    """
    name, _, alias = uri.removeprefix("models:/").partition("@")
    if not uri.startswith("models:/"):
        return uri
    if alias:
        return f"models:/{name}/{find_version(name, None, alias).version}"
    if name.endswith("/latest"):
        name = name.removesuffix("/latest")
        versions = [int(version.version) for version in MlflowClient().search_model_versions(f"name = '{name}'")]
        return f"models:/{name}/{max(versions)}" if versions else uri
    return uri


def fetch_model(uri: str, folder: Path) -> Path:
    """Download a model by any MLflow model URI or path into `folder`, which holds nothing else.

    Raises:
        RegistryError: if nothing is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        got = Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
        if not {path.name for path in got.iterdir()} - set(digests.UNSIGNED):  # a store may list gone bytes as none
            raise FileNotFoundError("its files are gone")
    except (MlflowException, OSError) as error:
        reason = " ".join(str(error).split())[:300]
        raise RegistryError(f"model={uri}: cannot be fetched from {mlflow.get_tracking_uri()} ({reason}).") from None
    return got


def fetch_bundle(version: ModelVersion, folder: Path) -> Path:
    """Download the bytes of a version into `folder`, as the registry serves them now.

    Raises:
        RegistryError: if they are gone.
    """
    return fetch_model(f"models:/{version.name}/{version.version}", folder)


def ensure_model(client: MlflowClient, name: str, description: str) -> None:
    """Make a registered model unless it is there."""
    try:
        client.get_registered_model(name)
    except MlflowException:
        try:
            client.create_registered_model(name, description=description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # somebody was quicker: fine
                raise
