"""The folder of a training: what is damaged is named, and is no beginning to go on from."""

from __future__ import annotations

import pytest

from pipeline.errors import StoreError
from pipeline.training.checkpoints import (
    MemberReport,
    best_path,
    check_checkpoints,
    digest_of,
    intact_members,
    read_training,
    write_training,
)
from pipeline.training.config import TrainConfig


def finished(folder, members=2, time_s=1.0, ensemble=2):
    reports = []
    for k in range(members):
        path = best_path(folder, k)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"weights %d" % k)
        curve = [{"epoch": 1, "val/loss": 0.5}]
        reports.append(MemberReport(k, 10, 1, 0.5, 1, time_s, curve, digest_of(path)))
    write_training(folder, TrainConfig(ensemble=ensemble), reports)
    return reports


def test_the_digest_is_of_everything_but_time(tmp_path):
    finished(tmp_path / "a")
    finished(tmp_path / "b", time_s=9.0)
    digest = check_checkpoints(tmp_path / "a")
    assert check_checkpoints(tmp_path / "b") == digest
    reports = finished(tmp_path / "b")
    reports[0].curve[0]["val/loss"] = 0.25
    write_training(tmp_path / "b", TrainConfig(ensemble=2), reports)
    assert check_checkpoints(tmp_path / "b") != digest


@pytest.mark.parametrize("harm", ["flip", "truncate", "grow", "remove"])
def test_a_damaged_file_of_weights_is_named(tmp_path, harm):
    reports = finished(tmp_path)
    path = best_path(tmp_path, 1)
    content = path.read_bytes()
    changed = {"flip": b"W" + content[1:], "truncate": content[:-1], "grow": content + b"x"}
    path.unlink() if harm == "remove" else path.write_bytes(changed[harm])
    with pytest.raises(StoreError, match=r"member-1/best.ckpt: .*run train again") as caught:
        check_checkpoints(tmp_path)
    assert "\n" not in str(caught.value)
    assert intact_members(tmp_path, reports) == reports[:1]
    assert not path.parent.exists()


@pytest.mark.parametrize("change", [("0.5", "0.4"), ('"ensemble": 2', '"ensemble": 1'), ("{", "")])
def test_a_changed_report_is_refused(tmp_path, change):
    finished(tmp_path)
    path = tmp_path / "training.json"
    path.write_text(path.read_text().replace(*change, 1))
    with pytest.raises(StoreError, match=r"training.json: cannot be read, or was changed"):
        read_training(tmp_path)


def test_what_is_not_finished_is_no_training(tmp_path):
    assert read_training(tmp_path) is None
    finished(tmp_path, members=1)
    with pytest.raises(StoreError, match="holds no finished training"):
        check_checkpoints(tmp_path)
