"""Losses of targets of mixed kinds with missing labels, and weights for rare classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.network.network import Head
from pipeline.schema import Schema


class TargetLoss(nn.Module):
    """Loss of each label: squared error in training standard deviations, or cross entropy.

    A missing label (NaN) has no loss and no gradient.
    """

    regression_targets: Tensor
    regression_columns: Tensor
    binary_targets: Tensor
    binary_columns: Tensor
    order: Tensor

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        numbered = [
            (t, target, columns) for t, (target, columns) in enumerate(zip(schema.targets, schema.slices, strict=True))
        ]
        self.multiclass = [(t, columns) for t, target, columns in numbered if target.kind == "multiclass"]
        # One call for all targets of a kind: a data set may have hundreds of binary targets.
        places: list[int] = []
        for kind in ("regression", "binary"):
            of_kind = [(t, columns.start) for t, target, columns in numbered if target.kind == kind]
            self.register_buffer(f"{kind}_targets", torch.tensor([t for t, _ in of_kind], dtype=torch.int64), False)
            self.register_buffer(f"{kind}_columns", torch.tensor([c for _, c in of_kind], dtype=torch.int64), False)
            places += [t for t, _ in of_kind]
        places += [t for t, _ in self.multiclass]
        self.register_buffer("order", torch.argsort(torch.tensor(places)), False)

    def forward(self, head: Head, inner: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Compare.

        Args:
            inner: (G, O), see `Head.inner`, of the network that `head` belongs to.
            y: (G, T) on the trained scale, class index for classes, NaN is missing.

        Returns:
            sums (T,) of the losses, counts (T,) of the labels.
        """
        labelled = ~torch.isnan(y)
        label = torch.where(labelled, y, 0.0)
        inner = inner.float()
        parts = []
        if len(self.regression_targets):
            rows, columns = self._all_or(self.regression_targets), self._all_or(self.regression_columns)
            error = inner[:, columns] - (label[:, rows] - head.y_mean[columns]) / head.y_std[columns]
            parts.append(error * error)
        if len(self.binary_targets):
            rows, columns = self._all_or(self.binary_targets), self._all_or(self.binary_columns)
            logit, weight = inner[:, columns], head.class_weight[columns]
            parts.append(F.binary_cross_entropy_with_logits(logit, label[:, rows], pos_weight=weight, reduction="none"))
        for t, span in self.multiclass:
            weight = head.class_weight[span]
            parts.append(F.cross_entropy(inner[:, span], label[:, t].long(), weight, reduction="none")[:, None])
        loss = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)[:, self.order]  # (G, T)
        return torch.where(labelled, loss, 0.0).sum(dim=0), labelled.sum(dim=0)

    def _all_or(self, index: Tensor) -> Tensor | slice:
        """A view where all targets are of one kind: half the time of copies."""
        return slice(None) if len(index) == len(self.order) else index


def balance_classes(y: Tensor, schema: Schema) -> Tensor:
    """Weights that make the classes of each target count alike.

    Args:
        y: (G, T) training labels.

    Returns:
        (O,): negatives per positive where binary; mean class size over class size where multi-class; else 1.
        A class without labels keeps 1.
    """
    weight = torch.ones(schema.output_dim)
    for t, (target, columns) in enumerate(zip(schema.targets, schema.slices, strict=True)):
        if target.kind == "regression":
            continue
        label = y[:, t][~torch.isnan(y[:, t])].long()
        counts = torch.bincount(label, minlength=len(target.classes)).float()
        if target.kind == "binary":
            weight[columns] = counts[0] / counts[1] if counts.all() else 1.0
        else:
            weight[columns] = torch.where(counts > 0, counts.sum() / (counts.count_nonzero() * counts), 1.0)
    return weight
