"""The one decision on a model: approve, reject, roll back or retire, allowed or refused.  Pure.

Entry points, board and CI gather the facts of a case (`pipeline.review.review`) and ask here; nobody decides elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.runs.person import Person

APPROVE, REJECT, ROLLBACK, RETIRE = "approve", "reject", "rollback", "retire"
MEANINGS = {
    APPROVE: "The reviewer judged the candidate fit for use; a copy of its bytes became the champion.",
    REJECT: "The reviewer judged the candidate unfit for use; it is never released.",
    ROLLBACK: "The reviewer made an earlier release the champion again.",
    RETIRE: "The reviewer took the champion out of use; nothing is live.",
}
"""Every action, with what the reviewer's name under it means."""

MAX_REASON = 1000
"""Characters of a reason, so that every server keeps a whole record."""


@dataclass(frozen=True)
class Case:
    """What a decision rests on. A release number of 0 means that nothing is live.

    Attributes:
        action: a key of `MEANINGS`.
        subject: what is decided on, for people: `solubility-candidates version 7`.
        reason: the reviewer's own words.
        author: who registered the candidate, or None when that was not recorded.
        verdict: of the logged predictions against the present gate: passed, failed, or None when there is none.
        verdict_reason: first line of the verdict.
        override: why it may live without a passed verdict; empty for none.
        digest_expected: what evaluation or the log wrote down; `digest_found`: what the bytes have now.
        champion_compared: release that the candidate was compared with; None when that is not known.
        champion_shown: release that the reviewer's page showed as live; None without a page.
        champion_present: release that alias `champion` names.
        champion_logged: release that is live by the log.
        champion_next: release that a rollback makes champion; `named`: whether the reviewer named it.
        decided: the decision that this candidate has already, in words; empty for none.
    """

    action: str
    subject: str
    reason: str
    reviewer: Person
    author: str | None = None
    verdict: bool | None = None
    verdict_reason: str = ""
    override: str = ""
    digest_expected: str = ""
    digest_found: str = ""
    champion_compared: int | None = None
    champion_shown: int | None = None
    champion_present: int = 0
    champion_logged: int = 0
    champion_next: int = 0
    named: bool = False
    decided: str = ""


class Decision(NamedTuple):
    """The answer.

    Attributes:
        refusal: why nothing may happen, in one sentence with what to do; None when it is allowed.
        identified: how the reviewer was identified, as the record says it.
        override: the reason that stands for a passed verdict; empty when the verdict passed by itself.
    """

    refusal: str | None
    identified: str
    override: str


def decide(case: Case) -> Decision:
    """Allow or refuse an action."""
    refusal = next(_refusals(case), None)
    needed = case.action == APPROVE and not case.verdict
    return Decision(refusal, identified(case), clean(case.override) if needed and refusal is None else "")


def identified(case: Case) -> str:
    """How the reviewer was identified; without a login nothing tells a reviewer from an author."""
    if case.reviewer.proven:
        return case.reviewer.how
    alone = case.author in (None, case.reviewer.name)
    return "unauthenticated, self-reviewed" if alone else f"unauthenticated, {case.reviewer.how}"


def name_release(number: int) -> str:
    """`release 3`, or `nothing` for 0."""
    return f"release {number}" if number else "nothing"


def clean(text: str) -> str:
    """One line of printable text, as a record keeps it."""
    return "".join(sign for sign in " ".join(text.split()) if sign.isprintable())


def _refusals(case: Case) -> Iterator[str]:
    assert case.action in MEANINGS, case.action
    yield from _words(case)
    if case.action in (APPROVE, REJECT):
        yield from _reviewed(case)
    if case.action in (APPROVE, ROLLBACK) and case.digest_found != case.digest_expected:
        yield (
            f"{case.subject}: its bytes have digest {case.digest_found[:12]}, signed off was "
            f"{case.digest_expected[:12]}. Do not use it; run `mlflow run .` again for a new candidate."
        )
    if case.action == APPROVE:
        yield from _passed(case)
    if case.action != REJECT:
        yield from _champion(case)


def _words(case: Case) -> Iterator[str]:
    if not clean(case.reason):
        yield f'{case.subject}: this needs a reason; pass reason="…".'
    for name, text in (("reason", case.reason), ("override", case.override)):
        length = len(clean(text))
        if length > MAX_REASON:
            yield f"{case.subject}: {name}= has {length} characters, at most {MAX_REASON} are kept. Shorten it."


def _reviewed(case: Case) -> Iterator[str]:
    """A candidate is decided once, by somebody else."""
    if case.decided:
        yield f"{case.subject}: it is {case.decided}. A decision is final; a new one needs a new version."
    if case.reviewer.proven and case.author is None:
        yield f"{case.subject}: who registered it was not recorded. Run `mlflow run . -e register` for a new version."
    if case.reviewer.proven and case.author == case.reviewer.name:
        yield f"{case.subject}: {case.author} is its author and cannot review it. Ask another reviewer."


def _passed(case: Case) -> Iterator[str]:
    if case.verdict or clean(case.override):
        return
    if case.verdict is None:
        yield f"{case.subject}: it has no verdict ({case.verdict_reason}). Run `mlflow run . -e evaluate` for one."
    yield (
        f"{case.subject}: its verdict is failed ({case.verdict_reason}). Train a better one, change gate.yaml, "
        'or say why it may live all the same with override="…".'
    )


def _champion(case: Case) -> Iterator[str]:
    present, compared, shown = case.champion_present, case.champion_compared, case.champion_shown
    if shown is not None and shown != present:
        yield (
            f"{case.subject}: the page showed {name_release(shown)} as live, but {name_release(present)} is live now. "
            "Look at it again, then decide."
        )
    if compared is not None and compared != present:
        yield (
            f"{case.subject}: it was compared with {name_release(compared)}, but {name_release(present)} is live now. "
            f"Compare it with `mlflow run . -e evaluate`, or compare by yourself and promote with champion={present}."
        )
    if present != case.champion_logged and (case.action == APPROVE or (case.action == ROLLBACK and not case.named)):
        yield (
            f"{case.subject}: {name_release(present)} is live, but {name_release(case.champion_logged)} by the log. "
            "Somebody moved the alias: see `mlflow run . -e audit`, then roll back to a release by number with to=, or "
            "retire."
        )
    if case.action == ROLLBACK and not case.champion_next:
        yield f"{case.subject}: there is no earlier release to go back to. Name one with to=, or retire the champion."
    if case.action == RETIRE and not present and not case.champion_logged:
        yield f"{case.subject}: nothing is live, so nothing can be retired."
    if case.action == ROLLBACK and case.champion_next == present:
        yield f"{case.subject}: it is live already. Name another one with to=."
