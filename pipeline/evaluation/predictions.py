"""Answers beside labels: the prediction table, its metrics, thresholds and worst rows.

The prediction table holds one row a test graph, with columns
    row, id                      source row number; SMILES or graph id (left out with share_rows=false)
    <target>                     label in original units, or class name; empty when missing
    <target>.<who>               answer in original units, or probability of the positive class
    <target>.<who>=<class>       multi-class: probability of each class
where <who> is one of `ANSWERERS`.  The champion's answers are empty in rows that are not compared. Metrics are computed
from this table and `VerdictBasis` alone, so that a reviewer can compute them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.answer import ERROR, STD, predicted_numbers
from pipeline.dataset.split import SIDES, TRAIN
from pipeline.errors import ExportError, PipelineError, RegistryError
from pipeline.evaluation.champion import Champion
from pipeline.evaluation.gate import Gate
from pipeline.evaluation.metrics import (
    Interval,
    Pair,
    choose_threshold,
    compare_target,
    leading_baseline,
    score_target,
)
from pipeline.evaluation.verdict import Verdict, judge_metrics
from pipeline.samples.kinds import kind_of
from pipeline.scale import from_trained_scale, to_trained_scale
from pipeline.schema import ANSWERERS, Schema, Target

if TYPE_CHECKING:
    from pipeline.store.store import Store

MODEL, CHAMPION = ANSWERERS[0], ANSWERERS[-1]

Array = NDArray[np.float64]
Answers = Mapping[str, Mapping[str, Array]]
"""Who -> target -> its answers in original units."""


@dataclass(frozen=True)
class VerdictBasis:
    """What a verdict rests on beside the prediction table; kept as `evaluation.json`.

    Attributes:
        thresholds: binary target -> probability from which the model calls it positive; `champion_thresholds` likewise,
            `baseline_thresholds` by baseline. Evaluations of before have none of the baselines: they call from 0.5.
        resamples: of the bootstrap.
        costs: `cost/model/<cost>` and `cost/champion/<cost>`.
        champion: if there was one; its version and refusal are kept, under the name `rival`.
    """

    schema: Schema
    thresholds: Mapping[str, float]
    resamples: int
    costs: Mapping[str, float]
    champion: Champion | None = None
    champion_thresholds: Mapping[str, float] = field(default_factory=dict)
    baseline_thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_json(self) -> str:
        champion = self.champion and {"version": self.champion.version, "refusal": self.champion.refusal}
        values = vars(self) | {"schema": self.schema.to_json(), "rival": champion}
        del values["champion"]
        return json.dumps(values, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> VerdictBasis:
        values = json.loads(text)
        champion = values.pop("rival")
        schema = Schema.from_json(values.pop("schema"))
        return cls(schema, **values, champion=champion and Champion(**champion))


def answer_columns(target: Target, who: str = "") -> list[str]:
    """Names of the numbers that `who` answers for a target, as served (`who` empty) or as in the prediction table."""
    return predicted_numbers(f"{target.name}.{who}" if who else target.name, target.answered_classes)


def read_answers(table: pd.DataFrame, schema: Schema, *, partial: bool = False) -> dict[str, Array]:
    """Read what a bundle answered.

    Args:
        table: the columns of an answer (n rows); further ones are ignored.
        partial: whether rows may be without an answer, then NaN; so it is with another bundle than that of the store.

    Returns:
        By target (n,) or, multi-class, (n, K): original units and probabilities.

    Raises:
        ExportError: if the bundle refuses a row that the store holds.
    """
    refused = table[ERROR].notna()
    if refused.any() and not partial:
        codes = table.loc[refused, ERROR].value_counts().to_dict()
        raise ExportError(
            f"the bundle refuses {int(refused.sum())} of {len(table)} rows that are in the store: {codes}."
        )
    answers = {}
    for target in schema.targets:
        values = table[answer_columns(target)].to_numpy(dtype=np.float64)
        answers[target.name] = values.reshape(len(table), *target.shape)
    return answers


def read_spread(table: pd.DataFrame, schema: Schema) -> dict[str, Array]:
    """Read the standard deviations of an ensemble's answers: regression target -> (n,); nothing of a single network."""
    columns = [one for target in schema.targets if not target.task.has_classes for one in target.answer_columns]
    return {
        str(one.target): table[one.name].to_numpy(np.float64)
        for one in columns
        if one.output == STD and one.name in table
    }


def table_to_json(table: pd.DataFrame) -> str:
    """Write a prediction table as MLflow logs tables, but with every digit: MLflow's own keeps ten decimals.

    That many make 0.0000000032 of an IC50 of 3.2123 nM in mol/L, and metrics that nobody can compute again.
    """
    columns = [[None if pd.isna(value) else value for value in table[name].tolist()] for name in table.columns]
    rows = [list(row) for row in zip(*columns, strict=True)]
    return json.dumps({"columns": list(table.columns), "data": rows}, ensure_ascii=False, allow_nan=False)


