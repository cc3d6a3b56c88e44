"""A forest beside the network: trees on the graph features, fitted by scikit-learn, answered by torch and ONNX.

Where new molecules are unlike all that were trained on, trees on descriptors and counted substructures err otherwise
than messages between atoms, and both together are better than either (docs/data.md, `forest=true`).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.network.trees import Trees
from pipeline.schema import Schema, Target

# On six folds by scaffold inside bbbp's training side, ROC-AUC 0.874 (network), 0.887 (trees), 0.890 (half), 0.892 (two
# thirds trees); on four random ones inside solubility's, RMSE 0.598, 0.648, 0.582, 0.577 with a third.
_SHARE_OF_NUMBERS, _SHARE_OF_CLASSES = 1 / 3, 2 / 3


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
            (columns, int(found[0]), int(found[-1]) + 1, _share(schema.targets[t]))
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


def _share(target: Target) -> float:
    """The weight of the trees in the mix."""
    return _SHARE_OF_CLASSES if target.task.has_classes else _SHARE_OF_NUMBERS


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
