"""The losses of targets of several kinds, by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from pipeline.network.config import NetworkConfig
from pipeline.network.losses import TargetLoss, balance_classes
from pipeline.network.network import build_network
from pipeline.schema import Schema
from tests.support.schemas import RINGS

NAN = float("nan")


def head_for(schema: Schema):
    nothing = {"mean": [], "std": []}
    statistics = {"x_float": nothing, "edge_float": nothing, "u": nothing, "y": {"mean": [2.0] * 3, "std": [4.0] * 3}}
    return build_network(NetworkConfig(hidden_dim=4, num_layers=1), schema, statistics).head


def test_losses_by_hand():
    inner = torch.tensor([[2.0, 0.0, 0.0, 0.0, 0.0], [0.5, 1e3, 1e3, 0.0, 0.0], [-0.5, 9.0, 9.0, 9.0, 9.0]])
    y = torch.tensor([[2.0, 1.0, 2.0], [NAN, 0.0, 0.0], [NAN, NAN, NAN]])
    sums, counts = TargetLoss(RINGS)(head_for(RINGS), inner, y)
    # (2 − (2 − 2) / 4)²; log 2 and 1000; log 3 and 0
    torch.testing.assert_close(sums, torch.tensor([4.0, math.log(2) + 1000, math.log(3)]))
    assert counts.tolist() == [1, 2, 2]


def test_missing_labels_have_no_gradient():
    prediction = torch.full((2, 5), 1e3, requires_grad=True)
    y = torch.tensor([[NAN, NAN, NAN], [2.0, NAN, NAN]])
    sums, _ = TargetLoss(RINGS)(head_for(RINGS), prediction, y)
    sums.sum().backward()
    assert torch.isfinite(prediction.grad).all()
    assert prediction.grad.count_nonzero() == 1


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_losses_keep_the_order_of_targets(order):
    torch.manual_seed(1)
    schema = dataclasses.replace(RINGS, targets=tuple(RINGS.targets[t] for t in order))
    y = torch.stack([torch.randn(6), torch.randint(0, 2, (6,)).float(), torch.randint(0, 3, (6,)).float()], dim=1)
    prediction = torch.randn(6, 5)
    columns = torch.cat([torch.arange(5)[RINGS.slices[t]] for t in order])
    want, _ = TargetLoss(RINGS)(head_for(RINGS), prediction, y)
    got, _ = TargetLoss(schema)(head_for(schema), prediction[:, columns], y[:, list(order)])
    torch.testing.assert_close(got, want[list(order)])


def test_weights_of_rare_classes_by_hand():
    y = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 2], [1, NAN, NAN]])
    # 3 negatives to 1 positive; 4 labels in 2 classes present: 2 / 3 and 2 / 1, the absent class keeps 1
    torch.testing.assert_close(balance_classes(y, RINGS), torch.tensor([1.0, 3.0, 2 / 3, 1.0, 2.0]))


def test_weights_need_both_classes():
    assert balance_classes(torch.tensor([[1.0, 0, 0], [1, 0, 0]]), RINGS)[1] == 1


def test_weighted_training_still_answers_probabilities():
    """Fit one logit to 10 % positives: with the weight or without, the probability is 0.1."""
    schema = dataclasses.replace(RINGS, targets=RINGS.targets[1:2])
    y = torch.tensor([[1.0]] + [[0.0]] * 9)
    loss = TargetLoss(schema)
    answers = []
    for weight in (torch.ones(1), balance_classes(y, schema)):
        head = head_for(schema)
        head.class_weight.copy_(weight)
        raw = torch.zeros(1, requires_grad=True)
        optimizer = torch.optim.LBFGS([raw], max_iter=50)

        def step(head=head, raw=raw, optimizer=optimizer):
            optimizer.zero_grad()
            sums, _ = loss(head, raw.expand(10, 1), y)
            sums.sum().backward()
            return sums.sum()

        optimizer.step(step)
        answers.append(torch.sigmoid(raw - head.class_weight.log()).item())
    assert answers == pytest.approx([0.1, 0.1], abs=1e-3)
