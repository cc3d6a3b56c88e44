"""verify: read every byte of what is kept, and compare it with what was written.

Stores, checkpoints and bundles of the work folder against their own digests and the run that made them; versions of
all models (or of `name`) against the digest they were registered with. Writes nothing but its own run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

from pipeline import digests
from pipeline.errors import PipelineError, RegistryError, StoreError
from pipeline.runs.tags import COMPLETE, DIGEST
from pipeline.store.manifest import check_store
from pipeline.training.checkpoints import check_checkpoints
from steps.cli.arguments import parse_dataclass
from steps.cli.command import run, say


@dataclass(frozen=True)
class VerifyConfig:
    """`name`: check only the versions of this model."""

    name: str | None = None


class Kept(NamedTuple):
    """Something that is kept, how its digest is found from its bytes, and what that should be."""

    title: str
    digest: Callable[[], str]
    expected: str | None  # None: no finished run names it


def main(argv: Sequence[str]) -> None:
    config = parse_dataclass(VerifyConfig, argv, prog="verify")
    from pipeline.runs.tracking import start_step

    with start_step("verify", say, name=config.name) as step:
        registered = list(versions(config.name))
        if config.name and not registered:
            raise RegistryError(f"verify: no version of '{config.name}' with a digest is registered; check name=.")
        kept = [*products(step.experiment_id), *registered]
        damaged = 0
        for one in kept:
            reason = find_damage(one)
            damaged += reason is not None
            say(
                f"  {'ok      ' if reason is None else 'DAMAGED '} {one.title}{'' if reason is None else f': {reason}'}"
            )
        step.log_metrics({"verified": len(kept), "damaged": damaged})
        if damaged:
            raise StoreError(
                f"verify: {damaged} of {len(kept)} are damaged. `mlflow run .` fetches or makes the work folder's "
                "anew; a damaged version must be registered or released again."
            )
        say(f"verify: all {len(kept)} are as they were written")
        step.finish(str(len(kept)))


def find_damage(kept: Kept) -> str | None:
    """What is wrong; None if every byte is as it was."""
    try:
        found = kept.digest()
    except PipelineError as error:
        return str(error)
    if kept.expected not in (None, found):
        return f"whole, but not what its run made: digest {found[:12]}, expected {str(kept.expected)[:12]}"
    return None


def products(experiment_id: str) -> Iterator[Kept]:
    """The products in the work folder; of trainings only those that some run has finished."""
    from pipeline.runs.tracking import WORK, find_finished

    rooms: dict[str, tuple[str, Callable[[Path], str]]] = {
        "stores": ("prepare", store_digest),
        "checkpoints": ("train", check_checkpoints),
        "bundles": ("evaluate", digests.verify),
    }
    for room, (step, digest) in rooms.items():
        for folder in sorted((WORK / room).glob("[!.]*/")):
            runs = find_finished(step, folder.name, experiment_id)
            if runs or room != "checkpoints":
                expected = runs[0].data.tags[COMPLETE] if runs else None
                yield Kept(f"{room}/{folder.name}", partial(digest, folder), expected)


def store_digest(folder: Path) -> str:
    """Digest of a store, after reading all of it."""
    return str(check_store(folder, checksums=True)["digest"])


def versions(name: str | None) -> Iterator[Kept]:
    """The versions that carry a digest, of one model and its candidates or of all."""
    from mlflow import MlflowClient

    from pipeline.runs.registry import candidates_of, fetch_bundle

    def digest(version: object) -> str:
        with tempfile.TemporaryDirectory() as temporary:
            return digests.verify(fetch_bundle(version, Path(temporary) / "bundle"))

    for version in MlflowClient().search_model_versions():
        if DIGEST in version.tags and (name is None or version.name in (name, candidates_of(name))):
            title = f"{version.name} version {version.version}"
            yield Kept(title, partial(digest, version), version.tags[DIGEST])


if __name__ == "__main__":
    run(main)
