"""Locks that end with their process, and leftovers that do not outlive the next start."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.runs.workfolder import claim, hold, locked, scratch, sweep
from tests.conftest import ROOT


def leave(room: Path, *names: str) -> None:
    for name in names:
        (room / name).mkdir(parents=True)
        (room / name / "file").write_text("half")


def test_who_holds_a_product_finds_no_leftover_of_it(tmp_path):
    room = tmp_path / "stores"
    leave(room, "abc", ".abc-x1y2z3_4", ".abcd-x1y2z3_4", ".abc-short", ".my-set.0123abcd.part")
    with hold(room / "abc", pytest.fail):
        assert sorted(path.name for path in room.iterdir()) == [
            ".abc-short",
            ".abcd-x1y2z3_4",
            ".my-set.0123abcd.part",
            "abc",
        ]


def test_a_sweep_takes_what_nobody_holds(tmp_path):
    leave(tmp_path / "stores", ".abc-x1y2z3_4", ".def-x1y2z3_4", "abc")
    leave(tmp_path / "dataset", ".my-set.0123abcd.part")
    with hold(tmp_path / "stores" / "def", pytest.fail):
        leave(tmp_path / "stores", ".def-aaaabbbb")
        sweep(tmp_path)
        assert sorted(path.name for path in (tmp_path / "stores").iterdir()) == [".def-aaaabbbb", "abc"]
        assert not list((tmp_path / "dataset").iterdir())


def test_the_second_waits_for_the_first_and_says_so(tmp_path):
    said: list[str] = []
    order: list[str] = []

    def second() -> None:
        with claim(tmp_path, "train-abc", said.append):
            order.append("second")

    with claim(tmp_path, "train-abc", pytest.fail):
        thread = threading.Thread(target=second)
        thread.start()
        while not said:
            pass
        with claim(tmp_path, "train-other", pytest.fail):
            order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert said == ["train: another run is at the same step; waiting for it"]


def test_a_lock_ends_with_its_process_however_that_ends(tmp_path):
    code = (
        "import sys; from pathlib import Path; from pipeline.runs.workfolder import locked, scratch\n"
        "with scratch() as own, locked(Path(sys.argv[1]), print, ''):\n    print(own, flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock")],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    left = Path(process.stdout.readline().strip())
    with scratch():
        assert left.is_dir()  # its owner lives
    process.kill()
    process.wait()
    with locked(tmp_path / "lock", pytest.fail, "busy"), scratch():
        assert not left.exists()


def test_a_process_has_its_own_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch() as own:
        assert own.parent == tmp_path
        assert tempfile.gettempdir() == str(own)
        with scratch() as inner:  # a step within a step: neither takes the other's
            assert own.is_dir()
            assert inner.parent == own
    assert tempfile.gettempdir() == str(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_temporary_folder_whose_owner_died_before_its_lock_goes_too(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch() as own:
        prefix = own.name[: own.name.rindex("-") + 1]
    (tmp_path / f"{prefix}dead").mkdir()
    with scratch() as own:
        assert list(tmp_path.iterdir()) == [own]


def test_whoever_loses_the_folder_before_locking_it_makes_it_again(tmp_path, monkeypatch):
    """Another process may sweep between the making of the folder and its lock."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    acquire, lost = FileLock.acquire, []

    def swept_once(lock, *args, **kwargs):
        found = acquire(lock, *args, **kwargs)
        if not lost:
            lost.append(lock.lock_file)
            shutil.rmtree(Path(lock.lock_file).parent)
        return found

    monkeypatch.setattr(FileLock, "acquire", swept_once)
    with scratch() as own:
        assert lost == [str(own / "lock")]
        assert (own / "lock").is_file()
        (own / "a").write_text("it can be used")
    assert not list(tmp_path.iterdir())
