"""The networks of a training as one: from a batch of graphs to answers in original units and probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.answer import PREDICTION, STD
from pipeline.network.losses import LEARNING, Probabilities
from pipeline.network.network import INPUTS, GraphNetwork
from pipeline.schema import TASKS, Schema


class Ensemble(nn.Module):
    """One network or several as one: answers in original units and probabilities.

    Regression is the mean on the trained scale, taken back through the transform; classes the mean probability.

    Attributes:
        outputs: the names of what `forward` returns, in its order.
    """

    has_log: Tensor
    log_a: Tensor
    log_b: Tensor

    def __init__(self, members: Sequence[GraphNetwork], schema: Schema) -> None:
        super().__init__()
        assert members
        self.members = nn.ModuleList(members)
        self.outputs = (PREDICTION, STD) if len(members) > 1 else (PREDICTION,)
        per_column = [target for target in schema.targets for _ in range(target.width)]
        affine = [target.affine or (1.0, 0.0) for target in per_column]
        self.transforms = any(target.transform for target in schema.targets)
        for name, values in {
            "has_log": [target.transform is not None for target in per_column],
            "log_a": [a for a, _ in affine],
            "log_b": [b for _, b in affine],
        }.items():
            self.register_buffer(name, torch.tensor(values), persistent=False)
        self.alone: list[tuple[slice, Probabilities]] = []  # columns, and what is made of them
        for target, columns in zip(schema.targets, schema.slices, strict=True):
            probabilities = LEARNING[target.kind].probabilities
            if target.task.per_class and probabilities is not None:
                self.alone.append((columns, probabilities))
        self.together: list[tuple[str, Probabilities]] = []  # a mask of columns, and what is made of all at once
        for kind, learning in LEARNING.items():
            mask = [target.kind == kind for target in per_column]
            if any(mask) and not TASKS[kind].per_class and learning.probabilities is not None:
                self.register_buffer(f"is_{kind}", torch.tensor(mask), persistent=False)
                self.together.append((f"is_{kind}", learning.probabilities))

    def forward(
        self,
        x: Tensor,
        x_float: Tensor,
        edge_index: Tensor,
        edge_attr: Tensor,
        edge_float: Tensor,
        u: Tensor,
        rev_edge_index: Tensor,
        batch: Tensor,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Predict; the arguments are those of `GraphBatch`.

        Returns:
            prediction (G, O); with several members also std (G, O), the sample standard deviation (divisor M − 1)
            of the members' answers in original units.
        """
        inputs = (x, x_float, edge_index, edge_attr, edge_float, u, rev_edge_index, batch)
        fields = dict(zip(INPUTS, inputs, strict=True))
        if len(self.members) == 1:
            return self._original_units(self._answer(self.members[0], fields))
        members = torch.stack([self._answer(member, fields) for member in self.members])  # (M, G, O)
        mean = self._original_units(members.mean(dim=0))
        answers = self._original_units(members)
        around = answers - answers.mean(dim=0)
        return mean, ((around * around).sum(dim=0) / (len(self.members) - 1)).sqrt()

    def _answer(self, member: nn.Module, fields: Mapping[str, Tensor]) -> Tensor:
        answer = self._probabilities(member(fields))
        forest = getattr(member, "forest", None)
        return forest(fields["u"], answer) if forest is not None else answer  # type: ignore[no-any-return]

    def _probabilities(self, prediction: Tensor) -> Tensor:
        for name, probabilities in self.together:
            prediction = torch.where(getattr(self, name), probabilities(prediction), prediction)
        if not self.alone:
            return prediction
        parts, end = [], 0
        for columns, probabilities in self.alone:
            parts += [prediction[:, end : columns.start], probabilities(prediction[:, columns])]
            end = columns.stop
        return torch.cat([*parts, prediction[:, end:]], dim=1)

    def _original_units(self, trained: Tensor) -> Tensor:
        if not self.transforms:
            return trained
        exponent = ((trained - self.log_b) / self.log_a).clamp(-37.0, 38.0)  # what float32 can hold
        return torch.where(self.has_log, torch.pow(10.0, exponent), trained)
