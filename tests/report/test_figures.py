"""Figures: well-formed, the same twice, silent about the outside world, and right about what they say in words."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from pipeline.report.figures import (
    axis_name,
    confusion_plot,
    draw_sample,
    label_histogram,
    learning_curve,
    parity_plot,
    pr_plot,
    reliability_plot,
    residual_plot,
    roc_plot,
    size_histogram,
    split_sizes,
    target_figures,
)
from pipeline.samples.kinds import kind_of
from pipeline.schema import Schema, Target

HOSTILE = '<script>&"$x_{1}$'
MOLECULES = Schema("m", "molecule", (), (), ())
NUMBER = Target(HOSTILE, "regression", unit="mol/L")
BINARY = Target("active", "binary", classes=("inactive", "active"))
CLASSES = Target("kind", "multiclass", classes=("a", "b", "c"))

RNG = np.random.default_rng(0)
Y = RNG.normal(size=80)
ANSWER = Y + 0.3 * RNG.normal(size=80)
LABEL = np.where(np.arange(80) % 9 == 0, np.nan, (Y > 0).astype(float))
PROBABILITY = 1 / (1 + np.exp(-ANSWER))
CLASS, SHARES = RNG.integers(3, size=80).astype(float), RNG.dirichlet(np.ones(3), size=80)

DRAWN = {
    "parity": lambda: parity_plot(NUMBER, Y, ANSWER),
    "residual": lambda: residual_plot(NUMBER, Y, ANSWER),
    "roc": lambda: roc_plot(BINARY, LABEL, {"model": PROBABILITY, "forest": 1 - PROBABILITY}, 0.4),
    "roc of classes": lambda: roc_plot(CLASSES, CLASS, {"model": SHARES}),
    "pr": lambda: pr_plot(BINARY, LABEL, {"model": PROBABILITY}, 0.4),
    "confusion": lambda: confusion_plot(BINARY, LABEL, PROBABILITY, 0.4),
    "confusion of classes": lambda: confusion_plot(CLASSES, CLASS, SHARES),
    "reliability": lambda: reliability_plot(BINARY, LABEL, PROBABILITY),
    "labels": lambda: label_histogram(NUMBER, {"train": Y, "test": ANSWER}),
    "labels of classes": lambda: label_histogram(CLASSES, {"train": CLASS, "test": CLASS[:5]}),
    "sizes": lambda: size_histogram(np.arange(1, 60), kind_of("molecule").nouns),
    "wide sizes": lambda: size_histogram(np.array([1, 1, 2, 2, 3, 1000]), kind_of("graph").nouns),
    "split": lambda: split_sizes({"train": 80, "validation": 10, "test": 10}),
    "learning": lambda: learning_curve([[{"epoch": 1, "train/loss": 2.0, "val/loss": 1.0}]], [1]),
    "molecule": lambda: draw_sample(MOLECULES, "CC(=O)Oc1ccccc1C(=O)O"),
}


def words(svg):
    """All text of a figure."""
    return " ".join(
        "".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if "text" in element.tag
    )


@pytest.mark.parametrize("name", DRAWN)
def test_figures_are_the_same_twice_and_self_contained(name):
    svg = DRAWN[name]()
    assert svg == DRAWN[name]()
    root = ElementTree.fromstring(svg)
    assert root.get("viewBox")
    assert svg.startswith("<svg")
    text = re.sub(r'xmlns:?\w*=(["\']).*?\1', "", svg)
    assert "http" not in text
    assert "<script" not in text
    assert "date" not in text


def test_numbers_in_words():
    assert "± RMSE (2)" in words(residual_plot(NUMBER, [0, 0.0], [2, -2.0]))
    said = words(roc_plot(BINARY, [1, 0, 1, 0], {"model": [0.9, 0.6, 0.6, 0.1]}, 0.5))
    assert "model: area 0.875" in said  # scikit-learn's value; a tie counts half
    assert "threshold 0.5" in said
    said = words(pr_plot(BINARY, [1, 0, 1, 0], {"model": [0.9, 0.6, 0.6, 0.1]}))
    assert "average precision 0.833" in said
    assert "share of positives 0.500" in said
    assert "919 (71.9%)" in words(split_sizes({"train": 919, "validation": 102, "test": 257}))


def test_confusion_counts_by_hand():
    said = words(confusion_plot(BINARY, [0, 0, 0, 1, np.nan], [0.1, 0.2, 0.9, 0.9, 0.9], 0.5)).split()
    assert {"2", "1", "67%", "33%", "100%"} <= set(said)


@pytest.mark.parametrize("y", [[], [np.nan, np.nan]], ids=["no rows", "no labels"])
def test_empty_sides(y):
    assert target_figures(NUMBER, y, {"model": y}) == {}
    for figure in (parity_plot(NUMBER, y, y), residual_plot(NUMBER, y, y), label_histogram(NUMBER, {"test": y})):
        ElementTree.fromstring(figure)
    ElementTree.fromstring(size_histogram(y[:0], kind_of("graph").nouns))
    ElementTree.fromstring(split_sizes({"train": 0}))
    ElementTree.fromstring(learning_curve([[]], [0]))


def test_one_class_and_one_row():
    for y in ([1.0], [0.0, 0.0]):
        drawn = target_figures(BINARY, y, {"model": np.full(len(y), 0.5)}, 0.5)
        assert len(drawn) == 4
        for svg in drawn.values():
            ElementTree.fromstring(svg)
    ElementTree.fromstring(parity_plot(NUMBER, [3.0], [3.0]))


def test_many_classes():
    target = Target("k", "multiclass", classes=tuple(f"class number {k}" for k in range(40)))
    y = np.arange(40.0)
    for svg in (confusion_plot(target, y, np.eye(40)), roc_plot(target, y, {"model": np.eye(40)})):
        assert ElementTree.fromstring(svg).tag.endswith("svg")


def test_figures_of_each_kind():
    assert next(iter(target_figures(NUMBER, Y, {"model": ANSWER, "forest": ANSWER}))).startswith("Parity")
    assert len(target_figures(BINARY, LABEL, {"model": PROBABILITY}, 0.5)) == 4
    assert len(target_figures(CLASSES, CLASS, {"model": SHARES})) == 4


def test_axis_names():
    assert axis_name(Target("IC50", "regression", unit="nM", transform="p")) == "−log10(IC50 / M)"
    assert axis_name(Target("k", "regression", unit="1/s", transform="log10")) == "log10(k / 1/s)"
    assert axis_name(Target("k", "regression")) == "k"
    assert len(axis_name(Target("k" * 200, "regression"))) == 40


def test_molecules_that_are_not_drawn():
    assert draw_sample(MOLECULES, "not a molecule") is None
    assert draw_sample(MOLECULES, "") is None
    assert draw_sample(MOLECULES, "C" * 200) is None
