"""The prediction table: what went in comes out, and metrics taken from its file are those of the arrays."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import ConfigError, ExportError, RegistryError
from pipeline.evaluation.gate import Gate
from pipeline.evaluation.metrics import score_target
from pipeline.evaluation.predictions import (
    VerdictBasis,
    answerers,
    answers_of,
    build_table,
    choose_thresholds,
    judge_logged,
    judge_table,
    labels_of,
    read_answers,
    read_table,
    score_table,
    table_to_json,
    worst_rows,
)
from pipeline.scale import from_trained_scale
from pipeline.schema import Target
from tests.support.schemas import toy_schema

PLAIN = Target("logS", "regression")
LOG = Target("dose", "regression", unit="mg/L", transform="log10")
MOLAR = Target("IC50", "regression", unit="M", transform="p")
BINARY = Target("toxic", "binary", classes=("no", "yes"))
COLOURS = Target("colour", "multiclass", classes=("red", "green", "blue"))
ALL = (PLAIN, LOG, MOLAR, BINARY, COLOURS)
NAN = np.nan


def labels(targets, n=40, seed=0):
    """(n, T) labels on the trained scale; every fifth is missing."""
    rng = np.random.default_rng(seed)
    y = np.stack([rng.integers(max(len(t.classes), 1), size=n) if t.classes else rng.normal(6, 2, n) for t in targets])
    y = y.T.astype(np.float32)
    y[::5] = NAN
    return y


def guesses(targets, n=40, seed=1):
    """Target -> answers in original units and probabilities."""
    rng = np.random.default_rng(100 + seed)
    return {
        target.name: rng.dirichlet(np.ones(3), n)
        if target.kind == "multiclass"
        else rng.random(n) ** 9  # probabilities near zero, too
        if target.kind == "binary"
        else from_trained_scale(target, rng.normal(6, 2, n))
        for target in targets
    }


def table_of(targets, who=("model",), n=40, ids=True):
    names = [f"C{i}" for i in range(n)] if ids else None
    answered = {name: guesses(targets, n, seed) for seed, name in enumerate(who)}
    return build_table(toy_schema(*targets), np.arange(1, n + 1), names, labels(targets, n), answered)


def through_a_file(table, folder):
    (folder / "predictions.json").write_text(table_to_json(table), encoding="utf-8")
    return read_table(folder / "predictions.json")


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.name)
def test_labels_and_answers_come_back_from_the_file(tmp_path, target):
    table = through_a_file(table_of((target,)), tmp_path)
    np.testing.assert_allclose(labels_of(table, target), labels((target,))[:, 0], rtol=1e-6)
    want = guesses((target,), seed=0)[target.name]
    got = answers_of(table, target, "model")
    np.testing.assert_allclose(from_trained_scale(target, got), want, rtol=1e-12)
    assert list(table["id"][:2]) == ["C0", "C1"]
    assert list(table["row"][:2]) == [1, 2]


def test_labels_stand_in_original_units_with_the_digits_of_float32():
    y = np.array([[9.0, 1.5, NAN], [NAN, -2.0, 1.0]], dtype=np.float32)
    schema = toy_schema(MOLAR, LOG, BINARY)
    table = build_table(schema, np.array([4, 9]), None, y, {})
    assert list(table.columns) == ["row", "IC50", "dose", "toxic"]
    assert table["IC50"][0] == 1e-9
    assert np.isnan(table["IC50"][1])
    assert list(table["dose"]) == [31.62278, 0.01]
    assert pd.isna(table["toxic"][0])
    assert table["toxic"][1] == "yes"


def test_small_answers_keep_their_digits_in_the_file(tmp_path):
    """3.2 nM in mol/L, and a probability of 1e-12."""
    answered = {"model": {"IC50": np.array([3.2123456789e-9, 5e-12]), "toxic": np.array([1e-12, 1 - 1e-12])}}
    y = np.array([[8.0, 0], [9.0, 1]], dtype=np.float32)
    table = build_table(toy_schema(MOLAR, BINARY), np.array([1, 2]), None, y, answered)
    back = through_a_file(table, tmp_path)
    for column in ("IC50.model", "toxic.model", "IC50"):
        assert list(back[column]) == list(table[column])


@pytest.mark.parametrize("targets", [(target,) for target in ALL] + [ALL], ids=lambda ts: "+".join(t.name for t in ts))
def test_metrics_from_the_file_are_those_of_the_arrays(tmp_path, targets):
    schema, thresholds = toy_schema(*targets), {"model": {"toxic": 0.2}, "forest": {"toxic": 0.1}}
    table = through_a_file(table_of(targets, ("model", "forest")), tmp_path)
    metrics = score_table(schema, table, thresholds, resamples=20)
    for place, who, seed in (("test", "model", 0), ("baseline/forest", "forest", 1)):
        for t, target in enumerate(targets):
            answer = guesses(targets, seed=seed)[target.name]
            if target.affine:
                answer = target.affine[0] * np.log10(answer) + target.affine[1]
            direct = score_target(
                target, labels(targets)[:, t], answer, threshold=thresholds[who].get(target.name), resamples=20
            )
            assert direct
            for name, score in direct.items():
                for end, value in zip(("", "_lo", "_hi"), score, strict=True):
                    assert metrics[f"{place}/{target.name}/{name}{end}"] == pytest.approx(value, rel=1e-6)


def test_metrics_are_also_right_from_a_table_that_mlflow_wrote(tmp_path):
    """MLflow's own ten decimals are enough for numbers near one."""
    table = table_of((PLAIN, COLOURS))
    table.to_json(tmp_path / "predictions.json", orient="split", index=False, date_format="iso")  # as log_table does
    schema = toy_schema(PLAIN, COLOURS)
    mine = score_table(schema, table, {}, resamples=5)
    assert score_table(schema, read_table(tmp_path / "predictions.json"), {}, resamples=5) == pytest.approx(mine)


