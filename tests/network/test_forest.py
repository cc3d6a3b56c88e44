"""The forest beside a network: scikit-learn's own answers, in torch, in ONNX Runtime and through train."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor

from pipeline.bundle.export import export_onnx
from pipeline.bundle.parity import check_parity
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.dataset.split import TEST, TRAIN
from pipeline.errors import ConfigError, StoreError
from pipeline.graph import batch_of, pack
from pipeline.network.ensemble import Ensemble
from pipeline.network.forest import Forest
from pipeline.network.network import INPUTS
from pipeline.network.trees import read_forest, write_forest
from pipeline.samples.molecule.descriptors import FINGERPRINT_SIZE
from pipeline.schema import Target
from pipeline.store.loader import gather
from pipeline.training import forest as fitting
from pipeline.training.checkpoints import check_checkpoints, forest_path
from pipeline.training.config import TrainConfig
from pipeline.training.forest import fit_forest
from pipeline.training.train import load_networks, train
from serving.session import Session
from tests.conftest import ROOT
from tests.support.schemas import toy_schema

NUMBER = Target("mass", "regression")
BINARY = Target("ring", "binary", classes=("no", "yes"))
CLASSES = Target("size", "multiclass", classes=("small", "medium", "large", "never"))
NAN = float("nan")


@pytest.fixture(autouse=True)
def fewer_trees(monkeypatch):
    monkeypatch.setattr(fitting, "_TREES", 20)


def table(rows=300, columns=12):
    """Some columns are counts, where thresholds meet values; labels of three targets."""
    rng = np.random.default_rng(0)
    u = rng.normal(size=(rows, columns)).astype(np.float32)
    u[:, ::2] = rng.poisson(1.0, u[:, ::2].shape)
    y = np.stack([u[:, 0] + u[:, 1], u[:, 2] > 1, np.minimum(u[:, 4], 2)], axis=1).astype(np.float32)
    return u, y


def scikit(target, u, y, seed):
    kind, share = (ExtraTreesRegressor, 1 / 3) if target.kind == "regression" else (ExtraTreesClassifier, "sqrt")
    return kind(20, max_features=share, max_depth=20, max_leaf_nodes=1024, random_state=seed).fit(u, y)


def test_answers_are_scikit_learns():
    u, y = table()
    schema = toy_schema(NUMBER, BINARY, CLASSES)
    found = Forest(fit_forest(schema, u, y, 3), schema)(torch.from_numpy(u), torch.zeros(len(u), 6)).numpy()
    found *= [3, *[1.5] * 5]  # a third of a number is the trees', two thirds of a class
    models = [scikit(target, u, y[:, t], 3) for t, target in enumerate(schema.targets)]
    np.testing.assert_allclose(found[:, 0], models[0].predict(u), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[:, 1], models[1].predict_proba(u)[:, 1], atol=1e-6)
    np.testing.assert_allclose(found[:, 2:5], models[2].predict_proba(u), atol=1e-6)
    assert not found[:, 5].any()  # a class that training never had


def test_rows_without_label_do_not_count_and_a_target_without_labels_has_no_trees():
    u, y = table()
    y[::3, 0] = NAN
    y[:, 1] = NAN
    schema = toy_schema(NUMBER, BINARY, CLASSES)
    others = torch.rand(len(u), 6)
    found = Forest(fit_forest(schema, u, y, 0), schema)(torch.from_numpy(u), others)
    there = ~np.isnan(y[:, 0])
    expected = scikit(NUMBER, u[there], y[there, 0], 0).predict(u)
    np.testing.assert_allclose(found[:, 0], expected / 3 + others[:, 0].numpy() * 2 / 3, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[:, 1], others[:, 1])


def test_a_missing_number_is_zero():
    u, y = table()
    schema = toy_schema(NUMBER)
    trees = fit_forest(schema, u, y[:, :1], 0)
    gone, zero = u.copy(), u.copy()
    gone[:, 1], zero[:, 1] = NAN, 0
    answer = [Forest(trees, schema)(torch.from_numpy(values), torch.zeros(len(u), 1)) for values in (gone, zero)]
    assert torch.equal(*answer)
    assert torch.isfinite(answer[0]).all()


def test_thresholds_between_two_floats_go_down():
    one = np.float32(1)
    above = np.float64(one) + 1e-12  # float32 values at most this are at most 1
    assert fitting._round_down(np.array([above, 1.0, np.float64(one) - 1e-12])).tolist() == [
        1.0, 1.0, np.nextafter(one, np.float32(0)),
    ]  # fmt: skip


def test_equal_trees_are_equal_bytes_and_come_back(tmp_path):
    u, y = table()
    schema = toy_schema(NUMBER, BINARY, CLASSES)
    for name in ("a", "b"):
        write_forest(fit_forest(schema, u, y, 1), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    trees = fit_forest(schema, u, y, 1)
    assert {name: values.tolist() for name, values in read_forest(tmp_path / "a").items()} == {
        name: values.tolist() for name, values in trees.items()
    }


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
