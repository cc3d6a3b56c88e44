"""Which test rows a champion has learned from: it would look better on them than it is."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.runs.tags import COMPLETE, DATA_DIGEST, KEY
from pipeline.samples.kinds import kind_of
from pipeline.samples.source import Source

if TYPE_CHECKING:
    from mlflow.entities import Run

    from pipeline.store.store import Store

MIN_ROWS = 30
"""With fewer unseen rows all are compared."""


class Overlap(NamedTuple):
    """What is known of the test rows.

    Attributes:
        seen: (n,) bool, rows that were on the champion's training or validation side; None when that is not known.
        left_out: whether these rows are left out of the comparison.
        sentence: for people.
    """

    seen: NDArray[np.bool_] | None
    left_out: bool
    sentence: str


def find_overlap(store: Store, test: NDArray[np.int64], prepared: Run | None) -> Overlap:
    """Find the test rows that a champion has learned from.

    Args:
        test: (n,) graphs of the store.
        prepared: the `prepare` run of the champion; None if it is not known.
    """

    if prepared is None:
        return _unknown("its runs are gone")
    if prepared.data.tags[COMPLETE] == store.digest:
        none = np.zeros(len(test), dtype=bool)
        return Overlap(none, False, "The champion learned from the same split: none of the test rows.")
    try:
        theirs = _read_sides(prepared)
    except (PipelineError, OSError):
        return _unknown("its rows are not shared")
    learned = theirs[theirs["split"] != "test"]
    same_data = prepared.data.tags.get(DATA_DIGEST) == store.manifest["source"]["digest"]
    kind = kind_of(store.schema.data_kind).source()
    seen = seen_rows(kind, learned, store.rows[test], store.ids(test), same_data=same_data)
    return _unknown("graphs of other data have no names to go by") if seen is None else leave_out(seen)


def seen_rows(
    kind: Source, learned: pd.DataFrame, row: NDArray[np.integer[Any]], ids: Sequence[str], *, same_data: bool
) -> NDArray[np.bool_] | None:
    """Find test rows among the rows of another split: by what makes two samples one, else as rows of the same data.

    Args:
        learned: columns `row`, `id`: what the other model has learned from.
        row, ids: (n,) of the test rows.

    Returns:
        (n,) bool, or None when it cannot be told.
    """
    theirs = kind.groups(list(learned["id"]))
    if theirs is None:
        return np.isin(row, learned["row"]) if same_data else None
    return np.isin(kind.groups(ids) or [], theirs)


def leave_out(seen: NDArray[np.bool_]) -> Overlap:
    """Leave seen rows out where enough others remain, else keep all and say so."""
    count, total = int(seen.sum()), len(seen)
    start = f"The champion learned from another split or other data, which held {count} of the {total} test rows"
    if not count:
        return Overlap(seen, False, f"{start}.")
    if total - count >= MIN_ROWS:
        return Overlap(seen, True, f"{start}: they are left out, and {total - count} rows are compared.")
    return Overlap(
        seen,
        False,
        f"{start}. The {total - count} others are too few, so all are compared, which favours the champion; "
        "the champion's split= and split_seed= would be fair.",
    )


def _unknown(reason: str) -> Overlap:
    return Overlap(
        None,
        False,
        "The champion learned from another split or other data. Whether the test rows were among them is not known "
        f"({reason}); where they were, that favours the champion.",
    )


def _read_sides(prepared: Run) -> pd.DataFrame:
    """Columns `row`, `id`, `split` of a prepared store: of the run's artifact, or of the local copy."""
    from pipeline.errors import RegistryError
    from pipeline.runs.tracking import WORK, fetch_files
    from pipeline.store.store import open_store

    with tempfile.TemporaryDirectory() as temporary:
        try:
            folder = fetch_files(prepared, ("store/rows.parquet",), Path(temporary)) / "store"
        except RegistryError:
            local = open_store(WORK / "stores" / prepared.data.tags[KEY])
            if local.digest != prepared.data.tags[COMPLETE]:
                raise
            folder = local.folder
        return pd.read_parquet(folder / "rows.parquet")
