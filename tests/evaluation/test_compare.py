"""Challenger against champion from the table of answers: what differs, where it is worse, which answers moved."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.bundle.cost import Cost
from pipeline.evaluation.answers import blank
from pipeline.evaluation.champion import Champion
from pipeline.evaluation.compare import build_comparison, moved_rows
from pipeline.evaluation.comparison import Comparison, Costs
from pipeline.evaluation.gate import Gate
from pipeline.evaluation.overlap import Overlap
from pipeline.evaluation.predictions import (
    VerdictBasis,
    build_table,
    compare_table,
    judge_logged,
    judge_table,
    table_to_json,
)
from pipeline.schema import Target
from tests.support.schemas import toy_schema

NUMBER = Target("logS", "regression", unit="mol/L")


BINARY = Target("toxic", "binary", classes=("no", "yes"))


COLOURS = Target("colour", "multiclass", classes=("red", "green", "blue"))


COSTS = Costs(Cost(2.0, 0.2, 150.0), Cost(1.0, 0.1, 100.0))


N = 120


FAIR = Overlap(np.zeros(N, dtype=bool), False, "The champion learned from the same split: none of the test rows.")


def answers(*, seed, noise=0.1):
    rng, truth = np.random.default_rng(seed), np.linspace(-3, 3, N)
    toxic = np.clip((truth > 0) * 0.8 + 0.1 + noise * rng.normal(size=N), 0, 1)
    colours = np.abs(np.eye(3)[np.arange(N) % 3] + noise * rng.normal(size=(N, 3)))
    return {
        "logS": truth + noise * rng.normal(size=N),
        "toxic": toxic,
        "colour": colours / colours.sum(axis=1, keepdims=True),
    }


def table_of(challenger, champion, targets=(NUMBER, BINARY, COLOURS), ids=True):
    truth = np.linspace(-3, 3, N)
    y = {"logS": truth, "toxic": truth > 0, "colour": np.arange(N) % 3}
    labels = np.stack([y[target.name] for target in targets], axis=1).astype(np.float32)
    labels[::11] = np.nan
    names = ["C" * (1 + k % 9) + "O" for k in range(N)] if ids else None
    who = {"model": challenger, "champion": champion}
    return build_table(toy_schema(*targets), np.arange(1, N + 1), names, labels, who)


def comparison_of(table, targets=(NUMBER, BINARY, COLOURS), overlap=FAIR):
    schema = toy_schema(*targets)
    pairs = compare_table(schema, table, ({}, {}), resamples=100)
    return build_comparison(
        schema,
        table,
        pairs,
        Champion("3", "c" * 64),
        overlap,
        (),
        COSTS,
        sizes=np.arange(N),
        names=["C" * (1 + k % 9) + "O" for k in range(N)],
        refused=0,
        resamples=100,
    )


def test_equal_models_differ_in_nothing():
    same = answers(seed=0)
    found = comparison_of(table_of(same, same))
    assert {one.metric for one in found.metrics} >= {"rmse", "roc_auc", "log_loss"}
    assert all(tuple(one.difference) == (0.0, 0.0, 0.0) for one in found.metrics)
    assert found.slices.tried > 4
    assert found.slices.worse == ()
    assert found.moved == ()


def test_a_worse_part_is_found_and_counted():
    champion = answers(seed=0)
    challenger = {name: values.copy() for name, values in champion.items()}
    challenger["logS"][90:] += 1.0  # the largest quarter, by size and by label
    found = comparison_of(table_of(challenger, champion))
    clear = [one for one in found.slices.worse if one.clear]
    assert {(one.target, one.kind, one.name) for one in clear} >= {("logS", "size", "90 to 119 atoms")}
    assert {one.target for one in clear} == {"logS"}
    assert all(one.difference[1] > 0 for one in clear)
    assert len(found.moved) == 8
    assert all(row.row > 90 for row in found.moved)
    assert all(row.moved == pytest.approx(1.0) for row in found.moved)


def test_rows_without_an_answer_of_the_champion_are_not_compared():
    champion, challenger = answers(seed=0), answers(seed=1)
    left_out = np.arange(N) < 30
    table = table_of(challenger, blank(champion, left_out))
    found = comparison_of(table, overlap=Overlap(left_out, True, "some"))
    assert (found.rows.test, found.rows.compared, found.rows.seen) == (N, 90, 30)
    assert all(one.rows == 90 - 8 for one in found.metrics)  # every eleventh label is missing
    assert all(row.row > 30 for row in found.moved)
    whole = {(one.target, one.metric): one for one in comparison_of(table_of(challenger, champion)).metrics}
    assert all(one.champion != whole[one.target, one.metric].champion for one in found.metrics if one.metric == "rmse")


def test_moved_rows_by_hand():
    stated = {"toxic": np.full(N, 0.5), "colour": np.tile([1.0, 0.0, 0.0], (N, 1)), "logS": np.zeros(N)}
    moved = {"toxic": np.full(N, 0.5), "colour": np.tile([1.0, 0.0, 0.0], (N, 1)), "logS": np.zeros(N)}
    moved["toxic"][4], moved["colour"][5] = 0.75, [0.5, 0.25, 0.25]
    table = table_of(moved, stated, ids=False)
    (one,) = moved_rows(table, BINARY)
    assert (one.row, one.id, one.challenger, one.champion, one.moved) == (5, None, "0.75", "0.5", 0.25)
    (one,) = moved_rows(table, COLOURS)
    assert (one.row, one.challenger, one.champion, one.moved) == (6, "red (0.50)", "red (1.00)", 0.5)
    assert moved_rows(table, NUMBER) == []


@pytest.mark.parametrize(("margin", "passed"), [("interval", False), (2.0, True), (0.0, False)])
def test_the_verdict_on_the_difference_is_judged_again_from_the_files(tmp_path, margin, passed):
    champion = answers(seed=0)
    table = table_of(champion | {"logS": champion["logS"] + 1.0}, champion, (NUMBER,))
    basis = VerdictBasis(toy_schema(NUMBER), {}, 200, COSTS.metrics(), Champion("3"))
    gate = {"regression": {"rmse": {"champion": margin}}, "cost": {"ms_per_row": {"times_champion": 2.5}}}
    metrics, _, verdict = judge_table(basis, table, Gate(gate))
    assert verdict.passed is passed
    assert metrics["difference/logS/rmse_lo"] > 0.5
    (tmp_path / "predictions.json").write_text(table_to_json(table), encoding="utf-8")
    (tmp_path / "evaluation.json").write_text(basis.to_json(), encoding="utf-8")
    assert judge_logged(tmp_path, Gate(gate)) == verdict
    assert not judge_logged(tmp_path, Gate(gate | {"cost": {"ms_per_row": {"times_champion": 1.5}}})).passed


def test_ends_of_intervals_are_judged_again_with_as_many_resamples(tmp_path):
    same = answers(seed=0)
    table = table_of(same, same, (NUMBER,)).drop(columns="logS.champion")
    basis = VerdictBasis(toy_schema(NUMBER), {}, 200, {})
    metrics, _, _ = judge_table(basis, table, Gate({}))
    (tmp_path / "predictions.json").write_text(table_to_json(table), encoding="utf-8")
    (tmp_path / "evaluation.json").write_text(basis.to_json(), encoding="utf-8")
    edge = metrics["test/logS/rmse_hi"]
    assert judge_logged(tmp_path, Gate({"regression": {"rmse_hi": {"max": edge}}})).passed
    assert not judge_logged(tmp_path, Gate({"regression": {"rmse_hi": {"max": edge - 1e-9}}})).passed


def test_the_file_has_its_documented_shape():
    values = json.loads(comparison_of(table_of(answers(seed=1), answers(seed=0))).to_json())
    assert list(values) == ["version", "cost", "champion", "refusal", "notes", "rows", "metrics", "slices", "moved"]
    assert values["champion"] == {"version": "3", "digest": "c" * 64}
    assert values["cost"]["champion"] == {"ms_per_request": 1.0, "ms_per_row": 0.1, "peak_memory_mb": 100.0}
    assert len(values["metrics"][0]["difference"]) == 3
    assert set(values["moved"][0]) == {"target", "row", "id", "label", "challenger", "champion", "moved"}
    alone = json.loads(Comparison(Costs(COSTS.model)).to_json())
    assert (alone["champion"], alone["cost"]["champion"], alone["metrics"]) == (None, None, [])
