"""Formulas of the metrics on weights, how often each row counts: a resample is written as the data itself is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.schema import TargetKind

DEFAULT_THRESHOLD = 0.5

Array = NDArray[np.float64]
Statistics = Callable[[Array], dict[str, Array]]  # weights (B, n) -> metric -> (B,)


def prepare_statistics(kind: TargetKind, y: Array, answer: Array, threshold: float | None = None) -> Statistics:
    """Prepare the metrics of one kind of target on n labelled rows; what depends on the rows alone is done here, once.

    Args:
        y, answer, threshold: as for `pipeline.evaluation.metrics.score_target`, without NaN.

    Returns:
        A function of whole-number weights (B, n) to the values of each metric, (B,), NaN where it is undefined.
    """
    return _FORMULAS[kind](y, answer, DEFAULT_THRESHOLD if threshold is None else threshold)


def mcc_binary(tp: ArrayLike, fp: ArrayLike, fn: ArrayLike, tn: ArrayLike) -> Array:
    """Matthews correlation; 0 where a row or column of the table is empty, as scikit-learn has it."""
    tp, fp, fn, tn = (np.asarray(count, dtype=np.float64) for count in (tp, fp, fn, tn))
    # square roots one by one: the product of four counts leaves the exact range of float64
    scale = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    return np.asarray((tp * tn - fp * fn) / np.where(scale > 0, scale, np.inf))


def _regression(y: Array, answer: Array, _: float) -> Statistics:
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


def _binary(y: Array, score: Array, threshold: float) -> Statistics:
    positive, called = y == 1, score >= threshold
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
            "mcc": np.where(two, mcc_binary(tp, fp, fn, tn), np.nan),
            "brier": squared / n,
        }

    return statistics


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


def _multiclass(y: Array, probability: Array, _: float) -> Statistics:
    n, k = probability.shape
    label, called = y.astype(np.int64), probability.argmax(axis=1)
    loss = -np.log(np.clip(probability[np.arange(n), label], np.finfo(np.float64).eps, 1.0))
    cell = np.zeros((n, k * k))
    cell[np.arange(n), label * k + called] = 1.0
    areas = [_areas(label == c, probability[:, c]) for c in range(k)]

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


_FORMULAS: dict[TargetKind, Callable[[Array, Array, float], Statistics]] = {
    "regression": _regression,
    "binary": _binary,
    "multiclass": _multiclass,
}
