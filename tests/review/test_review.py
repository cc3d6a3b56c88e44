"""Decisions carried out: what each leaves in the registry, what is refused, and what a kill leaves behind."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline import digests
from pipeline.errors import BundleError, LateError, RegistryError
from pipeline.review import log as decisionlog
from pipeline.review.audit import audit
from pipeline.review.decision import APPROVE, REJECT, RETIRE, ROLLBACK
from pipeline.review.log import log_of, read_log, versions_of
from pipeline.runs.person import Person
from pipeline.runs.registry import fetch_model
from pipeline.runs.tags import CANDIDATE, DIGEST, EVALUATE_RUN
from tests.conftest import PATIENCE_S
from tests.support.candidates import LONE, aliases, candidate, decide, place_of, rewound

pytestmark = [pytest.mark.mlflow, pytest.mark.usefixtures("tracking")]


def test_a_life_of_releases(tmp_path):
    for content in ("one", "two", "three"):
        candidate(tmp_path, "life", content)
    first = decide(tmp_path, "life", version="1")
    assert aliases("life") == {"champion": "1"}
    assert first.notes == ()
    decide(tmp_path, "life", version="2", champion=1)
    assert aliases("life") == {"champion": "2", "previous": "1"}
    decide(tmp_path, "life", version="3")
    back = decide(tmp_path, "life", ROLLBACK)
    assert (back.record.champion_before, back.record.champion_after, back.record.candidate) == (3, 2, 2)
    assert aliases("life") == {"champion": "2", "previous": "1"}
    decide(tmp_path, "life", ROLLBACK)
    assert aliases("life") == {"champion": "1"}
    with pytest.raises(RegistryError, match="no earlier release to go back to"):
        decide(tmp_path, "life", ROLLBACK)
    with pytest.raises(RegistryError, match="life: the log knows no release 9; it has 1, 2, 3"):
        decide(tmp_path, "life", ROLLBACK, version="9")
    decide(tmp_path, "life", ROLLBACK, version="3")
    assert aliases("life") == {"champion": "3", "previous": "1"}
    decide(tmp_path, "life", RETIRE)
    assert aliases("life") == {"previous": "1"}
    history = read_log("life")
    assert [record.action for record in history.records] == [APPROVE] * 3 + [ROLLBACK] * 3 + [RETIRE]
    assert all(entry.done for entry in history.entries)
    report = audit("life")
    assert (report.findings, report.notes) == ((), ())


def test_a_release_has_its_own_bytes_and_says_what_it_is(tmp_path):
    version = candidate(tmp_path, "own", "good")
    done = decide(tmp_path, "own", reason="it is\n good")
    source = place_of(version.source)
    (source / "artifacts" / "model.onnx").write_text("bad")
    digests.write_digests(source)  # whoever may write there can also sign it anew
    live = fetch_model("models:/own@champion", tmp_path / "live")
    assert (live / "artifacts" / "model.onnx").read_text() == "good"
    assert digests.verify(live) == done.record.digest == version.tags[DIGEST]

    made = MlflowClient().get_model_version("own", "1")
    assert made.tags[CANDIDATE] == "own-candidates/1"
    assert made.tags[EVALUATE_RUN] == version.run_id == done.record.evaluate_run
    assert made.tags["graphline.decision"] == "1"
    assert made.tags["graphline.head"] == done.head == read_log("own").head
    assert made.description == version.description
    assert MlflowClient().get_registered_model("own").tags["graphline.head"] == f"1 {done.head}"
    run = MlflowClient().get_run(made.run_id)
    assert run.info.status == "FINISHED"
    assert MlflowClient().get_experiment(run.info.experiment_id).name == "own-releases"
    kept = place_of(run.info.artifact_uri) / "evidence"
    assert digests.verify(kept) == done.record.evidence
    assert {"card", "predictions.json", "verdict.json", "gate.yaml", "provenance.json"} <= {
        path.name for path in kept.iterdir()
    }

    record = done.record
    assert (record.reviewer, record.identified, record.author) == ("ada", "tracking server login", "eve")
    assert (record.reason, record.commit, record.model) == ("it is good", "0123456789ab", "own")
    assert record.verdict.startswith("passed: Passed: RMSE 0.1")
    described = MlflowClient().get_model_version("own-decisions", "1").description
    assert described.startswith("record 1: approved candidate 1 on 20")
    assert described.endswith("by ada (tracking server login): it is good")


def test_only_listed_bytes_are_released(tmp_path):
    version = candidate(tmp_path, "listed", "good")
    source = place_of(version.source)
    compiled = source / "code" / "__pycache__"
    compiled.mkdir(parents=True)
    (compiled / "m.cpython-311.pyc").write_bytes(b"runs in place of the source")
    with pytest.raises(BundleError, match=r"listed-candidates version 1: .*'code/__pycache__/m\.cpython-311\.pyc'"):
        decide(tmp_path, "listed")
    (compiled / "m.cpython-311.pyc").unlink()
    compiled.rmdir()
    (source / "registered_model_meta").write_text("of MLflow's")
    decide(tmp_path, "listed")
    kept = place_of(MlflowClient().get_model_version("listed", "1").source)
    listed = set(json.loads((kept / "digests.json").read_text())) | {"digests.json"}
    assert {path.relative_to(kept).as_posix() for path in kept.rglob("*") if path.is_file()} == listed


def test_refusals_change_nothing(tmp_path):
    client = MlflowClient()
    candidate(tmp_path, "no", "good", **{"graphline.champion": "none"})
    candidate(tmp_path, "no", "bad")
    changed = candidate(tmp_path, "no", "changed")
    (place_of(changed.source) / "artifacts" / "model.onnx").write_text("evil")
    signed = candidate(tmp_path, "no", "signed")
    (place_of(signed.source) / "artifacts" / "model.onnx").write_text("evil")
    digests.write_digests(place_of(signed.source))
    bare = candidate(tmp_path, "no", "bare")
    (place_of(client.get_run(bare.run_id).info.artifact_uri) / "predictions.json").unlink()
    for version, who, says in (
        ("1", Person("eve", "tracking server login", True), "eve is its author"),
        ("2", LONE, "its verdict is failed"),
        ("5", LONE, "it has no verdict"),
        ("4", LONE, "its bytes have digest"),
        ("9", LONE, "no version 9; it has versions 1, 2, 3, 4, 5"),
    ):
        with pytest.raises(RegistryError, match=says):
            decide(tmp_path, "no", version=version, who=who)
    with pytest.raises(BundleError, match=r"no-candidates version 3: .*model\.onnx' is not what was signed off"):
        decide(tmp_path, "no", version="3")
    with pytest.raises(RegistryError, match="this needs a reason"):
        decide(tmp_path, "no", version="1", reason=" ")
    with pytest.raises(RegistryError, match="compared with release 3, but nothing is live"):
        decide(tmp_path, "no", version="1", champion=3)
    with pytest.raises(RegistryError, match="nothing is live"):
        decide(tmp_path, "no", RETIRE)
    assert versions_of("no") == versions_of("no-decisions") == []
    assert client.get_experiment_by_name("no-releases") is None

    done = decide(tmp_path, "no", version="2", who=LONE, override="nothing else is at hand")
    assert done.record.override == "nothing else is at hand"
    assert done.record.verdict.startswith("failed: Failed 1 of 1 checks")
    assert done.record.identified == "unauthenticated, self-reviewed"
    with pytest.raises(RegistryError, match="compared with nothing, but release 1 is live now"):
        decide(tmp_path, "no", version="1")  # its evaluation saw no champion
    assert decide(tmp_path, "no", REJECT, version="4").record.champion_after == 1  # wrong bytes can be rejected
    for action in (APPROVE, REJECT):
        with pytest.raises(RegistryError, match="decided already, record 2: rejected candidate 4"):
            decide(tmp_path, "no", action, version="4")
    assert aliases("no") == {"champion": "1"}
    assert audit("no").findings == ()


def test_an_alias_moved_behind_the_logs_back_is_not_mended_but_stops_releases(tmp_path):
    client = MlflowClient()
    for content in ("one", "two", "three"):
        candidate(tmp_path, "moved", content)
    decide(tmp_path, "moved", version="1")
    decide(tmp_path, "moved", version="2")
    client.set_registered_model_alias("moved", "champion", "1")
    assert "alias champion: it stands at release 1, by the log at 2" in audit("moved").findings[0]
    with pytest.raises(RegistryError, match="release 1 is live, but release 2 by the log"):
        decide(tmp_path, "moved", version="3")
    with pytest.raises(RegistryError, match="release 1 is live, but release 2 by the log"):
        decide(tmp_path, "moved", ROLLBACK)
    decide(tmp_path, "moved", REJECT, version="3")
    assert aliases("moved") == {"champion": "1", "previous": "1"}
    decide(tmp_path, "moved", ROLLBACK, version="2")  # the way out leaves its trace
    assert aliases("moved") == {"champion": "2", "previous": "1"}
    assert any(
        "record 4: release 1 was live when it was written, but 2 by the log" in f for f in audit("moved").findings
    )


def test_two_reviewers_at_the_same_moment(tmp_path, monkeypatch):
    """Both have read the same log and copied their bytes; then both write."""
    for content in ("one", "two", "three"):
        candidate(tmp_path, "race", content)
    decide(tmp_path, "race", version="1")
    meeting = threading.Barrier(2, timeout=PATIENCE_S)
    plain = decisionlog.append
    outcomes = {}

    def met(*args):
        meeting.wait()
        return plain(*args)

    def ask(version):
        try:
            outcomes[version] = decide(tmp_path / version, "race", version=version)
        except LateError as error:
            outcomes[version] = error

    for version in ("2", "3"):
        (tmp_path / version).mkdir()
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.review.review.append", met)
        both = [threading.Thread(target=ask, args=(version,)) for version in ("2", "3")]
        for one in both:
            one.start()
        for one in both:
            one.join()
    [late] = [version for version, outcome in outcomes.items() if isinstance(outcome, LateError)]
    [won] = set(outcomes) - {late}
    assert f"record 2: approved candidate {won}" in str(outcomes[late])
    assert "yours is void and nothing happened" in str(outcomes[late])
    history = read_log("race")
    assert [record.candidate for record in history.records] == [1, int(won)]
    assert len(history.entries) == 3
    champion = history.records[-1].release
    assert aliases("race") == {"champion": str(champion), "previous": "1"}
    assert {int(version.version) for version in versions_of("race")} == {1, champion}  # the loser's copy is gone
    report = audit("race")
    assert report.findings == ()
    assert report.notes == ("record 3 is void: another decision was written at the same moment",)
    assert decide(tmp_path, "race", version=late).record.sequence == 4  # nothing is blocked


def test_an_answer_that_was_lost_is_no_second_decision(tmp_path, monkeypatch):
    """The client asks again when the server's answer does not come: the same record is written twice."""
    candidate(tmp_path, "twice", "one")
    plain = MlflowClient.create_model_version

    def again(self, name, *args, **kwargs):
        if name == log_of("twice"):
            plain(self, name, *args, **kwargs)
        return plain(self, name, *args, **kwargs)

    monkeypatch.setattr(MlflowClient, "create_model_version", again)
    assert decide(tmp_path, "twice").record.sequence == 1
    assert aliases("twice") == {"champion": "1"}
    assert audit("twice").findings == ()


