"""Audit: does all that is live stand in the log, and is the log whole?  Reads only, creates nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import mlflow
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline import digests
from pipeline.errors import PipelineError, RegistryError
from pipeline.review.decision import APPROVE, MEANINGS, REJECT
from pipeline.review.evidence import fetch_evidence
from pipeline.review.history import History, Record, changes, format_moment
from pipeline.review.log import read_log, versions_of
from pipeline.review.releases import aliases_of
from pipeline.review.verify import line_hash, signature_faults
from pipeline.runs.registry import CHAMPION, PREVIOUS, fetch_bundle
from pipeline.runs.tags import CLAIM, DECISION, DIGEST, HEAD


class Report(NamedTuple):
    """What an audit found.

    Attributes:
        findings: what must not be, a sentence each.
        notes: what is worth knowing, a sentence each.
    """

    history: History
    findings: tuple[str, ...]
    notes: tuple[str, ...]


def audit(name: str, *, head: str | None = None, allowed_signers: Path | None = None) -> Report:
    """Check chain, signatures, rules, bytes and aliases of one model.

    Args:
        head: hash of a record that was kept elsewhere; the log must still hold it.
        allowed_signers: file of reviewers and their public SSH keys; every record from the first signed one on must
            then carry a good signature of its reviewer.

    Raises:
        RegistryError: if there is neither a log nor a release.
    """
    history = read_log(name)
    versions = {int(version.version): version for version in versions_of(name)}
    aliases = aliases_of(name)
    if not history.entries and not versions and not aliases:
        raise RegistryError(f"{name}: nothing was ever decided on it on {mlflow.get_tracking_uri()}.")
    findings = [*history.faults(), *_unread(history), *_kept(history, head), *_sense(history)]
    if allowed_signers:
        entries = [(entry.text, entry.signature) for entry in history.entries]
        findings += signature_faults(entries, str(allowed_signers))
    findings += [*_releases(history, versions), *_heads(history, versions), *_aliases(history, aliases)]
    return Report(history, tuple(findings), tuple(_notes(history, versions)))


def say_live(history: History, moment: datetime) -> str:
    """Say what was live at a moment, and who decided so."""
    state, record = history.live_at(moment)
    when = f"{format_moment(moment)[:16]}Z"
    if not state.champion:
        return f"{when}: nothing was live" + (f", since {record}" if record else "; nothing was decided before")
    made = history.approval_of(state.champion)
    what = f" = candidate {made.candidate}, sha256 {made.digest}" if made else ""
    assert record
    return f"{when}: {history.name} release {state.champion}{what} was live, since {record}: {record.reason}"


def _unread(history: History) -> Iterator[str]:
    """Lines that fit the chain and are no record as this code knows them."""
    for entry in history.entries:
        if entry.record is None and f'"sequence":{entry.number},' in entry.text:
            yield f"record {entry.number}: it cannot be read; another version of graphline wrote it, or a stranger"


def _kept(history: History, head: str | None) -> Iterator[str]:
    if head and head.lower() not in (line_hash(entry.text) for entry in history.entries):
        yield f"head {head}: no record has this hash; the log was changed since it was kept"


def _sense(history: History) -> Iterator[str]:
    """Each record by itself: does it follow from what was live, and would it be allowed?"""
    decided: dict[int, int] = {}
    time = ""
    for record, state in changes(history):
        where = f"record {record.sequence}"
        if record.champion_before != state.champion and record.sequence > 1:
            yield (
                f"{where}: release {record.champion_before} was live when it was written, but {state.champion} by the "
                "log: the alias had been moved behind its back (0: none)"
            )
        after = record.champion_before if record.action == REJECT else state.after(record).champion
        if record.champion_after != after or record.action not in MEANINGS:
            yield f"{where}: what it says does not lead to champion {record.champion_after}"
        if record.time < time:
            yield f"{where}: it is older than the one before it"
        time = record.time
        if record.action in (APPROVE, REJECT):
            yield from _review(record, decided)
            decided[record.candidate] = record.sequence


def _review(record: Record, decided: dict[int, int]) -> Iterator[str]:
    where = f"record {record.sequence}"
    if record.candidate in decided:
        yield f"{where}: candidate {record.candidate} was decided before, in record {decided[record.candidate]}"
    if record.reviewer == record.author and not record.identified.startswith("unauthenticated"):
        yield f"{where}: {record.reviewer} reviewed their own candidate"
    if record.action == APPROVE and not record.verdict.startswith("passed") and not record.override:
        yield f"{where}: it was released without a passed verdict and without an override"


def _releases(history: History, versions: dict[int, ModelVersion]) -> Iterator[str]:
    """Every released version still has the bytes that were decided on; every version stands in the log."""
    for record in history.records:
        if record.action == APPROVE:
            yield from _bytes(record, versions.get(record.release))
    for number, version in sorted(versions.items()):
        if history.approval_of(number) is None and CLAIM not in version.tags:
            yield f"release {number}: no record names it; somebody made it behind the log's back"


def _bytes(record: Record, version: ModelVersion | None) -> Iterator[str]:
    where = f"release {record.release} (record {record.sequence})"
    if version is None:
        yield f"{where}: the version is gone"
        return
    if version.run_id != record.release_run or version.tags.get(DIGEST) != record.digest:
        yield f"{where}: its run or its digest tag is not what the record says"
    with tempfile.TemporaryDirectory(prefix="audit-") as temporary:
        for what, expected in (("bundle", record.digest), ("evidence", record.evidence)):
            place = Path(temporary) / what
            try:
                got = fetch_bundle(version, place) if what == "bundle" else fetch_evidence(record, place)
                found = digests.verify(got)
            except (PipelineError, MlflowException, OSError) as error:
                reason = " ".join(str(error).replace(temporary, "").split())[:300]
                yield f"{where}: its {what} is not what was decided on ({reason})"
                continue
            if found != expected:
                yield f"{where}: its {what} has digest {found}, the record says {expected}"


def _heads(history: History, versions: dict[int, ModelVersion]) -> Iterator[str]:
    """The log as it was when its releases were made: a log cut short or written anew does not fit their tags."""
    hashes = {str(entry.number): line_hash(entry.text) for entry in history.entries}
    marks = {f"release {number}": version.tags for number, version in versions.items()}
    try:
        number, _, head = MlflowClient().get_registered_model(history.name).tags.get(HEAD, "").partition(" ")
        marks[history.name] = {DECISION: number, HEAD: head} if number else {}
    except MlflowException:
        pass  # there is no such model: nothing was released
    for where, tags in marks.items():
        number, head = tags.get(DECISION, ""), tags.get(HEAD, "")
        if (number or head) and hashes.get(number) != head:
            yield f"{where}: its tags name record {number} with hash {head[:12]}…, which the log does not hold"


def _aliases(history: History, aliases: dict[str, int]) -> Iterator[str]:
    state, last = history.state, history.last
    for alias, release in ((CHAMPION, state.champion), (PREVIOUS, state.previous)):
        found = aliases.get(alias, 0)
        if found == release:
            continue
        if last and not last.done:
            yield f"alias {alias}: record {last.number} was cut off, it stands at {found}, not at {release} (0: none)"
        else:
            yield f"alias {alias}: it stands at release {found}, by the log at {release} (0: none)"


def _notes(history: History, versions: dict[int, ModelVersion]) -> Iterator[str]:
    first = history.records[0] if history.records else None
    if first and first.champion_before:
        yield f"release {first.champion_before} was live before the log began; no record tells why"
    for entry in history.entries:
        record = entry.record
        if record is None and entry.text:
            yield f"record {entry.number} is void: another decision was written at the same moment"
        elif record and abs((entry.written - record.moment).total_seconds()) > 600:
            yield f"record {entry.number} says {record.time}; the server kept it on {format_moment(entry.written)}"
    for number, version in sorted(versions.items()):
        if history.approval_of(number) is None and CLAIM in version.tags:
            yield f"release {number} has no record: a release that goes on, or one that was cut off"
    if history.last and not history.last.done:
        yield f"record {history.last.number} is not finished; the next decision finishes it"
