"""A forest beside the network: trees on the graph features, fitted by scikit-learn, answered by torch and ONNX.

Where new molecules are unlike all that were trained on, trees on descriptors and counted substructures err otherwise
than messages between atoms, and both together are better than either (README, `forest=true`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.graph import Floats
from pipeline.machine import usable_cores
from pipeline.schema import Schema

MAX_ROWS = 20_000  # of a target: a few minutes on two cores
_TREES = 200
_MAX_DEPTH = 20  # of two thousand molecules trees grow 40 deep and rank no better
# On six folds by scaffold inside bbbp's training side, ROC-AUC 0.874 (network), 0.887 (trees), 0.890 (half), 0.892 (two
# thirds trees); on four random ones inside solubility's, RMSE 0.598, 0.648, 0.582, 0.577 with a third.
_SHARE = {"regression": 1 / 3, "binary": 2 / 3, "multiclass": 2 / 3}
_MAX_LEAVES = 1024  # 40 bytes each: 8 MB a target at most

Trees = Mapping[str, NDArray[np.generic]]
"""The trees of all targets behind each other, M nodes in all; a leaf is its own child.

    depth (≤ T,) int32      of the deepest tree of a target
    root (B,) int32         first node of each tree
    target (B,) int32       whose tree it is, ascending
    feature (M,) int32      column of `u` that a node looks at
    threshold (M,) float32  a value above it goes to the second child
    child (2M,) int32       both children of node 0, of node 1, …
    value (M, K) float32    answer of a leaf: trained scale, probability of class 1, or of each class (K the largest)
"""


def fit_forest(schema: Schema, u: Floats, y: Floats, seed: int) -> Trees:
    """Fit 200 extremely randomised trees a target, at most 20 deep and of 1024 leaves.

    Args:
        u: (G, U) graph features of the training side; NaN counts as 0.
        y: (G, T) labels on the trained scale; NaN is missing. A target without any has no trees.

    Source: Geurts, Ernst & Wehenkel 2006, Mach. Learn. 63, 3.
    """
    from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

    from pipeline.baselines import choose_rows, spread_classes

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
        if target.kind == "regression":
            model = ExtraTreesRegressor(_TREES, max_features=1 / 3, **options)
        else:
            model = ExtraTreesClassifier(_TREES, max_features="sqrt", **options)
        model.fit(np.nan_to_num(u[rows]), y[rows, t])
        parts["depth"].append(np.array([max(one.tree_.max_depth for one in model.estimators_)], np.int32))
        for tree in (one.tree_ for one in model.estimators_):
            own = np.arange(tree.node_count)
            leaf = tree.children_left < 0
            children = np.stack([tree.children_left, tree.children_right], axis=1)
            value = np.zeros((tree.node_count, width), np.float32)
            answer = tree.value[:, 0]  # (m, 1), or (m, classes that training has)
            if target.kind != "regression":
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


def write_forest(trees: Trees, path: Path) -> None:
    """Write the trees, whole or not at all; equal trees are equal bytes."""
    buffer = io.BytesIO()
    np.savez(buffer, **trees)  # type: ignore[arg-type]
    part = Path(f"{path}.part")
    part.write_bytes(buffer.getbuffer())
    os.replace(part, path)


def read_forest(path: Path) -> Trees:
    """Read what `write_forest` wrote."""
    with np.load(path, allow_pickle=False) as found:
        return dict(found)


class Forest(nn.Module):
    """Answers of the trees: every graph goes down all of them at once, a level a step."""

    root: Tensor
    feature: Tensor
    threshold: Tensor
    child: Tensor
    value: Tensor

    def __init__(self, trees: Trees, schema: Schema) -> None:
        super().__init__()
        for name in ("root", "feature", "threshold", "child", "value"):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(trees[name])), persistent=False)
        self.depth = int(trees["depth"].max())
        self.spans = [
            (columns, int(found[0]), int(found[-1]) + 1, _SHARE[schema.targets[t].kind])
            for t, columns in enumerate(schema.slices)
            if len(found := np.flatnonzero(trees["target"] == t))
        ]

    def forward(self, u: Tensor, others: Tensor) -> Tensor:
        """Mix in the trees' answers: a third of a regression, two thirds of a class.

        Args:
            u: (G, U) graph features, raw; NaN counts as 0.
            others: (G, O) answers on the trained scale and probabilities; kept where a target has no trees.
        """
        u = torch.where(torch.isnan(u), 0.0, u)
        node = self.root.expand(u.shape[0], -1)  # (G, B)
        for _ in range(self.depth):
            at = node.reshape(-1)
            seen = u.gather(1, self.feature.index_select(0, at).reshape(node.shape).long())
            above = seen > self.threshold.index_select(0, at).reshape(node.shape)
            node = self.child.index_select(0, 2 * at + above.reshape(-1)).reshape(node.shape)
        parts, end = [], 0
        for columns, start, stop, share in self.spans:
            leaves = node[:, start:stop]
            answer = _mean_trees(self.value.index_select(0, leaves.reshape(-1)).reshape(*leaves.shape, -1))
            width = columns.stop - columns.start
            parts += [others[:, end : columns.start], (1 - share) * others[:, columns] + share * answer[:, :width]]
            end = columns.stop
        return torch.cat([*parts, others[:, end:]], dim=1)


def _mean_trees(values: Tensor) -> Tensor:
    """Mean over the trees, pair by pair: ONNX Runtime's own sums round otherwise for one graph than for two.

    Args:
        values: (G, B, K).
    """
    num_trees = values.shape[1]
    while values.shape[1] > 1:
        half = values.shape[1] // 2
        rest = values[:, 2 * half :]
        values = values[:, :half] + values[:, half : 2 * half]
        values = torch.cat([values, rest], dim=1) if rest.shape[1] else values
    return values[:, 0] / num_trees


def _round_down(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 not above: scikit-learn compares float32 values with float64 thresholds."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