def test_a_baseline_may_leave_targets_out(tmp_path):
    answered = {"model": guesses(ALL), "mean": guesses((PLAIN,)), "majority": guesses((BINARY, COLOURS))}
    table = through_a_file(build_table(toy_schema(*ALL), np.arange(40), None, labels(ALL), answered), tmp_path)
    assert [answerers(table, target) for target in (PLAIN, LOG, BINARY, COLOURS)] == [
        ["model", "mean"],
        ["model"],
        ["model", "majority"],
        ["model", "majority"],
    ]
    metrics = score_table(toy_schema(*ALL), table, {}, resamples=5)
    assert {name.split("/")[2] for name in metrics if name.startswith("baseline/mean/")} == {"logS"}
    assert {name.split("/")[2] for name in metrics if name.startswith("baseline/majority/")} == {"toxic", "colour"}


def test_a_target_without_any_label_has_no_metrics(tmp_path):
    for target in ALL:
        y = np.full((3, 1), NAN, dtype=np.float32)
        table = build_table(toy_schema(target), np.arange(3), None, y, {"model": guesses((target,), 3)})
        table = through_a_file(table, tmp_path)
        assert np.isnan(labels_of(table, target)).all()
        assert score_table(toy_schema(target), table, {}, resamples=5) == {}
        assert worst_rows(toy_schema(target), table, target).empty


@pytest.mark.parametrize(
    "classes", [("0", "1"), ("0", "1", "2"), ("1e5", "100000"), ("2020-01-01", "2021-01-01"), ("nan", "None", "true")]
)
def test_class_names_stay_text(tmp_path, classes):
    target = Target("class", "binary" if len(classes) == 2 else "multiclass", classes=classes)
    y = np.array([[0], [1], [NAN], [len(classes) - 1]], dtype=np.float32)
    answer = np.full((4, 3), 1 / 3) if len(classes) > 2 else np.full(4, 0.5)
    table = build_table(toy_schema(target), np.arange(4), None, y, {"model": {"class": answer}})
    table = through_a_file(table, tmp_path)
    assert [value for value in table["class"] if not pd.isna(value)] == [classes[0], classes[1], classes[-1]]
    np.testing.assert_array_equal(labels_of(table, target), y[:, 0])


def test_dots_and_equal_signs_in_names_confuse_nobody(tmp_path):
    targets = (
        Target("a", "regression"),
        Target("a.b", "regression"),
        Target("a.b.c", "binary", classes=("x=y", "x.y")),
        Target("k", "multiclass", classes=("b", "a=b", "c.model=b")),
        Target("k.model.x", "multiclass", classes=("b", "a=b", "c.model=b")),
        Target("a=b", "regression"),
    )
    table = through_a_file(table_of(targets, ("model", "forest")), tmp_path)
    for t, target in enumerate(targets):
        assert answerers(table, target) == ["model", "forest"]
        np.testing.assert_allclose(labels_of(table, target), labels(targets)[:, t], rtol=1e-6)
        np.testing.assert_allclose(answers_of(table, target, "model"), guesses(targets, seed=0)[target.name])


