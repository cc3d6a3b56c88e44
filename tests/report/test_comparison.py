"""A model beside its champion on the card: numbers, and which of the two is better."""

from __future__ import annotations

import dataclasses
from itertools import count

import pytest

from pipeline.bundle.cost import Cost
from pipeline.evaluation.champion import Champion
from pipeline.evaluation.comparison import (
    Comparison,
    Costs,
)
from pipeline.report.card import build_card
from pipeline.report.comparison import comparison_blocks, cost_blocks, in_brackets, which_is_better
from tests.support.cards import COMPARISON, DIFFERENCE, SVG, Page, card_of


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
