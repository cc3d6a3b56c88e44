"""The folder of a training: what was trained so far, and whether its files are still what was written. Needs no torch.

folder/
    training.json               settings, and of each finished member its seed, best epoch, curve and weights' sha256
    member-<k>/best.ckpt        weights with the lowest validation loss, see BestCheckpoint
    member-<k>/last.ckpt        everything that resuming needs
    member-<k>/forest.npz       with `forest=true`: its trees, see pipeline/network/forest
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.digests import file_sha256
from pipeline.errors import StoreError
from pipeline.training.config import TrainConfig

TRAINING = "training.json"


@dataclass(frozen=True)
class MemberReport:
    """What became of one network."""

    seed: int
    num_parameters: int
    best_epoch: int  # counted from 1
    best_loss: float  # its validation loss
    epochs: int
    train_time_s: float  # of the last start, when resumed
    curve: list[dict[str, float]]  # an epoch each: epoch, train/loss, learning_rate, val/loss, val/<target>/…
    sha256: str  # of best.ckpt
    forest: str | None = None  # sha256 of forest.npz, where there is one


def best_path(folder: Path, member: int) -> Path:
    """Where the best weights of a member lie."""
    return folder / f"member-{member}" / "best.ckpt"


def forest_path(folder: Path, member: int) -> Path:
    """Where the trees of a member lie."""
    return folder / f"member-{member}" / "forest.npz"


def read_training(folder: Path) -> tuple[TrainConfig, list[MemberReport]] | None:
    """Settings and finished members of a training; None where none began.

    Raises:
        StoreError: if `training.json` cannot be read.
    """
    path = folder / TRAINING
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("digest") != _digest(values):
            raise ValueError("changed")
        return TrainConfig(**values["config"]), [MemberReport(**member) for member in values["members"]]
    except FileNotFoundError:
        return None
    except PermissionError:
        raise StoreError(f"{path}: may not be read; ask its owner, or use another work folder.") from None
    except (ValueError, KeyError, TypeError):
        raise StoreError(
            f"{path}: cannot be read, or was changed after it was written; delete the folder and run train again."
        ) from None


def write_training(folder: Path, config: TrainConfig, members: list[MemberReport]) -> None:
    """Write `training.json`, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    values = {"config": config.to_dict(), "members": [dataclasses.asdict(member) for member in members]}
    values["digest"] = _digest(values)
    part = folder / f"{TRAINING}.part"
    part.write_text(json.dumps(values, indent=1), encoding="utf-8")
    os.replace(part, folder / TRAINING)


def intact_members(folder: Path, members: list[MemberReport]) -> list[MemberReport]:
    """The members, up to the first whose weights are gone or changed; what is behind is removed, to be trained anew."""
    for k, member in enumerate(members):
        if _changed(folder, k, member):
            for later in range(k, len(members)):
                shutil.rmtree(best_path(folder, later).parent, ignore_errors=True)
            return members[:k]
    return members


def check_checkpoints(folder: str | Path) -> str:
    """Check that a training is finished and that its weights are what was written.

    Returns:
        sha256 over settings, curves and weights of all members; training time does not count.

    Raises:
        StoreError: names what is missing or changed.
    """
    folder = Path(folder)
    found = read_training(folder)
    if found is None or len(found[1]) < found[0].ensemble:
        raise StoreError(f"{folder.absolute()}: holds no finished training; run the step train, or resume it.")
    config, members = found
    for k, member in enumerate(members):
        if path := _changed(folder, k, member):
            what = "was changed after it was written (its sha256 differs)" if path.exists() else "is missing"
            raise StoreError(f"{path.absolute()}: {what}; delete the folder and run train again.")
    return _digest([config.to_dict(), [dataclasses.asdict(member) | {"train_time_s": None} for member in members]])


def _changed(folder: Path, k: int, member: MemberReport) -> Path | None:
    """A file of a member that is not what was written, or None."""
    wanted = {best_path(folder, k): member.sha256, forest_path(folder, k): member.forest}
    return next((path for path, sha256 in wanted.items() if digest_of(path) != sha256), None)


def digest_of(path: Path) -> str | None:
    """sha256 of a file; None where there is none."""
    return file_sha256(path) if path.is_file() else None


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
