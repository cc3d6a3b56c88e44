"""What the board says of a candidate beside the champion, from what `evaluate` logs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.review.board.sheet import Beside, lead_score
from pipeline.schema import Target
from tests.support.schemas import toy_schema

SCHEMA = toy_schema(Target("logS", "regression"), Target("safe", "binary", classes=("no", "yes")))
METRICS = {
    **{"test/logS/rmse": 0.5, "test/logS/rmse_lo": 0.45, "test/logS/rmse_hi": 0.55, "test/safe/roc_auc": 0.9},
    **{"baseline/mean/logS/rmse": 2.0, "baseline/forest/logS/rmse": 0.61234},
    **{"baseline/majority/safe/roc_auc": 0.5, "baseline/forest/safe/roc_auc": 0.87},
}
SLICE = {"target": "logS", "kind": "size", "name": "20 to 30 atoms", "metric": "rmse", "rows": 1234}
SLICE |= {"challenger": 0.9, "champion": 0.7, "difference": [0.2, 0.05, 0.35], "clear": True}
MOVED = {
    "target": "logS",
    "row": 7,
    "id": "CCO",
    "label": "-1.5",
    "challenger": "-1.4",
    "champion": "0.3",
    "moved": 1.7,
}


def pair(target: str, metric: str, lower: bool, difference: list[float]) -> dict[str, object]:
    values = {"challenger": [0.5, 0.45, 0.55], "champion": [0.6, 0.55, 0.65], "difference": difference}
    return {"target": target, "metric": metric, "lower_is_better": lower, **values}


def beside(champion: int = 2, comparison=None, own=None, **more) -> Beside:
    run = SimpleNamespace(data=SimpleNamespace(metrics=own)) if own else None
    shown = {"champion": {"version": "2"}, **more} if comparison is None else comparison
    return Beside(SCHEMA, METRICS, champion, shown, run)


def test_without_a_champion_there_is_nothing_to_compare():
    one = beside(0, {"champion": None})
    assert one.summary() == ("unknown", "Nothing is live, so there is no champion to compare with.")
    assert one.notes() == []


@pytest.mark.parametrize(
    ("rmse", "auc", "standing", "words"),
    [
        ([-0.1, -0.2, -0.05], [0.1, 0.02, 0.2], "better", "Better than the champion, release 2, on 2 of 2"),
        ([-0.1, -0.2, 0.05], [0.1, 0.02, 0.2], "unclear", "No clear difference to the champion, release 2, on 1 of 2"),
        ([0.1, 0.05, 0.2], [0.1, 0.02, 0.2], "worse", "Worse than the champion, release 2, on 1 of 2 targets: RMSE"),
        (
            [-0.1, -0.2, -0.05],
            [-0.1, -0.2, -0.01],
            "worse",
            "Worse than the champion, release 2, on 1 of 2 targets: R",
        ),
    ],
)
def test_the_worst_target_is_said_first(rmse, auc, standing, words):
    one = beside(metrics=[pair("logS", "rmse", True, rmse), pair("safe", "roc_auc", False, auc)])
    found, text = one.summary()
    assert found == standing
    assert text.startswith(words)
    assert "0.500 [0.450, 0.550] against 0.600 [0.550, 0.650]" in text


def test_a_metric_stands_beside_the_champions_and_the_best_baseline():
    one = beside(metrics=[pair("logS", "rmse", True, [-0.1, -0.2, -0.05])])
    (score,) = one.scores(SCHEMA.targets[0])
    assert (score.metric, score.candidate, score.champion) == (
        "RMSE ↓",
        "0.500 [0.450, 0.550]",
        "0.600 [0.550, 0.650]",
    )
    assert (score.difference, score.standing) == ("−0.100 [−0.200, −0.050]", "better")
    assert score.baseline == "0.612 (forest)"
    (other,) = one.scores(SCHEMA.targets[1])
    assert (other.metric, other.candidate, other.champion, other.standing) == ("ROC-AUC ↑", "0.900", "–", "unknown")
    assert other.baseline == "0.870 (forest)"


def test_another_champion_than_the_compared_one_gives_no_differences():
    one = beside(3, own={"test/logS/rmse": 0.4}, metrics=[pair("logS", "rmse", True, [-0.1, -0.2, -0.05])])
    standing, text = one.summary()
    assert standing == "unknown"
    says = "It was compared with release 2, not with the champion, release 3: which one is better is not known."
    assert text == says
    (score,) = one.scores(SCHEMA.targets[0])
    assert (score.candidate, score.champion, score.difference, score.standing) == (
        "0.500 [0.450, 0.550]",
        "0.400",
        "–",
        "unknown",
    )
    assert "perhaps on other rows" in one.notes()[0]
    assert one.slices() == one.moved(SCHEMA.targets[0]) == []


def test_what_cannot_be_compared_is_refused_with_its_word():
    one = beside(refusal="cannot be compared with release 2: 'logS' is in mol/L there")
    assert one.summary() == ("worse", "It cannot be compared with release 2: 'logS' is in mol/L there.")


def test_slices_moved_rows_notes_and_cost():
    one = beside(
        notes=["The champion has seen 3 of the test rows."],
        rows={"test": 9, "compared": 6},
        slices={"tried": 12, "worse": [SLICE, SLICE | {"name": "acids", "clear": False}]},
        moved=[MOVED, MOVED | {"target": "safe"}, MOVED | {"row": 8, "id": None}],
        cost={"model": {"ms_per_request": 1.2345}, "champion": {"ms_per_request": 2.0}},
    )
    clear, chance = one.slices()
    assert (clear.name, clear.rows, clear.difference, clear.standing) == (
        "logS, size: 20 to 30 atoms",
        "1,234",
        "+0.20 [+0.05, +0.35]",
        "worse",
    )
    assert chance.standing == "unclear"
    assert "worse on 1 of them" in one.slices_note()
    assert "on 1 more it may be chance" in one.slices_note()
    drawn, hidden = one.moved(SCHEMA.targets[0])
    assert drawn.answers == "label −1.5: champion 0.3, candidate −1.4"
    assert drawn.svg.startswith("<svg")
    assert (hidden.name, hidden.svg) == ("row 8", None)  # rows that are not shared
    assert one.notes() == [
        "Both on the same 6 test rows; difference: candidate − champion, paired.",
        "The champion has seen 3 of the test rows.",
    ]
    assert one.costs() == {"ms a request": "1.23, the champion 2"}


def test_the_list_shows_the_metric_that_counts_most():
    assert lead_score(METRICS) == "RMSE 0.500 [0.450, 0.550] on logS"
    assert lead_score({"test/a/mae": 1.0}) == "–"
