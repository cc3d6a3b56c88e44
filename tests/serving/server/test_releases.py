"""Which bundle is served: pinned by its digest, in a private copy, and as its example was answered."""

from __future__ import annotations

import json

import mlflow
import pytest

from pipeline.bundle.build import EXAMPLE_ANSWERS
from pipeline.digests import verify, write_digests
from pipeline.errors import BundleError, ConfigError, RegistryError
from pipeline.review.decision import APPROVE, RETIRE, ROLLBACK
from pipeline.runs.tags import DIGEST
from serving.server.releases import TOLERANCE, Pinned, check_example, check_log, fetch, open_folder, pin
from tests.support.records import decide
from tests.support.small_models import publish


@pytest.fixture
def folder(tmp_path):
    """A folder that looks like a bundle."""
    place = tmp_path / "bundle"
    (place / "artifacts").mkdir(parents=True)
    (place / "artifacts" / "schema.json").write_text('{"name": "toy"}')
    (place / EXAMPLE_ANSWERS).write_text(json.dumps({"predictions": [{"size": 2.0, "error": None, "n": 3}]}))
    write_digests(place)
    return place


def test_a_folder_is_served_from_a_private_copy(folder):
    release = open_folder(str(folder))
    assert (release.name, release.version, release.digest) == ("toy", "", verify(folder))
    (folder / EXAMPLE_ANSWERS).write_text("changed later")
    release.check()
    copy = release.folder
    (copy / "artifacts" / "schema.json").chmod(0o600)
    (copy / "artifacts" / "schema.json").write_text("{}")
    with pytest.raises(BundleError):
        release.check()
    release.close()
    assert not copy.exists()


def test_changed_bytes_are_never_opened(folder):
    (folder / "artifacts" / "schema.json").write_text('{"name": "other"}')
    with pytest.raises(BundleError, match=r"schema\.json"):
        open_folder(str(folder))


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"size": 2.0 * (1 + TOLERANCE / 2)}, True),
        ({"size": 2}, True),
        ({"size": 2.0 * (1 + 2 * TOLERANCE)}, False),
        ({"size": None}, False),
        ({"size": "2.0"}, False),
        ({"error": "missing"}, False),
        ({"n": 3.5}, False),  # whole numbers are no measurements
        ({"more": 1}, False),
    ],
)
def test_the_self_test_allows_what_another_processor_rounds(folder, change, same):
    release = open_folder(str(folder))
    check = check_example(release)
    ready = {"answer": {"predictions": [{"size": 2.0, "error": None, "n": 3} | change]}}
    if same:
        check(ready)
    else:
        with pytest.raises(BundleError, match="toy: the model answers its input example differently"):
            check(ready)
    release.close()


@pytest.mark.parametrize("answer", [None, {"predictions": []}, {"predictions": {}}, []])
def test_another_form_of_answer_is_another_answer(folder, answer):
    release = open_folder(str(folder))
    with pytest.raises(BundleError):
        check_example(release)({"answer": answer})
    release.close()


def test_a_bundle_without_recorded_answers_is_refused(folder):
    (folder / EXAMPLE_ANSWERS).unlink()
    write_digests(folder)
    release = open_folder(str(folder))
    with pytest.raises(BundleError, match="records no answers to its input example; build it again"):
        check_example(release)
    release.close()


@pytest.mark.parametrize(
    "uri", ["toy", "models:/toy", "models:/toy@", "models:/toy/latest", "models:/a/b/1", "runs:/1/b"]
)
def test_a_model_is_named_by_alias_or_version(uri):
    with pytest.raises(ConfigError, match="expected models:/NAME@ALIAS or models:/NAME/VERSION"):
        pin(uri)


def test_an_alias_means_a_version_and_the_version_its_bytes(tracking, tmp_path):
    version, digest = publish(tmp_path, "pinned", 1)
    for uri, alias in (("models:/pinned@champion", "champion"), (f"models:/pinned/{version}", "")):
        assert pin(uri) == Pinned("pinned", version, digest, alias)
    release = fetch(pin("models:/pinned@champion"))
    assert (release.name, release.version, verify(release.folder)) == ("pinned", version, digest)
    release.close()
    with pytest.raises(BundleError, match=f"pinned version {version}"):
        fetch(Pinned("pinned", version, "0" * 64))
    with pytest.raises(RegistryError, match="no alias 'nobody'"):
        pin("models:/pinned@nobody")


def test_a_version_without_a_digest_means_no_bytes(tracking, tmp_path):
    version, _ = publish(tmp_path, "bare", 1)
    mlflow.MlflowClient().delete_model_version_tag("bare", version, DIGEST)
    with pytest.raises(BundleError, match="bare version 1 carries no digest; release it with -e promote"):
        pin("models:/bare@champion")


def test_where_there_is_a_log_only_its_releases_are_served(tracking, tmp_path):
    first, digest = publish(tmp_path, "logged", 1)
    assert check_log(pin("models:/logged@champion")) == (None, "there is no logged-decisions, not compared")
    decide("logged", APPROVE, first, digest)
    assert check_log(pin("models:/logged@champion")) == (True, "record 1 of logged-decisions")
    second, digest = publish(tmp_path, "logged", 2)
    agrees, said = check_log(pin("models:/logged@champion"))
    assert (agrees, "logged version 2" in said, "is not released in logged-decisions" in said) == (False, True, True)
    decide("logged", APPROVE, second, "0" * 64)  # other bytes under the same number
    assert "is not released" in check_log(pin(f"models:/logged/{second}")).said


def test_an_alias_that_moved_behind_the_log_and_a_retired_release_are_told(tracking, tmp_path):
    first, old = publish(tmp_path, "moved", 1)
    second, new = publish(tmp_path, "moved", 2)
    decide("moved", APPROVE, first, old)
    decide("moved", APPROVE, second, new)
    assert check_log(pin("models:/moved@champion")).agrees is True
    client = mlflow.MlflowClient()
    client.set_registered_model_alias("moved", "champion", first)
    agrees, said = check_log(pin("models:/moved@champion"))
    assert (agrees, said) == (
        False,
        "moved version 1 has the alias champion, but release 2 is live in moved-decisions; see -e audit.",
    )
    assert check_log(pin(f"models:/moved/{first}")).agrees is True  # asked for by its number, it is a release
    decide("moved", RETIRE, second, new)
    agrees, said = check_log(pin(f"models:/moved/{second}"))
    assert (agrees, "is retired in moved-decisions (record 3" in said) == (False, True)
    assert "but nothing is live" in check_log(pin("models:/moved@champion")).said
    decide("moved", ROLLBACK, second, new)  # it may be used again
    assert check_log(pin(f"models:/moved/{second}")).agrees is True


def test_between_a_record_and_the_move_of_its_alias_nothing_is_refused(tracking, tmp_path):
    first, old = publish(tmp_path, "between", 1)
    decide("between", APPROVE, first, old)
    second, new = publish(tmp_path, "between", 2)
    mlflow.MlflowClient().set_registered_model_alias("between", "champion", first)
    decide("between", APPROVE, second, new, done=False)
    said = "record 2 of between-decisions is being carried out, not compared"
    assert check_log(pin("models:/between@champion")) == (None, said)
