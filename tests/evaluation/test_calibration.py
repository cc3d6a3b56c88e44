"""Calibration in numbers, by hand and on answers whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.evaluation.calibration import calibrate, conformal_half_width, expected_calibration_error
from pipeline.schema import Target

NUMBER = Target("logS", "regression")
BINARY = Target("toxic", "binary", classes=("no", "yes"))
CLASSES = Target("kind", "multiclass", classes=("a", "b", "c"))


def test_half_width_is_the_conformal_quantile():
    assert conformal_half_width(np.arange(1.0, 10.0)) == 9.0  # ceil(10 · 0.9) = 9th of nine
    assert conformal_half_width(np.arange(1.0, 20.0)) == 18.0
    assert conformal_half_width(np.arange(8.0)) == np.inf


def test_intervals_fitted_on_validation_hold_as_many_test_labels():
    rng = np.random.default_rng(0)
    y, error = rng.normal(size=5000), rng.standard_t(4, size=5000)
    facts = calibrate(NUMBER, y[2000:], (y + error)[2000:], (y[:2000], (y + error)[:2000]), None)
    held = next(value for name, value in facts.items() if "holds the label" in name)
    assert float(held.rstrip("%")) == pytest.approx(90, abs=2)


def test_regression_by_hand():
    y = np.array([1.0, 2.0, 3.0, np.nan])
    spread = y, np.array([1.5, 2.5, 3.5, 0.0]), np.array([1.0, 0.1, 0.1, 0.0])
    facts = calibrate(NUMBER, y, y + 0.5, (np.array([np.nan]), np.array([1.0])), spread)
    assert facts["mean of answer − label"] == "+0.5"
    assert facts["half of all answers are off by less than"] == "0.5"
    assert not any("validation" in name for name in facts)
    assert next(value for name, value in facts.items() if "ensemble" in name) == "33.3%"


def test_calibration_error_by_hand():
    stated, came = np.array([0.05, 0.05, 0.95, 1.0]), np.array([False, True, True, True])
    # first bin: stated 0.05, came 0.5; last: stated 0.975, came 1
    assert expected_calibration_error(stated, came) == pytest.approx(0.5 * 0.45 + 0.5 * 0.025)


def test_classes_by_hand():
    facts = calibrate(BINARY, np.array([1, 0, np.nan]), np.array([0.8, 0.4, 0.0]), (np.empty(0), np.empty(0)), None)
    assert facts["mean stated probability of yes"] == "0.600"
    assert facts["share that came true"] == "0.500"
    stated = np.array([[0.6, 0.2, 0.2], [0.1, 0.8, 0.1]])
    facts = calibrate(CLASSES, np.array([0.0, 2.0]), stated, (np.empty(0), np.empty((0, 3))), None)
    assert facts["mean stated probability of the call"] == "0.700"
    assert facts["share that came true"] == "0.500"


@pytest.mark.parametrize("target", [NUMBER, BINARY, CLASSES], ids=lambda target: target.kind)
def test_without_labels_there_is_nothing_to_say(target):
    answer = np.ones((2, 3)) / 3 if target is CLASSES else np.ones(2)
    assert calibrate(target, np.full(2, np.nan), answer, (np.empty(0), np.empty(0)), None) == {}
