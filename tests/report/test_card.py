"""The card and the data page: the verdict first, all text escaped, nothing from outside, readable by machines."""

import pytest

from pipeline.evaluation.gate import Gate
from pipeline.evaluation.verdict import judge_metrics
from pipeline.report.card import (
    CardInputs,
    Scope,
    build_card,
    build_data_page,
    describe_target,
    known_categories,
    limits_of,
)
from pipeline.report.html import STYLE
from pipeline.report.markdown import build_markdown
from pipeline.schema import Column, Target
from tests.support.cards import HOSTILE, SVG, Page, card_of
from tests.support.schemas import toy_schema


def test_the_verdict_is_the_first_line():
    card = card_of()
    page = Page(build_card(card))
    body = page.text[page.text.index("Skip to the content") + 1 :]
    assert body[0] == card.verdict.headline
    assert body[0].startswith("The forest baseline is better than the network on logS: RMSE 0.52 against 0.58.")


@pytest.mark.parametrize(
    "page", [build_card(card_of()), build_data_page(HOSTILE, {HOSTILE: {HOSTILE: HOSTILE}}, {HOSTILE: SVG})]
)
def test_nothing_hostile_and_nothing_from_outside(page):
    read = Page(page)
    assert not {"script", "img", "iframe", "object", "link", "form", "i", "b"} & set(read.tags)
    for tag, name, value in read.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("href", "src", "xlink:href"):
            assert value.startswith("#"), value
    assert "http://" not in page
    assert "https://" not in page
    assert "//" not in STYLE
    assert HOSTILE in " ".join(read.text)  # shown as text, not swallowed


def test_ids_are_unique_and_references_found():
    read = Page(build_card(card_of()))
    ids = [value for _, name, value in read.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    wanted = [value[1:] for _, name, value in read.attributes if name == "href"]
    wanted += [value for _, name, value in read.attributes if name == "aria-labelledby"]
    wanted += [value[5:-1] for _, name, value in read.attributes if name == "clip-path"]
    assert wanted
    assert set(wanted) <= set(ids)


def test_all_sections_are_there():
    text = " ".join(Page(build_card(card_of())).text)
    for words in (
        "What it predicts",
        "aqueous solubility. Answer: a number in log mol/L.",
        "How good it is",
        "0.580 [0.480, 0.680]",
        "0.520 [0.420, 0.620]",
        "called positive from 0.41, chosen on validation",
        "Checks of the gate",
        "Worst cases",
        "Row 18: label 1, answer 2",
        "fewer than 2 or more than 55 atoms",
        "1,282",
        "resumed no",
        "1e-07",
    ):
        assert words in text, words


def test_for_people_without_a_mouse_or_colours():
    page = build_card(card_of())
    read = Page(page)
    assert ("html", "lang", "en") in read.attributes
    assert ("meta", "name", "viewport") in read.attributes
    assert read.tags.count("h1") == read.tags.count("main") == 1
    pictures = [name for tag, name, value in read.attributes if tag == "svg" and name == "aria-label" and value]
    assert len(pictures) == read.tags.count("svg")
    assert read.tags.count("caption") == read.tags.count("table")
    assert "@media print" in page


def test_little_is_enough():
    card = card_of()
    bare = CardInputs("m", "today", card.schema, judge_metrics({}, Gate({}), {}), {}, Scope((1, 1)))
    text = " ".join(Page(build_card(bare)).text)
    assert "No metric: the test split has no label for it." in text
    assert "Training" not in text
    assert "Beside the champion" not in text
    assert build_markdown(bare)


def test_targets_in_words():
    potency = Target("IC50", "regression", unit="nM", transform="p")
    assert describe_target(potency) == "IC50. Answer: a number in nM. Trained and measured as −log10 of mol/L."
    assert "which was not stated" in describe_target(Target("k", "regression"))
    assert "the probability of 'yes'" in describe_target(Target("b", "binary", classes=("no", "yes")))
    assert "one of 3 classes" in describe_target(Target("c", "multiclass", classes=("a", "b", "c")))


def test_known_categories_are_those_seen_twice():
    columns = (
        Column("element", "categorical", ("C", "N", "Xe"), (9, 2, 1)),
        Column("degree", "categorical", ("1",), (5,)),
    )
    assert known_categories(toy_schema(node_columns=columns)) == {"element": ("C", "N")}
    assert known_categories(toy_schema(data_kind="graph", node_columns=columns))["degree"] == ("1",)


def test_limits_name_what_training_lacks():
    text = " ".join(limits_of(card_of()))
    assert "logS outside -11.6 to 1.6" in text
    assert "element: training knows only C, <N>" in text
    assert "Feature <b>pH outside 1 to 14" in text


def test_same_inputs_same_bytes():
    assert build_card(card_of()) == build_card(card_of())
