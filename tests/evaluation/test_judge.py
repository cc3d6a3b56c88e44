"""A bundle judged beside a released one, each in a process of its own; the champion comes from a real registry."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline.bundle.build import build_bundle
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.dataset.split import TEST, VALIDATION
from pipeline.digests import verify, write_digests
from pipeline.errors import BundleError, RegistryError
from pipeline.evaluation import judge as judging
from pipeline.evaluation.champion import champion_key
from pipeline.evaluation.gate import Gate
from pipeline.evaluation.judge import judge_bundle
from pipeline.evaluation.live import fetch_champion, find_champion
from pipeline.evaluation.predictions import (
    VerdictBasis,
    fit_store_baselines,
    judge_logged,
    judge_table,
    table_to_json,
)
from pipeline.report.card import build_card
from pipeline.runs.registry import CHAMPION
from pipeline.runs.tags import COMPLETE, DIGEST, EVALUATE_RUN, KEY, STEP
from pipeline.store.build import build_store
from tests.conftest import ROOT
from tests.support.schemas import MOLECULES, without_features
from tests.support.small_models import write_count_model

pytestmark = [pytest.mark.mlflow, pytest.mark.usefixtures("tracking")]

ATOMS = without_features(MOLECULES)  # answers `size`: atoms · weight
ENDS = ("O", "N", "S", "Cl", "Br", "C(=O)O", "C#N", "c1ccccc1")


def store_in(folder: Path, *, seed: int = 0):
    """200 molecules with rings and without, labelled with their atoms and some noise; 60 for testing."""
    rng = np.random.default_rng(1)
    smiles = [f"{'C' * length}{end}" for length in range(1, 26) for end in ENDS]
    side = np.array(["test"] * 60 + ["validation"] * 40 + ["train"] * 100)[np.random.default_rng(seed).permutation(200)]
    folder.mkdir(parents=True)
    with open(folder / "atoms.csv", "w", newline="") as file:
        rows = [
            [one, sum(letter.isupper() or letter == "c" for letter in one.replace("Cl", "L").replace("Br", "B")), s]
            for one, s in zip(smiles, side, strict=True)
        ]
        noisy = [[one, f"{size + rng.normal(0, 0.3):.3f}", s] for one, size, s in rows]
        csv.writer(file).writerows([["smiles", "size", "split"], *noisy])
    config = PrepareConfig(data=str(folder / "atoms.csv"), target="size", split="given", processes=1)
    return build_store(config, find_source(config, folder, folder), folder / "store", "d" * 64, lambda rows: None)


def large_store_in(folder: Path):
    """120 molecules of which a third is large."""
    folder.mkdir(parents=True)
    smiles = [f"{'C' * length}{end}" for length in range(1, 41) for end in ("O", "N", "C1CC1")]
    sides = ("train", "train", "validation", "test")
    rows = [[one, "yes" if k >= 84 else "no", sides[k % 4]] for k, one in enumerate(smiles)]
    with open(folder / "large.csv", "w", newline="") as file:
        csv.writer(file).writerows([["smiles", "large", "split"], *rows])
    config = PrepareConfig(data=str(folder / "large.csv"), target="large", split="given", processes=1)
    return build_store(config, find_source(config, folder, folder), folder / "store", "d" * 64, lambda rows: None)


def bundle_in(folder: Path, weight: float = 1.0, schema=ATOMS) -> str:
    onnx = write_count_model(folder.with_name(f"{folder.name}.onnx"), schema, [weight])
    return build_bundle(folder, onnx, schema, pd.DataFrame({"smiles": ["CCO", "C"]}), {})


def release(name: str, folder: Path, store=None) -> Path:
    """Make a bundle the champion, as `promote` does; returns where its bytes lie."""
    client = MlflowClient()
    digest = verify(folder)
    run = client.create_run("0")
    client.log_artifacts(run.info.run_id, str(folder), "bundle")
    tags = {DIGEST: digest, EVALUATE_RUN: _runs(client, store)}
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    version = client.create_model_version(name, f"{run.info.artifact_uri}/bundle", run_id=run.info.run_id, tags=tags)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return Path(run.info.artifact_uri.removeprefix("file://")) / "bundle"


def _runs(client: MlflowClient, store) -> str:
    """The finished runs of `prepare` and `evaluate` that a release names."""
    if store is None:
        return "gone"
    prepared, evaluated = client.create_run("0"), client.create_run("0")
    client.log_artifact(prepared.info.run_id, str(store.folder / "rows.parquet"), "store")
    data = store.manifest["source"]["digest"]
    for run, step, tags in (
        (prepared, "prepare", {COMPLETE: store.digest, KEY: "key", "graphline.data_digest": data}),
        (evaluated, "evaluate", {COMPLETE: "x", "graphline.prepare_run": prepared.info.run_id}),
    ):
        for key, value in ({STEP: step} | tags).items():
            client.set_tag(run.info.run_id, key, value)
    return evaluated.info.run_id


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_in(tmp_path_factory.mktemp("judging") / "data")


@pytest.fixture(scope="module", autouse=True)
def _one_forest(store):
    """The baselines of the one store are fitted once: they take most of the time."""
    made = judging.fit_store_baselines(store, (VALIDATION, TEST))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judging, "fit_store_baselines", lambda store, sides: made)
        yield


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "good"
    bundle_in(folder)
    return folder


@pytest.fixture(scope="module")
def worse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles") / "worse"
    bundle_in(folder, 1.05)
    return folder


def judged(store, folder, name, temporary, *, share_rows=True):
    champion = find_champion(name)
    champion = fetch_champion(champion, temporary / "champion") if champion else None
    gate = Gate.read(ROOT / "gate.yaml")
    return judge_bundle(store, folder, champion, gate, share_rows=share_rows, resamples=200)


def test_the_first_model_has_nobody_beside_it(store, good, tmp_path):
    assert find_champion("first") is None
    assert champion_key(None) == "none"
    found = judged(store, good, "first", tmp_path)
    assert found.verdict.passed
    assert found.comparison.champion is None
    assert found.comparison.cost.champion is None
    assert found.comparison.cost.model.ms_per_request > 0
    assert not [column for column in found.table if "champion" in column]
    assert any("no champion yet" in check.reason for check in found.verdict.checks)


def test_baselines_are_called_at_thresholds_of_their_own(tmp_path, monkeypatch):
    """Two models of another scale on the same rows: the majority is the majority, the forest the same forest."""
    monkeypatch.setattr(judging, "fit_store_baselines", fit_store_baselines)
    store = large_store_in(tmp_path / "data")
    large = dataclasses.replace(ATOMS, targets=store.schema.targets)
    bundle_in(tmp_path / "low", 0.001, large)
    bundle_in(tmp_path / "high", 0.03, large)
    first, second = (judged(store, tmp_path / name, "large", tmp_path) for name in ("low", "high"))
    assert first.basis.thresholds["large"] < 0.1 < second.basis.thresholds["large"]
    labels = first.table["large"]
    assert first.metrics["baseline/majority/large/accuracy"] == pytest.approx((labels == "no").mean())
    assert first.metrics["baseline/majority/large/mcc"] == 0
    for name, value in first.metrics.items():
        if name.startswith("baseline/"):
            assert second.metrics[name] == value, name
    # A bundle that calls by itself is judged as it calls.
    called = dataclasses.replace(large, targets=(dataclasses.replace(large.targets[0], threshold=0.5),))
    bundle_in(tmp_path / "called", 0.03, called)
    assert judged(store, tmp_path / "called", "large", tmp_path).basis.thresholds == {"large": 0.5}
    # Told again from what is logged; an evaluation of before has no thresholds of baselines.
    old = json.loads(first.basis.to_json())
    del old["baseline_thresholds"]
    for text in (first.basis.to_json(), json.dumps(old)):
        metrics = judge_table(VerdictBasis.from_json(text), first.table, Gate.read(ROOT / "gate.yaml"))[0]
        assert metrics["baseline/majority/large/accuracy"] == first.metrics["baseline/majority/large/accuracy"]


def test_the_champion_itself_differs_in_nothing(store, good, tmp_path):
    release("same", good, store)
    champion = find_champion("same")
    assert champion_key(champion) == f"1:{champion.digest}"
    found = judged(store, good, "same", tmp_path)
    assert found.verdict.passed
    assert all(tuple(one.difference) == (0.0, 0.0, 0.0) for one in found.comparison.metrics)
    assert found.comparison.moved == ()
    assert found.comparison.notes[0].startswith("The champion learned from the same split")


def test_a_worse_model_fails_and_the_page_tells_where(store, good, worse, tmp_path):
    release("better", good, store)
    found = judged(store, worse, "better", tmp_path)
    assert not found.verdict.passed
    assert "RMSE on size is" in found.verdict.headline
    assert "worse than champion version 1" in found.verdict.headline
    comparison = found.comparison
    rmse = next(one for one in comparison.metrics if one.metric == "rmse")
    assert rmse.rows == 60
    assert rmse.difference[0] == pytest.approx(rmse.challenger[0] - rmse.champion[0])
    assert rmse.difference[1] > 0
    assert comparison.slices.worse[0].clear
    assert [one.moved for one in comparison.moved] == sorted((one.moved for one in comparison.moved), reverse=True)
    assert comparison.cost.champion.ms_per_row > 0
    (tmp_path / "predictions.json").write_text(table_to_json(found.table), encoding="utf-8")
    (tmp_path / "evaluation.json").write_text(found.basis.to_json(), encoding="utf-8")
    assert judge_logged(tmp_path, Gate.read(ROOT / "gate.yaml")) == found.verdict

    # Released all the same, it is another champion: the same bundle is then compared with itself.
    before = champion_key(find_champion("better"))
    release("better", worse, store)
    assert champion_key(find_champion("better")) != before
    again = judged(store, worse, "better", tmp_path / "again")
    assert again.comparison.champion.version == "2"
    assert "equal to champion version 2" in "".join(check.reason for check in again.verdict.checks)


def test_another_unit_is_refused_and_everything_else_still_told(store, good, tmp_path):
    other = dataclasses.replace(ATOMS, targets=(dataclasses.replace(ATOMS.targets[0], unit="mol/L"),))
    bundle_in(tmp_path / "other", schema=other)
    release("unit", tmp_path / "other", store)
    found = judged(store, good, "unit", tmp_path)
    assert not found.verdict.passed
    assert found.verdict.headline.startswith(
        "Failed: cannot be compared with champion version 1: 'size' is in mol/L there, in no stated unit here"
    )
    assert found.comparison.refusal in found.verdict.headline
    assert found.metrics["test/size/rmse"] < 1
    assert found.comparison.metrics == ()


def test_rows_that_the_champion_learned_from_are_left_out(store, good, tmp_path):
    release("split", good, store_in(tmp_path / "elsewhere", seed=7))
    found = judged(store, good, "split", tmp_path)
    rows = found.comparison.rows
    assert 0 < rows.seen < 60
    assert rows.compared == (60 - rows.seen if rows.seen <= 30 else 60)
    assert f"held {rows.seen} of the 60 test rows" in found.comparison.notes[0]


def test_where_the_runs_are_gone_that_is_said(store, good, tmp_path):
    release("gone", good)
    found = judged(store, good, "gone", tmp_path, share_rows=False)
    assert "is not known (its runs are gone)" in found.comparison.notes[0]
    assert found.comparison.rows.seen is None
    assert all(one.id is None for one in found.comparison.moved)


def test_a_champion_that_does_not_answer_is_a_refusal_not_a_crash(store, good, tmp_path):
    bundle_in(tmp_path / "broken")
    (tmp_path / "broken" / "model.py").write_text("raise ValueError('no way in')")
    write_digests(tmp_path / "broken")
    release("broken", tmp_path / "broken", store)
    found = judged(store, good, "broken", tmp_path)
    assert "does not answer here" in found.verdict.headline
    assert "no way in" in found.verdict.headline


def test_changed_bytes_of_a_champion_stop_the_evaluation(store, good, tmp_path):
    place = release("tampered", good, store)
    (place / "model.py").write_text("raise SystemExit(7)")
    with pytest.raises(BundleError, match=r"tampered: its champion, version 1, is damaged: .*model\.py"):
        fetch_champion(find_champion("tampered"), tmp_path / "champion")
    write_digests(place)  # signed anew by whoever may write
    with pytest.raises(BundleError, match="tampered: its champion, version 1, has digest"):
        fetch_champion(find_champion("tampered"), tmp_path / "again")


def test_a_champion_without_a_digest_is_refused():
    client = MlflowClient()
    client.create_registered_model("foreign")
    client.create_model_version("foreign", "/nowhere")
    client.set_registered_model_alias("foreign", CHAMPION, "1")
    with pytest.raises(RegistryError, match=r"foreign: its champion, version 1, has no tag graphline\.digest"):
        find_champion("foreign")


def test_the_card_is_built_from_it(store, good, worse, tmp_path):
    from pipeline.bundle.parity import ParityReport, ParityRow
    from pipeline.report.fill import fill_card
    from pipeline.training.config import TrainConfig

    release("carded", good, store)
    found = judged(store, worse, "carded", tmp_path)
    member = {"num_parameters": 1, "best_epoch": 1, "train_time_s": 1.0, "curve": []}
    card = fill_card(
        store,
        found,
        created="today",
        training={"config": TrainConfig().to_dict(), "members": [member]},
        parity=ParityReport((ParityRow("one graph", 1, 5, 8, 1, 0, "prediction", 2e-7),)),
        digests={},
        environment={"commit": "abc"},
    )
    text = build_card(card)
    for words in ("Beside the champion", "Where it is worse", "Answers that moved most", "What an answer costs"):
        assert words in text
    assert "http://" not in text
    assert "https://" not in text
