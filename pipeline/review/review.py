"""Carry out decisions: gather the facts of a case, ask `decide`, write the record, do what follows from it.

The record is the moment of truth. Before it only a copy is made, to which nothing points; what no record names, the
next command removes. After it aliases and tags follow, and the tag `graphline.done` on the record ends it: a record
without that tag is finished by the next command. An alias that moves after that tag is never mended here: somebody
moved it behind the log's back, and that is for `audit` to say.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from pipeline import digests
from pipeline.errors import BundleError, LateError, RegistryError
from pipeline.evaluation.gate import GATE_FILE, Gate
from pipeline.evaluation.predictions import judge_logged
from pipeline.evaluation.verdict import Verdict
from pipeline.review.decision import APPROVE, MEANINGS, REJECT, RETIRE, ROLLBACK, Case, Decision, clean, decide
from pipeline.review.evidence import keep_evidence
from pipeline.review.history import Entry, History, Record, format_moment
from pipeline.review.log import append, log_of, mark_done, read_log, versions_of
from pipeline.review.releases import aliases_of, copy_release, drop_leftovers, point_aliases
from pipeline.review.signing import Signer
from pipeline.review.verify import line_hash
from pipeline.runs.person import Person
from pipeline.runs.registry import CHALLENGER, CHAMPION, candidates_of, ensure_model, fetch_bundle, find_version
from pipeline.runs.tags import AUTHOR, COMMIT, COMPARED, DECISION, DIGEST, EVALUATE_RUN, HEAD, NOTHING
from pipeline.runs.tracking import fetch_files, find_run


@dataclass(frozen=True)
class DecisionRequest:
    """What a reviewer asks for.

    Attributes:
        action: a key of `decision.MEANINGS`.
        version: candidate to approve or reject (None: the challenger), or release to roll back to (None: the previous).
        champion: release the reviewer compared with, 0 for nothing live; None: the one that evaluation compared with.
        override: why it may live without a passed verdict.
        gate: file of thresholds.
        shown: release that the reviewer's page showed as live; None without a page.
    """

    action: str
    name: str
    reason: str
    version: str | None = None
    champion: int | None = None
    override: str = ""
    gate: Path = Path(GATE_FILE)
    shown: int | None = None


class Outcome(NamedTuple):
    """What was done. `notes`: what else the command mended or noticed, a line each."""

    record: Record
    head: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class CaseFacts:
    """A case with what the record says besides.

    Attributes:
        about: version that the decision is about; None where there is none.
        digest: of its bundle, as written down.
        logged: folder of the tables that `verdict` was judged from; `bundle`: of the bytes that are to be released.
        run: that evaluated it; None when there is none.
    """

    case: Case
    about: ModelVersion | None
    digest: str = ""
    candidate: int = 0
    release: int = 0
    release_run: str = ""
    evaluate_run: str = ""
    commit: str = ""
    logged: Path | None = None
    bundle: Path | None = None
    run: Run | None = None
    verdict: Verdict | None = None


def review(request: DecisionRequest, reviewer: Person, signer: Signer | None = None) -> Outcome:
    """Decide and do it, or refuse and change nothing.

    Raises:
        RegistryError: when the decision is refused, or what it rests on is not there.
        LateError: when another decision was written at the same moment.
    """
    history, notes = read_finished_log(request.name)
    with tempfile.TemporaryDirectory(prefix="review-") as temporary:
        facts = gather(request, reviewer, history, Path(temporary))
        decision = decide(facts.case)
        if decision.refusal:
            raise RegistryError(decision.refusal)
        try:
            entry = _write(request, facts, decision, history, signer)
        except LateError:
            drop_unnamed(read_log(request.name))
            raise
        except MlflowException:
            now = read_log(request.name)
            if now.next_number == history.next_number:
                raise
            drop_unnamed(now)  # whoever was quicker has removed our copy while we made it
            raise LateError(_LATE) from None
    record = entry.record
    assert record
    ended = follow(History(request.name, (*history.entries, entry)))
    notes += [f"{what} never got its record and is removed" for what in drop_unnamed(ended)]
    return Outcome(record, line_hash(entry.text), tuple(notes))


_LATE = "another decision was written at the same moment; nothing happened. Look at the model again, then decide."


def read_finished_log(name: str) -> tuple[History, list[str]]:
    """Read the log, and finish its newest decision if that command was killed.

    Returns:
        The log, and what was finished or is wrong with it, a line each.
    """
    history = read_log(name)
    notes = [f"the log was changed: {fault}; see `mlflow run . -e audit`" for fault in history.faults()]
    if history.last and not history.last.done:
        notes.append(f"{history.last.record} was cut off; it is finished now")
        history = follow(history)
    return history, notes


def follow(history: History) -> History:
    """Do what follows from the newest record: aliases, tags, and the tag that says so.

    Returns:
        The log as it is then. A record that is done already is left alone, wherever the aliases stand.
    """
    if not history.last or history.last.done:
        return history
    client, name, overtaken = MlflowClient(), history.name, False
    while True:
        entry = history.last
        assert entry
        assert entry.record
        if entry.record.action != REJECT or overtaken:  # a rejection moves no alias, and mends none
            point_aliases(name, history.state.champion, history.state.previous)
        head = line_hash(entry.text)
        client.set_registered_model_tag(name, HEAD, f"{entry.number} {head}")
        if entry.record.action == APPROVE:
            for key, value in {DECISION: str(entry.number), HEAD: head}.items():
                client.set_model_version_tag(name, str(entry.record.release), key, value)
        now = read_log(name)
        if now.last is None or now.last.number == entry.number:
            mark_done(name, entry)
            return now
        history, overtaken = now, True  # a newer decision, perhaps with aliases before ours: its own must win


def drop_unnamed(history: History) -> list[str]:
    """Remove copies that no record names, nor can any more."""
    kept = {record.release: record.release_run for record in history.records}
    return drop_leftovers(history.name, versions_of(history.name), kept, len(history.entries))


def gather(request: DecisionRequest, reviewer: Person, history: History, folder: Path) -> CaseFacts:
    """Read what a decision rests on, from registry, tracking server and the bytes themselves.

    Args:
        folder: empty; gets the bytes that are to be released, and the evidence.

    Raises:
        RegistryError: if what is decided on is not there.
    """
    present = aliases_of(request.name).get(CHAMPION, 0)
    case = Case(
        action=request.action,
        subject=request.name,
        reason=request.reason,
        reviewer=reviewer,
        override=request.override,
        champion_compared=request.champion,
        champion_shown=request.shown,
        champion_present=present,
        champion_logged=history.state.champion if history.records else present,
    )
    if request.action in (APPROVE, REJECT):
        return _gather_candidate(request, case, history, folder)
    return _gather_release(request, case, history, folder)


def _gather_candidate(request: DecisionRequest, case: Case, history: History, folder: Path) -> CaseFacts:
    candidate = find_version(candidates_of(request.name), request.version, CHALLENGER)
    number = int(candidate.version)
    decided = history.decision_on(number)
    run, verdict, headline = judge_candidate(candidate, request.gate, folder / "logged")
    tags = run.data.tags if run else {}
    compared = tags.get(COMPARED, "").replace(NOTHING, "0")
    champion = int(compared) if request.champion is None and compared.isdecimal() else request.champion
    case = replace(
        case,
        subject=f"{candidate.name} version {number}",
        author=candidate.tags.get(AUTHOR) or None,
        verdict=verdict.passed if verdict else None,
        verdict_reason=headline,
        digest_expected=tags.get(DIGEST) or candidate.tags.get(DIGEST, ""),
        champion_compared=champion,
        decided=f"decided already, {decided}" if decided else "",
    )
    facts = CaseFacts(
        case,
        candidate,
        case.digest_expected,
        number,
        evaluate_run=candidate.tags.get(EVALUATE_RUN, ""),
        commit=tags.get(COMMIT, ""),
    )
    if request.action == REJECT:
        return facts
    fetched = fetch_bundle(candidate, folder / "bundle")
    try:
        found = digests.verify(fetched)
    except BundleError as error:
        raise BundleError(f"{case.subject}: {error}") from None
    case = replace(case, digest_found=found)
    return replace(facts, case=case, logged=folder / "logged", bundle=fetched, run=run, verdict=verdict)


def judge_candidate(candidate: ModelVersion, gate: Path, folder: Path) -> tuple[Run | None, Verdict | None, str]:
    """Judge a candidate anew, from its logged predictions and the gate as it is now.

    Returns:
        Its evaluate run, the verdict, and its headline; None, None and why, when there is none.
    """
    rules = Gate.read(gate)
    try:
        run = find_run(candidate.tags.get(EVALUATE_RUN, ""), "evaluate")
    except RegistryError as error:
        return None, None, str(error)
    try:
        verdict = judge_logged(fetch_files(run, ("predictions.json", "evaluation.json"), folder), rules)
    except RegistryError as error:
        return run, None, str(error)
    return run, verdict, verdict.headline


def _gather_release(request: DecisionRequest, case: Case, history: History, folder: Path) -> CaseFacts:
    """A rollback goes to a release of the log; a retirement takes out the one that is live."""
    state = history.state
    if request.action == ROLLBACK:
        number = _number(request.version) if request.version else state.previous
        case = replace(case, champion_next=number, named=bool(request.version))
    else:
        number = case.champion_logged or case.champion_present
    made = history.approval_of(number)
    case = replace(case, subject=f"{request.name} release {number}" if number else request.name)
    if not number:
        return CaseFacts(case, None)
    if request.action == ROLLBACK and made is None:
        there = ", ".join(str(record.release) for record in history.records if record.action == APPROVE) or "none"
        raise RegistryError(f"{request.name}: the log knows no release {number}; it has {there}.")
    version = find_version(request.name, str(number), CHAMPION)
    if made is None:  # an alias that was set behind the log's back can still be retired
        return CaseFacts(case, version, version.tags.get(DIGEST, ""), release=number, release_run=version.run_id or "")
    found = digests.verify(fetch_bundle(version, folder / "bundle")) if request.action == ROLLBACK else ""
    return CaseFacts(
        replace(case, author=made.author or None, digest_expected=made.digest, digest_found=found),
        version,
        made.digest,
        made.candidate,
        number,
        made.release_run,
        made.evaluate_run,
        made.commit,
    )


def _number(text: str) -> int:
    if not text.isdecimal():
        raise RegistryError(f"to={text}: expected the number of a release.")
    return int(text)


def _write(
    request: DecisionRequest, facts: CaseFacts, decision: Decision, history: History, signer: Signer | None
) -> Entry:
    """Copy the bytes if this is a release, then write the record."""
    client, case, name, number = MlflowClient(), facts.case, history.name, history.next_number
    if number == 1:
        ensure_model(client, name, f"Releases of {name}: `champion` is live, `previous` is what a rollback returns to.")
        ensure_model(client, log_of(name), f"Decisions on {name}, one each; `mlflow run . -e audit` checks them.")
    release, release_run, evidence = facts.release, facts.release_run, ""
    assert facts.about
    if case.action == APPROVE:
        assert facts.bundle
        assert facts.logged
        kept = keep_evidence(facts.run, facts.logged, facts.verdict, request.gate, facts.bundle.parent / "evidence")
        made = copy_release(name, facts.about, facts.bundle, kept, number)
        release, release_run, evidence = int(made.version), made.run_id, digests.verify(kept)
    after = {APPROVE: release, REJECT: case.champion_present, ROLLBACK: release, RETIRE: 0}
    outcome = {True: "passed", False: "failed", None: "missing"}[case.verdict]
    record = Record(
        sequence=number,
        time=max(format_moment(datetime.now(UTC)), history.records[-1].time if history.records else ""),
        action=case.action,
        meaning=MEANINGS[case.action],
        model=name,
        candidate=facts.candidate,
        release=release,
        release_run=release_run,
        digest=facts.digest,
        evidence=evidence,
        verdict=f"{outcome}: {clean(case.verdict_reason)[:300]}" if case.action in (APPROVE, REJECT) else "",
        override=decision.override,
        author=case.author or "",
        reviewer=case.reviewer.name,
        identified=decision.identified,
        reason=clean(case.reason),
        champion_before=case.champion_present,
        champion_after=after[case.action],
        evaluate_run=facts.evaluate_run,
        commit=facts.commit,
        signer=signer.fingerprint if signer else "",
        previous=history.head,
    )
    return append(history, record, f"models:/{facts.about.name}/{facts.about.version}", signer)
