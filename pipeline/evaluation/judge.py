"""A bundle is judged: its answers for the test side beside baselines and champion, what they cost, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.bundle.cost import BATCH, measure_costs
from pipeline.bundle.requests import build_requests
from pipeline.dataset.split import TEST, VALIDATION
from pipeline.evaluation.answers import ChampionAnswers, SideAnswers, ask_bundle, ask_champion
from pipeline.evaluation.calibration import calibrate
from pipeline.evaluation.champion import Champion
from pipeline.evaluation.compare import build_comparison
from pipeline.evaluation.comparison import Comparison, Costs
from pipeline.evaluation.gate import Gate
from pipeline.evaluation.metrics import Pair
from pipeline.evaluation.predictions import (
    CHAMPION,
    MODEL,
    VerdictBasis,
    answers_of,
    build_table,
    choose_thresholds,
    fit_store_baselines,
    judge_table,
    labels_of,
)
from pipeline.evaluation.verdict import Verdict
from pipeline.scale import to_trained_scale
from pipeline.schema import Schema, Target

if TYPE_CHECKING:
    from pipeline.store.store import Store


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation finds.

    Attributes:
        basis: what the verdict rests on beside `table`, the prediction table.
        calibration: target -> name -> value, for people.
        forest_note: how the baselines were made, in a sentence.
    """

    basis: VerdictBasis
    table: pd.DataFrame
    metrics: dict[str, float]
    verdict: Verdict
    comparison: Comparison
    calibration: dict[str, dict[str, str]]
    forest_note: str


def judge_bundle(
    store: Store,
    folder: Path,
    champion: Champion | None,
    gate: Gate,
    *,
    share_rows: bool,
    resamples: int,
) -> Evaluation:
    """Judge the bundle in `folder` on the test side of the store that its network was trained on.

    Args:
        champion: fetched already.

    Raises:
        ExportError: if the bundle refuses a row of the store.
        BundleError, PipelineError: as `ask_bundle`.
    """
    schema, test, known = store.schema, store.indices(TEST), store.arrays.y[store.indices(VALIDATION)]
    validation, tested = ask_bundle(store, folder)
    champion, theirs = ask_champion(champion, store) if champion else (None, None)
    baselines, how = fit_store_baselines(store, (VALIDATION, TEST))
    who = {MODEL: tested.values, **baselines[TEST]}
    if theirs:
        who[CHAMPION] = theirs.test.values
    table = build_table(schema, store.rows[test], store.ids(test) if share_rows else None, store.arrays.y[test], who)
    costs = _measure(store, folder, champion if theirs else None)
    basis = VerdictBasis(
        schema,
        _served_thresholds(folder) or _thresholds(store, validation),
        resamples,
        costs.metrics(),
        champion,
        _thresholds(store, theirs.validation) if theirs else {},
        {name: choose_thresholds(schema, known, answers) for name, answers in baselines[VALIDATION].items()},
    )
    metrics, pairs, verdict = judge_table(basis, table, gate)
    return Evaluation(
        basis,
        table,
        metrics,
        verdict,
        _compare(store, table, pairs, champion, theirs, costs, resamples),
        {target.name: _calibrate(store, t, table, validation, tested) for t, target in enumerate(schema.targets)},
        "Forest: {trees} trees on {columns} graph-blind columns.".format(**how),
    )


def _served_thresholds(folder: Path) -> dict[str, float]:
    """From which probability on the bundle itself calls its binary targets; nothing where it does not."""
    schema = Schema.from_json((folder / "artifacts" / "schema.json").read_text(encoding="utf-8"))
    return {target.name: target.threshold for target in schema.targets if target.threshold is not None}


def _thresholds(store: Store, answers: SideAnswers) -> dict[str, float]:
    """Chosen on validation, of both models in one way: rows that are refused do not count."""
    there = ~answers.refused
    values = {name: array[there] for name, array in answers.values.items()}
    return choose_thresholds(store.schema, store.arrays.y[store.indices(VALIDATION)][there], values)


def _measure(store: Store, folder: Path, champion: Champion | None) -> Costs:
    folders = [folder, *([champion.folder] if champion and champion.folder else [])]
    return Costs(*measure_costs(folders, build_requests(store, store.indices(TEST)[:BATCH]).to_dict("list")))


def _compare(
    store: Store,
    table: pd.DataFrame,
    pairs: Mapping[str, Mapping[str, Pair]],
    champion: Champion | None,
    answers: ChampionAnswers | None,
    costs: Costs,
    resamples: int,
) -> Comparison:
    if champion is None or answers is None:
        return Comparison(costs, champion)
    test = store.indices(TEST)
    return build_comparison(
        store.schema,
        table,
        pairs,
        champion,
        answers.overlap,
        answers.changes,
        costs,
        sizes=np.diff(store.arrays.node_ptr)[test],
        names=store.ids(test),
        refused=answers.refused,
        resamples=resamples,
    )


def _calibrate(
    store: Store, t: int, table: pd.DataFrame, validation: SideAnswers, tested: SideAnswers
) -> dict[str, str]:
    target: Target = store.schema.targets[t]
    known: NDArray[np.float32] = store.arrays.y[store.indices(VALIDATION), t]
    answered = to_trained_scale(target, validation.values[target.name])
    spread = None
    if target.name in tested.spread:
        label = table[target.name].to_numpy(dtype=np.float64, na_value=np.nan)
        spread = label, tested.values[target.name], tested.spread[target.name]
    return calibrate(
        target, labels_of(table, target), answers_of(table, target, MODEL), (known.astype(np.float64), answered), spread
    )
