"""The trained scale: by hand, back again, and what float32 loses on the way."""

import numpy as np
import pytest

from pipeline.scale import from_trained_scale, to_trained_scale, transform
from pipeline.schema import Target

PLAIN = Target("logS", "regression")
LOG = Target("k", "regression", transform="log10")
POTENCY = Target("IC50", "regression", unit="nM", transform="p")


def test_to_the_trained_scale_by_hand():
    np.testing.assert_allclose(to_trained_scale(LOG, [0.01, 100.0]), [-2, 2])
    np.testing.assert_allclose(to_trained_scale(POTENCY, [1.0, 1000.0]), [9, 6])
    np.testing.assert_array_equal(to_trained_scale(PLAIN, [1.5]), [1.5])


@pytest.mark.parametrize("target", [PLAIN, LOG, POTENCY], ids=lambda target: target.name)
def test_there_and_back(target):
    values = np.array([1e-30, 0.5, 3.2123, 1e30])
    np.testing.assert_allclose(from_trained_scale(target, to_trained_scale(target, values)), values, rtol=1e-12)


def test_what_float32_lost_of_an_answer_is_the_nearest_that_it_can_hold_and_labels_are_exact():
    assert to_trained_scale(LOG, [0.0, np.inf]) == pytest.approx([-37.93, 38.53], abs=0.01)
    np.testing.assert_allclose(transform(LOG, np.array([1e-50])), [-50])
