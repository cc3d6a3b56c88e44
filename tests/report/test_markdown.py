"""The description of a version: short, tame, its first line plain text."""

from __future__ import annotations

from pipeline.report.markdown import build_markdown
from pipeline.schema import Target
from tests.support.cards import COMPARISON, card_of


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
