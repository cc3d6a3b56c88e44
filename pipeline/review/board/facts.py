"""What the board shows, read from the tracking server and drawn; runs in the process of one person's desk."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from requests.exceptions import RequestException

from pipeline.errors import RegistryError
from pipeline.review.board.page import Line, Listing, Past, build_listing, build_past, build_sheet
from pipeline.review.board.sheet import fill_sheet, lead_score
from pipeline.review.board.ticket import Drawn, Ticket
from pipeline.review.decision import APPROVE, REJECT, name_release
from pipeline.review.history import History, Record
from pipeline.review.log import read_log
from pipeline.review.releases import aliases_of
from pipeline.review.review import DecisionRequest, review
from pipeline.runs.person import Person
from pipeline.runs.registry import CHALLENGER, CHAMPION, candidates_of, find_version
from pipeline.runs.server import user
from pipeline.runs.tags import AUTHOR, CANDIDATE_VERDICT, DIGEST, EVALUATE_RUN
from pipeline.runs.tracking import find_run

P = ParamSpec("P")
R = TypeVar("R")
LISTED = 20


def _in_words(function: Callable[P, R]) -> Callable[P, R]:
    """Say what MLflow refuses as a user's error, which crosses process borders and fits a page."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (MlflowException, RequestException) as error:
            status = getattr(getattr(error, "response", None), "status_code", 0)
            denied = status == 403 or getattr(error, "error_code", "") == "PERMISSION_DENIED"
            lead = "the tracking server does not let you do this" if denied else "MLflow says"
            raise RegistryError(f"{lead}: {' '.join(str(error).split())[:500]}") from None

    return wrapped


@_in_words
def draw(name: str, version: str, person: Person, gate: Path) -> Drawn:
    """Draw the board.

    Args:
        name: of the model; empty: the first there is.
        version: candidate whose sheet is drawn; empty for none.

    Raises:
        RegistryError: if there is no such candidate.
    """
    names = _names()
    name = name or (names[0] if names else "")
    if name not in names:
        asked = f"{name}: it has no candidates" if name else "no model has candidates"
        raise RegistryError(f"{asked} on {mlflow.get_tracking_uri()}; run `mlflow run .` first.")
    history, champion = read_log(name), aliases_of(name).get(CHAMPION, 0)
    chosen = find_version(candidates_of(name), version, CHALLENGER) if version else None
    number = int(chosen.version) if chosen else None
    top = build_listing(_listing(name, names, history, champion), f"{person.name} ({person.how})", number)
    past = build_past([_past(record) for record in history.records][::-1], history.head)
    if chosen is None or number is None:
        return Drawn(top, "", past, None)
    with tempfile.TemporaryDirectory(prefix="board-") as temporary:
        sheet = fill_sheet(chosen, champion, _champion_run(name, champion), gate, Path(temporary))
    decided = history.decision_on(number)
    if decided:
        sheet = replace(sheet, decided=f"Decided already, {decided}: {decided.reason}")
        return Drawn(top, build_sheet(sheet), past, None)
    ticket = Ticket(name, number, champion, _seen(chosen), sheet.verdict_kind in ("failed", "missing"), person)
    return Drawn(top, build_sheet(sheet), past, ticket)


@_in_words
def act(ticket: Ticket, action: str, reason: str, override: str, gate: Path, proxied: bool) -> str:
    """Carry out a decision as the user of this process.

    Args:
        proxied: the reviewer is whom the proxy named, not the user of the tracking server.

    Returns:
        What was done, in a sentence or two.

    Raises:
        RegistryError: if it is refused.
    """
    chosen = find_version(candidates_of(ticket.name), str(ticket.version), CHALLENGER)
    if _seen(chosen) != ticket.seen:
        raise RegistryError(f"{chosen.name} version {chosen.version}: it was changed after the page was drawn.")
    version, shown = str(ticket.version), ticket.champion
    request = DecisionRequest(action, ticket.name, reason, version, override=override, gate=gate, shown=shown)
    done = review(request, ticket.person if proxied else user())
    record = done.record
    what = f"approved: release {record.release} is the champion" if action == APPROVE else "rejected"
    text = f"Version {ticket.version} of {ticket.name} is {what}. Record {record.sequence}, head {done.head}."
    return " ".join([text, *(f"Also: {note}." for note in done.notes)])


