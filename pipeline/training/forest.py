"""Fit the trees that answer beside a network, by scikit-learn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.graph import Floats
from pipeline.machine import usable_cores
from pipeline.network.trees import Trees, choose_rows, spread_classes
from pipeline.schema import Schema

MAX_ROWS = 20_000  # of a target: a few minutes on two cores
_TREES = 200
_MAX_DEPTH = 20  # of two thousand molecules trees grow 40 deep and rank no better
_MAX_LEAVES = 1024  # 40 bytes each: 8 MB a target at most


def fit_forest(schema: Schema, u: Floats, y: Floats, seed: int) -> Trees:
    """Fit 200 extremely randomised trees a target, at most 20 deep and of 1024 leaves.

    Args:
        u: (G, U) graph features of the training side; NaN counts as 0.
        y: (G, T) labels on the trained scale; NaN is missing. A target without any has no trees.

    Source: Geurts, Ernst & Wehenkel 2006, Mach. Learn. 63, 3.
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    options = {"max_depth": _MAX_DEPTH, "max_leaf_nodes": _MAX_LEAVES, "n_jobs": usable_cores(), "random_state": seed}
    parts: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("depth", "root", "target", "feature", "threshold", "child", "value")
    }
    width = max(target.width for target in schema.targets)
    first = 0
    for t, target in enumerate(schema.targets):
        rows = choose_rows(np.flatnonzero(~np.isnan(y[:, t])), MAX_ROWS, seed)
        if not len(rows):
            continue
        if target.task.has_classes:
            model = ExtraTreesClassifier(_TREES, max_features="sqrt", **options)
        else:
            model = ExtraTreesRegressor(_TREES, max_features=1 / 3, **options)
        model.fit(np.nan_to_num(u[rows]), y[rows, t])
        parts["depth"].append(np.array([max(one.tree_.max_depth for one in model.estimators_)], np.int32))
        for tree in (one.tree_ for one in model.estimators_):
            own = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            children = np.stack([tree.children_left, tree.children_right], axis=1)
            value = np.zeros((tree.node_count, width), np.float32)
            answer = tree.value[:, 0]  # (m, 1), or (m, classes that training has)
            if target.task.has_classes:
                answer = spread_classes(answer, model.classes_, target).reshape(len(answer), -1)
            value[:, : target.width] = answer
            parts["root"].append(np.array([first], np.int32))
            parts["target"].append(np.array([t], np.int32))
            parts["feature"].append(np.where(leaf, 0, tree.feature).astype(np.int32))
            parts["threshold"].append(_round_down(tree.threshold))
            parts["child"].append((first + np.where(leaf[:, None], own[:, None], children)).astype(np.int32).ravel())
            parts["value"].append(value)
            first += tree.node_count
    return {name: np.concatenate(pieces) for name, pieces in parts.items()}


def _round_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above: scikit-learn compares float32 values with float64 thresholds."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
