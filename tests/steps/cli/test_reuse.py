"""A finished run is used again only while its products are whole; else what is wrong, or what changed, is said."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from pipeline import digests
from pipeline.errors import BundleError, RegistryError
from pipeline.runs import tracking as runs
from pipeline.runs.keys import StepKey
from pipeline.runs.registry import candidates_of
from pipeline.runs.tags import CARD, COMPLETE, KEY
from pipeline.runs.tracking import find_run
from steps.cli import reuse
from tests.support.candidates import candidate, evaluated, place_of


def key_of(**parameters):
    key = StepKey("k")
    key.facts = {"code": {"a.py": "1"}, "packages": {}, "parameters": parameters, "inputs": {}}
    return key


def test_the_newest_whole_run_is_used_and_the_newest_ones_fault_is_said(monkeypatch):
    found = [SimpleNamespace(info=SimpleNamespace(run_id=f"{n}" * 32)) for n in (3, 2, 1)]
    broken = set()

    def reach(run):
        if run.info.run_id[0] in broken:
            raise BundleError(f"the store of {run.info.run_id[0]} is damaged.")

    monkeypatch.setattr(runs, "find_finished", lambda step, key, experiment: found)
    monkeypatch.setitem(reuse.REACH, "prepare", reach)
    assert reuse.find_reusable("prepare", key_of(), "0") == (found[0], "")
    broken |= {"3", "2"}
    assert reuse.find_reusable("prepare", key_of(), "0") == (found[2], "")
    broken.add("1")
    said = (None, "nothing changed since run 33333333, but the store of 3 is damaged.")
    assert reuse.find_reusable("prepare", key_of(), "0") == said
    found.clear()
    assert reuse.find_reusable("prepare", key_of(), "0") == (None, "")


def test_mistakes_of_ours_are_not_taken_for_damage(monkeypatch):
    monkeypatch.setattr(runs, "find_finished", lambda *_: [SimpleNamespace()])
    monkeypatch.setitem(reuse.REACH, "prepare", lambda run: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        reuse.find_reusable("prepare", key_of(), "0")


def test_what_changed_is_told_but_not_all_of_much(monkeypatch):
    like = SimpleNamespace(info=SimpleNamespace(run_id="0123456789ab"))
    monkeypatch.setattr(runs, "find_like", lambda step, name, experiment: like)
    before = {}
    monkeypatch.setattr(runs, "read_facts", lambda run: before)
    before |= key_of(seed=0).facts
    assert reuse.explain("train", key_of(seed=1), "m", "0") == "since run 01234567: seed 0 → 1"
    assert reuse.explain("train", key_of(seed=0), "m", "0") == "since run 01234567: its code was edited while it ran"
    many = {f"p{n}": n for n in range(10)}
    said = reuse.explain("train", key_of(seed=0, **many), "m", "0")
    assert said.count("none → ") == 8
    assert said.endswith("; and 2 more")
    monkeypatch.setattr(runs, "find_like", lambda *_: None)
    assert reuse.explain("train", key_of(), "m", "0") == "there is no earlier run of this model"


@pytest.fixture
def work(tracking, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "WORK", tmp_path / "work")
    return tmp_path


def judged(work, name):
    """A finished evaluate run whose card was beside its bundle in the work folder."""
    run = evaluated(work, name)
    (work / "work" / "bundles").mkdir(parents=True)
    client = MlflowClient()
    client.set_tag(run.info.run_id, KEY, "key")
    client.set_tag(run.info.run_id, CARD, str(work / "work" / "bundles" / "key.card.html"))
    client.log_text(run.info.run_id, "{}", "verdict.json")
    return find_run(run.info.run_id, "evaluate")


@pytest.mark.mlflow
def test_bundle_and_card_come_back_from_the_artifacts(work):
    run = judged(work, "back")
    reuse.reach_evaluation(run)
    assert digests.verify(work / "work" / "bundles" / "key") == run.data.tags[COMPLETE]
    assert (work / "work" / "bundles" / "key.card.html").read_text() == "<h1>good</h1>"


@pytest.mark.mlflow
@pytest.mark.parametrize("file", ["bundle/artifacts/model.onnx", "predictions.json", "evaluation.json", "card/card.md"])
def test_an_evaluation_that_lost_a_file_is_no_result(work, file):
    run = judged(work, f"lost-{file.replace('/', '-').replace('.', '-')}")
    (place_of(run.info.artifact_uri) / file).unlink()
    with pytest.raises((RegistryError, BundleError)):
        reuse.reach_evaluation(run)


@pytest.mark.mlflow
def test_a_bundle_that_was_signed_anew_is_not_the_one_that_was_evaluated(work):
    run = judged(work, "anew")
    bundle = place_of(run.info.artifact_uri) / "bundle"
    (bundle / "artifacts" / "model.onnx").write_text("better")
    digests.write_digests(bundle)
    with pytest.raises(BundleError, match="its bundle is not the one that was evaluated"):
        reuse.reach_evaluation(run)


@pytest.mark.mlflow
def test_a_registered_version_must_be_there(work):
    version = candidate(work, "there")
    run = SimpleNamespace(data=SimpleNamespace(tags={COMPLETE: f"{candidates_of('there')}/{version.version}"}))
    reuse.reach_version(run)
    MlflowClient().delete_model_version(version.name, version.version)
    with pytest.raises(RegistryError):
        reuse.reach_version(run)
