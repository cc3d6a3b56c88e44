"""The description of a version: short, tame, its first line plain text; and the card's part about the champion."""

from __future__ import annotations

import dataclasses
from itertools import count

import pytest

from pipeline.bundle.cost import Cost
from pipeline.evaluation.champion import Champion
from pipeline.evaluation.comparison import (
    Comparison,
    Costs,
    Difference,
    MovedRow,
    RowCounts,
    Slices,
    WorseSlice,
)
from pipeline.report.card import build_card
from pipeline.report.comparison import comparison_blocks, cost_blocks, in_brackets, which_is_better
from pipeline.report.markdown import build_markdown
from pipeline.schema import Target
from tests.support.cards import HOSTILE, SVG, Page, card_of

DIFFERENCE = Difference("logS", "rmse", 257, True, (0.58, 0.5, 0.65), (0.55, 0.5, 0.6), (0.03, -0.01, 0.07))
COMPARISON = Comparison(
    Costs(Cost(4.0, 0.5, 200.0), Cost(2.0, 0.5, 100.0)),
    Champion("3", "c" * 64),
    notes=("The champion learned from the same split.", HOSTILE),
    rows=RowCounts(257, 257, 0),
    metrics=(DIFFERENCE,),
    slices=Slices(9, (WorseSlice("logS", "size", HOSTILE, "rmse", 40, 0.7, 0.5, (0.2, 0.1, 0.3), 0.001, 0.009, True),)),
    moved=(MovedRow("logS", 17, HOSTILE, "1", "2", "<3>", 1.5), MovedRow("logS", 18, None, "", "2", "3", 1.0)),
)


def test_markdown_is_short_and_tame():
    text = build_markdown(card_of(comparison=COMPARISON, environment={"commit": "abc"}))
    lines = text.splitlines()
    assert len(lines) <= 40
    assert lines[0].startswith(
        "The forest baseline is better than the network on logS: RMSE 0.52"
    )  # no markup in lists
    assert lines[1] == ""
    assert "<script" not in text
    assert "<img" not in text
    assert "| logS: RMSE | 0.580 | [0.480, 0.680] | 0.520 (forest) | 0.550 | not told apart |" in text
    assert "by commit abc" in text
    many = tuple(Target(f"t{k}", "regression") for k in range(50))
    assert len(build_markdown(card_of(many)).splitlines()) <= 40
    assert len(text) < 5000  # as much as a registry keeps


def test_without_a_champion_the_table_has_no_column_of_it():
    text = build_markdown(card_of())
    assert "champion" not in text
    assert "| logS: RMSE | 0.580 | [0.480, 0.680] | 0.520 (forest) |" in text


@pytest.mark.parametrize(
    ("lower", "difference", "says"),
    [
        (True, (0.0, 0.0, 0.0), "the same"),
        (True, (0.1, -0.1, 0.3), "not told apart"),
        (True, (0.1, 0.05, 0.3), "the champion"),
        (True, (-0.1, -0.2, -0.01), "this model"),
        (False, (-0.1, -0.2, -0.01), "the champion"),
        (False, (0.1, 0.05, 0.3), "this model"),
    ],
)
def test_which_is_better_is_what_the_interval_tells(lower, difference, says):
    one = dataclasses.replace(DIFFERENCE, lower_is_better=lower, difference=difference)
    assert which_is_better(one) == says


def test_numbers_in_brackets():
    assert in_brackets((0.03, -0.01, 0.07), "+") == "+0.030 [−0.010, +0.070]"
    assert in_brackets((0.5, 0.4, 0.6)) == "0.500 [0.400, 0.600]"


def test_the_card_sets_both_beside_each_other():
    page = build_card(card_of(comparison=COMPARISON, drawings={17: SVG}))
    text = " ".join(Page(page).text)
    for words in (
        "Beside the champion",
        "logS: RMSE ↓",
        "+0.030 [−0.010, +0.070]",
        "not told apart",
        "9 kinds of test rows were tried",
        "1 of them is clear",
        "Answers that moved most",
        "<3>",
        "Times the champion",
        "2.00",
    ):
        assert words in text, words
    assert "<script" not in page


def test_rows_without_a_drawing_have_no_empty_column():
    assert "Molecule" not in "".join(comparison_blocks(COMPARISON, {}, count(1)))
    assert "Molecule" in "".join(comparison_blocks(COMPARISON, {17: SVG}, count(1)))


def test_alone_and_refused():
    first = Comparison(Costs(Cost(4.0, 0.5, 200.0)))
    assert "it is the first" in "".join(comparison_blocks(first, {}, count(1)))
    assert "Times" not in "".join(cost_blocks(first.cost))
    refused = dataclasses.replace(first, champion=Champion("3", "c" * 64, refusal="cannot be compared: units"))
    text = "".join(comparison_blocks(refused, {}, count(1)))
    assert "The model cannot be compared: units." in text
    assert "<table" not in text