def test_a_version_made_by_hand_does_not_block_the_log(tmp_path):
    version = candidate(tmp_path, "hand", "one")
    candidate(tmp_path, "hand", "two")
    decide(tmp_path, "hand", version="1")
    MlflowClient().create_model_version("hand-decisions", version.source, run_id=version.run_id)
    done = decide(tmp_path, "hand", version="2")
    assert done.record.sequence == 3
    assert "record 2: it is missing" in done.notes[0]
    assert aliases("hand") == {"champion": "2", "previous": "1"}
    assert any("record 2: it is missing" in finding for finding in audit("hand").findings)


# --- a kill at any point -------------------------------------------------------------------------------------------

WRITES = (
    *("create_registered_model", "create_experiment", "create_run", "log_artifacts", "set_terminated"),
    *("create_model_version", "set_registered_model_alias", "delete_registered_model_alias"),
    *("set_registered_model_tag", "set_model_version_tag", "delete_model_version", "delete_run"),
)


class Killed(BaseException):
    """The process ended here: from the server's side, no further call comes, not even to clean up."""


def kill_after(count: int, patch: pytest.MonkeyPatch) -> list[str]:
    """Let the first `count` writes to the server through, then none; returns those that went."""
    seen: list[str] = []
    for name in WRITES:
        plain = getattr(MlflowClient, name)

        def call(self, *args, _plain=plain, _name=name, **kwargs):
            if len(seen) >= count:
                raise Killed
            seen.append(_name)
            return _plain(self, *args, **kwargs)

        patch.setattr(MlflowClient, name, call)
    return seen


