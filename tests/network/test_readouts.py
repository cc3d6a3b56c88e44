"""Readouts answer as PyG's own."""

from __future__ import annotations

import pytest
import torch

from pipeline.network.readouts import READOUTS, AttentionReadout

H = 8


@pytest.mark.parametrize("name", ["mean", "sum", "max"])
def test_a_readout_answers_as_pyg(name):
    from torch_geometric.nn import global_add_pool, global_max_pool, global_mean_pool

    theirs = {"mean": global_mean_pool, "sum": global_add_pool, "max": global_max_pool}[name]
    h, batch = torch.randn(7, H) - 3, torch.tensor([0, 0, 0, 2, 2, 3, 3])  # graphs 1 and 4 are empty, maxima negative
    torch.testing.assert_close(READOUTS[name](H)(h, batch, 5), theirs(h, batch, 5))


def test_attention_answers_as_pyg():
    from torch_geometric.nn.aggr import AttentionalAggregation

    mine = AttentionReadout(H)
    h, batch = torch.randn(7, H), torch.tensor([0, 0, 0, 2, 2, 3, 3])
    torch.testing.assert_close(mine(h, batch, 5), AttentionalAggregation(mine.gate)(h, batch, dim_size=5))
