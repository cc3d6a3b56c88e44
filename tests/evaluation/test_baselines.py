"""Baselines: what they see, that they learn, that they are the same twice, and what odd data make of them."""

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors

from pipeline.evaluation import baselines
from pipeline.evaluation.baselines import Inputs, fit_baselines
from pipeline.graph import pack
from pipeline.network.trees import choose_rows
from pipeline.samples.graph.describe import describe_graphs
from pipeline.samples.molecule.describe import describe_molecules
from pipeline.schema import Target
from tests.support.graphs import SHAPES, make_shape
from tests.support.schemas import toy_schema

NUMBER = Target("mass", "regression")
BINARY = Target("ring", "binary", classes=("no", "yes"))
CLASSES = Target("size", "multiclass", classes=("small", "medium", "large", "never"))
SMILES = [prefix + "C" * n + tail for n in range(1, 11) for prefix in ("", "O", "N") for tail in ("", "C1CC1")]


@pytest.fixture(autouse=True)
def fewer_trees(request, monkeypatch):
    """A tenth of the trees is enough to see that a forest learns."""
    if "slow" not in request.keywords:
        monkeypatch.setattr(baselines, "_TREES", 50)


def labels():
    mass = np.array([Descriptors.MolWt(Chem.MolFromSmiles(one)) for one in SMILES])
    size = np.digitize(mass, (60, 110))
    return np.stack([mass, [float("1" in one) for one in SMILES], size], axis=1).astype(np.float32)


def inputs_of(smiles, y):
    return Inputs(
        y, np.empty((len(y), 0), np.float32), lambda rows, pool: describe_molecules([smiles[row] for row in rows], pool)
    )


def graphs_of(y, u, made):
    return Inputs(y, u, lambda rows, pool: describe_graphs(pack([made[row] for row in rows]), SHAPES))


def test_all_kinds_learn():
    y = labels()
    y[3, 0] = y[5, 1] = np.nan
    schema = toy_schema(NUMBER, BINARY, CLASSES)
    train, test = inputs_of(SMILES[:48], y[:48]), inputs_of(SMILES[12:], y[12:])
    found = fit_baselines(schema, train, {"test": test, "none": inputs_of([], y[:0])})
    assert set(found.answers) == {"mean", "majority", "forest"}
    forest = {name: sides["test"] for name, sides in found.answers["forest"].items()}
    assert np.corrcoef(forest["mass"], y[12:, 0])[0, 1] > 0.95
    assert ((forest["ring"] > 0.5) == y[12:, 1]).all()
    assert (forest["size"].argmax(axis=1) == y[12:, 2]).mean() > 0.8
    assert forest["size"].shape == (48, 4)
    assert (forest["size"][:, 3] == 0).all()  # a class that training lacks
    np.testing.assert_allclose(found.answers["mean"]["mass"]["test"], np.nanmean(y[:48, 0]), rtol=1e-6)
    np.testing.assert_allclose(found.answers["majority"]["ring"]["test"], np.nanmean(y[:48, 1]), rtol=1e-6)
    np.testing.assert_allclose(found.answers["majority"]["size"]["test"].sum(axis=1), 1)
    assert found.answers["majority"]["size"]["none"].shape == found.answers["forest"]["size"]["none"].shape == (0, 4)
    assert found.report["training_rows"]["mass"] == {"labelled": 47, "used": 47}


def test_twice_the_same_on_any_number_of_cores(monkeypatch):
    y = labels()[:, :1]
    answers = []
    for cores in (1, 3):
        monkeypatch.setattr(baselines, "usable_cores", lambda cores=cores: cores)
        found = fit_baselines(toy_schema(NUMBER), inputs_of(SMILES, y), {"test": inputs_of(SMILES, y)}, seed=4)
        answers.append(found.answers["forest"]["mass"]["test"])
    np.testing.assert_array_equal(*answers)


def test_graph_features_are_seen():
    u = np.random.default_rng(0).normal(size=(60, 1)).astype(np.float32)
    inputs = graphs_of(u, u, [make_shape(2, [(0, 1)])] * 60)
    found = fit_baselines(SHAPES, inputs, {"test": inputs})
    assert np.corrcoef(found.answers["forest"]["mass"]["test"], u[:, 0])[0, 1] > 0.95


def test_nothing_to_tell_rows_apart_is_the_mean():
    y = np.arange(12, dtype=np.float32)[:, None]
    inputs = graphs_of(y, np.empty((12, 0), np.float32), [make_shape(1)] * 12)
    found = fit_baselines(SHAPES, inputs, {"test": inputs})
    np.testing.assert_allclose(found.answers["forest"]["mass"]["test"], y.mean(), atol=1)


def test_a_target_without_labels_has_no_baseline():
    y = np.full((60, 1), np.nan, np.float32)
    found = fit_baselines(toy_schema(NUMBER), inputs_of(SMILES, y), {"test": inputs_of(SMILES, y)})
    assert found.answers == {}


def test_one_class_in_training():
    y = np.ones((12, 1), np.float32)
    found = fit_baselines(toy_schema(BINARY), inputs_of(SMILES[:12], y), {"test": inputs_of(SMILES[:12], y)})
    np.testing.assert_array_equal(found.answers["forest"]["ring"]["test"], 1.0)


def test_rows_are_capped(monkeypatch):
    monkeypatch.setattr(baselines, "MAX_TRAIN_ROWS", 20)
    monkeypatch.setattr(baselines, "_MIN_TRAIN_ROWS", 5)
    y = labels()[:, :1]
    found = fit_baselines(toy_schema(NUMBER), inputs_of(SMILES, y), {})
    assert found.report["training_rows"]["mass"] == {"labelled": 60, "used": 20}


def test_chosen_rows():
    rows = np.arange(100) * 2
    chosen = choose_rows(rows, 10, seed=1)
    assert len(chosen) == 10
    assert set(chosen) <= set(rows)
    assert (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(choose_rows(rows, 100, seed=1), rows)


@pytest.mark.slow
def test_a_thousand_molecules_are_learnt():
    rng = np.random.default_rng(0)
    smiles = ["".join(rng.choice(list("CCCCNOS"), size=rng.integers(6, 25))) + "c1ccccc1" for _ in range(1000)]
    y = np.array([[Chem.MolFromSmiles(one).GetNumAtoms()] for one in smiles], dtype=np.float32)
    found = fit_baselines(toy_schema(NUMBER), inputs_of(smiles, y), {"test": inputs_of(smiles[:200], y[:200])})
    assert np.corrcoef(found.answers["forest"]["mass"]["test"], y[:200, 0])[0, 1] > 0.9
