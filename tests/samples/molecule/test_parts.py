"""Which molecules are the same: keys are equal where canonical SMILES are."""

import csv
import itertools

import numpy as np
import pytest
from rdkit import Chem

from pipeline.dataset.spool import Spool
from pipeline.samples.molecule import parts
from pipeline.samples.molecule.smiles import molecule_keys, parse_smiles
from pipeline.samples.workers import Workers
from pipeline.schema import Limits
from tests.conftest import ROOT

WRITINGS = [  # the rows of one molecule, another one with stereo only, another one altogether
    ["CC(N)C(=O)O", "OC(=O)C(C)N", "CC(N)C(=O)O"],
    ["C[C@H](N)C(=O)O", "N[C@@H](C)C(=O)O"],
    ["C[C@@H](N)C(=O)O", "N[C@H](C)C(=O)O"],
    ["c1ccccc1C", "C1=CC=CC=C1C"],
    ["C1CC1C1CC1"],
    ["[13CH3]O", "O[13CH3]"],
    ["CO", "OC"],
    ["[2H]OC", "CO[2H]"],
    ["[2H]C([2H])([2H])O"],
    ["C[C@H]([2H])O"],
    ["CCO"],
    ["C1CCCCCCCC1.C1CCCC1"],  # every atom and its surroundings as in the next one
    ["C1CCCCCCC1.C1CCCCC1", "C1CCCCC1.C1CCCCCCC1"],
]


@pytest.mark.parametrize("chunk_rows", [3, 2048])
def test_exact_keys_are_equal_where_canonical_smiles_are(tmp_path, monkeypatch, chunk_rows):
    monkeypatch.setattr(parts, "CHUNK_ROWS", chunk_rows)
    smiles = [text for texts in WRITINGS for text in texts]
    skeleton, spool = [], Spool(tmp_path)
    for start in range(0, len(smiles), 4):
        piece, _, _, keys, _ = parts._featurize(smiles[start : start + 4], wanted=parts.Wanted(Limits()))
        spool.append(piece, smiles[start : start + 4])
        skeleton.append(keys[:, 0])
    found = parts.exact_keys(np.concatenate(skeleton), spool, Limits(), Workers(1))
    wanted = zip(*(molecule_keys(parse_smiles(text, Limits())) for text in smiles), strict=True)
    for keys, texts in zip(found, wanted, strict=True):
        for i, j in itertools.combinations(range(len(smiles)), 2):
            assert (keys[i] == keys[j]).all() == (texts[i] == texts[j]), (smiles[i], smiles[j])


def test_molecules_of_one_group_have_one_skeleton():
    """And so no two of them are told apart before their canonical SMILES are compared."""
    with open(ROOT / "data" / "solubility.csv", encoding="utf-8") as file:
        texts = [*(row["smiles"] for row in csv.DictReader(file)), *(text for texts in WRITINGS for text in texts)]
    rng = np.random.default_rng(0)
    again = []
    for text in texts:
        mol = parse_smiles(text, Limits())
        shuffled = Chem.RenumberAtoms(mol, rng.permutation(mol.GetNumAtoms()).tolist())
        again.append(
            Chem.MolToSmiles(shuffled, canonical=False, isomericSmiles=False, kekuleSmiles=bool(rng.integers(2)))
        )
    first, second = (parts._featurize(one, wanted=parts.Wanted(Limits())) for one in (texts, again))
    assert not first[2]
    assert not second[2]
    np.testing.assert_array_equal(first[3], second[3])


def test_units_of_a_chunk_are_joined_as_one():
    wanted = parts.Wanted(Limits(), scaffolds=True)
    one, two = (parts._featurize(rows, wanted=wanted) for rows in (["C", "C1CC", "CC"], ["", "O"]))
    joined = parts._joined([one, two])
    together = parts._featurize(["C", "C1CC", "CC", "", "O"], wanted=wanted)
    np.testing.assert_array_equal(joined.good, [0, 2, 4])
    assert {row: error.code for row, error in joined.errors.items()} == {1: "invalid_smiles", 3: "missing"}
    for name in ("keys", "scaffold"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(together, name))
    for mine, theirs in zip(joined.piece, together.piece, strict=True):
        np.testing.assert_array_equal(mine, theirs)
