"""Which bundle is served: a folder, or a model version pinned by its digest; verified in a private copy; self-tested.

models:/solubility@champion → version 3 → sha256 of its digests.json → bytes that have it
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.bundle.build import EXAMPLE_ANSWERS
from pipeline.digests import private_copy, verify
from pipeline.errors import BundleError, ConfigError
from pipeline.runs.tags import DIGEST
from serving.server.fleet import ServedBundle

if TYPE_CHECKING:
    from pipeline.review.history import History

_MODEL = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
TOLERANCE = 1e-3
"""Relative, of a number of the input example's answer: another processor may round differently, nothing else."""


class Pinned(NamedTuple):
    """One version of a registered model, the bytes that it means, and the alias that named it, "" for none."""

    name: str
    version: str
    digest: str
    alias: str = ""


class Standing(NamedTuple):
    """What the log of decisions says of a version that is served.

    Attributes:
        agrees: whether it is released there, and live if it is served as the champion; None where nothing is compared.
        said: the record of the release, what the log says instead, or why nothing is compared.
    """

    agrees: bool | None
    said: str


def open_folder(folder: str) -> ServedBundle:
    """A bundle of a folder; needs no MLflow, no network and no login.

    Raises:
        BundleError: if its bytes are not those that were signed off.
    """
    path = Path(folder)
    with contextlib.ExitStack() as stack:
        copy = stack.enter_context(private_copy(path))
        name = json.loads((copy / "artifacts" / "schema.json").read_text(encoding="utf-8"))["name"]
        return _release(name, "", verify(copy), copy, stack)


def pin(uri: str) -> Pinned:
    """Resolve a model's URI now: alias → version → digest.

    Raises:
        ConfigError: if the URI names no version or alias.
        RegistryError: if there is none, or the tracking server does not answer.
        BundleError: if it carries no digest, so that nobody can tell whether its bytes are the right ones.
    """
    match = _MODEL.fullmatch(uri)
    if match is None:
        raise ConfigError(f"--model {uri}: expected models:/NAME@ALIAS or models:/NAME/VERSION.")
    _patience()
    from pipeline.runs.registry import find_version
    from pipeline.runs.server import check_server

    check_server()
    found = find_version(match["name"], match["version"], match["alias"] or "")
    digest = found.tags.get(DIGEST)
    if not digest:
        raise BundleError(f"{found.name} version {found.version} carries no digest; release it with -e promote.")
    return Pinned(str(found.name), str(found.version), str(digest), match["alias"] or "")


def check_log(pinned: Pinned) -> Standing:
    """What the log of decisions says of a version, now."""
    from mlflow.exceptions import MlflowException

    from pipeline.review.log import log_of, read_log

    try:
        history = read_log(pinned.name)
    except MlflowException as error:
        return Standing(None, f"the log cannot be read ({error.error_code}), not compared")
    if not history.entries:
        return Standing(None, f"there is no {log_of(pinned.name)}, not compared")
    return compare_log(pinned, history, log_of(pinned.name))


def compare_log(pinned: Pinned, history: History, log: str) -> Standing:
    """Compare a version, and the alias that names it, with the log of decisions.

    Args:
        log: its name, for the answer.
    """
    from pipeline.runs.registry import CHAMPION

    what, release = f"{pinned.name} version {pinned.version}", int(pinned.version)
    approval = history.approval_of(release)
    if approval is None or approval.digest != pinned.digest:
        wanted = "serve a released version, or release it with -e promote"
        return Standing(False, f"{what}, sha256 {pinned.digest[:12]}, is not released in {log}; {wanted}.")
    if retirement := history.retirement_of(release):
        return Standing(False, f"{what} is retired in {log} ({retirement}); serve another release.")
    live = history.state.champion
    if pinned.alias == CHAMPION and live != release:
        last = history.last
        if last is not None and not last.done:  # the record comes first, then the alias moves
            return Standing(None, f"record {last.number} of {log} is being carried out, not compared")
        reads = f"release {live}" if live else "nothing"
        return Standing(False, f"{what} has the alias {CHAMPION}, but {reads} is live in {log}; see -e audit.")
    return Standing(True, f"record {approval.sequence} of {log}")


def fetch(pinned: Pinned) -> ServedBundle:
    """Download a version and verify that its bytes are those of the digest.

    Raises:
        RegistryError: if it cannot be downloaded.
        BundleError: if it has other bytes.
    """
    from pipeline.runs.registry import fetch_model

    with contextlib.ExitStack() as stack, tempfile.TemporaryDirectory(prefix="graphline-") as temporary:
        folder = fetch_model(f"models:/{pinned.name}/{pinned.version}", Path(temporary) / "bundle")
        copy = stack.enter_context(private_copy(folder, pinned.digest, f"{pinned.name} version {pinned.version}"))
        return _release(pinned.name, pinned.version, pinned.digest, copy, stack)


def check_example(release: ServedBundle) -> Callable[[dict[str, Any]], None]:
    """The self-test of a release: what a worker answers to the input example against what was recorded.

    Raises:
        BundleError: if nothing is recorded.
    """
    path = release.folder / EXAMPLE_ANSWERS
    if not path.is_file():
        raise BundleError(f"{release.name}: the bundle records no answers to its input example; build it again.")
    recorded = json.loads(path.read_text(encoding="utf-8"))

    def check(ready: dict[str, Any]) -> None:
        if not _same(ready["answer"], recorded):
            raise BundleError(
                f"{release.name}: the model answers its input example differently from what was recorded when it was "
                "built. Install the bundle's requirements, or build it again."
            )

    return check


def _release(name: str, version: str, digest: str, copy: Path, stack: contextlib.ExitStack) -> ServedBundle:
    """Keep the private copy until the release is closed."""

    def check() -> None:
        if verify(copy) != digest:
            raise BundleError(f"{name}: the private copy {copy} has changed.")

    return ServedBundle(name, version, digest, copy, check, stack.pop_all().close)


def _same(found: Any, recorded: Any) -> bool:
    """Whether two answers are equal, numbers within the tolerance."""
    if isinstance(recorded, dict):
        keys = isinstance(found, dict) and found.keys() == recorded.keys()
        return keys and all(_same(found[key], value) for key, value in recorded.items())
    if isinstance(recorded, list):
        long = isinstance(found, list) and len(found) == len(recorded)
        return long and all(map(_same, found, recorded))
    if isinstance(recorded, float) and isinstance(found, float | int):
        return math.isclose(found, recorded, rel_tol=TOLERANCE, abs_tol=1e-6)
    return bool(found == recorded)


def _patience() -> None:
    """A tracking server that is gone is told within seconds, not minutes."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
