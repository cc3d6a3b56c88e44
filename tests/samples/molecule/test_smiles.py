"""Reading SMILES, and keys that do not depend on how a molecule is written."""

from __future__ import annotations

import csv
import random
import threading

import pytest
from rdkit import Chem
from rdkit.Chem.Scaffolds import MurckoScaffold

from pipeline.errors import RowError
from pipeline.samples.molecule import smiles as smiles_module
from pipeline.samples.molecule.featurize import featurize_smiles
from pipeline.samples.molecule.smiles import digest, group_key, identity_key, molecule_keys, parse_smiles, scaffold_key
from pipeline.schema import Limits
from tests.conftest import ROOT

LIMITS = Limits()
MOLECULES = [
    "O",
    "CCO",
    "CC(=O)Oc1ccccc1C(=O)O",
    "C[C@H](N)C(=O)O",
    "C[C@@H](N)C(=O)O",
    "F/C=C/F",
    "F/C=C\\F",
    "[2H]C([2H])Cl",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "CN1CCC[C@H]1c1cccnc1",
    "C[N+](C)(C)CC([O-])=O",
    "O=C1c2ccccc2CC1CCC1CC1",
    "[Na+].[Cl-]",
    "C1C[C@H]2CC[C@@H]1C2",
    "N[Pt](N)(Cl)Cl",
]


@pytest.mark.parametrize(
    ("smiles", "code", "words"),
    [
        ("C1CC", "invalid_smiles", "unclosed ring"),
        ("CC)N", "invalid_smiles", "extra close parentheses near character 3"),
        ("CC&CC", "invalid_smiles", "syntax error near character 3"),
        ("C(C)(C)(C)(C)C", "invalid_smiles", "valence"),
        ("c1cccc1", "invalid_smiles", "kekulize"),
        ("CCO |nonsense|", "invalid_smiles", "no reason"),
        ("CCé", "invalid_smiles", "Character 3"),
        ("CC\x00C", "invalid_smiles", "Character 3"),
        ("C\ud800", "invalid_smiles", "Character 2"),
        ("", "no_atoms", "empty"),
        (" \t", "no_atoms", "empty"),
    ],
)
def test_a_bad_smiles_is_told_without_repeating_it(smiles, code, words, capfd):
    with pytest.raises(RowError) as caught:
        parse_smiles(smiles, LIMITS)
    assert caught.value.code == code
    assert words in caught.value.detail
    assert len(smiles) < 3 or smiles not in caught.value.detail
    assert "\n" not in caught.value.detail
    assert capfd.readouterr() == ("", "")  # RDKit itself says nothing


