"""The forest beside a network: scikit-learn's own answers, in torch, in ONNX Runtime and through train."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.bundle.export import export_onnx
from pipeline.bundle.parity import check_parity
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.dataset.split import TEST, TRAIN
from pipeline.errors import ConfigError, StoreError
from pipeline.graph import batch_of, pack
from pipeline.network.ensemble import Ensemble
from pipeline.network.network import INPUTS
from pipeline.samples.molecule.descriptors import FINGERPRINT_SIZE
from pipeline.store.loader import gather
from pipeline.training import forest as fitting
from pipeline.training.checkpoints import check_checkpoints, forest_path
from pipeline.training.config import TrainConfig
from pipeline.training.train import load_networks, train
from serving.session import Session
from tests.conftest import ROOT
from tests.support.forests import NUMBER, scikit


@pytest.fixture(autouse=True)
def fewer_trees(monkeypatch):
    monkeypatch.setattr(fitting, "_TREES", 20)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    from pipeline.store.build import build_store

    folder = tmp_path_factory.mktemp("forest")
    lines = (ROOT / "data" / "solubility.csv").read_text(encoding="utf-8").splitlines()
    (folder / "some.csv").write_text("\n".join(lines[:100]))
    config = PrepareConfig(data=str(folder / "some.csv"), target="logS", split="random", forest=True)
    return build_store(config, find_source(config, ROOT, folder), folder / "store", "", lambda rows: rows)


SMALL = TrainConfig(hidden_dim=16, num_layers=2, max_epochs=2)


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    before, fitting._TREES = fitting._TREES, 20
    folder = tmp_path_factory.mktemp("trained")
    train(store, dataclasses.replace(SMALL, ensemble=2), folder)
    fitting._TREES = before
    return folder


def answer(network, store):
    batch = gather(store, store.indices(TEST))
    with torch.no_grad():
        return Ensemble([network], store.schema).eval()(*(batch[name] for name in INPUTS))


def test_the_network_does_not_see_what_the_forest_sees(store, trained):
    network = load_networks(trained, store.schema, store.statistics)[0]
    batch = gather(store, store.indices(TEST))
    before = network(batch)
    batch["u"][:, -FINGERPRINT_SIZE:] += 1
    assert torch.equal(network(batch), before)


def test_an_answer_is_a_mean_of_network_and_forest(store, trained):
    network = load_networks(trained, store.schema, store.statistics)[1]
    both = answer(network, store)
    trees, network.forest = network.forest, None
    chosen = store.indices(TRAIN)
    model = scikit(NUMBER, np.nan_to_num(store.arrays.u[chosen]), store.arrays.y[chosen, 0], SMALL.seed + 1)
    expected = model.predict(np.nan_to_num(store.arrays.u[store.indices(TEST)]))
    np.testing.assert_allclose(both[:, 0], expected / 3 + answer(network, store)[:, 0].numpy() * 2 / 3, rtol=1e-4)
    assert trees is not None


def test_onnx_answers_as_torch_does(store, trained, tmp_path):
    networks = load_networks(trained, store.schema, store.statistics)[:1]
    path = tmp_path / "model.onnx"
    export_onnx(networks, store.schema, path, {})
    graphs = [store.graph(int(i)) for i in store.indices(TEST)]
    check_parity(networks, path, store.schema, graphs, np.ones(1)).raise_if_failed()
    session, batch = Session(path), batch_of(pack(graphs))
    together = session.run(batch)["prediction"]
    alone = np.concatenate([session.run(batch_of(pack([graph])))["prediction"] for graph in graphs])
    np.testing.assert_array_equal(together, alone)
    largest = max((buffer for member in networks for buffer in member.forest.buffers()), key=torch.numel).numpy()
    assert path.read_bytes().count(largest.tobytes()) == 1  # though the network is there in two forms


def test_a_damaged_forest_is_named_and_made_again(store, trained, tmp_path):
    train(store, SMALL, tmp_path)
    digest, path = check_checkpoints(tmp_path), forest_path(tmp_path, 0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"forest\.npz: was changed"):
        check_checkpoints(tmp_path)
    train(store, SMALL, tmp_path, resume=True)
    assert check_checkpoints(tmp_path) == digest


def test_graphs_that_are_no_molecules_have_none(tmp_path):
    from pipeline.store.build import build_store

    config = PrepareConfig(data="graphs-sample", forest=True)
    with pytest.raises(ConfigError, match="forest=true is for molecules"):
        build_store(config, find_source(config, ROOT, tmp_path), tmp_path / "store", "", lambda rows: rows)
