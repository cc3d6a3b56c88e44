"""What `main` does when run again: it reuses what is true and whole, repairs or repeats what is not, and says why."""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.support.forked import ALL, Folder, ran

pytestmark = pytest.mark.mlflow


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A finished run, in a folder with a blank and letters beyond ASCII in its name."""
    folder = tmp_path_factory.mktemp("Übung 1 数据")
    made = Folder(folder)
    made.first = made.main("--explain=true")
    return made


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def local(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


def test_a_first_run_has_nothing_to_reuse_and_says_so(project):
    assert ran(project.first) == ALL
    assert project.first.count("runs; there is no earlier run of this model") == 4
    assert project.leftovers() == []


def test_nothing_changed_nothing_runs(project):
    text = project.main("--explain=true", "--learning_rate=1e-3", "--processes=2")
    assert ran(text) == []
    assert all(re.search(rf"^{step}: reused, nothing changed since run \w{{8}}$", text, re.MULTILINE) for step in ALL)


def test_a_parameter_runs_what_takes_it_and_is_named(project):
    before = project.finished("evaluate")[-1]["id"][:8]
    text = project.main("--explain=true", "--resamples=21")
    assert ran(text) == ["evaluate", "register"]
    assert f"evaluate: runs; since run {before}: resamples 20 → 21" in text
    assert re.search(r"register: runs; since run \w{8}: bundle changed", text)


def test_a_test_label_changes_the_verdict_though_not_the_weights(project):
    """Also: one byte of the data, and what that changes downstream."""
    path = project.folder / "mine" / "graphs.csv"
    kept = path.read_text()
    import pyarrow.parquet as pq

    (store,) = project.products("stores")
    row = next(row for row in pq.read_table(store / "rows.parquet").to_pylist() if row["split"] == "test")
    line = next(line for line in kept.splitlines() if line.startswith(f"{row['id']},"))
    path.write_text(kept.replace(f"{line}\n", f"{line}1\n"))
    try:
        text = project.main("--explain=true")
        weights = {run["tags"]["graphline.complete"] for run in project.finished("train")}
        assert ran(text) == ALL
        assert re.search(r"prepare: runs; since run \w{8}: data changed", text)
        assert re.search(r"train: runs; since run \w{8}: store changed", text)
        assert re.search(r"evaluate: runs; since run \w{8}: store changed", text)
        assert len(weights) == 1
    finally:
        path.write_text(kept)
    assert ran(project.main()) == []


def test_verify_reads_every_byte(project):
    text = project.run("verify")
    assert "all" in text
    assert "DAMAGED" not in text
    (store, *_) = project.products("stores")
    path = store / "tensors" / "edges" / "index.memmap"
    kept = path.read_bytes()
    flip(path)
    try:
        text = project.run("verify", code=2)
        (line,) = [line for line in text.splitlines() if "DAMAGED" in line]
        assert f"stores/{store.name}" in line
        assert "tensors/edges/index.memmap was changed" in line
        assert "error: verify: 1 of" in text
    finally:
        path.write_bytes(kept)


def test_a_damaged_local_product_is_fetched_again(project):
    (store, *_), (training, *_) = project.products("stores"), project.products("checkpoints")
    flip(store / "tensors" / "graphs" / "y.memmap")
    flip(training / "member-0" / "best.ckpt")
    shutil.rmtree(project.folder / ".graphline" / "bundles")
    text = project.main()
    runs = project.main()
    assert ran(text) == ran(runs) == []
    assert "Looking for it in run" not in runs
    reused = re.search(r"^evaluate: reused, nothing changed since run (\w{8})", text, re.MULTILINE)[1]
    (run,) = [run for run in project.finished("evaluate") if run["id"].startswith(reused)]
    assert (project.folder / run["tags"]["graphline.card"]).is_file()


@pytest.mark.parametrize(
    ("step", "room", "artifact", "file", "harm"),
    [
        ("prepare", "stores", "store", "tensors/graphs/y.memmap", "flip"),
        ("train", "checkpoints", "training", "member-0/best.ckpt", "flip"),
        ("train", "checkpoints", "training", "training.json", "remove"),
        ("evaluate", None, "bundle", "artifacts/model.onnx", "flip"),
        ("evaluate", None, "card", "card.md", "remove"),
    ],
)
def test_a_product_that_is_nowhere_whole_is_made_again(project, step, room, artifact, file, harm):
    """And what comes out the same stales nothing behind it; a new bundle is registered anew."""
    for run in project.finished(step):
        key = run["tags"]["graphline.key"]
        places = [local(run["artifacts"]) / artifact]
        places += [project.folder / ".graphline" / room / key] if room else []
        for place in places:
            if (place / file).exists():
                flip(place / file) if harm == "flip" else (place / file).unlink()
    text = project.main()
    assert ran(text) == (["evaluate", "register"] if step == "evaluate" else [step])
    assert re.search(rf"{step}: runs; nothing changed since run \w{{8}}, but ", text)
    assert ran(project.main()) == []


def test_a_version_that_is_gone_is_registered_again(project):
    project.main()
    reused = project.finished("main")[-1]["tags"]["graphline.reused.register"]
    (version,) = (run["tags"]["graphline.version"] for run in project.finished("register") if run["id"] == reused)
    with sqlite3.connect(project.database) as connection:  # as `delete_model_version` does
        connection.execute(f"update model_versions set current_stage = 'Deleted_Internal' where version = {version}")
    assert ran(project.main()) == ["register"]
    assert ran(project.main()) == []


def test_verify_knows_a_version_whose_bytes_were_exchanged(project):
    run = project.finished("evaluate")[-1]
    path = local(run["artifacts"]) / "bundle" / "artifacts" / "model.onnx"
    kept = path.read_bytes()
    flip(path)
    try:
        text = project.run("verify", code=2)
        assert re.search(r"DAMAGED .*mine-candidates version \d+: .*model.onnx", text)
    finally:
        path.write_bytes(kept)


def test_a_store_in_the_place_of_another_is_noticed(project):
    before = project.products("stores")
    project.main("--split_seed=77")
    (other,) = set(project.products("stores")) - set(before)  # a whole one: tests before may have left damaged ones
    one = before[0]
    kept = project.folder / "kept"
    one.rename(kept)
    shutil.copytree(other, one)
    try:
        assert "whole, but not what its run made" in project.run("verify", code=2)
        assert ran(project.main()) == []  # fetched from its run
    finally:
        shutil.rmtree(one)
        kept.rename(one)
