"""Features of atoms and bonds, checked against RDKit's own methods; the same however a molecule is written."""

from __future__ import annotations

import csv
import hashlib
import pickle
import random

import numpy as np
import pytest
from rdkit import Chem

from pipeline.graph import unpack
from pipeline.samples.molecule.featurize import EDGE_COLUMNS, FEATURIZER_VERSION, NODE_COLUMNS, featurize_smiles
from pipeline.samples.molecule.smiles import digest, parse_smiles, scaffold_key
from pipeline.schema import Limits
from tests.conftest import ROOT
from tests.support.molecules import MOLECULES

LIMITS = Limits()


@pytest.fixture(scope="module")
def real_molecules():
    with open(ROOT / "data" / "solubility.csv", encoding="utf-8") as file:
        return [row["smiles"] for row in csv.DictReader(file)][::8]


def column(name, columns=NODE_COLUMNS):
    return [one.name for one in columns].index(name)


def names(codes, columns):
    """Category names of one row of codes; None is unknown."""
    return {
        one.name: one.categories[code - 1] if code else None for one, code in zip(columns, codes.tolist(), strict=True)
    }


def atom_by_rdkit(atom):
    rings = atom.GetOwningMol().GetRingInfo()
    size = min((len(ring) for ring in rings.AtomRings() if atom.GetIdx() in ring), default=0)
    charge = atom.GetFormalCharge()
    return {
        "element": atom.GetSymbol() if atom.GetAtomicNum() else None,
        "degree": str(atom.GetTotalDegree()),
        "charge": (f"{charge:+d}" if charge else "0") if abs(charge) <= 3 else None,
        "chirality": atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else "none",
        "hydrogens": str(atom.GetTotalNumHs()),
        "hybridization": {"UNSPECIFIED": None, "OTHER": None}.get(*[str(atom.GetHybridization())] * 2),
        "aromatic": "yes" if atom.GetIsAromatic() else "no",
        "ring": "none" if size == 0 else str(size) if size <= 8 else "larger",
    }


def bond_by_rdkit(bond):
    return {
        "bond": str(bond.GetBondType()),
        "conjugated": "yes" if bond.GetIsConjugated() else "no",
        "in_ring": "yes" if bond.IsInRing() else "no",
        "stereo": str(bond.GetStereo()).removeprefix("STEREO"),
    }


def check_against_rdkit(smiles):
    found = featurize_smiles(smiles, LIMITS)
    assert found.errors == {}
    for g, text in enumerate(smiles):
        graph, mol = unpack(found.chunk, g), Chem.MolFromSmiles(text)
        assert [names(row, NODE_COLUMNS) for row in graph.x] == [atom_by_rdkit(atom) for atom in mol.GetAtoms()]
        for bond, k in zip(mol.GetBonds(), range(mol.GetNumBonds()), strict=True):
            ends = [bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]
            assert graph.edge_index[:, 2 * k].tolist() == ends
            assert graph.edge_index[:, 2 * k + 1].tolist() == ends[::-1]
            for e in (2 * k, 2 * k + 1):
                assert names(graph.edge_attr[e], EDGE_COLUMNS) == bond_by_rdkit(bond)
        assert graph.num_edges == 2 * mol.GetNumBonds()


def test_every_feature_is_what_rdkit_says():
    check_against_rdkit(MOLECULES)


def test_every_feature_is_what_rdkit_says_for_real_molecules(real_molecules):
    check_against_rdkit(real_molecules)


FEATURES = {  # of version 1: a change of these needs a new FEATURIZER_VERSION
    "solubility": "e41ca65aafdb514287aee8e584a303204d3131354015f9b3c4d4d1a940e8e977",
    "bbbp": "34852f3a608a0b6b6b13db1211f98c2781080d39c24ad7efc130eeac5f8c9a49",
}


@pytest.mark.parametrize("name", FEATURES)
def test_features_of_the_shipped_data_are_those_of_this_version(name):
    with open(ROOT / "data" / f"{name}.csv", encoding="utf-8") as file:
        chunk = featurize_smiles([row["smiles"] for row in csv.DictReader(file)], LIMITS).chunk
    total = hashlib.sha256(chunk.node_ptr.astype("<i8").tobytes() + chunk.edge_ptr.astype("<i8").tobytes())
    for values in (chunk.x, chunk.edge_index, chunk.edge_attr):
        total.update(np.ascontiguousarray(values, dtype="<i4").tobytes())
    assert (FEATURIZER_VERSION, total.hexdigest()) == (1, FEATURES[name])


def test_names_are_readable_and_distinct():
    assert NODE_COLUMNS[0].categories[:9] == ("H", "He", "Li", "Be", "B", "C", "N", "O", "F")
    assert len(NODE_COLUMNS[0].categories) == 118
    assert EDGE_COLUMNS[0].categories == ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC", "DATIVE")
    for one in (*NODE_COLUMNS, *EDGE_COLUMNS):
        assert one.kind == "categorical"
        assert len(set(one.categories)) == len(one.categories)


