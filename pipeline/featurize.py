"""Molecule → Graph: categories of atoms and bonds, the same in training and in serving.

All features are of the molecule, not of the way it is written: reordering the atoms changes nothing. That is why
chirality is the CIP label and not RDKit's chiral tag, which depends on the order of neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from pipeline.descriptors import DESCRIPTOR_COLUMNS, describe
from pipeline.errors import RowError
from pipeline.graph import GraphChunk, Ints
from pipeline.molecule import digest, molecule_keys, parse_smiles
from pipeline.schema import Column, Limits

FEATURIZER_VERSION = 1
"""Raised with every change of the columns below or of their meaning: stores and models of another one are refused."""

_ELEMENTS = tuple(Chem.GetPeriodicTable().GetElementSymbol(number) for number in range(1, 119))
_HYBRIDIZATIONS = ("S", "SP", "SP2", "SP3", "SP2D", "SP3D", "SP3D2")  # in the order of RDKit's enumeration
_BONDS = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC", "DATIVE")
_BOND_STEREO = ("NONE", "ANY", "Z", "E")  # in the order of RDKit's enumeration
_NO_YES = ("no", "yes")
_MAX_RING = 8
_AROMATIC = int(Chem.BondType.AROMATIC)

NODE_COLUMNS = (
    Column("element", "categorical", _ELEMENTS),  # a dummy atom `*` is unknown
    Column("degree", "categorical", tuple(str(n) for n in range(9))),  # bonds, those to hydrogens too
    Column("charge", "categorical", ("-3", "-2", "-1", "0", "+1", "+2", "+3")),
    Column("chirality", "categorical", ("none", "R", "S")),
    Column("hydrogens", "categorical", tuple(str(n) for n in range(7))),
    Column("hybridization", "categorical", _HYBRIDIZATIONS),
    Column("aromatic", "categorical", _NO_YES),
    Column("ring", "categorical", ("none", "3", "4", "5", "6", "7", "8", "larger")),  # smallest ring of the atom
)
EDGE_COLUMNS = (
    Column("bond", "categorical", _BONDS),
    Column("conjugated", "categorical", _NO_YES),
    Column("in_ring", "categorical", _NO_YES),
    Column("stereo", "categorical", _BOND_STEREO),
)


class Featurized(NamedTuple):
    """The molecules of a chunk of rows; K of the B rows are good."""

    chunk: GraphChunk  # the K good ones; u (K, U) holds the descriptors; y (K, 0)
    good: NDArray[np.int64]  # (K,) their positions among the rows
    errors: dict[int, RowError]  # position of each other row -> why
    identity: NDArray[np.uint64]  # (K, 2) digest of the identity key; (0, 2) without keys, as the next two
    group: NDArray[np.uint64]  # (K, 2)
    scaffold: NDArray[np.uint64]  # (K, 2)


def featurize_smiles(smiles: Sequence[object], limits: Limits, *, keys: bool, descriptors: bool = False) -> Featurized:
    """Read and featurize a chunk of SMILES.

    Args:
        smiles: B values; None and blank text are missing ones.
        keys: also build the three keys, which takes about as long as the rest.
        descriptors: also fill `u` with the columns of `pipeline.descriptors`, which takes several times the rest.
    """
    atoms, bonds = _Atoms(), _Bonds()
    good: list[int] = []
    errors: dict[int, RowError] = {}
    digests: list[tuple[tuple[int, int], ...]] = []
    described: list[NDArray[np.float32]] = []
    for position, value in enumerate(smiles):
        try:
            text = _text(value)
            mol = parse_smiles(text, limits)
            if keys:
                digests.append(tuple(digest(key) for key in _keys(mol)))
        except RowError as error:
            errors[position] = error
            continue
        good.append(position)
        if descriptors:
            described.append(describe(mol))
        atoms.append(mol, chiral="@" in text or "|" in text)
        bonds.append(mol, stereo="/" in text or "\\" in text or "|" in text)
    packed = np.array(digests, dtype=np.uint64).reshape(-1, 3, 2)
    identity, group, scaffold = (np.ascontiguousarray(packed[:, i]) for i in range(3))
    chunk = _pack(atoms, bonds)
    if descriptors:
        chunk = chunk._replace(u=np.array(described, dtype=np.float32).reshape(-1, len(DESCRIPTOR_COLUMNS)))
    return Featurized(chunk, np.array(good, dtype=np.int64), errors, identity, group, scaffold)


class _Atoms:
    """Raw values of atoms, one list a property: a list grows by C calls only, which is what makes this quick."""

    def __init__(self) -> None:
        self.count: list[int] = []
        self.number: list[int] = []
        self.charge: list[int] = []
        self.hydrogens: list[int] = []
        self.hybridization: list[int] = []
        self.ring: list[int] = []
        self.chirality: dict[int, int] = {}  # atom of the chunk -> code, few have one

    def append(self, mol: Chem.Mol, *, chiral: bool) -> None:
        count = mol.GetNumAtoms()
        atoms = list(map(mol.GetAtomWithIdx, range(count)))  # three times as fast as mol.GetAtoms()
        if chiral:
            for i, atom in enumerate(atoms, start=len(self.number)):
                if atom.HasProp("_CIPCode"):
                    self.chirality[i] = _CHIRALITY.get(atom.GetProp("_CIPCode"), 0)
        self.count.append(count)
        self.number.extend(map(Chem.Atom.GetAtomicNum, atoms))
        self.charge.extend(map(Chem.Atom.GetFormalCharge, atoms))
        self.hydrogens.extend(map(Chem.Atom.GetTotalNumHs, atoms))
        self.hybridization.extend(map(Chem.Atom.GetHybridization, atoms))
        rings = mol.GetRingInfo()
        self.ring.extend(map(rings.MinAtomRingSize, range(count)) if rings.NumRings() else [0] * count)


class _Bonds:
    """Raw values of bonds, one list a property."""

    def __init__(self) -> None:
        self.count: list[int] = []
        self.begin: list[int] = []
        self.end: list[int] = []
        self.kind: list[int] = []
        self.conjugated: list[bool] = []
        self.in_ring: list[bool] = []
        self.stereo: list[int] = []

    def append(self, mol: Chem.Mol, *, stereo: bool) -> None:
        count = mol.GetNumBonds()
        bonds = list(map(mol.GetBondWithIdx, range(count)))
        self.count.append(count)
        self.begin.extend(map(Chem.Bond.GetBeginAtomIdx, bonds))
        self.end.extend(map(Chem.Bond.GetEndAtomIdx, bonds))
        self.kind.extend(map(Chem.Bond.GetBondType, bonds))
        self.conjugated.extend(map(Chem.Bond.GetIsConjugated, bonds))
        rings = mol.GetRingInfo().NumRings()
        self.in_ring.extend(map(Chem.Bond.IsInRing, bonds) if rings else [False] * count)
        self.stereo.extend(map(Chem.Bond.GetStereo, bonds) if stereo else [0] * count)


_CHIRALITY = {"R": 2, "S": 3}
_BOND_CODES = np.zeros(256, dtype=np.int32)
_BOND_CODES[[int(Chem.BondType.names[name]) for name in _BONDS]] = np.arange(1, len(_BONDS) + 1)


def _text(value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise RowError("wrong_type", f"The SMILES is a {type(value).__name__}; text was expected.")
    if value is None or not value.strip():
        raise RowError("missing", "The SMILES is empty.")
    return value


def _keys(mol: Chem.Mol) -> tuple[str, str, str]:
    try:
        return molecule_keys(mol)
    except (RuntimeError, ValueError):  # broken invariants inside RDKit; its text may hold the molecule
        raise RowError("invalid_smiles", "RDKit cannot write the canonical SMILES of the molecule.") from None


def _pack(atoms: _Atoms, bonds: _Bonds) -> GraphChunk:
    node_ptr, bond_ptr = _pointers(atoms.count), _pointers(bonds.count)
    pairs = np.stack([_ints(bonds.begin), _ints(bonds.end)], axis=1)  # (E / 2, 2)
    kind = _ints(bonds.kind)
    ends = pairs + np.repeat(node_ptr[:-1], np.diff(bond_ptr))[:, None]  # atoms of the chunk
    num_atoms = int(node_ptr[-1])
    hydrogens = _ints(atoms.hydrogens)
    degree = np.bincount(ends.ravel(), minlength=num_atoms) + hydrogens
    aromatic = np.zeros(num_atoms, dtype=np.int32)
    aromatic[ends[kind == _AROMATIC]] = 1  # in a sanitised molecule these are exactly the aromatic atoms
    chirality = np.ones(num_atoms, dtype=np.int32)
    chirality[_ints(atoms.chirality.keys())] = _ints(atoms.chirality.values())
    ring = np.minimum(_ints(atoms.ring), _MAX_RING + 1)
    x = (
        _code(_ints(atoms.number) - 1, len(_ELEMENTS)),
        _code(degree, 9),
        _code(_ints(atoms.charge) + 3, 7),
        chirality,
        _code(hydrogens, 7),
        _code(_ints(atoms.hybridization) - 1, len(_HYBRIDIZATIONS)),
        aromatic + 1,
        np.where(ring == 0, 1, ring - 1),
    )
    edge_attr = (
        _BOND_CODES[kind],
        _ints(bonds.conjugated) + 1,
        _ints(bonds.in_ring) + 1,
        _code(_ints(bonds.stereo), len(_BOND_STEREO)),
    )
    num_graphs, num_edges = len(atoms.count), 2 * len(pairs)
    return GraphChunk(
        node_ptr=node_ptr,
        edge_ptr=2 * bond_ptr,
        x=np.stack(x, axis=1).astype(np.int32, copy=False),
        x_float=np.zeros((num_atoms, 0), dtype=np.float32),
        edge_index=np.stack([pairs.ravel(), pairs[:, ::-1].ravel()]).astype(np.int32, copy=False),
        edge_attr=np.repeat(np.stack(edge_attr, axis=1).astype(np.int32, copy=False), 2, axis=0),
        edge_float=np.zeros((num_edges, 0), dtype=np.float32),
        u=np.zeros((num_graphs, 0), dtype=np.float32),
        y=np.zeros((num_graphs, 0), dtype=np.float32),
    )


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, dtype=np.int32)


def _code(index: Ints, num_categories: int) -> Ints:
    """Category code of an index into the categories; outside of them unknown."""
    return np.where((index >= 0) & (index < num_categories), index + 1, 0)


def _pointers(sizes: list[int]) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
