"""Rows that trees can learn from, and scikit-learn's own trees for them."""

from __future__ import annotations

import numpy as np
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from pipeline.schema import Target

NUMBER = Target("mass", "regression")
BINARY = Target("ring", "binary", classes=("no", "yes"))
CLASSES = Target("size", "multiclass", classes=("small", "medium", "large", "never"))


def table(rows=300, columns=12):
    """Some columns are counts, where thresholds meet values; labels of three targets."""
    rng = np.random.default_rng(0)
    u = rng.normal(size=(rows, columns)).astype(np.float32)
    u[:, ::2] = rng.poisson(1.0, u[:, ::2].shape)
    y = np.stack([u[:, 0] + u[:, 1], u[:, 2] > 1, np.minimum(u[:, 4], 2)], axis=1).astype(np.float32)
    return u, y


def scikit(target, u, y, seed):
    kind, share = (ExtraTreesRegressor, 1 / 3) if target.kind == "regression" else (ExtraTreesClassifier, "sqrt")
    return kind(20, max_features=share, max_depth=20, max_leaf_nodes=1024, random_state=seed).fit(u, y)
