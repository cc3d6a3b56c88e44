"""Runs of steps: taken over, ended as they should, found again; and what stands where a result was expected."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.utils.file_utils import path_to_local_sqlite_uri

from pipeline import digests
from pipeline.errors import RegistryError
from pipeline.runs.orphans import process_tag
from pipeline.runs.tags import COMPLETE, EDITED, KEY, PROCESS, STEP
from pipeline.runs.tracking import (
    database_file,
    fetch_files,
    fetch_folder,
    find_finished,
    find_newest,
    find_run,
    start_step,
)

# --- runs ---------------------------------------------------------------------------------------------------------


@pytest.mark.mlflow
@pytest.mark.usefixtures("tracking")
class TestRuns:
    """With one database for all; each test has an experiment of its own where it searches."""

    def test_the_run_of_mlflow_run_is_taken_over_with_its_params(self, monkeypatch):
        client = MlflowClient()
        waiting = client.create_run("0", run_name="quick-fox-7").info.run_id
        client.log_param(waiting, "learning_rate", "1e-3")
        client.log_param(waiting, "hidden_dim", "064")
        monkeypatch.setenv("MLFLOW_RUN_ID", waiting)
        with start_step("train", print, name="mine") as step:
            assert step.run_id == waiting
            step.log_params(
                {"learning_rate": 0.001, "hidden_dim": 64, "seed": 0, "class_path": None, "long": "x" * 9000}
            )
            step.log_params({"seed": 1, "more": True})
            step.log_params({f"p{i}": i for i in range(250)})  # more than a server takes at once
            step.log_metrics({"loss": 1}, step=3)
            step.set_tags({"a": 1})
        run = client.get_run(waiting)
        params = run.data.params
        assert (params["learning_rate"], params["hidden_dim"], params["seed"]) == ("1e-3", "064", "0")
        assert (params["more"], params["p249"], len(params["long"])) == ("True", "249", 6000)
        assert "class_path" not in params
        assert run.data.metrics == {"loss": 1.0}
        assert run.info.run_name == "train mine"
        assert (run.data.tags[STEP], run.data.tags["a"], run.info.status) == ("train", "1", "FINISHED")

    def test_a_step_started_by_hand_gets_a_run_of_its_own(self):
        with start_step("prepare", print) as step:
            assert mlflow.active_run().info.run_id == step.run_id
        assert mlflow.active_run() is None
        assert MlflowClient().get_run(step.run_id).info.run_name == "prepare"

    def test_a_run_names_its_process_as_it_appears(self, monkeypatch):
        """Else one that is killed before it has a tag would say RUNNING for ever."""
        made = []

        def create_run(client, *arguments, **options):
            made.append(options["tags"])
            return create(client, *arguments, **options)

        create = MlflowClient.create_run
        monkeypatch.setattr(MlflowClient, "create_run", create_run)
        with start_step("prepare", print):
            pass
        assert [tags[PROCESS] for tags in made] == [process_tag()]

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (KeyboardInterrupt, "KILLED"),
            (RegistryError, "FAILED"),
            (ZeroDivisionError, "FAILED"),
            (SystemExit, "FAILED"),
        ],
    )
    def test_a_run_that_breaks_off_says_how_and_is_not_finished(self, error, status):
        with pytest.raises(error), start_step("train", print) as step:
            raise error
        run = MlflowClient().get_run(step.run_id)
        assert run.info.status == status
        assert mlflow.active_run() is None
        with pytest.raises(RegistryError, match="never finished"):
            find_run(step.run_id, "train")

    def test_stopped_while_it_reads_the_database_it_is_killed(self, monkeypatch):
        """The query that was cut off must not keep the file locked."""

        def stop(*arguments, **options):
            raise KeyboardInterrupt

        def read():
            with monkeypatch.context() as patch:
                patch.setattr("sqlalchemy.orm.loading._instance_processor", stop)
                MlflowClient().search_runs(["0"])

        with pytest.raises(KeyboardInterrupt), start_step("train", print) as step:
            read()
        assert MlflowClient().get_run(step.run_id).info.status == "KILLED"

    def test_only_a_finished_run_of_the_step_is_found(self):
        with start_step("prepare", print) as step:
            with pytest.raises(RegistryError, match=f"run {step.run_id} of step 'prepare' never finished"):
                find_run(step.run_id, "prepare")
            step.finish("d1")
        assert find_run(step.run_id, "prepare").data.tags[COMPLETE] == "d1"
        with pytest.raises(RegistryError, match="is of step 'prepare'; pass the id of a train run"):
            find_run(step.run_id, "train")
        foreign = MlflowClient().create_run("0").info.run_id
        with pytest.raises(RegistryError, match="is of step 'unknown'"):
            find_run(foreign, "train")
        for nobody in ("f" * 32, "", "it's"):
            with pytest.raises(
                RegistryError, match=f"run {nobody}: not on sqlite.*Pass the id of a train run"
            ) as caught:
                find_run(nobody, "train")
            assert "\n" not in str(caught.value)

    def test_the_newest_finished_run_is_found_by_step_and_by_key(self):
        client = MlflowClient()
        experiment = client.create_experiment("newest")

        def run(step, key, complete, start_time):
            tags = {STEP: step, KEY: key} | ({COMPLETE: "d"} if complete else {})
            return client.create_run(experiment, start_time=start_time, tags=tags).info.run_id

        with pytest.raises(RegistryError, match=f"no finished train run in experiment {experiment}; run `mlflow run"):
            find_newest("train", experiment)
        run("train", "k1", False, 1)
        with pytest.raises(RegistryError, match="no finished train run"):
            find_newest("train", experiment)
        old = run("train", "k1", True, 2)
        new = run("train", "k2", True, 4)
        again = run("train", "k1", True, 3)
        run("train", "k1", False, 5)
        run("prepare", "k1", True, 6)
        assert find_newest("train", experiment) == new
        assert [run.info.run_id for run in find_finished("train", "k1", experiment)] == [again, old]
        assert find_finished("train", "k3", experiment) == find_finished("train", "k1", "0") == []
        client.set_tag(again, EDITED, "pipeline/network/layers.py")
        assert [run.info.run_id for run in find_finished("train", "k1", experiment)] == [old]


# --- folders ------------------------------------------------------------------------------------------------------


def make(folder: Path, content: str) -> str:
    """A folder with digests; returns its digest."""
    folder.mkdir(parents=True)
    (folder / "weights").write_text(content)
    return digests.write_digests(folder)


@pytest.fixture
def logged(tmp_path, tracking):
    """A run with the artifact folder `bundle`, and its digest."""
    digest = make(tmp_path / "bundle", "right")
    with start_step("evaluate", print) as step:
        step.log_folder(tmp_path / "bundle", "bundle")
        step.log_text("{}", "verdict.json")
        step.finish(digest)
    return find_run(step.run_id, "evaluate"), digest


@pytest.mark.mlflow
class TestFolders:
    def test_a_local_copy_that_fits_is_taken_as_it_is(self, logged, tmp_path, monkeypatch):
        run, digest = logged
        monkeypatch.setattr(mlflow.artifacts, "download_artifacts", None)  # is not called
        assert fetch_folder(run, "bundle", tmp_path / "bundle", digests.verify, digest, print) == tmp_path / "bundle"

    @pytest.mark.parametrize("harm", ["gone", "changed", "another", "emptied"])
    def test_a_local_copy_that_does_not_fit_is_replaced_by_the_artifact(self, logged, tmp_path, harm):
        run, digest = logged
        local = tmp_path / "work" / "bundles" / "key"
        if harm == "changed":
            make(local, "right")
            (local / "weights").write_text("wrong")
        if harm == "another":
            make(local, "another")
        if harm == "emptied":
            local.mkdir(parents=True)
        assert fetch_folder(run, "bundle", local, digests.verify, digest, print) == local
        assert digests.verify(local) == digest
        assert (local / "weights").read_text() == "right"
        assert [path.name for path in local.parent.iterdir()] == ["key"]

    def test_what_is_nowhere_is_one_line(self, logged, tmp_path):
        run, digest = logged
        with pytest.raises(RegistryError) as caught:
            fetch_folder(run, "store", tmp_path / "nowhere" / "store", digests.verify, digest, print)
        text = str(caught.value)
        assert f"run {run.info.run_id}: its store is neither whole at {tmp_path}" in text
        assert "Run the step again" in text
        assert "\n" not in text

    def test_an_artifact_of_another_digest_is_refused(self, logged, tmp_path):
        run, digest = logged
        with pytest.raises(RegistryError, match=f"its bundle has digest {digest[:12]}, expected 000000000000"):
            fetch_folder(run, "bundle", tmp_path / "local", digests.verify, "0" * 64, print)
        assert not (tmp_path / "local").exists()

    def test_files_of_a_run_are_fetched_or_named(self, logged, tmp_path):
        run, _ = logged
        folder = fetch_files(run, ("verdict.json", "bundle/weights"), tmp_path / "files")
        assert (folder / "verdict.json").read_text() == "{}"
        with pytest.raises(RegistryError, match=r"its artifact nowhere\.json is missing"):
            fetch_files(run, ("verdict.json", "nowhere.json"), tmp_path / "files")


@pytest.mark.mlflow
@pytest.mark.parametrize("folder", ["a b", "100% sure", "über", "a#b"])
def test_the_lock_of_a_database_stands_beside_it(tmp_path, folder):
    """MLflow's default URI is quoted: its text is not the file's name."""
    file = tmp_path / folder / "mlflow.db"
    assert database_file(path_to_local_sqlite_uri(str(file))) == file


def test_files_keep_their_folders(tracking, tmp_path):
    with start_step("evaluate", print) as step:
        step.log_text("page", "card/card.html")
        step.log_text("{}", "verdict.json")
    run = mlflow.MlflowClient().get_run(step.run_id)
    got = fetch_files(run, ("card/card.html", "verdict.json"), tmp_path / "logged")
    assert sorted(str(path.relative_to(got)) for path in got.rglob("*") if path.is_file()) == [
        "card/card.html",
        "verdict.json",
    ]
