"""What networks answer before they are exported: as one by one, target by target."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.bundle import torch_answers
from pipeline.bundle.torch_answers import answer_graphs
from pipeline.network.config import NetworkConfig
from pipeline.network.ensemble import Ensemble
from pipeline.network.network import build_network
from tests.support.networks import SCHEMA, STATISTICS, answer, graph


@pytest.mark.parametrize("members", [1, 2])
def test_pieces_answer_as_the_whole(monkeypatch, members):
    monkeypatch.setattr(torch_answers, "_BATCH", 2)
    graphs = [graph(2 + k, 1 + k, seed=k) for k in range(5)]
    store = SimpleNamespace(schema=SCHEMA, graph=graphs.__getitem__)
    networks = [build_network(NetworkConfig(hidden_dim=8, num_layers=2), SCHEMA, STATISTICS) for _ in range(members)]
    found = answer_graphs(networks, store, np.array([4, 0, 3]))
    whole = answer(Ensemble(networks, SCHEMA), [graphs[k] for k in (4, 0, 3)])
    whole = np.asarray(whole[0] if isinstance(whole, tuple) else whole)
    np.testing.assert_allclose(found["active"], whole[:, 1], rtol=1e-5)
    np.testing.assert_allclose(found["colour"], whole[:, 2:5], rtol=1e-5)
    assert answer_graphs(networks, store, np.array([], dtype=int))["colour"].shape == (0, 3)