def one_kill(folder: Path, name: str, action: str, count: int) -> tuple[bool, bool, list[str]]:
    """Kill a command after `count` writes; returns whether it ended before, whether its record stands, its writes."""
    with pytest.MonkeyPatch.context() as patch:
        seen = kill_after(count, patch)
        try:
            decide(folder, name, action, version="3" if action == APPROVE else None)
            ended = True
        except Killed:
            ended = False
    return ended, any(record.action == action for record in read_log(name).records[2:]), seen


@pytest.mark.parametrize(
    ("action", "after"),
    [
        (APPROVE, {"champion": "3", "previous": "2"}),
        pytest.param(ROLLBACK, {"champion": "1"}, marks=pytest.mark.slow),
        pytest.param(RETIRE, {"previous": "1"}, marks=pytest.mark.slow),
    ],
)
def test_a_kill_at_any_point_is_finished_or_undone_by_the_next_command(tmp_path, tracking, action, after):
    name = f"kill-{action}"
    for content in ("one", "two", "three", "four"):
        candidate(tmp_path, name, content)
    for version in ("1", "2"):
        decide(tmp_path, name, version=version)
    before = aliases(name)
    ended, finished = False, []
    for count in range(40):
        if ended:
            break
        with rewound(tracking):
            ended, stands, seen = one_kill(tmp_path, name, action, count)
            following = decide(tmp_path, name, REJECT, version="4")
            assert aliases(name) == (after if stands else before), seen
            releases = {1, 2, 3} if stands and action == APPROVE else {1, 2}
            assert {int(version.version) for version in versions_of(name)} == releases, seen
            runs = MlflowClient().search_runs([MlflowClient().get_experiment_by_name(f"{name}-releases").experiment_id])
            assert len(runs) == len(releases), seen
            report = audit(name)
            assert (report.findings, report.notes) == ((), ()), seen
            finished.append((stands, bool(following.notes)))
    assert ended
    assert finished[0] == (False, False)
    assert finished[-1] == (True, False)
    assert (True, True) in finished  # cut off after its record: the next command finished it
    if action == APPROVE:
        assert (False, True) in finished  # cut off before: the next command took the copy away


@pytest.mark.slow
def test_a_kill_in_the_first_release_of_all(tmp_path, tracking):
    candidate(tmp_path, "kill-first", "one")
    ended = False
    for count in range(40):
        if ended:
            break
        with rewound(tracking):
            with pytest.MonkeyPatch.context() as patch:
                seen = kill_after(count, patch)
                try:
                    decide(tmp_path, "kill-first")
                    ended = True
                except Killed:
                    pass
            if not read_log("kill-first").records:
                decide(tmp_path, "kill-first")
            elif not ended:
                with pytest.raises(RegistryError, match="A decision is final"):
                    decide(tmp_path, "kill-first")
            [release] = [str(version.version) for version in versions_of("kill-first")]
            assert aliases("kill-first") == {"champion": release}, seen
            assert audit("kill-first").findings == (), seen
    assert ended
