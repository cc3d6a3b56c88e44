"""Rules against metrics: what passes, what fails, what is refused, what the headline says."""

import json
import math

import pytest

from pipeline.errors import ConfigError
from pipeline.verdict import Verdict, check_gate, judge, read_gate
from tests.conftest import ROOT

METRICS = {
    "test/logS/rmse": 0.58,
    "test/logS/rmse_lo": 0.52,
    "test/logS/rmse_hi": 0.64,
    "test/logS/r2": 0.9,
    "baseline/mean/logS/rmse": 2.0,
    "baseline/forest/logS/rmse": 0.7,
}
KINDS = {"logS": "regression"}


def regression(**rules):
    return {"regression": rules}


@pytest.mark.parametrize(
    ("rule", "passed"),
    [
        ({"max": 0.58}, True),
        ({"max": 0.57}, False),
        ({"min": 0.58}, True),
        ({"min": 0.59}, False),
        ({"min": 0.5, "max": 0.6}, True),
        ({"baseline": "mean"}, True),
        ({"baseline": "forest", "better_by": 0.12}, True),
        ({"baseline": "forest", "better_by": 0.13}, False),
        ([{"baseline": "mean"}, {"max": 0.1}], False),
    ],
)
def test_rules(rule, passed):
    assert judge(METRICS, regression(rmse=rule), KINDS).passed is passed


def test_larger_is_better_for_r2():
    metrics = METRICS | {"baseline/forest/logS/r2": 0.95}
    assert not judge(metrics, regression(r2={"baseline": "forest"}), KINDS).passed
    assert judge(metrics, regression(r2={"baseline": "forest", "better_by": -0.06}), KINDS).passed


def test_ends_of_the_interval_can_be_ruled():
    assert not judge(METRICS, regression(rmse_hi={"max": 0.6}), KINDS).passed
    assert judge(METRICS, regression(rmse_lo={"max": 0.6}), KINDS).passed


def test_equal_to_the_baseline_is_not_worse():
    metrics = METRICS | {"baseline/mean/logS/rmse": 0.58}
    assert judge(metrics, regression(rmse={"baseline": "mean"}), KINDS).passed


def test_missing_metric_fails_with_its_reason():
    verdict = judge({"test/logS/rmse": 1.0}, regression(r2={"min": 0}), KINDS)
    assert not verdict.passed
    assert verdict.reasons == ("R² on logS is missing: it was not computed, or is not a number",)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_fails(value):
    verdict = judge(METRICS | {"test/logS/r2": value}, regression(r2={"min": 0}), KINDS)
    assert not verdict.passed
    assert Verdict.from_json(verdict.to_json()) == verdict


def test_missing_baseline_fails():
    assert "no stump baseline" in judge(METRICS, regression(rmse={"baseline": "stump"}), KINDS).reasons[0]


@pytest.mark.parametrize("gate", [{}, {"binary": {"brier": {"max": 1}}}, {"targets": {"logS": {"rmse": None}}}])
def test_what_is_not_checked_does_not_pass(gate):
    assert not judge(METRICS, gate, KINDS).passed


def test_a_target_without_metrics_is_not_overlooked():
    gate = regression(rmse={"max": 1})
    assert judge(METRICS, gate).passed
    assert not judge(METRICS, gate, KINDS | {"logP": "regression"}).passed
    assert not judge({}, gate).passed


def test_own_rules_replace_those_of_the_kind():
    gate = regression(rmse={"max": 0.1}, r2={"min": 0}) | {"targets": {"logS": {"rmse": {"max": 1}}, "other": {}}}
    verdict = judge(METRICS, gate, KINDS)
    assert verdict.passed
    assert [check.name for check in verdict.checks] == ["test/logS/rmse", "test/logS/r2"]


def test_baseline_that_wins_comes_first():
    metrics = METRICS | {"baseline/forest/logS/rmse": 0.52}
    gate = regression(rmse={"baseline": "mean"})
    sentence = "The forest baseline is better than the network on logS: RMSE 0.52 against 0.58."
    assert judge(metrics, gate, KINDS).headline.startswith(sentence)
    assert judge(metrics, gate, KINDS).baseline_wins == (sentence,)
    failed = judge(metrics, regression(rmse={"max": 0.1}), KINDS).headline
    assert failed.startswith(sentence)
    assert "Failed 1 of 1 checks: RMSE on logS is 0.58, above 0.1" in failed


def test_close_values_are_told_apart():
    metrics = METRICS | {"baseline/forest/logS/rmse": 0.5799}
    assert "RMSE 0.5799 against 0.5800" in judge(metrics, regression(rmse={"max": 1}), KINDS).headline


def test_headline_without_a_winning_baseline():
    headline = judge(METRICS, regression(rmse={"max": 1}), KINDS).headline
    assert headline == "Passed: RMSE 0.58 [0.52, 0.64] on logS, the forest baseline 0.7."


def test_classes_are_compared_by_roc_auc():
    metrics = {"test/t/roc_auc": 0.8, "test/t/brier": 0.2, "baseline/forest/t/roc_auc": 0.9}
    verdict = judge(metrics, {"binary": {"roc_auc": {"min": 0.6}}})
    assert verdict.passed
    assert verdict.headline.startswith(
        "The forest baseline is better than the network on t: ROC-AUC 0.90 against 0.80."
    )


def test_several_winning_baselines_are_counted():
    metrics = METRICS | {"baseline/forest/logS/rmse": 0.5, "test/b/rmse": 1.0, "baseline/forest/b/rmse": 0.9}
    verdict = judge(metrics, regression(rmse={"max": 2}))
    assert len(verdict.baseline_wins) == 2
    assert verdict.headline.startswith("Baselines are better than the network on 2 of 2 targets. The forest baseline")


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (None, "gate is None"),
        ({"regresion": {}}, "unknown key 'regresion'"),
        (regression(rsme={"max": 1}), "'rsme' is not a metric"),
        ({"binary": {"rmse": {"max": 1}}}, "'rmse' is not a metric"),
        (regression(rmse={"mni": 1}), "unknown key 'mni'"),
        (regression(rmse={"min": "0.5"}), "regression.rmse.min is '0.5'"),
        (regression(rmse={"min": True}), "a number was expected"),
        (regression(rmse={"max": math.nan}), "a number was expected"),
        (regression(rmse={"baseline": 3}), "mean, majority or forest"),
        (regression(rmse={"better_by": 1}), "nothing to hold"),
        (regression(rmse={"max": 1, "better_by": 1}), "needs a baseline"),
        (regression(rmse=0.5), "a mapping was expected"),
        ({"targets": {"logS": {"size": {"max": 1}}}}, "targets.logS: 'size'"),
    ],
)
def test_broken_gates_are_refused_in_one_line(gate, words):
    with pytest.raises(ConfigError) as error:
        check_gate(gate)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_gate_file(tmp_path):
    gate = read_gate(ROOT / "gate.yaml")
    assert judge(METRICS, gate, KINDS).passed
    assert not judge(METRICS | {"test/logS/r2": -0.1}, gate, KINDS).passed
    path = tmp_path / "gate.yaml"
    with pytest.raises(ConfigError, match=str(path)):
        read_gate(path)
    for text in ("regression: [", "regression: {rmse: {least: 1}}", ""):
        path.write_text(text)
        with pytest.raises(ConfigError, match=str(path)):
            read_gate(path)


def test_json_has_no_nan():
    text = judge({"test/logS/rmse": math.nan}, regression(rmse={"max": 1}), KINDS).to_json()
    assert json.loads(text)["checks"][0]["value"] is None
