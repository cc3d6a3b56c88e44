"""How each kind of target is learnt and answered: its loss, its probabilities, weights for its rare classes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.network.network import Head
from pipeline.schema import TASKS, Schema, TargetKind

Columns = Tensor | slice
Probabilities = Callable[[Tensor], Tensor]


def _squared_error(inner: Tensor, label: Tensor, head: Head, columns: Columns) -> Tensor:
    error = inner - (label - head.y_mean[columns]) / head.y_std[columns]
    return error * error


def _binary_cross_entropy(inner: Tensor, label: Tensor, head: Head, columns: Columns) -> Tensor:
    return F.binary_cross_entropy_with_logits(inner, label, pos_weight=head.class_weight[columns], reduction="none")


def _cross_entropy(inner: Tensor, label: Tensor, head: Head, columns: Columns) -> Tensor:
    return F.cross_entropy(inner, label[:, 0].long(), head.class_weight[columns], reduction="none")[:, None]


def _negatives_per_positive(counts: Tensor) -> Tensor:
    return counts[0] / counts[1] if counts.all() else torch.ones(())


def _mean_size_over_size(counts: Tensor) -> Tensor:
    return torch.where(counts > 0, counts.sum() / (counts.count_nonzero() * counts), 1.0)


class Learning(NamedTuple):
    """How targets of one kind are learnt and answered; what the kind means is a `pipeline.schema.Task`.

    Attributes:
        loss: of `Head.inner` (G, C), labels (G, T), the head and the columns of these outputs in it: (G, T). It is
            given all targets of the kind at once, or each alone where a target has an output a class.
        metric, in_units: what the learning curve shows; from the mean loss and the training standard deviation.
        probabilities: of the network's output; None where that is the answer, on the trained scale.
        balance: of the labels in each class (K,): weights of the target's outputs that make its classes count alike.
    """

    loss: Callable[[Tensor, Tensor, Head, Columns], Tensor]
    metric: str = "log_loss"
    in_units: Callable[[float, float], float] = lambda loss, _: loss
    probabilities: Probabilities | None = None
    balance: Callable[[Tensor], Tensor] | None = None


LEARNING: dict[TargetKind, Learning] = {
    "regression": Learning(_squared_error, metric="rmse", in_units=lambda loss, std: math.sqrt(loss) * std),
    "binary": Learning(_binary_cross_entropy, probabilities=torch.sigmoid, balance=_negatives_per_positive),
    "multiclass": Learning(
        _cross_entropy, probabilities=functools.partial(torch.softmax, dim=1), balance=_mean_size_over_size
    ),
}


class TargetLoss(nn.Module):
    """Loss of each label: squared error in training standard deviations, or cross entropy.

    A missing label (NaN) has no loss and no gradient.
    """

    order: Tensor

    def __init__(self, schema: Schema) -> None:
        super().__init__()
        numbered = [
            (t, target, columns) for t, (target, columns) in enumerate(zip(schema.targets, schema.slices, strict=True))
        ]
        # One call for all targets of a kind: a data set may have hundreds of binary targets.
        self.together: list[TargetKind] = []
        self.alone = [(t, target.kind, columns) for t, target, columns in numbered if target.task.per_class]
        places: list[int] = []
        for kind in (kind for kind, task in TASKS.items() if not task.per_class):
            of_kind = [(t, columns.start) for t, target, columns in numbered if target.kind == kind]
            self.register_buffer(f"{kind}_targets", torch.tensor([t for t, _ in of_kind], dtype=torch.int64), False)
            self.register_buffer(f"{kind}_columns", torch.tensor([c for _, c in of_kind], dtype=torch.int64), False)
            self.together += [kind] if of_kind else []
            places += [t for t, _ in of_kind]
        places += [t for t, _, _ in self.alone]
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
        for kind in self.together:
            rows, columns = (self._all_or(getattr(self, f"{kind}_{what}")) for what in ("targets", "columns"))
            parts.append(LEARNING[kind].loss(inner[:, columns], label[:, rows], head, columns))
        for t, kind, columns in self.alone:
            parts.append(LEARNING[kind].loss(inner[:, columns], label[:, t : t + 1], head, columns))
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
        balance = LEARNING[target.kind].balance
        if balance is not None:
            label = y[:, t][~torch.isnan(y[:, t])].long()
            weight[columns] = balance(torch.bincount(label, minlength=len(target.classes)).float())
    return weight
