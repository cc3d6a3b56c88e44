"""Releases: copies with their own bytes, leftovers that no record names, and aliases."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mlflow import MlflowClient

from pipeline import digests
from pipeline.errors import RegistryError
from pipeline.review.releases import aliases_of, copy_release, drop_leftovers, point_aliases
from pipeline.runs import tracking as runs
from pipeline.runs.registry import fetch_bundle
from pipeline.runs.tags import CANDIDATE, CLAIM, DIGEST, EVALUATE_RUN

pytestmark = pytest.mark.usefixtures("tracking")


def folder_of(place, **files):
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name).write_text(text)
    digests.write_digests(place)
    return place


def copied(tmp_path, name, claim=1, content="weights"):
    """A release of a candidate that stands in no registry: only what it says of itself is used."""
    if not MlflowClient().search_registered_models(f"name = '{name}'"):
        MlflowClient().create_registered_model(name)
    made = tmp_path / f"{name}-{claim}-{content}"
    bundle, evidence = folder_of(made / "b", model=content), folder_of(made / "e", card=content)
    candidate = SimpleNamespace(
        name=f"{name}-candidates", version="4", tags={EVALUATE_RUN: "e"}, description="**card**"
    )
    return copy_release(name, candidate, bundle, evidence, claim), bundle


def versions_of(name):
    return MlflowClient().search_model_versions(f"name = '{name}'")


def active_runs(name):
    client = MlflowClient()
    experiment = client.get_experiment_by_name(f"{name}-releases")
    return {run.info.run_id for run in client.search_runs([experiment.experiment_id])}


def test_a_release_has_bytes_of_its_own_and_says_where_it_comes_from(tmp_path):
    version, bundle = copied(tmp_path, "own", claim=3)
    says = {CLAIM: "3", CANDIDATE: "own-candidates/4", EVALUATE_RUN: "e", DIGEST: digests.verify(bundle)}
    assert version.tags == says
    assert (version.description, aliases_of("own")) == ("**card**", {})
    (bundle / "model").write_text("changed later")
    got = fetch_bundle(version, tmp_path / "got")
    assert (got / "model").read_text() == "weights"
    run = MlflowClient().get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert (runs.fetch_files(run, ["evidence"], tmp_path / "kept") / "evidence" / "card").read_text() == "weights"


def test_a_copy_that_comes_out_different_is_refused_and_its_run_failed(tmp_path, monkeypatch):
    upload = MlflowClient.log_artifacts

    def harmed(self, run_id, folder, place=None):
        folder_of(tmp_path / "other", model="other")
        upload(self, run_id, str(tmp_path / "other"), place)

    monkeypatch.setattr(MlflowClient, "log_artifacts", harmed)
    with pytest.raises(RegistryError, match="the copy of the bundle came out different"):
        copied(tmp_path, "harmed")
    assert versions_of("harmed") == []
    client = MlflowClient()
    experiment = client.get_experiment_by_name("harmed-releases")
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FAILED"]


def test_only_what_no_record_can_name_any_more_is_removed(tmp_path):
    kept, _ = copied(tmp_path, "left", claim=1)
    lost, _ = copied(tmp_path, "left", claim=2, content="refused")
    going_on, _ = copied(tmp_path, "left", claim=3, content="next")
    removed = drop_leftovers("left", versions_of("left"), {1: kept.run_id}, written=2)
    assert removed == ["release 2", f"run {lost.run_id[:8]}"]
    assert {int(version.version) for version in versions_of("left")} == {1, 3}
    assert active_runs("left") == {kept.run_id, going_on.run_id}
    assert drop_leftovers("left", versions_of("left"), {1: kept.run_id}, written=2) == []


def test_a_leftover_that_somebody_made_live_is_for_audit_to_say(tmp_path):
    lost, _ = copied(tmp_path, "pointed", claim=1)
    MlflowClient().set_registered_model_alias("pointed", "champion", lost.version)
    assert drop_leftovers("pointed", versions_of("pointed"), {}, written=1) == []
    assert active_runs("pointed") == {lost.run_id}


def test_versions_made_by_hand_are_nobodys_leftovers(tmp_path):
    client = MlflowClient()
    client.create_registered_model("hand")
    client.create_model_version("hand", str(tmp_path), tags={CLAIM: "one"})
    client.create_model_version("hand", str(tmp_path))
    assert drop_leftovers("hand", versions_of("hand"), {}, written=9) == []
    assert len(versions_of("hand")) == 2


def test_aliases_are_put_moved_and_taken_away(tmp_path):
    for claim in (1, 2):
        copied(tmp_path, "alias", claim=claim)
    point_aliases("alias", 1, 0)
    assert aliases_of("alias") == {"champion": 1}
    point_aliases("alias", 2, 1)
    assert aliases_of("alias") == {"champion": 2, "previous": 1}
    point_aliases("alias", 0, 2)
    assert aliases_of("alias") == {"previous": 2}
    assert aliases_of("no such model") == {}


def test_an_alias_that_is_right_is_not_written_again(tmp_path, monkeypatch):
    copied(tmp_path, "still")
    point_aliases("still", 1, 0)
    for name in ("set_registered_model_alias", "delete_registered_model_alias"):
        monkeypatch.setattr(MlflowClient, name, lambda *_: pytest.fail("written again"))
    point_aliases("still", 1, 0)
