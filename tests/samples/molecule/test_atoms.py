"""Atoms told apart by RDKit's binary form are told apart as by asking each one."""

from __future__ import annotations

import csv

import pytest
from rdkit import Chem

from pipeline.samples.molecule import atoms as records
from pipeline.samples.molecule.atoms import Records
from pipeline.samples.molecule.smiles import parse_smiles
from pipeline.schema import Limits
from tests.conftest import ROOT
from tests.support.molecules import MOLECULES

ODD = [
    *("C" * n for n in (254, 255, 256, 300)),  # from 256 atoms on, RDKit writes numbers of four bytes
    "c1ccccc1" * 43,
    "C1CC1" * 90,  # 90 rings and more than 255 atoms
    "C1CC1" * 70,
    "[13CH3]C",
    "[13CH3][C@H](F)Cl",
    "[CH3:1][OH:2]",
    "*c1ccccc1",
    "C~C",
    "C$C",
    "C/C=C/C=C\\C",
    "C1CCCCCCC/C=C/1",
    "C[C@@]12CC[C@H]3[C@@H](CCc4cc(O)ccc34)[C@@H]1CC[C@@H]2O",
    "Cl[Pt@SP1](Cl)(N)N",
    "C |^1:0|",
    "C[S@](=O)c1ccccc1",
    "[H+]",
    "[CH]",
    "C->[Fe]",
]


def told(molecules):
    """Values of each atom and bond, ends, rings and labels, as the two ways of reading give them."""
    found = Records()
    for mol in molecules:
        found.append(mol)
    atoms = [found.atoms.rows[code] for code in found.atom_code]
    bonds = [found.bonds.rows[code] for code in found.bond_code]
    sizes = (found.num_atoms, found.num_bonds, found.num_rings)
    return atoms, bonds, sizes, found.ends, found.ring_size, found.ring_atoms, found.cip


def asked(molecules, monkeypatch):
    monkeypatch.setattr(records, "_cut", lambda data: None)
    return told(molecules)


def test_every_molecule_is_read_as_atom_by_atom(monkeypatch):
    with open(ROOT / "data" / "solubility.csv", encoding="utf-8") as file:
        texts = [row["smiles"] for row in csv.DictReader(file)]
    molecules = [parse_smiles(text, Limits()) for text in (*MOLECULES, *ODD, *texts)]
    assert told(molecules) == asked(molecules, monkeypatch)


@pytest.mark.parametrize("smiles", ["CCO", "C[C@H](N)C(=O)O", "F/C=C/F", "[Na+].[Cl-]", "C" * 255, "c1ccccc1C[CH2]"])
def test_usual_molecules_are_cut(smiles):
    """Were RDKit's format another one, all would still be right, but slow."""
    parts = records._cut(parse_smiles(smiles, Limits()).ToBinary(records._NO_PROPERTIES))
    assert parts is not None
    assert len(parts.atoms) == Chem.MolFromSmiles(smiles).GetNumAtoms()


@pytest.mark.parametrize("smiles", ["[13CH4]", "*C", "C" * 256])
def test_unusual_molecules_are_asked(smiles):
    mol = parse_smiles(smiles, Limits())
    parts = records._cut(mol.ToBinary(records._NO_PROPERTIES))
    found = Records()
    assert parts is None or found.atoms.codes(parts.atoms, mol.GetAtomWithIdx) is None


@pytest.mark.parametrize("place", [0, 8, 12, 21, 28, 29, 30, 31, 33])
def test_another_form_is_refused(place):
    data = bytearray(parse_smiles("CCO", Limits()).ToBinary(records._NO_PROPERTIES))
    data[place] ^= 0x91
    parts = records._cut(bytes(data))
    assert parts is None or place in (30, 31, 33)
    if place in (31, 33) and parts is not None:  # flags that are not known
        assert not records._is_known_atom(parts.atoms[0])


def test_a_cut_off_form_is_refused():
    data = parse_smiles("Cc1ccccc1", Limits()).ToBinary(records._NO_PROPERTIES)
    end = data.rindex(records._END_OF_RINGS)
    assert all(records._cut(data[:length]) is None for length in range(30, end))
