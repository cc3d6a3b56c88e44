"""How good answers are: metrics of one target with bootstrap intervals; rows without a label are masked here.

A resample is a row of whole-number weights (how often each row was drawn). So each metric is written once, on weights
W (B, n), and its value on the data itself is the same formula on weights of one. Sorting happens once, not each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError, ShapeError
from pipeline.schema import Target, TargetKind

METRICS: dict[TargetKind, tuple[str, ...]] = {
    "regression": ("rmse", "mae", "r2", "spearman"),
    "binary": ("roc_auc", "prc_auc", "accuracy", "f1", "mcc", "brier"),
    "multiclass": ("roc_auc", "accuracy", "f1", "mcc", "log_loss"),
}
"""Names of the metrics of each kind; multi-class `f1` and `roc_auc` are macro averages."""

DEFAULT_THRESHOLD = 0.5
_MIN_RESAMPLES = 100
_CELLS = 30_000_000  # rows x resamples (x classes); about three seconds on one core
_BLOCK = 1 << 20  # cells of one weight matrix: 8 MB of float64 stay near the cache
_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)

Array = NDArray[np.float64]
Statistics = Callable[[Array], dict[str, Array]]  # weights (B, n) -> metric -> (B,)


class Interval(NamedTuple):
    """A value with its 95 % percentile bootstrap interval (Efron 1979)."""

    value: float
    lo: float
    hi: float


class Pair(NamedTuple):
    """One metric of two models on the same rows; `difference` is challenger − champion on the same resamples."""

    challenger: Interval
    champion: Interval
    difference: Interval


def to_trained_scale(target: Target, values: ArrayLike) -> Array:
    """Turn answers in original units into the scale of the labels, where metrics are taken.

    Args:
        values: of any shape; probabilities and targets without a transform come back as they are.

    Returns:
        float64, the shape of `values`. Values that float32 cannot hold (0, infinity: an answer that under- or
        overflowed on its way through 10**x) count as the nearest number that it can.
    """
    array = np.asarray(values, dtype=np.float64)
    if target.affine is None:
        return array
    a, b = target.affine
    return np.asarray(a * np.log10(np.clip(array, _TINY, _HUGE)) + b)


def choose_threshold(y: ArrayLike, probability: ArrayLike) -> float:
    """Choose the threshold with the highest MCC; to be called on the validation side, never on test.

    Candidates are 0.5 and the midpoints between neighbouring scores, so that, but for 0.5, both classes are called; of
    equally good ones the nearest to 0.5 is taken.

    Args:
        y: (n,) 0, 1, or NaN without a label.
        probability: (n,) of the positive class.

    Returns:
        t, to be used as `probability >= t`. 0.5 where the labels hold fewer than two classes.
    """
    labels, scores = _labelled(y, probability)
    positive = labels == 1
    if positive.all() or not positive.any():
        return DEFAULT_THRESHOLD
    distinct = np.unique(scores)
    low, high = distinct[:-1], distinct[1:]
    middle = low + (high - low) / 2
    middle = np.where(middle > low, middle, high)  # neighbouring floats: the midpoint may round down
    candidates = np.append(middle, DEFAULT_THRESHOLD)
    ascending = np.argsort(scores, kind="stable")
    below = np.searchsorted(scores[ascending], candidates, side="left")  # rows called negative
    false_negative = np.append(0, np.cumsum(positive[ascending]))[below]
    tp = positive.sum() - false_negative
    fp = len(labels) - below - tp
    mcc = _mcc_binary(tp, fp, false_negative, below - false_negative)
    best = np.flatnonzero(mcc >= mcc.max() - 1e-12)
    return float(candidates[best[np.argmin(np.abs(candidates[best] - DEFAULT_THRESHOLD))]])


def score_target(
    target: Target,
    y: ArrayLike,
    answer: ArrayLike,
    *,
    threshold: float | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Score the answers for one target.

    Args:
        y: (n,) labels on the trained scale, class index for classes; NaN is missing and masked.
        answer: (n,) on the trained scale for regression; (n,) probability of the positive class for binary;
            (n, K) probabilities for multi-class.
        threshold: binary only, for accuracy, f1 and mcc: positive is `answer >= threshold`; None is 0.5.
        resamples: of the bootstrap. Fewer are drawn, but at least 100, where rows x resamples (x K when multi-class)
            would pass 30 million: beyond 30,000 rows the intervals are narrow and seconds matter more.

    Returns:
        The metrics of `METRICS[target.kind]`, with seeded intervals. What the labelled rows leave undefined is left
        out: r2 and spearman without variation, all but accuracy, brier and log_loss on a side with one class; nothing
        at all without labels. Resamples in which a metric is undefined do not count for its interval.

    Raises:
        ShapeError: if `y` and `answer` do not fit each other or the target.
        DataError: if a labelled row has an answer that is not finite.
    """
    width = (target.width,) if target.kind == "multiclass" else ()
    labels, answers = _labelled(y, answer, name=target.name, width=width)
    if len(labels) == 0:
        return {}
    statistics = _statistics(target, labels, answers, threshold)
    return _intervals(statistics, len(labels), resamples, seed, target.width)


