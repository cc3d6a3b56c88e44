"""What is left of a training that was killed: what is whole is gone on with, what is not begins anew."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pipeline.training import resume
from pipeline.training.resume import ResumableEarlyStopping, WholeFiles, clear_member


@pytest.fixture
def place(tmp_path: Path) -> Path:
    folder = tmp_path / "member-0"
    folder.mkdir()
    torch.save({"epoch": 3, "weight": torch.arange(4)}, folder / "last.ckpt")
    (folder / "best.ckpt.part").write_bytes(b"half")
    return folder


def test_a_whole_checkpoint_stays_and_half_files_go(place: Path) -> None:
    clear_member(place, keep=True)
    assert [path.name for path in place.iterdir()] == ["last.ckpt"]


def test_without_resume_everything_goes(place: Path) -> None:
    clear_member(place, keep=False)
    assert not place.exists()


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: b"no archive",
        lambda content: content[:300] + bytes([content[300] ^ 255]) + content[301:],
    ],
)
def test_a_damaged_checkpoint_is_no_beginning(place: Path, harm: Any) -> None:
    last = place / "last.ckpt"
    last.write_bytes(harm(last.read_bytes()))
    clear_member(place, keep=True)
    assert not place.exists()


def test_a_checkpoint_appears_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "last.ckpt"
    WholeFiles().save_checkpoint({"epoch": 1}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [one.name for one in path.parent.iterdir()] == ["last.ckpt"]

    def killed(*paths: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(resume.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        WholeFiles().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert os.path.exists(f"{path}.part")


@pytest.mark.parametrize(
    ("waited", "stop", "ends"), [(0, False, False), (2, False, True), (3, False, True), (0, True, True)]
)
def test_a_training_that_had_to_stop_stops_at_once_when_it_is_resumed(waited: int, stop: bool, ends: bool) -> None:
    callback = ResumableEarlyStopping("loss", patience=2)
    callback.wait_count = waited
    trainer = SimpleNamespace(should_stop=stop)
    callback.on_fit_start(trainer, None)  # type: ignore[arg-type]
    assert trainer.should_stop is ends
