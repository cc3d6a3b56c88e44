"""What Lightning needs so that a training that was killed at any moment goes on as if nothing had happened."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import EarlyStopping


def clear_member(place: Path, *, keep: bool) -> None:
    """Remove what a member's training left: everything, or, to resume, what cannot be read."""
    for part in place.glob("*.part"):
        part.unlink()
    last = place / "last.ckpt"
    if not keep or (last.is_file() and not _is_whole(last)):
        shutil.rmtree(place)


def _is_whole(checkpoint: Path) -> bool:
    """Whether every entry of the file has its checksum: torch writes zip archives."""
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            return archive.testzip() is None
    except (zipfile.BadZipFile, EOFError, ValueError):
        return False


class ResumableEarlyStopping(EarlyStopping):  # type: ignore[misc]
    """Stops at once when resumed from the epoch that was to be the last one: Lightning would train one more."""

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        trainer.should_stop = trainer.should_stop or self.wait_count >= self.patience


class WholeFiles(TorchCheckpointIO):  # type: ignore[misc]
    """Writes a checkpoint beside its place and renames it: Lightning's own way is not whole across file systems."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        if "://" in str(path):
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        part = Path(f"{path}.part")
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(buffer.getbuffer())
        os.replace(part, path)
