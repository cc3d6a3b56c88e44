"""Formulas on weights: what scipy and scikit-learn say of the rows as often as they count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from pipeline.evaluation.formulas import mcc_binary, prepare_statistics
from pipeline.evaluation.metrics import (
    metrics_of,
    score_target,
)
from pipeline.schema import Target

NUMBER = Target("logS", "regression")


BINARY = Target("active", "binary", classes=("no", "yes"))


CLASSES = Target("kind", "multiclass", classes=("a", "b", "c"))


FEW = {"resamples": 20}


def names_of(target):
    return [metric.name for metric in metrics_of(target.kind)]


def values_of(target, y, answer, **options):
    return {name: score.value for name, score in score_target(target, y, answer, **(FEW | options)).items()}


tied_scores = st.lists(st.sampled_from([-1e3, -1.0, 0.0, 0.2, 0.5, 0.50001, 1.0, 1e3]), min_size=4, max_size=40)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_regression_is_scipys_and_scikit_learns(data):
    answer = np.array(data.draw(tied_scores))
    y = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=len(answer), max_size=len(answer))), dtype=float)
    found = values_of(NUMBER, y, answer)
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(y, answer))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, answer))
    if len(set(y)) == 1:
        assert "r2" not in found
        assert "spearman" not in found
        return
    assert found["r2"] == pytest.approx(sk.r2_score(y, answer))
    if len(set(answer)) > 1:
        assert found["spearman"] == pytest.approx(stats.spearmanr(y, answer).statistic, abs=1e-12)
    else:
        assert "spearman" not in found


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_binary_is_scikit_learns(data):
    score = np.array(data.draw(tied_scores))
    y = np.array(data.draw(st.lists(st.integers(0, 1), min_size=len(score), max_size=len(score))), dtype=float)
    threshold = data.draw(st.sampled_from([-5.0, 0.2, 0.5, 2.0]))
    found = values_of(BINARY, y, score, threshold=threshold)
    called = score >= threshold
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, called))
    assert found["brier"] == pytest.approx(np.mean((score - y) ** 2))
    if len(set(y)) == 1:
        assert set(found) == {"accuracy", "brier"}
        return
    assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(y, score))
    assert found["prc_auc"] == pytest.approx(sk.average_precision_score(y, score))
    assert found["f1"] == pytest.approx(sk.f1_score(y, called, zero_division=0))
    assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(y, called))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(4, 60), st.booleans())
def test_multiclass_is_scikit_learns(seed, n, sharp):
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n)
    probability = np.eye(3)[rng.integers(3, size=n)] if sharp else rng.dirichlet(np.ones(3), size=n)
    found = values_of(CLASSES, y.astype(float), probability)
    called = probability.argmax(axis=1)
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, called))
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, probability, labels=[0, 1, 2]))
    if len(set(y)) > 1:
        assert found["mcc"] == pytest.approx(sk.matthews_corrcoef(y, called))
        assert found["f1"] == pytest.approx(sk.f1_score(y, called, average="macro", zero_division=0))
    if len(set(y)) == 3:
        assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(y, probability, multi_class="ovr", average="macro"))


@pytest.mark.parametrize("target", [NUMBER, BINARY], ids=lambda target: target.kind)
def test_resamples_are_what_drawing_rows_gives(target):
    """The interval from weights is the interval from rows really drawn, with ties among labels and answers."""
    rng = np.random.default_rng(3)
    y = rng.integers(2, size=60).astype(float) if target is BINARY else rng.integers(5, size=60).astype(float)
    answer = np.round(y / 5 + 0.4 * rng.random(60), 1)
    found = score_target(target, y, answer, resamples=40, seed=7)
    rows = np.random.default_rng(7).integers(60, size=(40, 60))
    oracle = {
        "rmse": sk.root_mean_squared_error,
        "mae": sk.mean_absolute_error,
        "r2": sk.r2_score,
        "spearman": lambda a, b: stats.spearmanr(a, b).statistic,
        "roc_auc": sk.roc_auc_score,
        "prc_auc": sk.average_precision_score,
        "accuracy": lambda a, b: sk.accuracy_score(a, b >= 0.5),
        "f1": lambda a, b: sk.f1_score(a, b >= 0.5, zero_division=0),
        "mcc": lambda a, b: sk.matthews_corrcoef(a, b >= 0.5),
        "brier": lambda a, b: np.mean((a - b) ** 2),
    }
    for name in names_of(target):
        drawn = [oracle[name](y[row], answer[row]) for row in rows]
        assert (found[name].lo, found[name].hi) == pytest.approx(tuple(np.percentile(drawn, (2.5, 97.5))))


def test_large_offset_loses_no_digits():
    rng = np.random.default_rng(0)
    y, error = rng.normal(size=200), rng.normal(size=200)
    near, far = values_of(NUMBER, y, y + error), values_of(NUMBER, y + 1e6, y + error + 1e6)
    assert far == pytest.approx(near, rel=1e-6)


def test_weights_by_hand():
    """Rows 0 and 1 counted 1 and 1, 2 and 0, 0 and 2: errors 1 and −3."""
    statistics = prepare_statistics("regression", np.array([0.0, 4.0]), np.array([1.0, 1.0]))
    found = statistics(np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]]))
    assert found["mae"].tolist() == [2, 1, 3]
    assert found["rmse"] == pytest.approx([np.sqrt(5), 1, 3])
    assert found["r2"][0] == pytest.approx(1 - 5 / 4)
    assert np.isnan(found["r2"][1:]).all()  # one label does not vary
    assert np.isnan(found["spearman"]).all()  # nor does the answer


def test_binary_weights_by_hand():
    y, score = np.array([0.0, 1.0, 1.0]), np.array([0.6, 0.7, 0.2])
    found = prepare_statistics("binary", y, score)(np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 0.0], [0.0, 1.0, 2.0]]))
    assert found["accuracy"] == pytest.approx([1 / 3, 2 / 3, 1 / 3])
    assert found["roc_auc"][:2].tolist() == [0.5, 1.0]
    assert found["prc_auc"][:2] == pytest.approx([(1 + 2 / 3) / 2, 1.0])
    assert found["f1"][:2] == pytest.approx([0.5, 0.8])
    assert [np.isnan(found[name][2]) for name in ("roc_auc", "prc_auc", "f1", "mcc")] == [True] * 4  # one class
    assert found["brier"][0] == pytest.approx((0.36 + 0.09 + 0.64) / 3)


@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
@settings(max_examples=25)
@given(data=st.data())
def test_a_weight_is_a_row_that_stands_as_often(kind, data):
    n = data.draw(st.integers(2, 12))
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    y = rng.integers(3 if kind == "multiclass" else 2, size=n).astype(float)
    answer = rng.dirichlet(np.ones(3), size=n) if kind == "multiclass" else rng.integers(5, size=n) / 4
    rows = rng.integers(n, size=n)
    weights = np.bincount(rows, minlength=n).astype(float)
    by_weight = prepare_statistics(kind, y, answer)(weights[None])
    by_row = prepare_statistics(kind, y[rows], answer[rows])(np.ones((1, n)))
    assert by_weight.keys() == by_row.keys()
    for name, values in by_row.items():
        np.testing.assert_allclose(by_weight[name], values, atol=1e-9, err_msg=name)


@given(st.lists(st.integers(0, 10**6), min_size=4, max_size=4))
def test_matthews_correlation(counts):
    tp, fp, fn, tn = counts
    found = float(mcc_binary(tp, fp, fn, tn))
    assert -1 <= round(found, 9) <= 1
    assert found == pytest.approx(-float(mcc_binary(fp, tp, tn, fn)))  # every label turned round
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    assert found == pytest.approx((tp * tn - fp * fn) / product**0.5 if product else 0.0)
