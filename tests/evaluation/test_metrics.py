"""Metrics against scikit-learn and scipy, by hand, and on inputs that go wrong in practice."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from pipeline.errors import DataError, ShapeError
from pipeline.evaluation.metrics import (
    METRICS,
    best_baseline,
    choose_threshold,
    compare_losses,
    compare_target,
    loss_metric,
    metrics_of,
    score_target,
    tell_apart,
)
from pipeline.evaluation.slices import row_losses
from pipeline.schema import Target, TargetKind

NUMBER = Target("logS", "regression")
BINARY = Target("active", "binary", classes=("no", "yes"))
CLASSES = Target("kind", "multiclass", classes=("a", "b", "c"))
FEW = {"resamples": 20}


def names_of(target):
    return [metric.name for metric in metrics_of(target.kind)]


def values_of(target, y, answer, **options):
    return {name: score.value for name, score in score_target(target, y, answer, **(FEW | options)).items()}


def test_regression_by_hand():
    found = values_of(NUMBER, [1.0, 2.0, 3.0, np.nan], [1.0, 2.0, 5.0, 9.0])
    # one error of 2 among three; variance 2/3, so r2 = 1 - (4/3) / (2/3)
    assert found == pytest.approx({"rmse": np.sqrt(4 / 3), "mae": 2 / 3, "r2": -1.0, "spearman": 1.0})


def test_binary_by_hand():
    found = values_of(BINARY, [1, 0, 1, 0], [0.9, 0.6, 0.6, 0.1], threshold=0.5)
    # pairs: 0.9 > 0.6, 0.9 > 0.1, 0.6 = 0.6 (half), 0.6 > 0.1
    assert found["roc_auc"] == pytest.approx(3.5 / 4)
    assert found["prc_auc"] == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert found["accuracy"] == pytest.approx(3 / 4)
    assert found["f1"] == pytest.approx(4 / 5)
    assert found["mcc"] == pytest.approx(2 / np.sqrt(3 * 2 * 1 * 2))
    assert found["brier"] == pytest.approx((0.01 + 0.36 + 0.16 + 0.01) / 4)


tied_scores = st.lists(st.sampled_from([-1e3, -1.0, 0.0, 0.2, 0.5, 0.50001, 1.0, 1e3]), min_size=4, max_size=40)


def test_missing_labels_change_nothing():
    rng = np.random.default_rng(0)
    y, answer = rng.normal(size=50), rng.normal(size=50)
    more_y = np.append(y, [np.nan] * 5)
    more_answer = np.append(answer, [np.nan, np.inf, 0, 1, 2])  # answers to rows without a label are not looked at
    assert score_target(NUMBER, more_y, more_answer) == score_target(NUMBER, y, answer)


def test_no_labels_no_metrics():
    assert score_target(NUMBER, [np.nan, np.nan], [1, 2]) == {}
    assert score_target(CLASSES, [], np.empty((0, 3))) == {}


def test_one_row():
    assert values_of(NUMBER, [2.0], [1.0]) == {"rmse": 1.0, "mae": 1.0}


def test_one_positive_gives_an_interval():
    """A third of the resamples holds no positive; the others make the interval."""
    found = score_target(BINARY, [1, 0, 0, 0, 0], [0.9, 0.1, 0.2, 0.3, 0.4], resamples=200)
    assert found["roc_auc"] == (1.0, 1.0, 1.0)


def test_a_class_absent_from_test():
    y, probability = np.array([0.0, 1, 0, 1]), np.full((4, 3), 1 / 3)
    assert values_of(CLASSES, y, probability)["roc_auc"] == 0.5


def test_seed_decides():
    rng = np.random.default_rng(0)
    y, answer = rng.normal(size=40), rng.normal(size=40)
    assert score_target(NUMBER, y, answer, seed=1) == score_target(NUMBER, y, answer, seed=1)
    assert score_target(NUMBER, y, answer, seed=1) != score_target(NUMBER, y, answer, seed=2)


def test_errors():
    with pytest.raises(ShapeError, match="logS"):
        score_target(NUMBER, [1, 2], [1, 2, 3])
    with pytest.raises(ShapeError, match="kind"):
        score_target(CLASSES, [0, 1], np.ones((2, 2)))
    with pytest.raises(DataError, match="1 of 2 answers"):
        score_target(NUMBER, [1, 2], [1, np.nan])


def test_threshold_by_hand():
    assert choose_threshold([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]) == pytest.approx(0.25)
    assert choose_threshold([0, 1, np.nan], [0.2, 0.8, 0.1]) == 0.5  # 0.5 is as good as any
    assert choose_threshold([1, 1], [0.1, 0.2]) == 0.5
    assert choose_threshold([], []) == 0.5


@pytest.mark.filterwarnings("ignore:A single label")  # scikit-learn's, of labels of one class
@settings(deadline=None, max_examples=30)
@given(st.data())
def test_threshold_has_the_highest_mcc(data):
    score = np.array(data.draw(tied_scores))
    y = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(score), max_size=len(score))))
    t = choose_threshold(y, score)
    best = max(sk.matthews_corrcoef(y, score >= cut) for cut in [*sorted(set(score))[1:], 0.5])  # both classes called
    assert sk.matthews_corrcoef(y, score >= t) == pytest.approx(best)


@pytest.mark.parametrize("target", [NUMBER, BINARY, CLASSES], ids=lambda target: target.kind)
def test_the_table_names_what_is_computed(target):
    answer = np.eye(3)[[0, 1, 1, 2]] if target is CLASSES else [0.1, 0.7, 0.8, 0.9]
    found = score_target(target, [0, 1, 0, 1], answer, **FEW)
    assert list(found) == names_of(target)
    assert all(kind in get_args(TargetKind) for metric in METRICS.values() for kind in metric.kinds)


@pytest.mark.parametrize("target", [NUMBER, BINARY, CLASSES], ids=lambda target: target.kind)
def test_the_loss_metric_is_the_mean_of_the_row_losses(target):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 30).astype(float)
    answer = rng.dirichlet(np.ones(3), 30) if target is CLASSES else rng.random(30)
    metric, mean = loss_metric(target.kind), row_losses(target, y, answer).mean()
    value = values_of(target, y, answer)[metric.name]
    assert value == pytest.approx(np.sqrt(mean) if metric.name == "rmse" else mean)
    assert metric.lower_is_better
    assert metric.kinds == (target.kind,)


def test_the_best_baseline_is_the_simplest_of_equally_good_ones():
    values = {"baseline/forest/t/rmse": 0.5, "baseline/mean/t/rmse": 0.5, "baseline/mean/t/r2": 0.1}
    values |= {"baseline/forest/t/r2": 0.2, "baseline/forest/other/r2": 0.9, "baseline/mean/t/mae": np.nan}
    assert best_baseline(values, "t", METRICS["rmse"]) == ("mean", 0.5)
    assert best_baseline(values, "t", METRICS["r2"]) == ("forest", 0.2)
    assert best_baseline(values, "t", METRICS["mae"]) is None


@pytest.mark.parametrize(
    ("difference", "low_is_good", "high_is_good"),
    [
        ((-0.2, -0.3, -0.1), "better", "worse"),
        ((0.2, 0.1, 0.3), "worse", "better"),
        ((-0.2, -0.3, 0.0), "unclear", "unclear"),
        ((0.0, 0.0, 0.0), "unclear", "unclear"),
    ],
)
def test_two_models_are_told_apart_where_the_interval_leaves_out_zero(difference, low_is_good, high_is_good):
    assert tell_apart(difference, lower_is_better=True) == low_is_good
    assert tell_apart(difference, lower_is_better=False) == high_is_good


@pytest.mark.slow
def test_large_test_sets_are_scored():
    rng = np.random.default_rng(0)
    y = rng.normal(size=100_000)
    found = score_target(NUMBER, y, y + rng.normal(size=len(y)))
    assert found["rmse"].value == pytest.approx(1, abs=0.01)


# --- two models on the same rows ----------------------------------------------------------------------------------


def test_the_difference_by_hand():
    """Two rows: each resample draws the first 0, 1 or 2 times, which are all there are."""
    pair = compare_target(NUMBER, [0.0, 0.0], [1.0, 3.0], [2.0, 2.0], resamples=4000)["mae"]
    assert (pair.challenger.value, pair.champion.value, pair.difference.value) == (2.0, 2.0, 0.0)
    assert (pair.challenger.lo, pair.challenger.hi) == (1.0, 3.0)
    assert (pair.champion.lo, pair.champion.hi) == (2.0, 2.0)
    assert (pair.difference.lo, pair.difference.hi) == (-1.0, 1.0)


@pytest.mark.parametrize("target", [NUMBER, BINARY, CLASSES], ids=lambda target: target.kind)
def test_a_model_differs_from_itself_by_exactly_nothing(target):
    rng = np.random.default_rng(0)
    y = rng.normal(size=60) if target is NUMBER else rng.integers(0, target.width + (target is BINARY), 60) * 1.0
    y[::7] = np.nan
    answer = rng.dirichlet(np.ones(3), 60) if target is CLASSES else rng.random(60)
    pairs = compare_target(target, y, answer, answer.copy(), resamples=200)
    assert list(pairs) == list(names_of(target))
    assert all(tuple(pair.difference) == (0.0, 0.0, 0.0) for pair in pairs.values())
    alone = score_target(target, y, answer, resamples=200)
    assert all(pair.challenger == pair.champion for pair in pairs.values())
    assert {name: pair.challenger.value for name, pair in pairs.items()} == {
        name: score.value for name, score in alone.items()
    }


def test_paired_intervals_are_those_of_scipy():
    """scipy draws other resamples, so the ends differ a little; unpaired ones would be five times as wide."""
    rng = np.random.default_rng(1)
    y, noise = rng.normal(size=300), rng.normal(size=300)
    first, second = y + noise + 0.05 * rng.normal(size=300), y + 1.02 * noise
    pair = compare_target(NUMBER, y, first, second, resamples=4000)["rmse"].difference

    def difference(y, a, b):
        return np.sqrt(np.mean((a - y) ** 2)) - np.sqrt(np.mean((b - y) ** 2))

    want = stats.bootstrap(
        (y, first, second), difference, paired=True, vectorized=False, n_resamples=4000, method="percentile", rng=2
    ).confidence_interval
    width = want.high - want.low
    assert pair.value == pytest.approx(difference(y, first, second))
    assert (pair.lo, pair.hi) == pytest.approx((want.low, want.high), abs=0.06 * width)


def test_each_model_is_called_at_its_own_threshold():
    y, probability = [0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4]
    accuracy = compare_target(BINARY, y, probability, probability, thresholds=(0.25, 0.5), **FEW)["accuracy"]
    assert (accuracy.challenger.value, accuracy.champion.value) == (1.0, 0.5)


def test_mean_losses_are_those_of_the_metric():
    rng = np.random.default_rng(3)
    y, first, second = rng.normal(size=(3, 50))
    whole = compare_target(NUMBER, y, first, second, resamples=100)["rmse"]
    part = compare_losses((first - y) ** 2, (second - y) ** 2, root=True, resamples=100)
    for a, b in zip(whole, part, strict=True):
        assert tuple(a) == pytest.approx(tuple(b))
