"""Sums, means, maxima and softmax of rows that share an index."""

from __future__ import annotations

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.network.scatter import count_to, max_to, mean_to, softmax_to, sum_to

H = 8


def test_sums_means_and_maxima_by_hand():
    h = torch.tensor([[1.0, -1.0], [2.0, -3.0], [5.0, -7.0]])
    index = torch.tensor([1, 1, 3])
    assert sum_to(h, index, 4).tolist() == [[0, 0], [3, -4], [0, 0], [5, -7]]
    assert mean_to(h, index, 4).tolist() == [[0, 0], [1.5, -2], [0, 0], [5, -7]]
    assert max_to(h, index, 4).tolist() == [[0, 0], [2, -1], [0, 0], [5, -7]]
    assert count_to(h, index, 4).tolist() == [[0], [2], [0], [1]]


def test_softmax_by_hand_and_with_large_scores():
    score = torch.tensor([[0.0], [math.log(3.0)], [1e3], [-1e3]])
    weight = softmax_to(score, torch.tensor([0, 0, 2, 2]), 4)
    torch.testing.assert_close(weight, torch.tensor([[0.25], [0.75], [1.0], [0.0]]))


def test_nothing_to_sum():
    empty, index = torch.zeros((0, H)), torch.zeros(0, dtype=torch.int64)
    for function in (sum_to, mean_to, max_to):
        assert function(empty, index, 3).tolist() == [[0.0] * H] * 3
        assert function(empty, index, 0).shape == (0, H)
    assert softmax_to(empty, index, 3).shape == (0, H)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=12), st.integers(0, 2**31))
def test_sums_agree_with_numpy(groups, seed):
    h = np.random.default_rng(seed).normal(size=(len(groups), 3))
    total, top = np.zeros((5, 3)), np.zeros((5, 3))
    for g in set(groups):
        mine = h[[i for i, group in enumerate(groups) if group == g]]
        total[g], top[g] = mine.sum(axis=0), mine.max(axis=0)
    index = torch.tensor(groups, dtype=torch.int64)
    np.testing.assert_allclose(sum_to(torch.from_numpy(h), index, 5), total, atol=1e-12)
    np.testing.assert_allclose(max_to(torch.from_numpy(h), index, 5), top)
