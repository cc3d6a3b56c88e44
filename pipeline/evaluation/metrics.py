"""How good answers are: metrics of one target with bootstrap intervals; rows without a label are masked here.

A resample is a row of whole-number weights (how often each row was drawn). So each metric is written once, on weights
W (B, n), and its value on the data itself is the same formula on weights of one. Sorting happens once, not each time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import DataError, ShapeError
from pipeline.evaluation.formulas import DEFAULT_THRESHOLD, Statistics, mcc_binary, prepare_statistics
from pipeline.schema import ANSWERERS, Target, TargetKind

_NUMBERS: tuple[TargetKind, ...] = ("regression",)
_CLASSES: tuple[TargetKind, ...] = ("binary", "multiclass")


class Metric(NamedTuple):
    """One way to tell how good answers are; how it is computed says `pipeline.evaluation.formulas`.

    Attributes:
        name: as in metric keys.
        title: as people read it.
        kinds: of targets that have it; multi-class `f1` and `roc_auc` are macro averages.
        leads: models are told apart by it in a headline: by the first of a kind that all of them have.
        is_loss: it is the mean of `pipeline.evaluation.slices.row_losses`, or its root: the one of its kind that no
            other kind has, defined on any rows, those of one class too.
    """

    name: str
    title: str
    kinds: tuple[TargetKind, ...]
    lower_is_better: bool = False
    leads: bool = False
    is_loss: bool = False

    @property
    def label(self) -> str:
        """Its title with an arrow to where it is better."""
        return f"{self.title} {'↓' if self.lower_is_better else '↑'}"

    @property
    def sign(self) -> int:
        """What to multiply a value by so that less is better."""
        return 1 if self.lower_is_better else -1


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("rmse", "RMSE", _NUMBERS, lower_is_better=True, leads=True, is_loss=True),
        Metric("mae", "MAE", _NUMBERS, lower_is_better=True),
        Metric("r2", "R²", _NUMBERS),
        Metric("spearman", "Spearman", _NUMBERS),
        Metric("roc_auc", "ROC-AUC", _CLASSES, leads=True),
        Metric("prc_auc", "PR-AUC", _CLASSES[:1]),
        Metric("accuracy", "accuracy", _CLASSES),
        Metric("f1", "F1", _CLASSES),
        Metric("mcc", "MCC", _CLASSES),
        Metric("brier", "Brier score", _CLASSES[:1], lower_is_better=True, leads=True, is_loss=True),
        Metric("log_loss", "log loss", _CLASSES[1:], lower_is_better=True, leads=True, is_loss=True),
    )
}
"""All metrics by name, in the order in which they are shown."""

Standing = Literal["better", "worse", "unclear"]

_MIN_RESAMPLES = 100
_CELLS = 30_000_000  # rows x resamples (x classes); about three seconds on one core
_BLOCK = 1 << 20  # cells of one weight matrix: 8 MB of float64 stay near the cache

Array = NDArray[np.float64]


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


def metrics_of(kind: str) -> tuple[Metric, ...]:
    """The metrics of one kind of target, in order."""
    return tuple(metric for metric in METRICS.values() if kind in metric.kinds)


def leading_metrics(kind: str) -> tuple[Metric, ...]:
    """Those by which models are told apart in a headline, the first that all have."""
    return tuple(metric for metric in metrics_of(kind) if metric.leads)


def loss_metric(kind: str) -> Metric:
    """The mean loss of the rows: the metric of any few of them."""
    return next(metric for metric in metrics_of(kind) if metric.is_loss)


def baselines_of(values: Mapping[str, float], target: str, metric: str) -> dict[str, float]:
    """What each baseline reaches on a target, where it is a number; the simplest first.

    Args:
        values: by metric key, `baseline/<name>/<target>/<metric>` among them.
        target: as it stands in metric keys.
    """
    keys = {name: f"baseline/{name}/{target}/{metric}" for name in ANSWERERS}
    return {name: values[key] for name, key in keys.items() if math.isfinite(values.get(key, math.nan))}


def best_baseline(values: Mapping[str, float], target: str, metric: Metric) -> tuple[str, float] | None:
    """Name and value of the best baseline, of equally good ones the simplest; arguments as for `baselines_of`."""
    found = baselines_of(values, target, metric.name).items()
    return min(found, key=lambda one: metric.sign * one[1], default=None)


def leading_baseline(values: Mapping[str, float], target: str, kind: str) -> tuple[Metric, str] | None:
    """Metric and name of a baseline that is better than the model: the best one by the metric that leads; or None.

    Args:
        values: by metric key, `test/<target>/<metric>` and those of `baselines_of`.
        target: as it stands in metric keys.
    """
    for metric in leading_metrics(kind):
        value, best = values.get(f"test/{target}/{metric.name}", math.nan), best_baseline(values, target, metric)
        if math.isfinite(value) and best:
            return (metric, best[0]) if metric.sign * best[1] < metric.sign * value else None
    return None


def tell_apart(difference: Sequence[float], *, lower_is_better: bool) -> Standing:
    """Which of two models is better: clear only where the interval of their difference leaves out zero.

    Args:
        difference: value, lower and upper end of first − second.

    Returns:
        How the first one stands.
    """
    _, low, high = difference if lower_is_better else (-difference[0], -difference[2], -difference[1])
    return "better" if high < 0 else "worse" if low > 0 else "unclear"


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
    mcc = mcc_binary(tp, fp, false_negative, below - false_negative)
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
        The metrics of the target's kind, with seeded intervals. What the labelled rows leave undefined is left
        out: r2 and spearman without variation, all but accuracy, brier and log_loss on a side with one class; nothing
        at all without labels. Resamples in which a metric is undefined do not count for its interval.

    Raises:
        ShapeError: if `y` and `answer` do not fit each other or the target.
        DataError: if a labelled row has an answer that is not finite.
    """
    labels, answers = _labelled(y, answer, name=target.name, width=target.shape)
    if len(labels) == 0:
        return {}
    statistics = prepare_statistics(target.kind, labels, answers, threshold)
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
    labels, first = _labelled(y, challenger, name=target.name, width=target.shape)
    _, second = _labelled(y, champion, name=target.name, width=target.shape)
    if len(labels) == 0:
        return {}
    mine = prepare_statistics(target.kind, labels, first, thresholds[0])
    theirs = prepare_statistics(target.kind, labels, second, thresholds[1])

    def statistics(w: Array) -> dict[str, Array]:
        a, b = mine(w), theirs(w)
        columns = {name: (a[name], b[name], a[name] - b[name]) for name in a}
        return {f"{name} {k}": values for name, three in columns.items() for k, values in enumerate(three)}

    found = _intervals(statistics, len(labels), resamples, seed, 2 * target.width)
    names = [metric.name for metric in metrics_of(target.kind)]
    return {name: Pair(*(found[f"{name} {k}"] for k in range(3))) for name in names if f"{name} 2" in found}


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
