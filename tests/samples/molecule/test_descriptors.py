"""Descriptors of whole molecules, against RDKit's own functions, and their way from prepare to an answer."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, Crippen, Descriptors, rdMolDescriptors

from pipeline.bundle.requests import build_example, build_requests
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.errors import BundleError, ConfigError
from pipeline.samples.molecule.descriptors import DESCRIPTOR_COLUMNS, FINGERPRINT_SIZE, count_substructures, describe
from pipeline.samples.molecule.featurize import featurize_smiles
from pipeline.schema import Limits
from pipeline.serveconfig import ServeConfig
from pipeline.store.build import build_store
from serving.model import check_fit
from serving.request import read_request
from serving.session import Session
from tests.support.schemas import MOLECULES
from tests.support.small_models import write_count_model

NAMES = [column.name for column in DESCRIPTOR_COLUMNS]


@pytest.mark.parametrize("smiles", ["CCO", "c1ccccc1C(=O)O", "CC(=O)Oc1ccccc1C(=O)O", "[Na+].[Cl-]", "C"])
def test_columns_are_what_rdkit_calls_them(smiles):
    mol = Chem.MolFromSmiles(smiles)
    found = dict(zip(NAMES, describe(mol), strict=True))
    expected = {
        "CrippenClogP": Crippen.MolLogP(mol),
        "tpsa": Descriptors.TPSA(mol),
        "amw": Descriptors.MolWt(mol),
        "NumRings": rdMolDescriptors.CalcNumRings(mol),
        "MQN12": rdMolDescriptors.MQNs_(mol)[11],
        "PEOE_VSA1": Descriptors.PEOE_VSA1(mol),
        "SMR_VSA10": Descriptors.SMR_VSA10(mol),
        "SlogP_VSA12": Descriptors.SlogP_VSA12(mol),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(math.copysign(math.log1p(abs(value)), value), abs=1e-5), name


def test_names_are_distinct_and_as_many_as_the_numbers():
    assert len(set(NAMES)) == len(NAMES) == len(describe(Chem.MolFromSmiles("CCO")))


def test_what_is_no_number_is_missing():
    # Gasteiger's charges have no parameters for platinum.
    values = describe(Chem.MolFromSmiles("[Pt](Cl)(Cl)(N)N"))
    assert values.dtype == np.float32
    assert not np.isinf(values).any()


def test_good_rows_get_theirs():
    found = featurize_smiles(["CCO", "C1CC", "CCN"], Limits(), descriptors=True)
    assert found.good.tolist() == [0, 2]
    for row, smiles in enumerate(("CCO", "CCN")):
        np.testing.assert_array_equal(found.chunk.u[row], describe(Chem.MolFromSmiles(smiles)))


def test_substructures_are_counted_as_in_rdkits_fingerprint():
    mol = Chem.MolFromSmiles("CC(=O)Oc1ccccc1C(=O)O")
    counts = count_substructures(mol)
    sparse = AllChem.GetHashedMorganFingerprint(mol, 2, nBits=FINGERPRINT_SIZE)
    assert {k: n for k, n in enumerate(counts.tolist()) if n} == sparse.GetNonzeroElements()
    found = featurize_smiles(["C1CC", "CC(=O)Oc1ccccc1C(=O)O"], Limits(), descriptors=True, fingerprint=True)
    np.testing.assert_array_equal(found.chunk.u, [np.concatenate([describe(mol), counts])])
    none = featurize_smiles(["C1CC"], Limits(), descriptors=True, fingerprint=True)
    assert none.chunk.u.shape == (0, len(DESCRIPTOR_COLUMNS) + FINGERPRINT_SIZE)


def test_training_and_serving_see_the_same_numbers_in_the_same_order(tmp_path):
    smiles = ["CCO", "CCN", "CCCC", "c1ccccc1", "CC(=O)O", "CCCl", "CCBr", "OCCO", "CC#N", "CCC=O"]
    table = pd.DataFrame({"smiles": smiles, "y": range(10), "ph": np.linspace(5, 8, 10)})
    table.to_csv(tmp_path / "some.csv", index=False)
    config = PrepareConfig(data=str(tmp_path / "some.csv"), target="y", features="ph", forest=True)
    store = build_store(config, find_source(config, tmp_path, tmp_path), tmp_path / "store", "", lambda rows: rows)
    fingerprint = [f"ecfp{k}" for k in range(FINGERPRINT_SIZE)]
    assert [column.name for column in store.schema.u_columns] == ["ph", *NAMES, *fingerprint]
    (piece,) = read_request(table, store.schema, ServeConfig())
    of_row = {text: u for text, u in zip(store.ids(np.arange(store.num_graphs)), store.arrays.u, strict=True)}
    np.testing.assert_array_equal(piece.chunk.u, np.stack([of_row[text] for text in smiles]))
    assert set(build_requests(store, np.arange(2))) == {"smiles", "ph"}
    assert set(build_example(store, share_rows=True)) == {"smiles", "ph"}


def test_a_bundle_refuses_descriptors_that_this_rdkit_does_not_compute(tmp_path):
    schema = dataclasses.replace(MOLECULES, descriptor_columns=DESCRIPTOR_COLUMNS)
    check_fit(Session(write_count_model(tmp_path / "a.onnx", schema)), schema)
    other = dataclasses.replace(schema, descriptor_columns=DESCRIPTOR_COLUMNS[:-1])
    with pytest.raises(BundleError, match="other descriptors than this RDKit"):
        check_fit(Session(write_count_model(tmp_path / "b.onnx", other)), other)
    other = dataclasses.replace(schema, fingerprint_size=FINGERPRINT_SIZE // 2)
    with pytest.raises(BundleError, match="other descriptors than this RDKit"):
        check_fit(Session(write_count_model(tmp_path / "c.onnx", other)), other)


def test_graphs_that_are_no_molecules_have_none(tmp_path):
    config = PrepareConfig(data="graphs-sample", descriptors=True)
    root = Path(__file__).parents[3]
    with pytest.raises(ConfigError, match="descriptors=true is for molecules"):
        build_store(config, find_source(config, root, tmp_path), tmp_path / "store", "", lambda rows: rows)