@pytest.mark.parametrize(
    "targets",
    [
        (PLAIN, Target("logS.model", "regression")),
        (PLAIN, Target("logS.forest", "binary", classes=("0", "1"))),
        (PLAIN, Target("logS_std", "regression")),
        (COLOURS, Target("colour=red", "regression")),
        (COLOURS, Target("colour.mean=red", "regression")),
    ],
    ids=lambda targets: targets[1].name,
)
def test_a_target_named_as_anothers_answer_is_refused_at_the_start(targets):
    with pytest.raises(ConfigError, match=f"column '{targets[1].name}' would hold answers for two targets"):
        toy_schema(*targets)


@pytest.mark.parametrize("name", ["row", "id"])
def test_targets_cannot_hide_row_and_id(name):
    with pytest.raises(ConfigError, match=name):
        Target(name, "regression")


def test_worst_rows_come_first_and_unlabelled_ones_never():
    distance = Target("distance", "regression")  # a name that is nobody's but the user's
    y = np.array([[1.0], [2.0], [NAN], [4.0]], dtype=np.float32)
    answered = {"model": {"distance": np.array([1.5, -2.0, 99.0, 5.0])}}
    table = build_table(toy_schema(distance), np.array([11, 12, 13, 14]), None, y, answered)
    worst = worst_rows(toy_schema(distance), table, distance)
    assert list(worst["row"]) == [12, 14, 11]
    assert list(worst["distance"]) == [2.0, 4.0, 1.0]
    assert list(worst_rows(toy_schema(distance), table, distance, count=1)["row"]) == [12]


def test_worst_rows_of_classes_are_those_of_the_least_likely_label():
    y = np.array([[0, 1], [1, 2], [1, NAN], [NAN, 0]], dtype=np.float32)
    colours = np.array([[0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [1, 0, 0], [0.05, 0.9, 0.05]])
    answered = {"model": {"toxic": np.array([0.9, 0.8, 0.3, 0.0]), "colour": colours}}
    schema = toy_schema(BINARY, COLOURS)
    table = build_table(schema, np.array([1, 2, 3, 4]), None, y, answered)
    assert list(worst_rows(schema, table, BINARY)["row"]) == [1, 3, 2]
    assert list(worst_rows(schema, table, COLOURS)["row"]) == [4, 2, 1]


def test_worst_rows_are_taken_on_the_trained_scale():
    y = np.array([[0.0], [5.0]], dtype=np.float32)  # 1 and 100,000 mg/L
    table = build_table(toy_schema(LOG), np.array([1, 2]), None, y, {"model": {"dose": np.array([100.0, 200_000.0])}})
    assert list(worst_rows(toy_schema(LOG), table, LOG)["row"]) == [1, 2]


def test_thresholds_are_for_binary_targets_only():
    y = np.array([[0, 0, 1], [1, 1, 1], [2, 0, 2]], dtype=np.float32)
    answers = {"logS": np.zeros(3), "toxic": np.array([0.1, 0.3, 0.2]), "colour": np.ones((3, 3)) / 3}
    assert choose_thresholds(toy_schema(PLAIN, BINARY, COLOURS), y, answers) == {"toxic": 0.25}


def test_answers_of_the_bundle_are_read_by_target():
    columns = {"toxic": [0.25], "colour": ["red"], "colour=red": [0.5], "colour=green": [0.3], "colour=blue": [0.2]}
    answers = read_answers(pd.DataFrame(columns | {"error": [None]}), toy_schema(BINARY, COLOURS))
    np.testing.assert_array_equal(answers["toxic"], [0.25])
    np.testing.assert_array_equal(answers["colour"], [[0.5, 0.3, 0.2]])


def test_a_refused_row_of_the_store_is_an_error():
    table = pd.DataFrame({"logS": [1.0, NAN], "error": [None, "too_large"]})
    with pytest.raises(ExportError, match=r"refuses 1 of 2 rows .*too_large"):
        read_answers(table, toy_schema(PLAIN))


# --- judged again -------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(tmp_path):
    """What an evaluate run has logged: RMSE exactly 0.5, two of three classes right."""
    schema = toy_schema(Target("log S/µ", "regression"), COLOURS)
    y = np.array([[1.0, 0], [2.0, 1], [NAN, 2]], dtype=np.float32)
    colours = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.8, 0.1, 0.1]])
    answered = {
        "model": {"log S/µ": np.array([1.5, 1.5, 0.0]), "colour": colours},
        "mean": {"log S/µ": np.full(3, 9.0)},
    }
    through_a_file(build_table(schema, np.arange(3), None, y, answered), tmp_path)
    (tmp_path / "evaluation.json").write_text(VerdictBasis(schema, {}, 50, {}).to_json(), encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("gate", "passed"),
    [
        ({"regression": {"rmse": {"max": 0.51}}, "multiclass": {"accuracy": {"min": 0.6}}}, True),
        ({"regression": {"rmse": {"baseline": "mean", "better_by": 1}}, "multiclass": {"accuracy": {"min": 0}}}, True),
        ({"regression": {"rmse": {"max": 0.49}}, "multiclass": {"accuracy": {"min": 0.6}}}, False),
        ({"regression": {"rmse": {"max": 0.51}}, "multiclass": {"accuracy": {"min": 0.7}}}, False),
        ({"regression": {"rmse": {"max": 0.51}}}, False),
        ({"regression": {"rmse": {"baseline": "forest"}}, "multiclass": {"accuracy": {"min": 0}}}, False),
    ],
)
def test_logged_predictions_are_judged_by_the_present_gate(logged, gate, passed):
    verdict = judge_logged(logged, Gate(gate))
    assert verdict.passed is passed
    assert {check.name.split("/")[1] for check in verdict.checks} == {"log S_µ", "colour"}


