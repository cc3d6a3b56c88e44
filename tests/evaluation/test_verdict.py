"""Rules against metrics: what passes, what fails, what is refused, what the headline says."""

import json
import math

import pytest

from pipeline.evaluation.champion import Champion
from pipeline.evaluation.gate import Gate
from pipeline.evaluation.verdict import Verdict, judge_metrics
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


def judge(metrics, rules, kinds=None, champion=None):
    return judge_metrics(metrics, Gate(rules), kinds, champion)


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


def test_a_target_is_named_as_in_the_data():
    """Its name in metric keys is another one: MLflow takes no brackets."""
    kinds = {"IC50 _nM_": "regression"}
    gate = {"targets": {"IC50 (nM)": {"rmse": {"max": 0.1}}}}
    assert not judge({"test/IC50 _nM_/rmse": 0.2}, gate, kinds).passed
    assert judge({"test/IC50 _nM_/rmse": 0.1}, gate, kinds).passed


def test_baseline_that_wins_comes_first():
    metrics = METRICS | {"baseline/forest/logS/rmse": 0.52}
    gate = regression(rmse={"baseline": "mean"})
    sentence = "The forest baseline is better than the network on logS: RMSE 0.52 against 0.58."
    assert judge(metrics, gate, KINDS).headline.startswith(sentence)
    assert judge(metrics, gate, KINDS).baseline_wins == (sentence,)
    failed = judge(metrics, regression(rmse={"max": 0.1}), KINDS).headline
    assert failed.startswith(sentence)
    assert "Failed 1 of 1 checks: RMSE on logS is 0.58, above 0.1" in failed


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ((0.01, 0.09), "is clearly better than the network on logS: RMSE 0.52 against 0.58."),
        ((-0.01, 0.13), "is better than the network on logS: RMSE 0.52 against 0.58, which may be chance."),
    ],
)
def test_a_baseline_that_wins_is_never_passed_in_green(ends, words):
    """The interval of the paired difference says whether it is clear; the status is decided here, for every page."""
    metrics = METRICS | {"baseline/forest/logS/rmse": 0.52}
    name = "baseline_difference/forest/logS/rmse"
    metrics |= {name: 0.06, f"{name}_lo": ends[0], f"{name}_hi": ends[1]}
    verdict = judge(metrics, regression(rmse={"baseline": "mean"}), KINDS)
    assert verdict.passed
    assert verdict.headline == (f"The forest baseline {words} Passed, but behind a baseline: 1 of 1 checks hold.")
    assert (verdict.status, verdict.words) == ("behind", "passed, but a baseline is better")
    assert judge(metrics, regression(rmse={"max": 0.1}), KINDS).status == "failed"
    assert judge(METRICS, regression(rmse={"max": 1}), KINDS).status == "passed"


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


def test_the_gate_of_this_project_asks_to_beat_the_mean_and_not_to_be_worse_than_the_champion():
    gate = Gate.read(ROOT / "gate.yaml")
    assert judge_metrics(METRICS, gate, KINDS).passed
    worse = BESIDE | {"cost/model/ms_per_row": 1.0, "cost/champion/ms_per_row": 1.0, "difference/logS/rmse": 0.041}
    verdict = judge_metrics(worse, gate, KINDS, CHAMPION)
    assert [check.name for check in verdict.checks if not check.passed] == ["difference/logS/rmse"]
    assert not judge_metrics(METRICS | {"test/logS/r2": -0.1}, gate, KINDS).passed


# --- against the champion -----------------------------------------------------------------------------------------

CHAMPION = Champion("3")
BESIDE = METRICS | {
    "champion/logS/rmse": 0.55,
    "difference/logS/rmse": 0.03,
    "difference/logS/rmse_lo": -0.02,
    "difference/logS/rmse_hi": 0.06,
    "difference/logS/r2": -0.01,
    "difference/logS/r2_lo": -0.02,
    "difference/logS/r2_hi": 0.0,
    "cost/model/ms_per_request": 6.0,
    "cost/champion/ms_per_request": 2.5,
}


@pytest.mark.parametrize(
    ("rules", "passed"),
    [
        ({"rmse": {"champion": "interval"}}, True),  # 0.03 worse, half the width is 0.04
        ({"rmse": {"champion": 0.03}}, True),
        ({"rmse": {"champion": 0.029}}, False),
        ({"rmse": {"champion": 0}}, False),
        ({"rmse": {"champion": -0.01}}, False),
        ({"r2": {"champion": "interval"}}, True),  # 0.01 worse, half the width is 0.01
        ({"r2": {"champion": 0.009}}, False),  # larger is better: a difference below 0 is a loss
        ({"mae": [{"champion": 1}]}, False),  # not computed
    ],
)
def test_not_worse_than_the_champion(rules, passed):
    assert judge(BESIDE, regression(**rules), KINDS, CHAMPION).passed is passed


def test_a_loss_beyond_the_interval_fails_with_both_numbers():
    metrics = BESIDE | {"difference/logS/rmse": 0.05}
    verdict = judge(metrics, regression(rmse={"champion": "interval"}), KINDS, CHAMPION)
    reason = (
        "RMSE on logS is 0.05 worse than champion version 3; 0.04 worse is allowed, "
        "half the width of the paired interval"
    )
    assert verdict.reasons == (reason,)
    check = verdict.checks[0]
    assert (check.name, check.value, check.threshold) == ("difference/logS/rmse", 0.05, pytest.approx(0.04))


