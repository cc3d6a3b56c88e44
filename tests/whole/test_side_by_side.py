"""Several `main` at once, on one database: nothing lost, nothing broken, nothing done twice."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.forked import ALL, QUICK, Folder, ran
from tests.support.postgres import postgres
from tests.support.servers import mlflow_server

pytestmark = pytest.mark.mlflow


def together(folder: Folder, *variants: list[str]) -> list[str]:
    """Start `main` with each of the variants at the same time; what they printed."""
    started = [folder.start("main", *QUICK, *words) for words in variants]
    codes = [running.wait() for running in started]
    texts = [running.text() for running in started]
    assert codes == [0] * len(variants), "\n".join(texts)
    return texts


def test_two_on_a_new_sqlite_file_share_the_work(tmp_path):
    """Also the first use of a database by two at once."""
    folder = Folder(tmp_path)
    texts = together(folder, [], [], ["--resamples=21"])
    for step in ("prepare", "train"):
        assert len(folder.finished(step)) == 1, step
        assert sum(step in ran(text) for text in texts) == 1
    assert len(folder.finished("evaluate")) == len(folder.finished("register")) == 2
    versions = sorted(version for (version,) in folder.query("select version from model_versions"))
    assert versions == [1, 2]
    assert {run["status"] for run in folder.runs()} == {"FINISHED"}
    assert folder.leftovers() == []


def test_four_on_postgresql_are_all_there(tmp_path):
    with postgres() as cluster:
        uri = cluster.database("runs")
        (tmp_path / "p").mkdir()
        folder = Folder(tmp_path / "p", uri)
        texts = together(folder, [], ["--seed=1"], ["--seed=2"], [])
        folder.query = lambda sql: _ask(uri, sql)  # type: ignore[method-assign]
        assert len(folder.finished("prepare")) == 1
        for step in ALL[1:]:
            assert len(folder.finished(step)) == 3, step
        mains = folder.finished("main")
        assert len(mains) == 4
        assert {run["status"] for run in folder.runs()} == {"FINISHED"}
        assert sorted(version for (version,) in folder.query("select version from model_versions")) == [1, 2, 3]
        assert sum(len(ran(text)) for text in texts) == 1 + 3 * 3
        assert "all" in folder.run("verify")


def _ask(uri, sql):
    import psycopg2

    connection = psycopg2.connect(uri.replace("+psycopg2", ""))
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
    finally:
        connection.close()


def test_a_colleague_reuses_what_a_shared_server_holds(tmp_path):
    with mlflow_server(tmp_path / "server") as server:
        uri = server.uri
        for name in ("mine", "theirs"):
            (tmp_path / name).mkdir()
        mine, theirs = Folder(tmp_path / "mine", uri), Folder(tmp_path / "theirs", uri)
        assert ran(mine.main()) == ALL
        text = theirs.main()
        assert ran(text) == []
        for room in ("stores", "checkpoints", "bundles"):
            assert [path.name for path in theirs.products(room)] == [path.name for path in mine.products(room)]
        # what cannot be reached is made again: the same store, so the training behind it is still true
        shutil.rmtree(theirs.folder / ".graphline" / "stores")
        for store in Path(tmp_path / "server" / "artifacts").rglob("store"):
            shutil.rmtree(store)
        text = theirs.main()
        assert ran(text) == ["prepare"]
        assert "prepare: runs; nothing changed since run" in text
        assert theirs.run("verify")