def test_each_thread_gets_its_own_reason():
    expected = {"C1CC": "unclosed ring", "CC)N": "extra close", "C(C)(C)(C)(C)C": "valence"}
    wrong = []

    def read(smiles, words):
        for _ in range(50):
            try:
                parse_smiles(smiles, LIMITS)
            except RowError as error:
                if words not in error.detail:
                    wrong.append((smiles, error.detail))

    threads = [threading.Thread(target=read, args=item) for item in expected.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.parametrize("smiles", [*MOLECULES, "[H]C([H])Cl", "[2H]Cl", "[H][H]", "[#1]Cl", "[#6]"])
def test_the_quick_way_reads_what_rdkit_reads(smiles):
    """No hydrogen is left that RDKit removes, no stereo is missed."""
    wanted = Chem.MolFromSmiles(smiles)
    found = parse_smiles(smiles, LIMITS)
    bare = int(Chem.PropertyPickleOptions.NoProps)
    assert found.ToBinary(bare) == wanted.ToBinary(bare)
    assert Chem.MolToSmiles(found) == Chem.MolToSmiles(wanted)


def test_limits_are_of_atoms_directed_edges_and_characters():
    assert parse_smiles("CCCC", Limits(max_nodes=4, max_edges=6)).GetNumAtoms() == 4
    for smiles, limits in [
        ("CCCCC", Limits(max_nodes=4)),
        ("CCCC", Limits(max_edges=5)),
        ("C" * 201, Limits(max_nodes=4)),
    ]:
        with pytest.raises(RowError, match="too_large"):
            parse_smiles(smiles, limits)


LADDER = "C1CC1" + "".join(f"C%({k})" for k in range(10, 1000)) + "".join(f"C%({k})" for k in range(999, 9, -1))


@pytest.mark.parametrize(
    "smiles",
    [
        "C1" + "C" * 9_000 + "C1",
        "c%12" + "c" * 4_000 + "c%12",
        LADDER,
        "C1" + "CC" * 2_000 + "1" + "C" * 50,
    ],
    ids=["ring", "aromatic ring", "fused squares", "ring and tail"],
)
def test_rings_that_would_take_seconds_and_gigabytes_are_refused_before_rdkit_sees_them(smiles, monkeypatch):
    monkeypatch.setattr(Chem, "MolFromSmiles", lambda *_: pytest.fail("RDKit was asked"))
    with pytest.raises(RowError, match="too many, or too large, rings") as caught:
        parse_smiles(smiles, Limits())
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("smiles", ["CCO>>CC=O", "CCO.O>[Pd]>CC=O", "CC>O>"])
def test_a_reaction_is_named(smiles):
    with pytest.raises(RowError, match="It is a reaction, with > between its parts; one molecule is expected"):
        parse_smiles(smiles, Limits())


def test_a_dative_bond_is_no_arrow_of_a_reaction():
    assert parse_smiles("[NH3]->[Pt](<-[NH3])(Cl)Cl", Limits()).GetNumAtoms() == 5


def test_large_molecules_with_ordinary_rings_are_read():
    peptide = "N1CCCC1C(=O)" * 300 + "O"  # 2,101 atoms, 300 rings
    assert parse_smiles(peptide, Limits()).GetRingInfo().NumRings() == 300
    assert parse_smiles("C1" + "C" * 1_500 + "C1", Limits()).GetNumAtoms() == 1_502  # one large ring
    numbers = "C1CC1" * 700  # the number 1 is used again and again
    assert parse_smiles(numbers, Limits()).GetRingInfo().NumRings() == 700


def test_explicit_hydrogens_blanks_and_map_numbers_do_not_matter():
    plain = identity_key(parse_smiles("CO", LIMITS))
    for same in (" CO\n", "[CH3:1][OH:2]", "[H]C([H])([H])O[H]", "OC"):
        assert identity_key(parse_smiles(same, LIMITS)) == plain


@pytest.mark.parametrize(
    ("mapped", "plain"),
    [
        ("Cl[C@H]([CH3:1])[CH3:2]", "ClC(C)C"),
        ("[CH3:1]/C([CH3:2])=C/Cl", "CC(C)=CCl"),
        ("Cl[C@H]([CH3:1])[CH2:2]F", "Cl[C@H](C)CF"),
    ],
)
def test_map_numbers_make_no_stereo(mapped, plain):
    one, other = featurize_smiles([mapped], Limits()).chunk, featurize_smiles([plain], Limits()).chunk
    assert one.x.tolist() == other.x.tolist()
    assert one.edge_attr.tolist() == other.edge_attr.tolist()
    assert molecule_keys(parse_smiles(mapped, LIMITS)) == molecule_keys(parse_smiles(plain, LIMITS))


@pytest.mark.parametrize(
    ("heavy", "plain"),
    [
        ("[2H]OC", "CO"),
        ("[2H]C([2H])([2H])O", "CO"),
        ("[3H]c1ccccc1", "c1ccccc1"),
        ("[2H]n1cccc1", "c1cc[nH]c1"),
        ("[2H]/C=C/C", "CC=C"),
        ("C[C@H]([2H])O", "CCO"),
        ("[13CH3]O", "CO"),
    ],
)
def test_isotopes_do_not_part_a_group(heavy, plain):
    one, other = parse_smiles(heavy, LIMITS), parse_smiles(plain, LIMITS)
    assert identity_key(one) != identity_key(other)
    assert (group_key(one), scaffold_key(one)) == (group_key(other), scaffold_key(other))


def test_keys_by_hand():
    left, right = (parse_smiles(smiles, LIMITS) for smiles in ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O"))
    assert identity_key(left) != identity_key(right)
    assert group_key(left) == group_key(right) == "CC(N)C(=O)O"
    assert scaffold_key(left) == group_key(left)  # acyclic
    assert scaffold_key(parse_smiles("CC(C)Cc1ccccc1", LIMITS)) == "c1ccccc1"
    assert scaffold_key(parse_smiles("O=C(CCc1ccncc1)C1CC1", LIMITS)) == "O=C(CCc1ccncc1)C1CC1"
    assert group_key(parse_smiles("[13CH4]", LIMITS)) == "C"


def test_a_molecule_of_very_many_rings_is_its_own_scaffold():
    mol = parse_smiles("c1ccccc1" * 200, LIMITS)
    assert scaffold_key(mol) == group_key(mol)


@pytest.mark.parametrize("smiles", MOLECULES)
def test_keys_do_not_depend_on_the_order_of_atoms(smiles):
    rng = random.Random(0)
    mol = parse_smiles(smiles, LIMITS)
    for _ in range(5):
        order = list(range(mol.GetNumAtoms()))
        rng.shuffle(order)
        rewritten = Chem.MolToSmiles(Chem.RenumberAtoms(mol, order), canonical=False)
        again = parse_smiles(rewritten, LIMITS)
        assert molecule_keys(again) == molecule_keys(mol)
        assert scaffold_key(again) == scaffold_key(mol)


@pytest.mark.parametrize("smiles", MOLECULES)
def test_keys_agree_with_rdkit(smiles):
    mol = parse_smiles(smiles, LIMITS)
    assert molecule_keys(mol) == (identity_key(mol), group_key(mol))
    flat = Chem.Mol(mol)
    Chem.RemoveStereochemistry(flat)
    for atom in flat.GetAtoms():
        atom.SetIsotope(0)
    if "[2H]" in smiles:
        flat = Chem.RemoveHs(flat)
    assert group_key(mol) == Chem.MolToSmiles(flat)
    if mol.GetRingInfo().NumRings():
        assert scaffold_key(mol) == MurckoScaffold.MurckoScaffoldSmiles(mol=mol, includeChirality=False)


def test_digest_is_fixed_for_ever():
    # the 16 bytes 0c06e880517ec7d4 bb17db19c33d30e1 of `printf CCO | b2sum -l 128`, little endian
    assert digest("CCO") == (0xD4C77E5180E8060C, 0xE1303DC319DB17BB)
    assert digest("CCN") != digest("CCO")


@pytest.mark.parametrize("data", ["solubility", "bbbp"])
def test_no_molecule_of_the_built_in_sets_comes_near_the_bound_of_rings(data):
    """However it is written: a text in random order has its ring numbers far apart."""
    with open(ROOT / "data" / f"{data}.csv", encoding="utf-8", newline="") as file:
        texts = [row["smiles"] for row in csv.DictReader(file)][::7]
    random_order = [Chem.MolToSmiles(Chem.MolFromSmiles(text), doRandom=True) for text in texts]
    costs = [smiles_module._ring_cost(text) for text in (*texts, *random_order)]
    assert 100 * max(costs) < smiles_module._MAX_RING_COST
    assert max(costs) > 100  # and they do have rings


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        ("CCO", 0),
        ("C1CC1", 9),
        ("c1ccccc1", 36),
        ("C1CC1C1CC1", 18),  # the number 1 is used again
        ("C%12CC%12", 9),
        ("C%(123)CC%(123)", 9),
        ("C12CC1CC2", 9 + 25),  # two rings that begin at one atom
        ("[13CH2]1[C@@H](N)C1", 16),  # what stands in brackets is an atom, and its numbers are no rings
        ("C1CC", 0),  # never closed: RDKit refuses it
    ],
)
def test_what_rings_cost_by_hand(text, cost):
    assert smiles_module._ring_cost(text) == cost