def test_equal_models_pass_the_narrowest_margin_and_the_headline_says_so():
    metrics = BESIDE | {f"difference/logS/rmse{end}": 0.0 for end in ("", "_lo", "_hi")}
    verdict = judge(metrics, regression(rmse={"champion": "interval"}), KINDS, CHAMPION)
    assert verdict.passed
    assert verdict.headline.endswith("the forest baseline 0.7; equal to champion version 3.")


def test_the_headline_tells_better_from_worse():
    gate = regression(rmse={"champion": 1})
    assert "; 0.03 worse than champion version 3." in judge(BESIDE, gate, KINDS, CHAMPION).headline
    better = judge(BESIDE | {"difference/logS/rmse": -0.012}, gate, KINDS, CHAMPION)
    assert "; 0.012 better than champion version 3." in better.headline


def test_asked_for_many_targets_chance_does_not_fail_one():
    """One target exceeds half its interval a little; beside nine others that is to be expected."""
    metrics, kinds = {}, {f"t{k}": "regression" for k in range(10)}
    for name in kinds:
        metrics |= {f"test/{name}/rmse": 1.0, f"difference/{name}/rmse": 0.0}
        metrics |= {f"difference/{name}/rmse_lo": -0.1, f"difference/{name}/rmse_hi": 0.1}
    metrics["difference/t0/rmse"] = 0.12
    gate = regression(rmse={"champion": "interval"})
    verdict = judge(metrics, gate, kinds, CHAMPION)
    assert verdict.passed
    # two-sided 5 % shared by ten: the normal quantile of 99.75 % over that of 97.5 %
    assert verdict.checks[0].threshold == pytest.approx(0.1 * 2.807 / 1.960, rel=1e-3)
    alone = {name: value for name, value in metrics.items() if "/t0/" in name}
    assert not judge(alone, gate, {"t0": "regression"}, CHAMPION).passed


def test_without_a_champion_its_rules_pass():
    gate = regression(rmse={"champion": 0}) | {"cost": {"ms_per_row": {"times_champion": 1}}}
    verdict = judge(METRICS, gate, KINDS)
    assert verdict.passed
    assert len(verdict.checks) == 2
    assert all("there is no champion yet" in check.reason for check in verdict.checks)


def test_what_cannot_be_compared_fails_with_that_as_headline():
    champion = Champion("3", refusal="logS: cannot be compared with champion version 3: it answers in mol/L")
    gate = regression(rmse={"max": 9}) | {"cost": {"ms_per_row": {"times_champion": 1}}}
    verdict = judge(METRICS, gate, KINDS, champion)
    assert not verdict.passed
    assert verdict.headline.startswith("Failed: logS: cannot be compared with champion version 3")
    assert not judge(METRICS, regression(rmse={"champion": 1}), KINDS, champion).passed


@pytest.mark.parametrize(
    ("rule", "passed"),
    [
        ({"times_champion": 2.4}, True),
        ({"times_champion": 2.3}, False),
        ({"max": 6}, True),
        ({"max": 5, "times_champion": 9}, False),
    ],
)
def test_a_budget_of_time(rule, passed):
    gate = regression(rmse={"max": 9}) | {"cost": {"ms_per_request": rule}}
    verdict = judge(BESIDE, gate, KINDS, CHAMPION)
    assert verdict.passed is passed
    if not passed and "max" not in rule:
        reason = (
            "milliseconds of a request of one row: 6 against 2.5 of champion version 3; 2.3 times as much is allowed"
        )
        assert verdict.reasons == (reason,)


@pytest.mark.parametrize("rule", [{"max": 1}, {"times_champion": 1}])
def test_a_cost_that_was_not_measured_fails(rule):
    gate = regression(rmse={"max": 9}) | {"cost": {"peak_memory_mb": rule}}
    assert "not measured" in judge(BESIDE, gate, KINDS, CHAMPION).reasons[0]


def test_json_has_no_nan():
    text = judge({"test/logS/rmse": math.nan}, regression(rmse={"max": 1}), KINDS).to_json()
    assert json.loads(text)["checks"][0]["value"] is None


def test_sentences_name_a_target_as_the_data_do():
    key, name = "Toxic_", "Toxic?"
    metrics = {f"test/{key}/roc_auc": 0.7, f"test/{key}/log_loss": 0.6, f"baseline/forest/{key}/roc_auc": 0.8}
    rules = Gate({"binary": {"roc_auc": {"min": 0.6, "champion": 0.1}}})
    verdict = judge_metrics(metrics, rules, {key: "binary"}, names={key: name})
    said = [verdict.headline, *verdict.baseline_wins, *(check.reason for check in verdict.checks)]
    assert all(name in text and key not in text for text in said)
    assert [check.name for check in verdict.checks] == [f"test/{key}/roc_auc", f"difference/{key}/roc_auc"]
    bare = judge_metrics(metrics, Gate({}), {key: "binary"}, names={key: name})
    assert bare.checks[0].reason.startswith("Toxic?: no rule of the gate is for this binary target")
