"""Challenger against champion: what `pipeline.evaluation.comparison` holds, from the prediction table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.evaluation.champion import Champion
from pipeline.evaluation.comparison import (
    Comparison,
    Costs,
    Difference,
    MovedRow,
    RowCounts,
    Slices,
    WorseSlice,
)
from pipeline.evaluation.metrics import METRICS, Pair, loss_metric
from pipeline.evaluation.overlap import Overlap
from pipeline.evaluation.predictions import CHAMPION, MODEL, answer_columns, answers_of, compared_rows
from pipeline.evaluation.slices import (
    Outcome,
    Slice,
    correct,
    row_losses,
    slice_labels,
    slice_sizes,
    try_slices,
)
from pipeline.samples.kinds import kind_of
from pipeline.schema import Schema, Target

MOVED = 8  # rows of a target that are shown
Array = NDArray[np.float64]


def build_comparison(
    schema: Schema,
    table: pd.DataFrame,
    pairs: Mapping[str, Mapping[str, Pair]],
    champion: Champion,
    overlap: Overlap,
    changes: Sequence[str],
    costs: Costs,
    *,
    sizes: NDArray[np.integer[Any]],
    names: Sequence[str],
    refused: int,
    resamples: int,
) -> Comparison:
    """Put together what a reviewer sees.

    Args:
        table: with the champion's answers; structures are named only where it has a column `id`.
        pairs: what `compare_table` returns.
        changes: what clients must change.
        sizes: (n,) number of nodes of each test graph.
        names: (n,) of the test samples.
        refused: test rows that the champion does not answer.
    """
    first = compared_rows(table, schema.targets[0])[2]
    compared = int(np.isfinite(first.reshape(len(table), -1)).all(axis=1).sum())
    seen = None if overlap.seen is None else int(overlap.seen.sum())
    refusals = [f"The champion answers {refused} of the {len(table)} test rows not at all."] if refused else []
    return Comparison(
        costs,
        champion,
        notes=(overlap.sentence, *refusals, *changes),
        rows=RowCounts(len(table), compared, seen, refused),
        metrics=tuple(_differences(schema, table, pairs)),
        slices=_slices(schema, table, sizes, names, resamples),
        moved=tuple(row for target in schema.targets for row in moved_rows(table, target)),
    )


def moved_rows(table: pd.DataFrame, target: Target, count: int = MOVED) -> list[MovedRow]:
    """The rows whose answers differ most: on the trained scale, of probability; of classes half the sum of all."""
    mine, theirs = answers_of(table, target, MODEL), answers_of(table, target, CHAMPION)
    moved = np.abs(mine - theirs) if mine.ndim == 1 else np.abs(mine - theirs).sum(axis=1) / 2
    moved = np.nan_to_num(moved)  # rows that are not compared
    order = [int(k) for k in np.argsort(-moved, kind="stable")[:count] if moved[k] > 0]
    return [
        MovedRow(
            target.name,
            int(row["row"]),
            row.get("id"),
            _label(target, row[target.name]),
            _answer(target, row, MODEL),
            _answer(target, row, CHAMPION),
            float(moved[k]),
        )
        for k, (_, row) in zip(order, table.iloc[order].iterrows(), strict=True)
    ]


def _differences(schema: Schema, table: pd.DataFrame, pairs: Mapping[str, Mapping[str, Pair]]) -> list[Difference]:
    found = []
    for target in schema.targets:
        rows = int((~np.isnan(compared_rows(table, target)[0])).sum())
        for name, pair in pairs[target.name].items():
            found.append(Difference(target.name, name, rows, METRICS[name].lower_is_better, *pair))
    return found


def _slices(
    schema: Schema,
    table: pd.DataFrame,
    sizes: NDArray[np.integer[Any]],
    names: Sequence[str],
    resamples: int,
) -> Slices:
    """Try all slices of all targets, and keep those in which the challenger is worse."""
    kind = kind_of(schema.data_kind)
    clusters = kind.source().clusters(names, named="id" in table)
    common = slice_sizes(sizes, kind.nouns.nodes) + [Slice("scaffold", title, rows) for title, rows in clusters]
    tried: list[tuple[Target, Outcome]] = []
    for target in schema.targets:
        labels, mine, theirs = compared_rows(table, target)
        there = ~np.isnan(labels)
        losses = [np.full(len(labels), np.nan) for _ in range(2)]
        for loss, answers in zip(losses, (mine, theirs), strict=True):
            loss[there] = row_losses(target, labels[there], answers[there])
        slices: list[Slice] = [*common, *slice_labels(target, labels, table[target.name].tolist())]
        tried += [(target, one) for one in try_slices(target, slices, *losses, resamples=resamples)]
    corrected = correct([one.p for _, one in tried])
    worse = [
        WorseSlice(
            target.name,
            one.slice.kind,
            one.slice.name,
            loss_metric(target.kind).name,
            one.rows,
            one.challenger,
            one.champion,
            one.difference,
            one.p,
            p,
            p < 0.05,
        )
        for (target, one), p in zip(tried, corrected, strict=True)
        if one.difference.value > 0
    ]
    return Slices(len(tried), tuple(sorted(worse, key=lambda one: (one.p_holm, one.p))))


def _label(target: Target, value: Any) -> str:
    if pd.isna(value):
        return ""
    return str(value) if target.task.has_classes else f"{value:.3g}"


def _answer(target: Target, row: pd.Series, who: str) -> str:
    values = row[answer_columns(target, who)].to_numpy(dtype=np.float64)
    if target.task.per_class:
        return f"{target.classes[int(values.argmax())]} ({values.max():.2f})"
    return f"{values[0]:.3g}"