def test_a_better_baseline_is_held_against_the_model_on_the_same_rows():
    """A little better on each of 200 rows: the intervals of both overlap, that of the difference is clear."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(200, 1)).astype(np.float32)
    error = rng.normal(0, 1, 200)
    schema, gate = toy_schema(PLAIN), Gate({"regression": {"rmse": {"max": 9}}})
    answered = {"model": {"logS": y[:, 0] + error}, "forest": {"logS": y[:, 0] + 0.95 * error}}
    table = build_table(schema, np.arange(200), None, y, answered)
    metrics, _, verdict = judge_table(VerdictBasis(schema, {}, 200, {}), table, gate)
    assert metrics["baseline/forest/logS/rmse_hi"] > metrics["test/logS/rmse_lo"]
    assert metrics["baseline_difference/forest/logS/rmse_lo"] > 0
    assert verdict.headline.startswith("The forest baseline is clearly better than the network on logS")
    assert verdict.status == "behind"
    swapped = {"model": answered["forest"], "forest": answered["model"]}
    metrics, _, verdict = judge_table(
        VerdictBasis(schema, {}, 200, {}), build_table(schema, np.arange(200), None, y, swapped), gate
    )
    assert verdict.status == "passed"
    assert not [name for name in metrics if name.startswith("baseline_difference")]


@pytest.mark.parametrize("name", ["predictions.json", "evaluation.json"])
@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"schema": "{}", "thresholds": {}}', "\xff"])
def test_without_readable_predictions_there_is_no_verdict(logged, name, content):
    if content is None:
        (logged / name).unlink()
    else:
        (logged / name).write_text(content, encoding="latin-1")
    with pytest.raises(RegistryError, match="the logged predictions cannot be read") as caught:
        judge_logged(logged, Gate({}))
    assert "\n" not in str(caught.value)


def test_predictions_with_an_answer_that_is_no_number_have_no_verdict(logged):
    table = json.loads((logged / "predictions.json").read_text())
    column = table["columns"].index("log S/µ.model")
    for value in (None, "high"):
        table["data"][0][column] = value
        (logged / "predictions.json").write_text(json.dumps(table))
        with pytest.raises(RegistryError, match="cannot be read"):
            judge_logged(logged, Gate({}))


def test_predictions_without_the_models_answers_do_not_pass(logged):
    table = json.loads((logged / "predictions.json").read_text())
    table["columns"] = [name.replace(".model", ".somebody") for name in table["columns"]]
    (logged / "predictions.json").write_text(json.dumps(table))
    gate = {"regression": {"rmse": {"max": 9}}, "multiclass": {"accuracy": {"min": 0}}}
    assert not judge_logged(logged, Gate(gate)).passed
