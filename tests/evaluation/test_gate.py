"""The gate: what it refuses, which rules are for which target, and its file."""

import dataclasses
import math

import pytest

from pipeline.errors import ConfigError
from pipeline.evaluation.gate import Gate


def regression(**rules):
    return {"regression": rules}


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
        (regression(rmse={"champion": "margin"}), "`interval` or a number was expected"),
        (regression(rmse={"champion": True}), "`interval` or a number was expected"),
        (regression(rmse_lo={"champion": 1}), "put the rule on the metric"),
        ({"cost": {"seconds": {"max": 1}}}, "unknown key 'seconds'"),
        ({"cost": {"ms_per_row": {"min": 1}}}, "unknown key 'min'"),
        ({"cost": {"ms_per_row": {"max": "1"}}}, "cost.ms_per_row.max is '1'"),
        ({"targets": {"logS": {"size": {"max": 1}}}}, "targets.logS: 'size'"),
    ],
)
def test_broken_gates_are_refused_in_one_line(gate, words):
    with pytest.raises(ConfigError) as error:
        Gate(gate)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_holds_the_same_gate_as_its_rules(tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text("regression:\n  rmse: {max: 0.5}\n")
    assert Gate.read(path) == Gate(regression(rmse={"max": 0.5}))
    assert Gate.read(path) != Gate(regression(rmse={"max": 0.6}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Gate.read(path).rules = {}


@pytest.mark.parametrize("text", [None, "regression: [", "regression: {rmse: {least: 1}}", ""])
def test_a_file_that_holds_none_is_refused_by_its_path(tmp_path, text):
    path = tmp_path / "gate.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=str(path)):
        Gate.read(path)


def test_rules_of_a_target_replace_those_of_its_kind_one_by_one():
    own = {"log S (mol)": {"r2": [{"min": 0}, {"baseline": "mean"}], "mae": None}}
    gate = Gate(regression(rmse={"max": 1}, r2={"min": 0.5}, mae={"max": 2}) | {"targets": own})
    key = "log S _mol_"  # as MLflow takes it
    assert list(gate.rules_of(key, "regression")) == [
        ("rmse", {"max": 1}),
        ("r2", {"min": 0}),
        ("r2", {"baseline": "mean"}),
    ]
    assert [metric for metric, _ in gate.rules_of("other", "regression")] == ["rmse", "r2", "mae"]
    assert list(gate.rules_of(key, "binary")) == [("r2", {"min": 0}), ("r2", {"baseline": "mean"})]


def test_costs_have_rules_only_where_they_are_given():
    assert Gate({}).cost_rules == {}
    assert Gate({"cost": {"ms_per_row": {"max": 1}}}).cost_rules == {"ms_per_row": {"max": 1}}
