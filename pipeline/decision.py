"""The one decision: may this candidate be released?  Pure; every way to release a model goes through it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """What a decision rests on.

    Attributes:
        candidate: name and version, for people: `solubility-candidates version 7`.
        verdict: of the prediction table against the present gate: passed, failed, or None when there is none.
        verdict_reason: first line of the verdict.
        digest_expected: what evaluation wrote down; `digest_found`: what the bytes have now.
        reason: the reviewer's own words.
    """

    candidate: str
    verdict: bool | None
    verdict_reason: str
    digest_expected: str
    digest_found: str
    reason: str


def decide(case: Case) -> str | None:
    """Return why the release is refused, or None when it is allowed."""
    if not case.reason.strip():
        return f'{case.candidate}: a release needs its reason; pass reason="…".'
    if case.digest_found != case.digest_expected:
        return (
            f"{case.candidate}: its bytes have digest {case.digest_found[:12]}, evaluation saw "
            f"{case.digest_expected[:12]}. Do not use it; run `mlflow run .` again for a new candidate."
        )
    if case.verdict is None:
        return f"{case.candidate}: it has no verdict ({case.verdict_reason}). Run `mlflow run . -e evaluate` for one."
    if not case.verdict:
        return (
            f"{case.candidate}: its verdict is failed ({case.verdict_reason}). Train a better one, or change gate.yaml."
        )
    return None
