"""Replicates of one molecule become one label: the median of numbers, the agreement of classes."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dataset.replicates import merge_replicates
from pipeline.schema import Target

REGRESSION = Target("t", "regression")


def keys(*numbers: int) -> np.ndarray:
    return np.array([(7, number) for number in numbers], dtype=np.uint64).reshape(-1, 2)


def test_replicates_by_hand():
    y = np.float32([[1, 0], [5, 1], [3, 0], [8, np.nan], [np.nan, 1], [4, 1]])
    targets = (REGRESSION, Target("c", "binary", classes=("0", "1")))
    merged = merge_replicates(keys(9, 5, 9, 9, 5, 2), y, targets)
    assert merged.keep.tolist() == [True, True, False, False, False, True]
    np.testing.assert_array_equal(merged.y, [[3, 0], [5, 1], [3, 0], [3, 0], [5, 1], [4, 1]])
    assert not merged.conflicts.any()
    report = merged.report
    assert (report["rows"], report["identities"], report["merged"], report["conflicts"]) == (6, 3, 3, 0)
    assert report["targets"]["t"]["replicates"] == {"identities": 1, "rows": 3}
    # 1, 3, 8 have the mean 4: (9 + 1 + 16) / 2
    assert report["targets"]["t"]["spread"] == pytest.approx(math.sqrt(13))
    assert report["targets"]["c"] == {"conflicts": 0}


def test_unequal_classes_leave_only_where_nothing_is_left():
    y = np.float32([[0, np.nan], [1, np.nan], [0, 2], [1, 2], [np.nan, np.nan]])
    targets = (Target("c", "binary", classes=("0", "1")), Target("r", "regression"))
    merged = merge_replicates(keys(1, 1, 2, 2, 3), y, targets)
    assert merged.conflicts.tolist() == [True, True, False, False, False]
    assert merged.keep.tolist() == [False, False, True, False, True]
    np.testing.assert_array_equal(merged.y[2], [np.nan, 2])
    assert merged.report["targets"]["c"] == {"conflicts": 2}
    assert merged.report["conflicts"] == 2
    assert merged.report["merged"] == 1


def test_no_rows():
    merged = merge_replicates(keys(), np.zeros((0, 1), dtype=np.float32), (REGRESSION,))
    assert len(merged.keep) == 0
    assert merged.report["targets"]["t"]["spread"] is None


label = st.one_of(st.just(math.nan), st.floats(-100, 100, width=32))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), label), min_size=1, max_size=30))
def test_median_and_spread_are_those_of_pandas(rows):
    number, y = zip(*rows, strict=True)
    merged = merge_replicates(keys(*number), np.float32(y)[:, None], (REGRESSION,))
    grouped = pd.Series(np.float32(y), dtype="float64").groupby(list(number))
    np.testing.assert_allclose(merged.y[:, 0], grouped.transform("median"), rtol=1e-6, atol=1e-6)
    counts = grouped.count()
    freedom = (counts[counts > 1] - 1).sum()
    spread = merged.report["targets"]["t"]["spread"]
    if freedom:
        squares = (grouped.var().fillna(0) * (counts - 1).clip(lower=0)).sum()
        assert spread == pytest.approx(math.sqrt(squares / freedom), rel=1e-5, abs=1e-5)
    else:
        assert spread is None


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 1.0, math.nan])), min_size=1, max_size=25),
    st.randoms(use_true_random=False),
)
def test_class_merging_does_not_depend_on_row_order(rows, random):
    target = (Target("c", "binary", classes=("0", "1")),)

    def labels_of(table):
        merged = merge_replicates(keys(*(n for n, _ in table)), np.float32([[y] for _, y in table]), target)
        assert not (merged.keep & merged.conflicts).any()
        return {n: (repr(y), c) for (n, _), y, c in zip(table, merged.y[:, 0].tolist(), merged.conflicts, strict=True)}

    shuffled = random.sample(rows, len(rows))
    assert labels_of(rows) == labels_of(shuffled)
