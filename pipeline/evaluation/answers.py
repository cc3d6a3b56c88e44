"""What a bundle and the champion answer for the graphs of a store, asked in processes of their own as by a client."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.bundle.requests import build_requests
from pipeline.bundle.scoring import score_file
from pipeline.dataset.split import TEST, VALIDATION
from pipeline.errors import PipelineError
from pipeline.evaluation.champion import Champion
from pipeline.evaluation.comparison import request_changes, why_incomparable
from pipeline.evaluation.live import find_preparation
from pipeline.evaluation.overlap import Overlap, find_overlap
from pipeline.evaluation.predictions import read_answers, read_spread
from pipeline.schema import Schema

if TYPE_CHECKING:
    from pipeline.store.store import Store

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SideAnswers:
    """Answers for one side of a split, in its order.

    Attributes:
        values: target -> (n,) or (n, K), original units and probabilities; NaN where a foreign bundle refuses a row.
        spread: regression target of an ensemble -> (n,) standard deviations, original units.
    """

    values: Mapping[str, Array]
    spread: Mapping[str, Array]

    @property
    def refused(self) -> NDArray[np.bool_]:
        """(n,) rows without an answer."""
        first = next(iter(self.values.values()))
        return np.asarray(~np.isfinite(first.reshape(len(first), -1)).all(axis=1))


def blank(answers: Mapping[str, Array], left_out: NDArray[np.bool_]) -> dict[str, Array]:
    """Take the answers of rows that are not compared away: target -> (n,) or (n, K), NaN there."""
    return {
        name: np.where(left_out.reshape(-1, *[1] * (values.ndim - 1)), np.nan, values)
        for name, values in answers.items()
    }


def ask_bundle(store: Store, folder: Path, *, partial: bool = False) -> tuple[SideAnswers, SideAnswers]:
    """Ask for all validation and test graphs.

    Args:
        partial: whether rows may be refused, as by another bundle than that of the store.

    Returns:
        Validation, test.

    Raises:
        BundleError: if the bundle's bytes are not what was signed off.
        ExportError: if a row is refused.
        PipelineError: if the process that holds the bundle fails.
    """
    sides = store.indices(VALIDATION), store.indices(TEST)
    with tempfile.TemporaryDirectory(prefix="answers-") as temporary:
        requests, out = Path(temporary) / "requests.parquet", Path(temporary) / "answers.parquet"
        build_requests(store, np.concatenate(sides)).to_parquet(requests)
        report = score_file(folder, requests, out)
        # A feature may be called as an answer is, which then has another name in the file.
        table = pd.read_parquet(out, columns=list(report.columns.values())).set_axis(list(report.columns), axis=1)
        values, spread = read_answers(table, store.schema, partial=partial), read_spread(table, store.schema)
    border = len(sides[0])
    validation, test = (
        SideAnswers(*({name: array[part] for name, array in columns.items()} for columns in (values, spread)))
        for part in (slice(border), slice(border, None))
    )
    return validation, test


class ChampionAnswers(NamedTuple):
    """What the champion answers.

    Attributes:
        test: without those rows that are left out of the comparison.
        overlap: which test rows it has learned from.
        changes: what its clients must change for the challenger.
        refused: test rows that it does not answer.
    """

    validation: SideAnswers
    test: SideAnswers
    overlap: Overlap
    changes: tuple[str, ...]
    refused: int


def ask_champion(champion: Champion, store: Store) -> tuple[Champion, ChampionAnswers | None]:
    """Ask a champion that was fetched, unless it cannot be compared on the store's test rows.

    Returns:
        The champion and its answers; or the champion with its `refusal`, and None: the rows may not be of the kind
        that it takes, and a bundle may not run on this machine.
    """
    assert champion.folder
    try:
        schema = Schema.from_json((champion.folder / "artifacts" / "schema.json").read_text(encoding="utf-8"))
    except PipelineError as error:
        return _refuse(champion, f"cannot be compared with {champion}: {error}".rstrip("."))
    reason = why_incomparable(schema, store.schema, str(champion))
    if reason:
        return _refuse(champion, reason)
    try:
        validation, test = ask_bundle(store, champion.folder, partial=True)
    except PipelineError as error:
        return _refuse(champion, f"cannot be compared with {champion}: it does not answer here ({error})")
    refused = test.refused
    if refused.all():
        return _refuse(champion, f"cannot be compared with {champion}: it refuses every row")
    overlap = find_overlap(store, store.indices(TEST), find_preparation(champion))
    if overlap.left_out and overlap.seen is not None:
        test = replace(test, values=blank(test.values, overlap.seen))
    changes = tuple(request_changes(schema, store.schema))
    return champion, ChampionAnswers(validation, test, overlap, changes, int(refused.sum()))


def _refuse(champion: Champion, reason: str) -> tuple[Champion, None]:
    return replace(champion, refusal=reason), None
