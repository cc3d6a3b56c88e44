"""From a source to its store: read, featurise, merge, split, write; every row that leaves is listed."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.dataset.collect import collect, merge_and_split, quarantine_conflicts
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.opened import open_source
from pipeline.dataset.source import Source
from pipeline.dataset.spool import Spool
from pipeline.errors import SplitError
from pipeline.samples.workers import Workers

if TYPE_CHECKING:
    from pipeline.store.store import Store


def build_store(
    config: PrepareConfig, source: Source, folder: Path, digest: str, progress: Callable[[int], object]
) -> Store:
    """Make the store of `source` at `folder`, with the quarantine at `<folder>.quarantine.csv`.

    Args:
        digest: sha256 of the source's bytes, kept with the store.
        progress: told the number of rows read, chunk by chunk.

    Raises:
        DataError, ConfigError, SplitError: as `open_source`, `collect` and `merge_and_split`; then nothing is left
            behind, but for the quarantine where a split fails after rows had left.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    quarantine = quarantine_path(folder)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        spool = Spool(Path(temporary) / "spool")
        with (
            open(Path(temporary) / "quarantine.csv", "w", newline="", encoding="utf-8") as file,
            Workers(config.processes) as workers,
        ):
            opened = open_source(config, source, workers)
            found = collect(opened, config, spool, file, progress)
            try:
                merged = merge_and_split(found, opened, config, spool, workers)
            except SplitError as error:
                if not found.left:
                    raise
                file.flush()
                Path(file.name).replace(quarantine)
                reasons = ", ".join(f"{count} {code}" for code, count in found.left.most_common(3))
                raise SplitError(f"{error} Rows had left before: {reasons}; they are listed in {quarantine}.") from None
            quarantine_conflicts(found, merged, spool, file)
        from pipeline.store.store import write_store  # torch only here: the other processes have ended and never saw it

        report = merged.report | {"digest": digest, "file": source.path.name, "id_column": opened.data.id_column}
        store = write_store(
            folder,
            spool,
            schema=merged.schema,
            keep=merged.keep,
            y=merged.y,
            split=merged.side,
            row=found.row,
            source=report,
        )
        Path(file.name).replace(quarantine)
    return store


def quarantine_path(folder: Path) -> Path:
    """Where the rows that left a store are listed."""
    return folder.with_name(f"{folder.name}.quarantine.csv")
