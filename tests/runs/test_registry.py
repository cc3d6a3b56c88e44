"""Candidates: who points where, and what is not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline import digests
from pipeline.errors import RegistryError
from pipeline.runs.registry import (
    CHALLENGER,
    CHAMPION,
    fetch_bundle,
    fetch_model,
    find_version,
    pin_version,
    register_candidate,
    released,
    settle_name,
)
from pipeline.runs.tags import DIGEST, EVALUATE_RUN
from steps import verify

pytestmark = [pytest.mark.mlflow, pytest.mark.usefixtures("tracking")]


def candidate(folder: Path, name: str, content: str):
    """Log a bundle to a run of its own and register it; returns the version and where its bytes lie."""
    client = MlflowClient()
    made = folder / content / "bundle"
    (made / "artifacts").mkdir(parents=True)
    (made / "artifacts" / "model.onnx").write_text(content)
    (made / "MLmodel").write_text("flavors: {}\n")
    digest = digests.write_digests(made)
    run = client.create_run("0")
    client.log_artifacts(run.info.run_id, str(made), "bundle")
    version = register_candidate(
        name,
        run.info.run_id,
        f"{run.info.artifact_uri}/bundle",
        digest=digest,
        tags={"verdict": "passed", "rows": 3},
        description=f"**{content}**",
    )
    return version, Path(run.info.artifact_uri.removeprefix("file://")) / "bundle"


def aliases(name: str) -> dict[str, str]:
    return {alias: str(version) for alias, version in MlflowClient().get_registered_model(name).aliases.items()}


def go_live(name: str) -> None:
    client = MlflowClient()
    client.create_registered_model(name)
    newest = client.get_model_version_by_alias(f"{name}-candidates", CHALLENGER)
    client.create_model_version(name, newest.source)
    client.set_registered_model_alias(name, CHAMPION, "1")


def test_names_and_releases_of_no_one_and_two_models(tmp_path):
    for model in MlflowClient().search_registered_models():  # of other tests
        MlflowClient().delete_registered_model(model.name)
    with pytest.raises(RegistryError, match=r"0 models have candidates .*run `mlflow run \.` first"):
        settle_name(None)
    with pytest.raises(RegistryError, match=r"0 models have candidates .*run `mlflow run \.` first"):
        released(None)
    assert settle_name("anything") == "anything"

    candidate(tmp_path, "one", "a")
    assert settle_name(None) == settle_name("") == "one"
    candidate(tmp_path, "one", "b")
    for name in (None, "one"):
        with pytest.raises(RegistryError, match=r"is live .* pass model=models:/one-candidates@challenger"):
            released(name)
    go_live("one")
    assert released(None) == released("one") == "models:/one@champion"

    candidate(tmp_path, "two", "c")
    assert released(None) == "models:/one@champion"
    with pytest.raises(RegistryError, match=r"no release of two is live .* model=models:/two-candidates@challenger"):
        released("two")
    go_live("two")
    with pytest.raises(RegistryError, match=r"2 models are released .* pass name= with one of one, two"):
        released(None)
    assert released("two") == "models:/two@champion"
    with pytest.raises(RegistryError, match=r"2 models have candidates .*pass name= with one of one, two"):
        settle_name(None)


def test_a_candidate_is_the_challenger_and_says_what_it_is(tmp_path):
    first, _ = candidate(tmp_path, "solo", "first")
    second, _ = candidate(tmp_path, "solo", "second")
    assert aliases("solo-candidates") == {CHALLENGER: "2"}
    found = find_version("solo-candidates", None, CHALLENGER)
    assert str(found.version) == str(second.version) == "2"
    assert found.description == "**second**"
    assert found.tags[DIGEST] == digests.verify(tmp_path / "second" / "bundle")
    assert found.tags[EVALUATE_RUN] == found.run_id == second.run_id
    assert (found.tags["verdict"], found.tags["rows"]) == ("passed", "3")
    assert find_version("solo-candidates", "1", CHALLENGER).run_id == first.run_id
    for moving in ("models:/solo-candidates@challenger", "models:/solo-candidates/latest"):
        assert pin_version(moving) == "models:/solo-candidates/2"
    for fixed in ("models:/solo-candidates/1", "runs:/1/bundle", str(tmp_path)):
        assert pin_version(fixed) == fixed
    with pytest.raises(RegistryError, match="no alias 'nobody'"):
        pin_version("models:/solo-candidates@nobody")


def test_verify_of_a_name_that_has_no_version_is_refused(tmp_path):
    candidate(tmp_path, "verified", "bytes")
    verify.main(["--name", "verified"])
    with pytest.raises(RegistryError, match="no version of 'verifed'"):
        verify.main(["--name", "verifed"])


@pytest.mark.parametrize(
    ("name", "version", "says"),
    [
        ("list-candidates", "9", "list-candidates: no version 9; it has versions 1, 2 on sqlite"),
        ("list-candidates", "newest", "list-candidates: no version newest; it has versions 1, 2"),
        ("list-candidates", None, "list-candidates: no alias 'champion'; it has versions 1, 2"),
        ("nobody", None, "nobody: no alias 'champion'; it has no versions"),
        ("nobody", "1", "nobody: no version 1; it has no versions"),
        ("it's", "1", "it's: no version 1; it has no versions"),
    ],
)
def test_a_version_that_is_not_there_is_refused_with_those_that_are(tmp_path, name, version, says):
    if not MlflowClient().search_model_versions("name = 'list-candidates'"):
        candidate(tmp_path, "list", "first")
        candidate(tmp_path, "list", "second")
    with pytest.raises(RegistryError) as caught:
        find_version(name, version, CHAMPION)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_fetched_is_one_line(tmp_path):
    for uri in ("models:/nobody/1", "models:/nobody@champion", str(tmp_path / "nowhere"), "models:/", "nonsense:/x"):
        with pytest.raises(RegistryError, match="cannot be fetched") as caught:
            fetch_model(uri, tmp_path / "got")
        assert "\n" not in str(caught.value)


def test_a_candidate_whose_bytes_are_gone_is_one_line(tmp_path):
    version, place = candidate(tmp_path, "gone", "good")
    shutil.rmtree(place)
    with pytest.raises(RegistryError, match="models:/gone-candidates/1: cannot be fetched"):
        fetch_bundle(version, tmp_path / "got")
