"""The trained scale of a target: labels and answers in original units to it, and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.schema import Target

_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)

Array = NDArray[np.float64]


def transform(target: Target, values: Array) -> Array:
    """Bring labels to the trained scale, exactly: what is not above 0 becomes infinite or NaN where there is a log."""
    if target.affine is None:
        return values
    a, b = target.affine
    return np.asarray(a * np.log10(values) + b)


def to_trained_scale(target: Target, answers: ArrayLike) -> Array:
    """Bring answers in original units to the scale of the labels, where metrics are taken.

    Args:
        answers: of any shape; probabilities and targets without a transform come back as they are.

    Returns:
        float64, the shape of `answers`. Values that float32 cannot hold (0, infinity: an answer that under- or
        overflowed on its way through 10**x) count as the nearest number that it can.
    """
    array = np.asarray(answers, dtype=np.float64)
    return array if target.affine is None else transform(target, np.clip(array, _TINY, _HUGE))


def from_trained_scale(target: Target, values: Array) -> Array:
    """Bring labels or answers on the trained scale back to original units."""
    if target.affine is None:
        return values
    a, b = target.affine
    return np.asarray(10.0 ** ((values - b) / a))
