"""The champion in a registry: which version is live, its bytes as they were released, and the run of its data."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline import digests
from pipeline.errors import BundleError, RegistryError
from pipeline.evaluation.champion import Champion
from pipeline.evaluation.live import fetch_champion, find_champion, find_preparation
from pipeline.runs.registry import CHAMPION
from pipeline.runs.tags import COMPLETE, DIGEST, EVALUATE_RUN, PREPARE_RUN, STEP

pytestmark = pytest.mark.usefixtures("tracking")


def release(folder: Path, name: str, content: str = "weights", **tags: str) -> tuple[str, Path]:
    """A bundle of one file as the live version of `name`; returns its digest and where its bytes lie."""
    made = folder / f"{name}-{content}"
    made.mkdir()
    (made / "model.onnx").write_text(content)
    digest = digests.write_digests(made)
    client = MlflowClient()
    run = client.create_run("0")
    client.log_artifacts(run.info.run_id, str(made), "bundle")
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    source = f"{run.info.artifact_uri}/bundle"
    version = client.create_model_version(name, source, run.info.run_id, tags={DIGEST: digest} | tags)
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return digest, Path(source.removeprefix("file://"))


def step(name: str, **tags: str) -> str:
    """A finished run of a step."""
    client = MlflowClient()
    run = client.create_run("0", tags={STEP: name, COMPLETE: "x"} | tags)
    return str(run.info.run_id)


def test_nothing_is_live_until_an_alias_says_so():
    assert find_champion("nobody") is None
    MlflowClient().create_registered_model("empty")
    assert find_champion("empty") is None


def test_the_version_of_the_alias_is_live_not_the_newest(tmp_path):
    first, _ = release(tmp_path, "two", "one", **{EVALUATE_RUN: "e1"})
    release(tmp_path, "two", "other")
    MlflowClient().set_registered_model_alias("two", CHAMPION, "1")
    assert find_champion("two") == Champion("1", first, "two", "e1")


def test_a_version_that_was_not_released_by_us_is_refused(tmp_path):
    release(tmp_path, "foreign", **{DIGEST: ""})
    with pytest.raises(RegistryError, match=r"version 1, has no tag graphline\.digest: it was not released by"):
        find_champion("foreign")


def test_its_bytes_are_those_that_were_released(tmp_path):
    digest, place = release(tmp_path, "bytes")
    champion = find_champion("bytes")
    got = fetch_champion(champion, tmp_path / "got")
    assert (got.folder / "model.onnx").read_text() == "weights"
    assert digests.verify(got.folder) == digest
    (place / "model.onnx").write_text("weightS")
    with pytest.raises(BundleError, match="its champion, version 1, is damaged"):
        fetch_champion(champion, tmp_path / "damaged")
    found = digests.write_digests(place)
    with pytest.raises(BundleError, match=f"has digest {found[:12]}, released was {digest[:12]}"):
        fetch_champion(champion, tmp_path / "signed anew")


def test_the_run_of_its_data_is_found_through_its_evaluation():
    prepared = step("prepare")
    evaluated = step("evaluate", **{PREPARE_RUN: prepared})
    found = find_preparation(Champion("1", evaluate_run=evaluated))
    assert found is not None
    assert found.info.run_id == prepared


@pytest.mark.parametrize("tags", [None, {}, {PREPARE_RUN: "gone"}])
def test_runs_that_are_gone_are_none(tags):
    evaluated = "gone" if tags is None else step("evaluate", **tags)
    assert find_preparation(Champion("1", evaluate_run=evaluated)) is None


def test_a_run_of_another_step_is_no_preparation():
    evaluated = step("evaluate", **{PREPARE_RUN: step("train")})
    assert find_preparation(Champion("1", evaluate_run=evaluated)) is None
