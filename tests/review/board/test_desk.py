"""Desks of the review board: logins that never mix, and what is done under them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from mlflow import MlflowClient

from pipeline.errors import RegistryError
from pipeline.review.board import facts
from pipeline.review.board.desk import Desks, Seat, Settings
from pipeline.review.decision import APPROVE, REJECT
from pipeline.review.log import read_log
from pipeline.runs.person import Person
from pipeline.runs.tags import EVALUATE_RUN
from tests.support.candidates import LONE, candidate, write_gate

pytestmark = pytest.mark.mlflow


def test_a_reviewer_whom_the_proxy_names_is_in_the_record(tracking, tmp_path):
    gate = write_gate(tmp_path)
    version = candidate(tmp_path, "proxied")
    olga = Person("olga@example.org", "header X-User of the proxy", True)
    ticket = facts.draw("proxied", "1", olga, gate).ticket
    facts.act(ticket, REJECT, "too small", "", gate, True)
    (record,) = read_log("proxied").records
    assert (record.reviewer, record.identified) == (olga.name, olga.how)
    assert str(version.version) == "1"


def test_a_candidate_that_changed_after_the_page_was_drawn_is_not_decided(tracking, tmp_path):
    gate = write_gate(tmp_path)
    version = candidate(tmp_path, "swapped", "good1")
    other = candidate(tmp_path, "swapped", "good2")
    ticket = facts.draw("swapped", "1", LONE, gate).ticket
    MlflowClient().set_model_version_tag(version.name, "1", EVALUATE_RUN, other.run_id)
    with pytest.raises(RegistryError, match="changed after the page was drawn"):
        facts.act(ticket, APPROVE, "good", "", gate, False)
    assert read_log("swapped").records == ()


def test_each_desk_speaks_under_its_own_login(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "board")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "of the board")
    seats = [Seat(Person(name, "tracking server login", True), (name, f"{name}'s")) for name in ("ada", "bob")]
    desks = Desks(Settings(), limit=2)
    names = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")

    def seen(k: int) -> list[str | None]:
        return [desks.of(seats[k % 2]).ask(os.getenv, name) for name in names]

    try:
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(seen, range(12)))
        assert found == [["ada", "ada's", None], ["bob", "bob's", None]] * 6
        assert os.environ["MLFLOW_TRACKING_USERNAME"] == "board"

        ada = desks.of(seats[0])
        with pytest.raises(RegistryError, match="the process that asks the tracking server ended"):
            ada.ask(os._exit, 1)
        assert ada.ask(os.getenv, names[0]) == "ada"  # a new process, the same login
    finally:
        desks.close()