def compare_target(
    target: Target,
    y: ArrayLike,
    challenger: ArrayLike,
    champion: ArrayLike,
    *,
    thresholds: tuple[float | None, float | None] = (None, None),
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Pair]:
    """Score two models on the same rows and the same resamples; equal answers differ by exactly 0.

    Args:
        y, challenger, champion: as for `score_target`.
        thresholds: of the challenger and of the champion.

    Returns:
        The metrics that are defined for both.

    Raises:
        ShapeError, DataError: as `score_target`.

    Source: the paired bootstrap, Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 8.
    """
    width = (target.width,) if target.kind == "multiclass" else ()
    labels, first = _labelled(y, challenger, name=target.name, width=width)
    _, second = _labelled(y, champion, name=target.name, width=width)
    if len(labels) == 0:
        return {}
    mine = _statistics(target, labels, first, thresholds[0])
    theirs = _statistics(target, labels, second, thresholds[1])

    def statistics(w: Array) -> dict[str, Array]:
        a, b = mine(w), theirs(w)
        columns = {name: (a[name], b[name], a[name] - b[name]) for name in METRICS[target.kind]}
        return {f"{name} {k}": values for name, three in columns.items() for k, values in enumerate(three)}

    found = _intervals(statistics, len(labels), resamples, seed, 2 * target.width)
    return {
        name: Pair(*(found[f"{name} {k}"] for k in range(3))) for name in METRICS[target.kind] if f"{name} 2" in found
    }


def compare_losses(challenger: Array, champion: Array, *, root: bool, resamples: int = 1000, seed: int = 0) -> Pair:
    """Compare mean losses of the same rows, (n,) each; `root`: the root of the mean of squares, such as RMSE."""
    both = np.stack([challenger, champion], axis=1)

    def statistics(w: Array) -> dict[str, Array]:
        mean = w @ both / len(both)  # (B, 2)
        a, b = (np.sqrt(mean) if root else mean).T
        return {"challenger": a, "champion": b, "difference": a - b}

    return Pair(**_intervals(statistics, len(both), resamples, seed, 2))


