"""What the board shows of a registry: which candidates there are, what is live, and what is wrong with that."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from requests.exceptions import ConnectionError as Unreachable

from pipeline import digests
from pipeline.errors import RegistryError
from pipeline.review.board import facts
from pipeline.review.decision import APPROVE, REJECT, RETIRE, ROLLBACK
from pipeline.runs.registry import CHAMPION
from pipeline.runs.tags import EVALUATE_RUN
from tests.support.candidates import ADA, candidate, decide, place_of, write_gate

pytestmark = pytest.mark.mlflow


@pytest.fixture(scope="module")
def decided(tracking, tmp_path_factory):
    """A model with four candidates: released twice, one rejected, one waiting, and the first live again."""
    folder = tmp_path_factory.mktemp("facts")
    for content in ("one", "two", "three", "bad"):
        candidate(folder, "shown", content)
    decide(folder, "shown", version="1")
    decide(folder, "shown", version="2", reason="better on <new> plates")
    decide(folder, "shown", REJECT, version="3")
    decide(folder, "shown", ROLLBACK)
    return folder


def draw(folder, name="shown", version=""):
    return facts.draw(name, version, ADA, write_gate(folder))


def test_candidates_are_listed_with_what_became_of_them(decided):
    top = draw(decided).top
    states = ["waiting", "rejected", "release 2", "live, release 1"]
    places = [top.index(f">{state}<") for state in states]
    assert places == sorted(places)  # the newest first
    assert "Live is release 1 of shown, version 1, approved by ada on 20" in top
    assert "You are ada (tracking server login)" in top


def test_decisions_are_told_newest_first(decided):
    past = draw(decided).past
    assert past.index("rollback: release 1") < past.index("reject version 3") < past.index("approve version 1")
    assert "release 2 → release 1" in past
    assert "better on &lt;new&gt; plates" in past


def test_only_a_candidate_that_waits_has_a_ticket(decided):
    assert draw(decided).ticket is None
    ticket = draw(decided, version="4").ticket
    assert (ticket.name, ticket.version, ticket.champion, ticket.needs_override) == ("shown", 4, 1, True)
    page = draw(decided, version="3")
    assert page.ticket is None
    assert "Decided already, " in page.sheet


def test_old_candidates_are_counted_not_listed(decided, monkeypatch):
    monkeypatch.setattr(facts, "LISTED", 1)
    top = draw(decided).top
    assert "3 older ones are not listed" in top
    assert "version 3<" not in top


def test_without_a_name_the_first_model_is_shown(decided):
    candidate(decided, "another")
    top = draw(decided, name="").top
    assert "Review board: another" in top
    assert "?name=shown" in top
    assert "Nothing is live." in top


@pytest.mark.parametrize(
    ("name", "version", "says"), [("nobody", "", "nobody: it has no candidates"), ("shown", "9", "version 9")]
)
def test_what_is_not_there_is_one_line(decided, name, version, says):
    with pytest.raises(RegistryError, match=says):
        draw(decided, name, version)


def test_an_alias_that_the_log_does_not_know_comes_first(decided):
    candidate(decided, "moved", "one")
    decide(decided, "moved", version="1")
    decide(decided, "moved", RETIRE)
    assert "Nothing is live." in draw(decided, "moved").top
    MlflowClient().set_registered_model_alias("moved", CHAMPION, "1")
    top = draw(decided, "moved").top
    assert "By the alias release 1 is live, by the log nothing: see `mlflow run . -e audit`" in top


def test_a_candidate_whose_run_is_gone_is_listed_without_a_score(decided):
    version = candidate(decided, "gone")
    MlflowClient().set_model_version_tag(version.name, version.version, EVALUATE_RUN, "no such run")
    top = draw(decided, "gone").top
    assert "version 1<" in top
    assert "<td>–</td>" in top


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (MlflowException("no\n  room"), "MLflow says: no room"),
        (MlflowException("no", PERMISSION_DENIED), "the tracking server does not let you do this: no"),
        (Unreachable("away"), "MLflow says: away"),
    ],
)
def test_what_mlflow_refuses_crosses_the_process_as_one_line(error, says):
    @facts._in_words
    def ask():
        raise error

    with pytest.raises(RegistryError) as caught:
        ask()
    assert str(caught.value) == says


DOORS = {
    # content of the candidate, who registered it, the champion it was compared with, what stands in the way
    "fit": ("good", "eve", "1", None),
    "compared with nothing": ("late", "eve", "none", "compared with nothing, but release 1 is live now"),
    "compared with another": ("other", "eve", "7", "compared with release 7, but release 1 is live now"),
    "own work": ("own", "ada", "1", "ada is its author and cannot review it"),
    "failed": ("bad", "eve", "1", "its verdict is failed"),
    "nobody's": ("nobody", "", "1", "who registered it was not recorded"),
    "other bytes": ("changed", "eve", "1", "its bytes have digest"),
}


@pytest.mark.parametrize("case", DOORS)
def test_the_board_and_promote_have_one_answer(case, tmp_path, monkeypatch):
    """Each candidate goes to both doors: a command of a reviewer, and one click on the board by the same person."""
    content, author, compared, says = DOORS[case]
    monkeypatch.setattr(facts, "user", lambda: ADA)
    for door in ("promote", "board"):
        name = f"{door}-{case}".replace(" ", "-").replace("'", "")
        candidate(tmp_path, name, "first")
        decide(tmp_path, name, version="1")
        made = candidate(tmp_path, name, content, author=author, **{"graphline.champion": compared})
        if case == "other bytes":
            (place_of(made.source) / "artifacts" / "model.onnx").write_text("evil")
            digests.write_digests(place_of(made.source))

        def approve(door=door, name=name):
            if door == "promote":
                return decide(tmp_path, name, version="2")
            ticket = facts.draw(name, "2", ADA, write_gate(tmp_path)).ticket
            return facts.act(ticket, APPROVE, "fit for use", "", write_gate(tmp_path), proxied=False)

        if says is None:
            approve()
        else:
            with pytest.raises(RegistryError, match=says):
                approve()
        assert facts.aliases_of(name)[CHAMPION] == (2 if says is None else 1), door


def test_a_page_that_showed_another_champion_decides_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(facts, "user", lambda: ADA)
    for content in ("one", "two", "three"):
        candidate(tmp_path, "stale", content)
    decide(tmp_path, "stale", version="1")
    ticket = facts.draw("stale", "3", ADA, write_gate(tmp_path)).ticket
    decide(tmp_path, "stale", version="2")
    with pytest.raises(RegistryError, match="the page showed release 1 as live, but release 2 is live now"):
        facts.act(ticket, APPROVE, "fit", "", write_gate(tmp_path), proxied=False)
    said = facts.act(ticket, REJECT, "too late", "", write_gate(tmp_path), proxied=False)  # moves nothing
    assert "Version 3 of stale is rejected" in said