def read_table(path: Path) -> pd.DataFrame:
    """Read a logged prediction table; class names stay text."""
    values = json.loads(path.read_text(encoding="utf-8"))
    return pd.DataFrame(values["data"], columns=values["columns"])


def build_table(
    schema: Schema,
    row: NDArray[np.integer],
    ids: Sequence[str] | None,
    y: NDArray[np.float32],
    who: Answers,
) -> pd.DataFrame:
    """Put labels and answers beside each other.

    Args:
        y: (n, T) labels on the trained scale.
        who: as `read_answers` returns the answers of one; a baseline may leave targets out.
    """
    columns: dict[str, Any] = {"row": row}
    if ids is not None:
        columns["id"] = list(ids)
    for t, target in enumerate(schema.targets):
        columns[target.name] = _labels_for_people(target, y[:, t])
        for name, answers in who.items():
            if target.name in answers:
                values = answers[target.name].reshape(len(row), -1)
                columns |= {column: values[:, c] for c, column in enumerate(answer_columns(target, name))}
    return pd.DataFrame(columns)


def labels_of(table: pd.DataFrame, target: Target) -> Array:
    """(n,) labels of the table on the trained scale, NaN where missing."""
    if target.task.has_classes:
        codes = {name: float(code) for code, name in enumerate(target.classes)}
        return np.array([codes.get(value, np.nan) for value in table[target.name]], dtype=np.float64)
    values = table[target.name].to_numpy(dtype=np.float64, na_value=np.nan)
    labels = np.full(len(values), np.nan)
    there = ~np.isnan(values)
    labels[there] = to_trained_scale(target, values[there])
    return labels


def answers_of(table: pd.DataFrame, target: Target, who: str) -> Array:
    """(n,) or (n, K) answers of the table on the trained scale."""
    values = table[answer_columns(target, who)].to_numpy(dtype=np.float64)
    return to_trained_scale(target, values.reshape(len(table), *target.shape))


def answerers(table: pd.DataFrame, target: Target) -> list[str]:
    """Who answered for a target, all rows: the model first, then the baselines."""
    return [who for who in ANSWERERS if who != CHAMPION and set(answer_columns(target, who)) <= set(table.columns)]


def fit_store_baselines(
    store: Store, sides: Sequence[int]
) -> tuple[dict[int, dict[str, dict[str, Array]]], dict[str, Any]]:
    """Fit the graph-blind baselines on the training side of a store and let them answer other sides.

    Returns:
        Side -> baseline -> target -> answers in original units, and how the baselines were made.
    """
    from pipeline.evaluation.baselines import Inputs, fit_baselines

    source = kind_of(store.schema.data_kind).source()

    def inputs(code: int) -> Inputs:
        chosen = store.indices(code)
        y, u = store.arrays.y[chosen], store.arrays.u[chosen]
        return Inputs(y, u, lambda rows, pool: source.describe(store, chosen[rows], pool))

    made = fit_baselines(store.schema, inputs(TRAIN), {SIDES[side]: inputs(side) for side in sides})
    targets = {target.name: target for target in store.schema.targets}
    answers = {
        side: {
            kind: {name: from_trained_scale(targets[name], found[SIDES[side]]) for name, found in by_target.items()}
            for kind, by_target in made.answers.items()
        }
        for side in sides
    }
    return answers, made.report


def choose_thresholds(schema: Schema, y: NDArray[np.float32], answers: Mapping[str, Array]) -> dict[str, float]:
    """Choose the threshold of each binary target on the validation side.

    Args:
        y: (n, T) labels of validation graphs.
        answers: target -> what one answerer says of them; a baseline may leave targets out.
    """
    return {
        target.name: choose_threshold(y[:, t], answers[target.name])
        for t, target in enumerate(schema.targets)
        if target.task.has_threshold and target.name in answers
    }


def score_table(
    schema: Schema, table: pd.DataFrame, thresholds: Mapping[str, Mapping[str, float]], *, resamples: int, seed: int = 0
) -> dict[str, float]:
    """Compute every metric of every answerer.

    Args:
        thresholds: answerer -> binary target -> probability from which it calls it positive; 0.5 where there is none.

    Returns:
        `test/<target>/<metric>` for the model and `baseline/<name>/<target>/<metric>` for the baselines, each with
        `_lo` and `_hi`, the 95 % bootstrap interval.
    """
    metrics: dict[str, float] = {}
    for target in schema.targets:
        labels = labels_of(table, target)
        for who in answerers(table, target):
            place = f"test/{target.key}" if who == MODEL else f"baseline/{who}/{target.key}"
            scores = score_target(
                target,
                labels,
                answers_of(table, target, who),
                threshold=thresholds.get(who, {}).get(target.name),
                resamples=resamples,
                seed=seed,
            )
            metrics |= _flat(place, scores)
    return metrics


