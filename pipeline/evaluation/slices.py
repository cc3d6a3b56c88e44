"""Kinds of test rows on which one model may be worse than another: by size, by scaffold, by label.

Each slice is tested, and many tests find something by chance. So every slice that was tried is counted, and what is
called clear holds after Holm's correction for all of them (Holm 1979, Scandinavian Journal of Statistics 6, 65).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.evaluation.metrics import Interval, compare_losses
from pipeline.schema import Target

MIN_ROWS = 20

_PARTS = 4  # of sizes and of labels: a quarter of the rows each
_FLIPS, _CELLS = 10_000, 30_000_000

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Slice(NamedTuple):
    """Some of n rows: `kind` is size, scaffold or label."""

    kind: str
    name: str
    rows: Mask


class Outcome(NamedTuple):
    """A slice and how two models differ on it, challenger − champion; p as `sign_flip_test` has it."""

    slice: Slice
    rows: int
    challenger: float
    champion: float
    difference: Interval
    p: float


def slice_sizes(sizes: ArrayLike, noun: str) -> list[Slice]:
    """Quarters of the rows by size.

    Args:
        sizes: (n,) number of nodes.
        noun: of what is counted, `atoms`.
    """
    numbers = np.asarray(sizes)
    return [
        Slice("size", f"{_span(*_ends(numbers[rows]), format='{:,.0f}')} {noun}", rows) for rows in _quarters(numbers)
    ]


def slice_labels(target: Target, y: Array, shown: Sequence[Any]) -> list[Slice]:
    """Quarters of the rows by label, or the rows of each class.

    Args:
        y: (n,) labels on the trained scale; NaN is missing.
        shown: (n,) the same in original units.
    """
    if target.task.has_classes:
        return [Slice("label", name, y == code) for code, name in enumerate(target.classes)]
    units = f" {target.unit}" if target.unit else ""
    originals = np.array([np.nan if value is None else value for value in shown], dtype=np.float64)
    return [Slice("label", _span(*_ends(originals[rows])) + units, rows) for rows in _quarters(y)]


def row_losses(target: Target, y: Array, answer: Array) -> Array:
    """The loss of each labelled row: squared error, Brier score or −log probability of the label.  # (n,)

    Args:
        y: (n,) on the trained scale, without NaN.
        answer: (n,) or (n, K), as for `pipeline.evaluation.metrics.score_target`.
    """
    if target.task.per_class:
        stated = answer[np.arange(len(y)), y.astype(np.intp)]
        return np.asarray(-np.log(np.clip(stated, np.finfo(np.float64).eps, 1.0)))
    return np.asarray((answer - y) ** 2)


def try_slices(
    target: Target, slices: Sequence[Slice], challenger: Array, champion: Array, *, resamples: int, seed: int = 0
) -> list[Outcome]:
    """Compare two models on every slice that is neither tiny nor everything.

    Args:
        slices: of n rows.
        challenger, champion: (n,) losses; rows without a label are NaN and belong to no slice.
    """
    there = ~np.isnan(challenger) & ~np.isnan(champion)
    outcomes = []
    for one in slices:
        rows = one.rows & there
        count = int(rows.sum())
        if not MIN_ROWS <= count < there.sum():
            continue
        a, b = challenger[rows], champion[rows]
        pair = compare_losses(a, b, root=not target.task.has_classes, resamples=resamples, seed=seed)
        p = sign_flip_test(a - b, seed=seed)
        outcomes.append(Outcome(one, count, pair.challenger.value, pair.champion.value, pair.difference, p))
    return outcomes


def sign_flip_test(difference: Array, seed: int = 0) -> float:
    """How often swapping the two models in random rows gives a mean loss at least as much worse.

    Args:
        difference: (n,) challenger − champion.

    Returns:
        One-sided p, between 1 / (flips + 1) and 1.

    Source: Fisher 1935, The Design of Experiments, section 21.
    """
    n = len(difference)
    flips = int(np.clip(_CELLS // n, 1_000, _FLIPS))
    rng = np.random.default_rng(seed)
    block = max(1, 4_000_000 // n)
    found = 0
    for start in range(0, flips, block):
        flipped = rng.integers(0, 2, size=(min(block, flips - start), n), dtype=np.int8) @ difference
        # The flipped rows add up to at most zero: then the sum after the flip is at least the sum before.
        found += int(np.count_nonzero(flipped <= 1e-12 * np.abs(difference).sum()))
    return (found + 1) / (flips + 1)


def correct(p: Sequence[float]) -> list[float]:
    """Holm's correction: with it, calling p < 0.05 clear is wrong for some slice in at most 5 % of comparisons."""
    order = np.argsort(p, kind="stable")
    raised = np.asarray(p, dtype=np.float64)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return [float(value) for value in corrected]


def _quarters(values: NDArray[Any]) -> Iterator[Mask]:
    """Rows between the quartiles; equal values stay together, NaN are in none."""
    if np.isnan(values).all():
        return
    cuts = np.unique(np.nanquantile(values, np.arange(1, _PARTS) / _PARTS))
    part = np.searchsorted(cuts, values, side="left")
    for k in range(len(cuts) + 1):
        rows = (part == k) & ~np.isnan(values)
        if rows.any():
            yield rows


def _ends(values: NDArray[Any]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _span(low: float, high: float, format: str = "{:.3g}") -> str:
    a, b = format.format(low), format.format(high)
    return a if a == b else f"{a} to {b}"
