"""The review board as a reviewer uses it, in headless Chromium: look, decide, double-click, stale page, keyboard."""

from __future__ import annotations

import json
import os

import pytest
from mlflow import MlflowClient

from pipeline.review.log import read_log
from tests.support.browser import button, chromium, fill, outcome, window
from tests.support.candidates import aliases, candidate, decide, write_gate
from tests.support.servers import step_server

pytestmark = pytest.mark.mlflow


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def board(tracking, tmp_path_factory):
    """A board without login on the tests' own database; model `toy` has release 1."""
    folder = tmp_path_factory.mktemp("board")
    write_gate(folder)
    candidate(folder, "toy", "good1")
    decide(folder, "toy", version="1")
    with step_server("board", folder, os.environ | {"MLFLOW_TRACKING_URI": tracking}) as address:
        yield address, folder


def add_comparison(version) -> None:
    """Log what `evaluate` logs beside a champion, as release 1 of `toy`."""
    triples = {"challenger": [0.1, 0.08, 0.12], "champion": [0.3, 0.25, 0.35], "difference": [-0.2, -0.25, -0.15]}
    metric = {"target": "logS", "metric": "rmse", "rows": 8, "lower_is_better": True, **triples}
    part = {"target": "logS", "kind": "size", "name": "1 to 4 atoms", "metric": "rmse", "rows": 4, "clear": True}
    part |= {"challenger": 0.4, "champion": 0.2, "difference": [0.2, 0.1, 0.3], "p": 0.001, "p_holm": 0.01}
    moved = {"target": "logS", "row": 7, "id": "c1ccccc1O", "label": "-1.5", "challenger": "-1.4", "champion": "-3.0"}
    comparison = {
        "champion": {"version": "1", "digest": "0" * 64},
        "refusal": None,
        "notes": ["The champion has seen 0 of the test rows."],
        "rows": {"test": 8, "compared": 8},
        "metrics": [metric],
        "slices": {"tried": 12, "worse": [part]},
        "moved": [moved | {"moved": 1.6}],
        "cost": {"model": {"ms_per_request": 1.234}, "champion": {"ms_per_request": 1.5}},
    }
    client = MlflowClient()
    client.log_text(version.run_id, json.dumps(comparison), "comparison.json")
    client.log_metric(version.run_id, "test/logS/rmse", 0.1)


def test_a_reviewer_looks_and_decides_once(browser, board):
    address, folder = board
    add_comparison(candidate(folder, "toy", "good2"))
    candidate(folder, "toy", "good3")
    with window(browser, f"{address}/?name=toy&version=2") as page:
        button(page).wait_for()
        text = page.locator("body").inner_text()
        assert "Better than the champion, release 1: RMSE on logS 0.100 [0.080, 0.120] against 0.300" in text
        assert "clearly worse on 1 of them" in text
        assert "label −1.5: champion −3.0, candidate −1.4 (row 7, c1ccccc1O)" in text
        assert page.locator("figure svg path").count() > 10  # the molecule and the plot are drawn
        assert "Live is release 1 of toy, version 1, approved by ada" in text

        button(page).click()  # nothing is filled in
        page.get_by_text("Choose to approve or to reject.").wait_for()
        assert len(read_log("toy").records) == 1

        fill(page, "Approve: version 2 becomes the champion in place of release 1", "better on the new plates")
        button(page).dblclick()
        assert "Version 2 of toy is approved: release 2 is the champion." in outcome(page)
        assert button(page).count() == page.get_by_role("combobox").count() == page.get_by_role("textbox").count() == 0
        assert page.locator("#candidate").count() == 0  # no sheet under which a click could fall
        page.get_by_text("Live is release 2 of toy").wait_for()
        assert page.outside == []
    records = read_log("toy").records
    assert [(r.action, r.candidate, r.champion_after) for r in records] == [("approve", 1, 1), ("approve", 2, 2)]
    assert records[-1].reason == "better on the new plates"
    assert records[-1].identified.startswith("unauthenticated")
    assert aliases("toy")["champion"] == "2"

    with window(browser, f"{address}/?name=toy&version=2") as page:
        page.get_by_text("Decided already, record 2").wait_for()
        assert button(page).count() == 0


def test_a_stale_page_is_refused_and_changes_nothing(browser, board):
    address, folder = board
    names = [candidate(folder, "stale", content) for content in ("good1", "good2", "good3")]
    decide(folder, "stale", version="1")
    with window(browser, f"{address}/?name=stale&version=3") as page:
        fill(page, "Approve: version 3 becomes the champion in place of release 1", "it beats release 1")
        decide(folder, "stale", version="2")  # somebody else, meanwhile
        before = read_log("stale")
        button(page).click()
        said = outcome(page)
        assert "Refused" in said
        assert "the page showed release 1 as live, but release 2 is live now" in said
        page.get_by_text("Your reason was: it beats release 1").wait_for()
        assert button(page).count() == 0
        assert page.get_by_role("link", name="Look at version 3 as it is now").count() == 1
    assert read_log("stale") == before
    assert aliases("stale")["champion"] == "2"
    assert len(names) == 3


def test_a_failed_candidate_is_rejected_by_keyboard(browser, board):
    address, folder = board
    candidate(folder, "keys", "bad")
    with window(browser, f"{address}/?name=keys") as page:
        page.get_by_role("link", name="version 1").focus()
        page.keyboard.press("Enter")
        button(page).wait_for()
        assert "Failed" in page.locator(".verdict.failed").first.inner_text()
        page.get_by_role("combobox").focus()
        page.keyboard.type("Reject")  # a list goes to what is typed
        page.keyboard.press("Tab")
        page.keyboard.type("the answers are off by ten")
        for _ in range(5):
            page.keyboard.press("Tab")
            if button(page).evaluate("one => one.matches(':focus')"):
                break
        page.keyboard.press("Enter")
        assert "Version 1 of keys is rejected." in outcome(page)
    assert [record.action for record in read_log("keys").records] == ["reject"]
    assert aliases("keys") == {}