def compare_table(
    schema: Schema,
    table: pd.DataFrame,
    thresholds: tuple[Mapping[str, float], Mapping[str, float]],
    *,
    resamples: int,
    seed: int = 0,
) -> dict[str, dict[str, Pair]]:
    """Compare model and champion on the rows that both have answered.

    Args:
        thresholds: of the model and of the champion, by target.

    Returns:
        Target -> metric -> both and their difference; nothing without a champion.
    """
    pairs = {}
    for target in schema.targets:
        if set(answer_columns(target, CHAMPION)) <= set(table.columns):
            labels, mine, theirs = compared_rows(table, target)
            limits = thresholds[0].get(target.name), thresholds[1].get(target.name)
            pairs[target.name] = compare_target(
                target, labels, mine, theirs, thresholds=limits, resamples=resamples, seed=seed
            )
    return pairs


def compared_rows(table: pd.DataFrame, target: Target) -> tuple[Array, Array, Array]:
    """Labels, the model's and the champion's answers on the trained scale; NaN labels where rows are not compared."""
    theirs = answers_of(table, target, CHAMPION)
    there = np.isfinite(theirs) if theirs.ndim == 1 else np.isfinite(theirs).all(axis=1)
    return np.where(there, labels_of(table, target), np.nan), answers_of(table, target, MODEL), theirs


def judge_table(
    basis: VerdictBasis, table: pd.DataFrame, gate: Gate
) -> tuple[dict[str, float], dict[str, dict[str, Pair]], Verdict]:
    """Compute all metrics, the comparison with the champion, and the verdict.

    Returns:
        The metrics of `score_table`, with `champion/<target>/<metric>` and `difference/<target>/<metric>`, each with
        `_lo` and `_hi`, and `costs`; where a baseline is better by the metric that leads, also
        `baseline_difference/<name>/<target>/<metric>`, model − baseline. Then what `compare_table` returns, and the
        verdict.
    """
    schema = basis.schema
    each = {MODEL: basis.thresholds, **basis.baseline_thresholds}
    metrics = score_table(schema, table, each, resamples=basis.resamples) | dict(basis.costs)
    thresholds = basis.thresholds, basis.champion_thresholds
    pairs = compare_table(schema, table, thresholds, resamples=basis.resamples) if basis.champion else {}
    for target in schema.targets:
        for who in ("champion", "difference"):
            scores = {name: getattr(pair, who) for name, pair in pairs.get(target.name, {}).items()}
            metrics |= _flat(f"{who}/{target.key}", scores)
    metrics |= _behind(basis, table, metrics)
    kinds = {target.key: target.kind for target in schema.targets}
    return (
        metrics,
        pairs,
        judge_metrics(metrics, gate, kinds, basis.champion, {target.key: target.name for target in schema.targets}),
    )


def _behind(basis: VerdictBasis, table: pd.DataFrame, metrics: Mapping[str, float]) -> dict[str, float]:
    """How far the model is behind a baseline that is better, on the same resamples: is it more than chance?"""
    found: dict[str, float] = {}
    for target in basis.schema.targets:
        if ahead := leading_baseline(metrics, target.key, target.kind):
            metric, who = ahead
            mine, theirs = (answers_of(table, target, one) for one in (MODEL, who))
            pairs = compare_target(target, labels_of(table, target), mine, theirs, resamples=basis.resamples)
            found |= _flat(f"baseline_difference/{who}/{target.key}", {metric.name: pairs[metric.name].difference})
    return found


def worst_rows(schema: Schema, table: pd.DataFrame, target: Target, count: int = 8) -> pd.DataFrame:
    """The rows whose answer is farthest from the label on the trained scale, worst first."""
    labels, answers = labels_of(table, target), answers_of(table, target, MODEL)
    if target.task.per_class:
        right = np.where(np.isnan(labels), 0, labels).astype(int)
        distance = 1 - answers[np.arange(len(labels)), right]
    else:
        distance = np.abs(answers - labels)
    distance = np.where(np.isnan(labels), -1.0, distance)
    order = np.argsort(-distance, kind="stable")[:count]
    return table.iloc[order[distance[order] >= 0]]


def _flat(place: str, scores: Mapping[str, Interval]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for name, score in scores.items():
        flat |= {f"{place}/{name}": score.value, f"{place}/{name}_lo": score.lo, f"{place}/{name}_hi": score.hi}
    return flat


def _labels_for_people(target: Target, y: NDArray[np.float32]) -> list[Any]:
    if target.task.has_classes:
        return [None if np.isnan(value) else target.classes[int(value)] for value in y]
    values = from_trained_scale(target, y.astype(np.float64))
    return [None if np.isnan(value) else float(f"{value:.7g}") for value in values]  # what float32 holds, no more


def judge_logged(folder: Path, gate: Gate) -> Verdict:
    """Judge logged predictions by a gate as it is now.

    Args:
        folder: holds `predictions.json` and `evaluation.json` of an evaluate run.

    Raises:
        RegistryError: if one of them is missing or cannot be read.
    """
    try:
        basis = VerdictBasis.from_json((folder / "evaluation.json").read_text(encoding="utf-8"))
        return judge_table(basis, read_table(folder / "predictions.json"), gate)[2]
    except (OSError, ValueError, KeyError, TypeError, PipelineError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RegistryError(f"the logged predictions cannot be read ({reason})") from None
