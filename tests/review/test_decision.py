"""The one decision: allowed only when all holds, refused with the lack named."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.review.decision import APPROVE, MAX_REASON, MEANINGS, REJECT, RETIRE, ROLLBACK, Case, decide, name_release
from pipeline.runs.person import Person

ADA, BOB = Person("ada", "tracking server login", True), Person("bob", "tracking server login", True)
LONE = Person("eve", "system user", False)
A, B = "ab" * 32, "cd" * 32
GOOD = Case(
    APPROVE,
    "m-candidates version 7",
    "better on the new plates",
    ADA,
    author="bob",
    verdict=True,
    verdict_reason="Passed: RMSE 0.5",
    digest_expected=A,
    digest_found=A,
    champion_compared=3,
    champion_present=3,
    champion_logged=3,
)
BACK = replace(GOOD, action=ROLLBACK, subject="m release 2", verdict=None, champion_next=2)


@pytest.mark.parametrize(
    "case",
    [
        GOOD,
        replace(GOOD, champion_compared=None),
        replace(GOOD, verdict=False, override="the only assay that we have"),
        replace(GOOD, verdict=None, override="an emergency"),
        replace(GOOD, action=REJECT),
        replace(GOOD, action=REJECT, verdict=False, digest_found=B, champion_present=9),
        BACK,
        replace(BACK, author="ada"),
        replace(BACK, champion_logged=1, named=True, champion_compared=None),
        replace(GOOD, action=RETIRE, verdict=None, digest_found="", author=None),
        replace(GOOD, action=RETIRE, champion_logged=0),
        replace(GOOD, reviewer=LONE, author="eve"),
        replace(GOOD, reviewer=LONE, author=None),
    ],
)
def test_whole_cases_are_allowed(case):
    assert decide(case).refusal is None


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (replace(GOOD, reason=" \n\t"), 'this needs a reason; pass reason="…".'),
        (replace(GOOD, reason="x" * (MAX_REASON + 1)), "reason= has 1001 characters, at most 1000 are kept"),
        (replace(GOOD, verdict=False, override="x" * 2000), "override= has 2000 characters"),
        (replace(GOOD, reviewer=BOB), "bob is its author and cannot review it"),
        (replace(GOOD, action=REJECT, reviewer=BOB), "bob is its author"),
        (replace(GOOD, author=None), "who registered it was not recorded"),
        (replace(GOOD, verdict=False, verdict_reason="rmse 2 > 1"), "its verdict is failed (rmse 2 > 1)"),
        (replace(GOOD, verdict=False, override="  "), "its verdict is failed"),
        (replace(GOOD, verdict=None, verdict_reason="no table"), "it has no verdict (no table)"),
        (replace(GOOD, digest_found=B), "its bytes have digest cdcdcdcdcdcd, signed off was abababababab"),
        (replace(GOOD, digest_found=B, override="all the same"), "its bytes have digest"),
        (replace(BACK, digest_found=B), "its bytes have digest"),
        (replace(GOOD, champion_compared=2), "compared with release 2, but release 3 is live now"),
        (replace(GOOD, champion_compared=0), "compared with nothing, but release 3 is live now"),
        (replace(GOOD, champion_shown=2), "page showed release 2 as live, but release 3 is live now. Look at it again"),
        (replace(GOOD, champion_compared=0, champion_shown=3), "compared with nothing, but release 3 is live now"),
        (replace(BACK, champion_compared=5), "compared with release 5, but release 3 is live"),
        (replace(GOOD, action=RETIRE, champion_compared=5), "compared with release 5"),
        (replace(GOOD, champion_logged=1), "release 3 is live, but release 1 by the log. Somebody moved the alias"),
        (replace(BACK, champion_logged=1), "release 3 is live, but release 1 by the log"),
        (replace(GOOD, decided="decided already, record 4"), "it is decided already, record 4. A decision is final"),
        (replace(GOOD, action=REJECT, decided="decided already"), "A decision is final"),
        (replace(BACK, champion_next=0), "there is no earlier release to go back to"),
        (replace(BACK, champion_next=3, named=True), "it is live already"),
        (replace(GOOD, action=RETIRE, champion_present=0, champion_logged=0, champion_compared=0), "nothing is live"),
    ],
)
def test_each_lack_refuses_and_says_so(case, says):
    refusal = decide(case).refusal
    assert says in refusal
    assert "\n" not in refusal


def test_an_override_marks_only_what_needed_it():
    assert decide(replace(GOOD, override="in a hurry")).override == ""
    assert decide(replace(GOOD, verdict=False, override=" in\na  hurry ")).override == "in a hurry"
    assert decide(replace(GOOD, verdict=False, override="in a hurry", digest_found=B)).override == ""


def test_the_record_says_how_the_reviewer_was_identified():
    assert decide(GOOD).identified == "tracking server login"
    assert decide(replace(GOOD, reviewer=LONE, author="eve")).identified == "unauthenticated, self-reviewed"
    assert decide(replace(GOOD, reviewer=LONE, author=None)).identified == "unauthenticated, self-reviewed"
    assert decide(replace(GOOD, reviewer=LONE, author="bob")).identified == "unauthenticated, system user"


words = st.sampled_from(["", " ", "because", "x" * (MAX_REASON + 1)])
releases = st.integers(0, 3)
cases = st.builds(
    Case,
    action=st.sampled_from(list(MEANINGS)),
    subject=st.just("m"),
    reason=words,
    reviewer=st.sampled_from([ADA, BOB, LONE]),
    author=st.sampled_from([None, "bob", "eve"]),
    verdict=st.sampled_from([True, False, None]),
    override=words,
    digest_expected=st.just(A),
    digest_found=st.sampled_from([A, A, B]),
    champion_compared=st.none() | releases,
    champion_shown=st.none() | releases,
    champion_present=releases,
    champion_logged=releases,
    champion_next=releases,
    named=st.booleans(),
    decided=st.sampled_from(["", "", "decided"]),
)


@settings(deadline=None, max_examples=200)
@given(cases)
def test_nothing_is_allowed_unless_all_holds(case):
    """Each rule once more, written the other way round."""
    if decide(case).refusal is not None:
        return
    assert case.reason.strip()
    assert max(len(case.reason), len(case.override)) <= MAX_REASON
    if case.action in (APPROVE, REJECT):
        assert not case.decided
        assert not case.reviewer.proven or case.author not in (None, case.reviewer.name)
    if case.action == APPROVE:
        assert case.verdict or case.override.strip()
        assert case.champion_present == case.champion_logged
    if case.action in (APPROVE, ROLLBACK):
        assert case.digest_found == case.digest_expected
    if case.action != REJECT and case.champion_compared is not None:
        assert case.champion_compared == case.champion_present
    if case.action != REJECT and case.champion_shown is not None:
        assert case.champion_shown == case.champion_present
    if case.action == ROLLBACK:
        assert case.champion_next not in (0, case.champion_present)
    if case.action == RETIRE:
        assert case.champion_present or case.champion_logged


@settings(deadline=None, max_examples=60)
@given(cases)
def test_a_decision_is_one_line_and_knows_no_chance(case):
    assert decide(case) == decide(case)
    assert "\n" not in (decide(case).refusal or "")


def test_a_release_is_named_by_its_number_and_none_is_nothing():
    assert [name_release(number) for number in (0, 3)] == ["nothing", "release 3"]