def _names() -> list[str]:
    suffix = candidates_of("")
    models = MlflowClient().search_registered_models(f"name LIKE '%{suffix}'", max_results=1000)
    return sorted(model.name.removesuffix(suffix) for model in models)


def _listing(name: str, names: list[str], history: History, champion: int) -> Listing:
    found = MlflowClient().search_model_versions(
        f"name = '{candidates_of(name)}'", max_results=LISTED, order_by=["version_number DESC"]
    )
    lines = [_line(version, history, champion) for version in found]
    older = max(int(found[-1].version) - 1, 0) if found else 0
    return Listing(name, names, _live(name, history, champion), lines, older)


def _line(version: ModelVersion, history: History, champion: int) -> Line:
    run = _run(version)
    decided = history.decision_on(int(version.version))
    state = "waiting"
    if decided:
        state = "rejected"
        if decided.action == APPROVE:
            state = f"live, release {decided.release}" if decided.release == champion else f"release {decided.release}"
    tags = version.tags
    return Line(
        version=int(version.version),
        registered=_time(version.creation_timestamp),
        author=tags.get(AUTHOR, "") or "not recorded",
        verdict=tags.get(CANDIDATE_VERDICT, "missing"),
        score=lead_score(run.data.metrics) if run else "–",
        state=state,
    )


def _live(name: str, history: History, champion: int) -> str:
    """What is live, in a sentence; what is wrong with that comes first."""
    faults = history.faults()
    if faults:
        return f"The log was changed: {faults[0]}. See `mlflow run . -e audit` before you decide."
    if champion != history.state.champion and history.records:
        alias, log = name_release(champion), name_release(history.state.champion)
        return f"By the alias {alias} is live, by the log {log}: see `mlflow run . -e audit` before you decide."
    made = history.approval_of(champion)
    if not champion:
        return "Nothing is live."
    origin = f", version {made.candidate}, approved by {made.reviewer} on {made.time[:10]}" if made else ""
    return f"Live is release {champion} of {name}{origin}."


def _champion_run(name: str, champion: int) -> Run | None:
    return _run(find_version(name, str(champion), CHAMPION)) if champion else None


def _run(version: ModelVersion) -> Run | None:
    """The run that evaluated a version; None where it is gone or may not be read."""
    try:
        return find_run(version.tags.get(EVALUATE_RUN, ""), "evaluate")
    except RegistryError:
        return None


def _seen(candidate: ModelVersion) -> tuple[str, ...]:
    """What a candidate's sheet rests on: another bundle or another evaluation is another thing to decide."""
    run = _run(candidate)
    digest = run.data.tags.get(DIGEST, "") if run else candidate.tags.get(DIGEST, "")
    return candidate.source, candidate.tags.get(EVALUATE_RUN, ""), digest


def _past(record: Record) -> Past:
    what = f"{record.action} version {record.candidate}" if record.candidate else record.action
    if record.action not in (APPROVE, REJECT):
        what = f"{record.action}: release {record.release}"
    moved = record.champion_before != record.champion_after
    return Past(
        number=record.sequence,
        time=record.time[:16].replace("T", " "),
        what=what,
        reviewer=f"{record.reviewer} ({record.identified})",
        reason=record.reason + (f" — without a passed verdict: {record.override}" if record.override else ""),
        champion=f"{name_release(record.champion_before)} → {name_release(record.champion_after)}"
        if moved
        else name_release(record.champion_after),
    )


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")
