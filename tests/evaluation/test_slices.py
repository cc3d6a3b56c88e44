"""Kinds of rows: which rows are in which, and that chance is not called clear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pipeline.evaluation.slices import (
    MIN_ROWS,
    Slice,
    correct,
    row_losses,
    sign_flip_test,
    slice_labels,
    slice_sizes,
    try_slices,
)
from pipeline.schema import Target

NUMBER = Target("logS", "regression", unit="mol/L")
CLASSES = Target("kind", "multiclass", classes=("a", "b", "c"))


def test_quarters_by_size_are_named_by_their_ends():
    slices = slice_sizes(np.array([3, 1, 2, 8, 7, 6, 5, 4]), "atoms")
    assert [one.name for one in slices] == ["1 to 2 atoms", "3 to 4 atoms", "5 to 6 atoms", "7 to 8 atoms"]
    assert slices[0].rows.tolist() == [False, True, True, False, False, False, False, False]
    assert [one.name for one in slice_sizes(np.full(9, 5), "nodes")] == ["5 nodes"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_every_row_is_in_one_slice_of_sizes(sizes):
    slices = slice_sizes(np.array(sizes), "nodes")
    assert np.stack([one.rows for one in slices]).sum(axis=0).tolist() == [1] * len(sizes)
    assert all(one.rows.any() for one in slices)


def test_labels_are_named_in_original_units_and_missing_ones_are_nowhere():
    y = np.array([-1.0, 0.0, 1.0, 2.0, np.nan])
    slices = slice_labels(NUMBER, y, [0.1, 1.0, 10.0, 100.0, None])
    assert [one.name for one in slices] == ["0.1 mol/L", "1 mol/L", "10 mol/L", "100 mol/L"]
    assert not any(one.rows[4] for one in slices)
    assert slice_labels(NUMBER, np.full(3, np.nan), [None] * 3) == []
    classes = slice_labels(CLASSES, np.array([0, 2, 2, np.nan]), ["a", "c", "c", None])
    assert [(one.name, int(one.rows.sum())) for one in classes] == [("a", 1), ("b", 0), ("c", 2)]


def test_losses_by_hand():
    assert row_losses(NUMBER, np.array([1.0]), np.array([3.0])).tolist() == [4.0]
    binary = Target("t", "binary", classes=("n", "y"))
    assert row_losses(binary, np.array([1.0, 0.0]), np.array([0.75, 0.5])).tolist() == [0.0625, 0.25]
    stated = np.array([[0.25, 0.5, 0.25], [1.0, 0.0, 0.0]])
    assert row_losses(CLASSES, np.array([1.0, 1.0]), stated) == pytest.approx([np.log(2), 36.04], abs=0.01)


def test_sign_flips_are_those_of_scipy():
    rng = np.random.default_rng(0)
    for shift in (0.0, 0.3, -0.3):
        difference = rng.normal(shift, 1, 40)
        want = stats.permutation_test(
            (difference, np.zeros(40)),
            lambda a, b: np.mean(a - b),
            permutation_type="samples",
            alternative="greater",
            vectorized=False,
            n_resamples=3000,
            rng=1,
        ).pvalue
        assert sign_flip_test(difference) == pytest.approx(want, abs=0.03)
    assert sign_flip_test(np.zeros(20)) == 1.0
    assert sign_flip_test(np.ones(30)) < 1e-3


def test_holm_by_hand():
    assert correct([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert correct([0.5, 0.9]) == [1.0, 1.0]
    assert correct([]) == []


def test_tiny_slices_and_everything_are_left_out():
    n = 4 * MIN_ROWS
    masks = {"tiny": MIN_ROWS - 1, "enough": MIN_ROWS, "all": n}
    slices = [Slice("size", name, np.arange(n) < count) for name, count in masks.items()]
    found = try_slices(NUMBER, slices, np.full(n, 4.0), np.full(n, 1.0), resamples=50)
    assert [(one.slice.name, one.rows, one.challenger, one.champion) for one in found] == [
        ("enough", MIN_ROWS, 2.0, 1.0)
    ]
    assert tuple(found[0].difference) == (1.0, 1.0, 1.0)
    unlabelled = np.where(np.arange(n) < 1, np.nan, 4.0)
    assert try_slices(NUMBER, slices[:2], unlabelled, np.full(n, 1.0), resamples=50) == []


def test_chance_is_rarely_clear():
    """60 comparisons of equally good models, ten slices each: at 5 %, three or so; without correction about 24."""
    rng = np.random.default_rng(5)
    clear = raw = 0
    for seed in range(60):
        losses = rng.chisquare(1, size=(2, 200))
        slices = [Slice("size", str(k), rng.random(200) < 0.3) for k in range(10)]
        p = [one.p for one in try_slices(NUMBER, slices, *losses, resamples=100, seed=seed)]
        clear += min(correct(p)) < 0.05
        raw += min(p) < 0.05
    assert clear <= 8
    assert raw > clear
