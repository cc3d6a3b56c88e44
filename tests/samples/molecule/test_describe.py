"""Descriptions of molecules are RDKit's own numbers, finite whatever comes."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import Descriptors, rdFingerprintGenerator

from pipeline.samples.molecule.describe import describe_molecules

SMILES = [prefix + "C" * n + tail for n in range(1, 11) for prefix in ("", "O", "N") for tail in ("", "C1CC1")]


def test_molecules_are_rdkits():
    found = describe_molecules(["CCO", "c1ccccc1C(=O)O"])
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=2048)
    for row, smiles in zip(found, ["CCO", "c1ccccc1C(=O)O"], strict=True):
        molecule = Chem.MolFromSmiles(smiles)
        np.testing.assert_array_equal(row[:2048], generator.GetCountFingerprintAsNumPy(molecule))
        assert np.float32(Descriptors.MolWt(molecule)) in row[2048:]


def test_odd_molecules_are_finite():
    odd = ["[He]", "[Na+].[Cl-]", "*", "[U]", "C" * 301, "not a molecule", "[2H]O[2H]"]
    found = describe_molecules(odd)
    assert np.isfinite(found).all()
    assert found[4, 2048:].sum() == 0  # too large for descriptors, not for the fingerprint
    assert found[4, :2048].sum() > 0
    assert found[5].sum() == 0


@pytest.mark.mlflow  # starts worker processes: seconds
def test_a_pool_keeps_the_order():
    smiles = SMILES * 6
    with ThreadPoolExecutor(2) as pool:
        np.testing.assert_array_equal(
            describe_molecules(smiles, pool), np.tile(describe_molecules(SMILES[:60]), (6, 1))
        )
