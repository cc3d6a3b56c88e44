"""How far answers can be trusted as they are stated: intervals that hold their labels, probabilities that come true."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.schema import Target

COVERAGE = 0.9
_BINS = 10

Array = NDArray[np.float64]


def calibrate(
    target: Target, y: Array, answer: Array, validation: tuple[Array, Array], spread: tuple[Array, Array, Array] | None
) -> dict[str, str]:
    """Tell in numbers how test answers and labels fit: name -> text.

    Args:
        y, answer: of the test side on the trained scale, as for `pipeline.evaluation.metrics.score_target`.
        validation: the same of the validation side.
        spread: labels, answers and standard deviations of an ensemble in original units, (n,) each; else None.
    """
    facts = _of_classes(target, y, answer) if target.task.has_classes else _of_numbers(y, answer, validation)
    return facts | (_of_ensemble(*spread) if spread else {})


def conformal_half_width(residual: Array, coverage: float = COVERAGE) -> float:
    """Half the width of an interval around new answers that holds this share of their labels.

    Args:
        residual: (n,) |answer − label| of rows that the model was not fitted to.

    Returns:
        Infinity where there are too few rows.

    Source: split conformal prediction, Lei et al. 2018, J. Am. Stat. Assoc. 113, 1094, algorithm 2.
    """
    k = int(np.ceil((len(residual) + 1) * coverage))
    return float(np.sort(residual)[k - 1]) if k <= len(residual) else float("inf")


def stated_and_came(y: Array, answer: Array) -> tuple[Array, NDArray[np.bool_]]:
    """What was stated of each row, and whether it came true: of the positive class, or of the class that was called.

    Args:
        y: (n,) class index.
        answer: (n,) probability of the positive class, or (n, K) of each.
    """
    if answer.ndim == 1:
        return answer, y == 1
    return answer.max(axis=1), answer.argmax(axis=1) == y


def reliability(stated: Array, came: NDArray[np.bool_]) -> tuple[NDArray[np.int64], Array, Array]:
    """Rows, mean stated probability and share that came true in each of ten equal bins that has rows.  # (B,) each"""
    place = np.clip((stated * _BINS).astype(np.intp), 0, _BINS - 1)
    rows = np.bincount(place, minlength=_BINS)
    there = rows > 0
    said, seen = (np.bincount(place, values, _BINS)[there] / rows[there] for values in (stated, came))
    return rows[there], said, seen


def expected_calibration_error(stated: Array, came: NDArray[np.bool_]) -> float:
    """Mean distance of stated probability and share that came true, over ten bins weighted by their rows.

    Source: Naeini et al. 2015, AAAI, equation 1.
    """
    rows, said, seen = reliability(stated, came)
    return float(np.abs(said - seen) @ rows / len(stated))


def _of_numbers(y: Array, answer: Array, validation: tuple[Array, Array]) -> dict[str, str]:
    there = ~np.isnan(y)
    error = (answer - y)[there]
    if not len(error):
        return {}
    facts = {
        "mean of answer − label": f"{error.mean():+.3g}",
        "half of all answers are off by less than": f"{np.median(np.abs(error)):.3g}",
        "nine in ten answers are off by less than": f"{np.quantile(np.abs(error), COVERAGE):.3g}",
    }
    known = ~np.isnan(validation[0])
    width = conformal_half_width(np.abs(validation[1] - validation[0])[known])
    if np.isfinite(width):
        held = np.mean(np.abs(error) <= width)
        facts[f"answer ± {width:.3g} holds the label (fitted on validation to do so in {COVERAGE:.0%})"] = f"{held:.1%}"
    return facts


def _of_ensemble(label: Array, answer: Array, std: Array) -> dict[str, str]:
    there = ~np.isnan(label)
    if not there.any():
        return {}
    held = np.mean(np.abs(answer - label)[there] <= 1.96 * std[there])
    return {
        "answer ± 1.96 standard deviations of the ensemble holds the label (95 % if they told all)": f"{held:.1%}",
    }


def _of_classes(target: Target, y: Array, answer: Array) -> dict[str, str]:
    there = ~np.isnan(y)
    labels, answers = y[there], answer[there]
    if not len(labels):
        return {}
    stated, came = stated_and_came(labels, answers)
    what = "probability of the call" if target.positive is None else f"probability of {target.positive}"
    return {
        f"mean stated {what}": f"{stated.mean():.3f}",
        "share that came true": f"{came.mean():.3f}",
        "expected calibration error (ten bins; 0 is best)": f"{expected_calibration_error(stated, came):.3f}",
    }
