"""Several networks as one: answers in original units and probabilities, by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from pipeline.network.ensemble import Ensemble
from pipeline.schema import Target
from tests.support.networks import GRAPHS, SCHEMA, answer, network


class Constant(torch.nn.Module):
    """A member that answers the same whatever comes."""

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values = torch.tensor([values])

    def forward(self, batch):
        return self.values.expand(len(batch["u"]), -1)


def test_one_member_answers_in_original_units_and_probabilities():
    logits = [12.0, math.log(3), 0.0, math.log(2), 0.0, 6.0]
    out = answer(Ensemble([Constant(logits)], SCHEMA), GRAPHS[:2])
    # pIC50 6 is 1 µM, 1000 nM
    torch.testing.assert_close(out, torch.tensor([[12.0, 0.75, 0.25, 0.5, 0.25, 1000.0]] * 2))


def test_members_are_averaged_where_they_belong():
    first = [10.0, 0.0, 1e3, 0.0, 0.0, 6.0]
    second = [14.0, -1e3, 1e3, 0.0, 0.0, 8.0]
    mean, std = answer(Ensemble([Constant(first), Constant(second)], SCHEMA), GRAPHS[:1])
    # probabilities are averaged, not logits; potency on the trained scale (pIC50 7), its std in nM (1000 and 10)
    torch.testing.assert_close(mean, torch.tensor([[12.0, 0.25, 1.0, 0.0, 0.0, 100.0]]))
    root2 = math.sqrt(2)
    want = torch.tensor([[4 / root2, 0.5 / root2, 0.0, 0.0, 0.0, 990 / root2]])
    torch.testing.assert_close(std, want)


def test_answers_stay_numbers_far_outside_the_training_range():
    out = answer(Ensemble([Constant([1e3, 1e3, -1e3, 0.0, 1e3, -1e3])], SCHEMA), GRAPHS[:1])
    assert torch.isfinite(out).all()


def test_log10_is_undone():
    schema = dataclasses.replace(SCHEMA, targets=(Target("k", "regression", transform="log10"),))
    assert answer(Ensemble([Constant([3.0])], schema), GRAPHS[:1]).item() == pytest.approx(1000)


def test_an_ensemble_keeps_its_state_to_the_members():
    keys = Ensemble([network(), network()], SCHEMA).state_dict()
    assert {key.split(".")[0] for key in keys} == {"members"}
