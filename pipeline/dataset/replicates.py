"""Replicates: the labels of one molecule or graph become one label."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.dataset.labels import Labelled
from pipeline.dataset.split import Keys, number_keys
from pipeline.schema import Target


class Replicates(NamedTuple):
    """Rows merged to one row for each molecule or graph.

    Attributes:
        keep: (G,) the first row of each identity, but none of an identity in `conflicts`.
        y: (G, T) merged labels, the same in all rows of one identity; NaN is missing.
        conflicts: (G,) rows of identities that lose their last label because their class labels differ.
        report: ready for JSON: `rows`, `identities`, `merged` (rows that went into an earlier row), `conflicts`
            (rows that leave), and `targets`: for regression how many identities and rows are `replicates` and
            their `spread` (pooled standard deviation on the trained scale, the noise floor of the data; None
            without replicates), for classes the identities whose labels conflict.
    """

    keep: NDArray[np.bool_]
    y: Labelled
    conflicts: NDArray[np.bool_]
    report: dict[str, Any]


def merge_replicates(identity: Keys, y: Labelled, targets: Sequence[Target]) -> Replicates:
    """Merge the rows of one molecule or graph: median for regression, agreement for classes.

    Class labels that differ make that label missing for all rows of the identity.

    Args:
        identity: (G, 2) key of each row.
        y: (G, T) labels on the trained scale.
    """
    number, size = number_keys(identity)
    first = np.full(len(size), len(number), dtype=np.int64)
    np.minimum.at(first, number, np.arange(len(number)))
    merged = np.empty((len(size), len(targets)), dtype=np.float32)
    conflicted = np.zeros(len(size), dtype=bool)
    facts: dict[str, Any] = {}
    for column, target in enumerate(targets):
        if target.task.has_classes:
            merged[:, column], differs = _agreement(number, y[:, column], len(size))
            conflicted |= differs
            facts[target.name] = {"conflicts": int(np.count_nonzero(differs))}
        else:
            merged[:, column], facts[target.name] = _median(number, y[:, column], len(size))
    conflicted &= np.isnan(merged).all(axis=1)
    keep = np.zeros(len(number), dtype=bool)
    keep[first[~conflicted]] = True
    conflicts = conflicted[number]
    report = {
        "rows": len(number),
        "identities": len(size),
        "merged": len(number) - int(np.count_nonzero(keep)) - int(np.count_nonzero(conflicts)),
        "conflicts": int(np.count_nonzero(conflicts)),
        "targets": facts,
    }
    return Replicates(keep, merged[number], conflicts, report)


def _median(number: NDArray[np.int64], y: Labelled, num_groups: int) -> tuple[Labelled, dict[str, Any]]:
    """Median of the labels of each group, NaN without any; and how far replicates lie apart."""
    known = ~np.isnan(y)
    count = np.bincount(number[known], minlength=num_groups)
    some = count > 0
    value = y[known][np.lexsort((y[known], number[known]))]  # by group, then by size
    start = (np.cumsum(count) - count)[some]
    low, high = (value[start + middle[some]].astype(np.float64) for middle in ((count - 1) // 2, count // 2))
    median = np.full(num_groups, np.nan, dtype=np.float32)
    median[some] = (low + high) / 2
    total = np.add.reduceat(value, start, dtype=np.float64) if len(start) else np.zeros(0)
    away = value - np.repeat(total / count[some], count[some])
    squares = float(away @ away)
    repeated = count > 1
    freedom = int((count[repeated] - 1).sum())
    return median, {
        "replicates": {"identities": int(np.count_nonzero(repeated)), "rows": int(count[repeated].sum())},
        "spread": math.sqrt(squares / freedom) if freedom else None,
    }


def _agreement(number: NDArray[np.int64], y: Labelled, num_groups: int) -> tuple[Labelled, NDArray[np.bool_]]:
    """The common class of each group, NaN without any or where they differ; and where they differ."""
    known = ~np.isnan(y)
    low = np.full(num_groups, np.inf, dtype=np.float32)
    high = np.full(num_groups, -np.inf, dtype=np.float32)
    np.minimum.at(low, number[known], y[known])
    np.maximum.at(high, number[known], y[known])
    differs = low < high
    return np.where(low == high, low, np.float32(np.nan)), differs