def test_ethanol_by_hand():
    graph = unpack(featurize_smiles(["CCO"], LIMITS).chunk, 0)
    assert graph.x.tolist() == [[6, 5, 4, 1, 4, 4, 1, 1], [6, 5, 4, 1, 3, 4, 1, 1], [8, 3, 4, 1, 2, 4, 1, 1]]
    assert graph.edge_index.tolist() == [[0, 1, 1, 2], [1, 0, 2, 1]]
    assert graph.edge_attr.tolist() == [[1, 1, 1, 1]] * 4
    assert [field.shape for field in graph] == [(3, 8), (3, 0), (2, 4), (4, 4), (4, 0), (0,), (0,)]
    assert [field.dtype.name for field in graph] == ["int32", "float32", "int32", "int32", "float32"] + ["float32"] * 2


def test_a_chunk_keeps_good_rows_in_order_and_says_why_others_leave():
    rows = ["CCO", None, "C1CC", 7, "", "C" * 20, "O", float("nan"), True]
    found = featurize_smiles(rows, Limits(max_nodes=10), scaffolds=True)
    assert found.good.tolist() == [0, 6]
    assert found.chunk.node_ptr.tolist() == [0, 3, 4]
    assert found.chunk.edge_ptr.tolist() == [0, 4, 4]
    assert {position: error.code for position, error in found.errors.items()} == {
        1: "missing",
        2: "invalid_smiles",
        3: "wrong_type",
        4: "missing",
        5: "too_large",
        7: "wrong_type",
        8: "wrong_type",
    }
    assert found.scaffold.shape == (2, 2)


@pytest.mark.parametrize("scaffolds", [True, False])
@pytest.mark.parametrize("rows", [[], [None], ["C1CC"]])
def test_a_chunk_without_any_molecule_has_the_right_widths(rows, scaffolds):
    found = featurize_smiles(rows, LIMITS, scaffolds=scaffolds)
    assert found.chunk.num_graphs == 0
    assert [field.shape for field in found.chunk] == [
        (1,), (1,), (0, 8), (0, 0), (2, 0), (0, 4), (0, 0), (0, 0), (0, 0),
    ]  # fmt: skip
    assert found.scaffold.shape == (0, 2)
    assert found.scaffold.dtype == np.uint64


def test_scaffolds_are_digests_of_their_texts():
    found = featurize_smiles(MOLECULES, LIMITS, scaffolds=True)
    for row, smiles in zip(found.scaffold, MOLECULES, strict=True):
        assert tuple(row.tolist()) == digest(scaffold_key(parse_smiles(smiles, LIMITS)))
    assert featurize_smiles(MOLECULES, LIMITS).scaffold.shape == (0, 2)


def test_one_by_one_is_all_at_once(real_molecules):
    smiles = real_molecules[:40]
    together = featurize_smiles(smiles, LIMITS).chunk
    for g, text in enumerate(smiles):
        alone = unpack(featurize_smiles([text], LIMITS).chunk, 0)
        for field, other in zip(alone, unpack(together, g), strict=True):
            np.testing.assert_array_equal(field, other)


def canonical_form(graph, order):
    """Atom rows in `order`, and the set of edges between them with their features."""
    place = np.argsort(order)
    edges = {
        (place[a], place[b], *features.tolist())
        for (a, b), features in zip(graph.edge_index.T, graph.edge_attr, strict=True)
    }
    return graph.x[order].tolist(), edges


def test_reordering_atoms_changes_nothing(real_molecules):
    rng = random.Random(0)
    for smiles in MOLECULES + real_molecules[::4]:
        # a first rewriting, so that both start from the same reading of hydrogens and isotopes
        mol = Chem.MolFromSmiles(Chem.MolToSmiles(Chem.MolFromSmiles(smiles)))
        order = list(range(mol.GetNumAtoms()))
        rng.shuffle(order)
        shuffled = Chem.RenumberAtoms(mol, order)  # its atom i is atom order[i] of mol
        pair = []
        for one in (mol, shuffled):
            text = Chem.MolToSmiles(one, canonical=False)
            written = list(one.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
            graph = unpack(featurize_smiles([text], LIMITS).chunk, 0)
            pair.append(canonical_form(graph, np.argsort(written)))  # rows in the order of `one`
        x, edges = pair[0]
        x_shuffled, edges_shuffled = pair[1]
        assert x_shuffled == [x[i] for i in order], smiles
        assert {(order[a], order[b], *rest) for a, b, *rest in edges_shuffled} == edges, smiles


def test_results_cross_process_borders():
    found = featurize_smiles(["CCO", "C1CC"], LIMITS)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.chunk.x, found.chunk.x)
    assert (again.errors[1].code, again.errors[1].detail) == (found.errors[1].code, found.errors[1].detail)