def _intervals(statistics: Statistics, n: int, resamples: int, seed: int, width: int) -> dict[str, Interval]:
    """The value of every defined metric on n rows, with its interval; `width`: columns of answers."""
    point = statistics(np.ones((1, n)))
    draws = _bootstrap(statistics, n, min(resamples, max(_MIN_RESAMPLES, _CELLS // (n * width))), seed, n * width)
    intervals = {}
    for name, value in point.items():
        if np.isfinite(value[0]):
            usable = draws[name][np.isfinite(draws[name])]
            lo, hi = np.percentile(usable, (2.5, 97.5)) if len(usable) else (value[0], value[0])
            intervals[name] = Interval(float(value[0]), float(lo), float(hi))
    return intervals


def _labelled(y: ArrayLike, answer: ArrayLike, *, name: str = "", width: tuple[int, ...] = ()) -> tuple[Array, Array]:
    """The labelled rows of both; checked."""
    labels, answers = np.asarray(y, dtype=np.float64), np.asarray(answer, dtype=np.float64)
    if labels.ndim != 1 or answers.shape != labels.shape + width:
        raise ShapeError(
            f"target '{name}': labels {labels.shape} and answers {answers.shape} do not fit; "
            f"wanted (n,) and {('n', *width) if width else '(n,)'}."
        )
    mask = ~np.isnan(labels)
    labels, answers = labels[mask], answers[mask]
    finite = np.isfinite(answers)
    bad = int((~(finite.all(axis=1) if width else finite)).sum())
    if bad:
        raise DataError(
            f"target '{name}': {bad} of {len(answers)} answers are not finite; the training has diverged: "
            "look at its learning curve and lower learning_rate."
        )
    return labels, answers


def _bootstrap(statistics: Statistics, n: int, resamples: int, seed: int, cells: int) -> dict[str, Array]:
    """Draw rows with replacement, `resamples` times, in blocks.  # metric -> (resamples,)"""
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // cells)
    parts = []
    for start in range(0, resamples, block):
        b = min(block, resamples - start)
        rows = rng.integers(n, size=(b, n)) + n * np.arange(b)[:, None]
        weights = np.bincount(rows.ravel(), minlength=b * n).reshape(b, n).astype(np.float64)
        parts.append(statistics(weights))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _statistics(target: Target, y: Array, answer: Array, threshold: float | None) -> Statistics:
    if target.kind == "regression":
        return _regression(y, answer)
    if target.kind == "binary":
        return _binary(y == 1, answer, DEFAULT_THRESHOLD if threshold is None else threshold)
    return _multiclass(y.astype(np.int64), answer)


def _regression(y: Array, answer: Array) -> Statistics:
    error = answer - y
    columns = np.stack([error**2, np.abs(error), y - y.mean(), (y - y.mean()) ** 2], axis=1)  # centred: no cancellation
    y_ranks, answer_ranks = _ranker(y), _ranker(answer)
    n = len(y)

    def statistics(w: Array) -> dict[str, Array]:
        squared, absolute, first, second = (w @ columns).T / n  # (B,) each
        variance = second - first**2
        # relative to the second moment: a resample of one repeated value leaves rounding, not zero
        variance = np.where(variance > 1e-12 * second, variance, np.nan)
        return {
            "rmse": np.sqrt(squared),
            "mae": absolute,
            "r2": 1 - squared / variance,
            "spearman": _correlation(y_ranks(w), answer_ranks(w), w),
        }

    return statistics


def _ranker(values: Array) -> Callable[[Array], Array]:
    """Ranks of the rows in each resample, tied rows sharing the middle one, less the mean rank.  # (B, n) -> (B, n)"""
    _, group = np.unique(values, return_inverse=True)  # (n,)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))

    def ranks(w: Array) -> Array:
        size = np.add.reduceat(w[:, order], starts, axis=1)  # (B, groups)
        middle = np.cumsum(size, axis=1) - size / 2 - w.shape[1] / 2  # weights of a row add up to n
        return np.asarray(middle[:, group])

    return ranks


def _correlation(a: Array, b: Array, w: Array) -> Array:
    """Weighted Pearson correlation of centred rows; NaN where one does not vary."""
    weighted = w * a
    scale = np.einsum("bn,bn->b", weighted, a) * np.einsum("bn,bn,bn->b", w, b, b)
    covariance = np.einsum("bn,bn->b", weighted, b)
    return np.asarray(covariance / np.sqrt(np.where(scale > 0, scale, np.nan)))


def _binary(positive: NDArray[np.bool_], score: Array, threshold: float) -> Statistics:
    called = score >= threshold
    outcomes = [positive & called, ~positive & called, positive & ~called, ~positive & ~called]
    columns = np.stack([*outcomes, (score - positive) ** 2], axis=1).astype(np.float64)
    areas = _areas(positive, score)

    def statistics(w: Array) -> dict[str, Array]:
        tp, fp, fn, tn, squared = (w @ columns).T  # (B,) each
        two = (tp + fn > 0) & (fp + tn > 0)
        n = w.shape[1]
        roc_auc, prc_auc = areas(w)
        return {
            "roc_auc": roc_auc,
            "prc_auc": prc_auc,
            "accuracy": (tp + tn) / n,
            "f1": np.where(two, 2 * tp / np.maximum(2 * tp + fp + fn, 1), np.nan),
            "mcc": np.where(two, _mcc_binary(tp, fp, fn, tn), np.nan),
            "brier": squared / n,
        }

    return statistics


def _mcc_binary(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike) -> Array:
    """Matthews correlation; 0 where a row or column of the table is empty, as scikit-learn has it."""
    tp, fp, fn, tn = (np.asarray(count, dtype=np.float64) for count in (tp, fp, fn, tn))
    # square roots one by one: the product of four counts leaves the exact range of float64
    scale = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    return np.asarray((tp * tn - fp * fn) / np.where(scale > 0, scale, np.inf))


def _areas(positive: NDArray[np.bool_], score: Array) -> Callable[[Array], tuple[Array, Array]]:
    """Areas under the ROC curve and average precision, tied scores taken at once.  # (B, n) -> (B,), (B,)"""
    order = np.argsort(-score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=np.inf))
    sign = positive[order].astype(np.float64)

    def areas(w: Array) -> tuple[Array, Array]:
        ordered = w[:, order]
        size = np.add.reduceat(ordered, starts, axis=1)  # (B, groups)
        gained = np.add.reduceat(ordered * sign, starts, axis=1)
        tp = np.cumsum(gained, axis=1)
        called = np.cumsum(size, axis=1)
        total, n = tp[:, -1], w.shape[1]
        pairs = total * (n - total)
        # a negative loses to the positives above it, and half to those beside it (Mann-Whitney)
        ordered_pairs = np.einsum("bm,bm->b", size - gained, tp - gained / 2)
        precision = tp / np.maximum(called, 1)
        average = np.einsum("bm,bm->b", gained, precision)
        two = pairs > 0
        roc_auc = np.where(two, ordered_pairs / np.where(two, pairs, 1), np.nan)
        return roc_auc, np.where(two, average / np.where(two, total, 1), np.nan)

    return areas


def _multiclass(y: NDArray[np.int64], probability: Array) -> Statistics:
    n, k = probability.shape
    called = probability.argmax(axis=1)
    loss = -np.log(np.clip(probability[np.arange(n), y], np.finfo(np.float64).eps, 1.0))
    cell = np.zeros((n, k * k))
    cell[np.arange(n), y * k + called] = 1.0
    areas = [_areas(y == c, probability[:, c]) for c in range(k)]

    def statistics(w: Array) -> dict[str, Array]:
        confusion = (w @ cell).reshape(-1, k, k)  # (B, true, called)
        hits = np.einsum("bcc->bc", confusion)
        true, said = confusion.sum(axis=2), confusion.sum(axis=1)
        two = (true > 0).sum(axis=1) > 1
        seen = (true + said) > 0  # classes without labels and calls do not count, as in scikit-learn
        f1 = (2 * hits / np.maximum(true + said, 1)).sum(axis=1) / seen.sum(axis=1)
        each = np.stack([area(w)[0] for area in areas], axis=1)  # (B, K), NaN where a class is absent
        known = np.isfinite(each)
        roc_auc = np.where(known, each, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        return {
            "roc_auc": np.where(two, roc_auc, np.nan),
            "accuracy": hits.sum(axis=1) / n,
            "f1": np.where(two, f1, np.nan),
            "mcc": np.where(two, _mcc_multiclass(hits.sum(axis=1), true, said), np.nan),
            "log_loss": w @ loss / n,
        }

    return statistics


def _mcc_multiclass(hits: Array, true: Array, said: Array) -> Array:
    """Matthews correlation of K classes; hits (B,), true and said (B, K).  Source: Gorodkin 2004, R_K."""
    n = true.sum(axis=1)
    scale = np.sqrt(n**2 - (true**2).sum(axis=1)) * np.sqrt(n**2 - (said**2).sum(axis=1))
    return np.asarray((hits * n - (true * said).sum(axis=1)) / np.where(scale > 0, scale, np.inf))
