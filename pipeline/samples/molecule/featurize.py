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

from pipeline.errors import RowError
from pipeline.graph import GraphChunk, Ints, pointers
from pipeline.samples.molecule.atoms import Records, Values
from pipeline.samples.molecule.smiles import digest, parse_smiles, scaffold_key
from pipeline.schema import Column, Limits

FEATURIZER_VERSION = 1
"""Raised with every change of the columns below or of their meaning: stores and models of another one are refused."""

_ELEMENTS = tuple(Chem.GetPeriodicTable().GetElementSymbol(number) for number in range(1, 119))
_HYBRIDIZATIONS = ("S", "SP", "SP2", "SP3", "SP2D", "SP3D", "SP3D2")  # in the order of RDKit's enumeration
_BONDS = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC", "DATIVE")
_BOND_STEREO = ("NONE", "ANY", "Z", "E")  # in the order of RDKit's enumeration
_NO_YES = ("no", "yes")
_MAX_DEGREE, _MAX_RING = 8, 8

NODE_COLUMNS = (
    Column("element", "categorical", _ELEMENTS),  # a dummy atom `*` is unknown
    Column("degree", "categorical", tuple(str(n) for n in range(_MAX_DEGREE + 1))),  # bonds, those to hydrogens too
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

SKELETON_COLUMNS = (0, 2, 4)
"""Element, charge and hydrogens: what the SMILES of a molecule without stereo and isotopes says of an atom, whatever
RDKit derives from it. So molecules of one group have one skeleton (`skeleton_hashes`)."""


class Featurized(NamedTuple):
    """The molecules of a chunk of rows; K of the B rows are good."""

    chunk: GraphChunk  # the K good ones; u (K, U) holds descriptors and fingerprint; y (K, 0)
    good: NDArray[np.int64]  # (K,) their positions among the rows
    errors: dict[int, RowError]  # position of each other row -> why
    scaffold: NDArray[np.uint64]  # (K, 2) digest of the scaffold key; (0, 2) if not asked for


def featurize_smiles(
    smiles: Sequence[object],
    limits: Limits,
    *,
    scaffolds: bool = False,
    descriptors: bool = False,
    fingerprint: bool = False,
) -> Featurized:
    """Read and featurize a chunk of SMILES.

    Args:
        smiles: B values; None and blank text are missing ones.
        scaffolds: also build the scaffold keys, which takes about as long as the rest.
        descriptors: also fill `u` with the columns of `descriptors`, which takes several times the rest.
        fingerprint: behind those the counts of substructures.
    """
    width = 0
    if descriptors or fingerprint:  # 10 ms that the start of serving need not wait for
        from pipeline.samples.molecule.descriptors import (
            DESCRIPTOR_COLUMNS,
            FINGERPRINT_SIZE,
            count_substructures,
            describe,
        )

        width = len(DESCRIPTOR_COLUMNS) * descriptors + FINGERPRINT_SIZE * fingerprint
    records = Records()
    good: list[int] = []
    errors: dict[int, RowError] = {}
    scaffold: list[tuple[int, int]] = []
    described = [np.zeros(0, dtype=np.float32)]
    for position, value in enumerate(smiles):
        try:
            mol = parse_smiles(_text(value), limits)
            numbers = [describe(mol)] if descriptors else []
            numbers += [count_substructures(mol)] if fingerprint else []
            key = _scaffold(mol) if scaffolds else None
        except RowError as error:
            errors[position] = error
            continue
        except RuntimeError:  # a broken invariant inside RDKit; its text may hold the molecule
            errors[position] = RowError("invalid_smiles", "RDKit fails on this molecule.")
            continue
        good.append(position)
        described += numbers
        if key is not None:
            scaffold.append(key)
        records.append(mol)
    keys = np.array(scaffold, dtype=np.uint64).reshape(-1, 2)
    chunk = _pack(records)
    if width:
        chunk = chunk._replace(u=np.concatenate(described).reshape(len(good), width))
    return Featurized(chunk, np.array(good, dtype=np.int64), errors, keys)


def _text(value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise RowError("wrong_type", f"The SMILES is a {type(value).__name__}; text was expected.")
    if value is None or not value.strip():
        raise RowError("missing", "The SMILES is empty.")
    return value


def _scaffold(mol: Chem.Mol) -> tuple[int, int]:
    try:
        return digest(scaffold_key(mol))
    except (RuntimeError, ValueError):  # broken invariants inside RDKit; its text may hold the molecule
        raise RowError("invalid_smiles", "RDKit cannot write the scaffold of the molecule.") from None


def _pack(records: Records) -> GraphChunk:
    node_ptr, bond_ptr = pointers(records.num_atoms), pointers(records.num_bonds)
    pairs = _ints(records.ends).reshape(-1, 2)  # (E / 2, 2)
    ends = pairs + np.repeat(node_ptr[:-1], records.num_bonds)[:, None]  # atoms of the chunk
    num_graphs, num_atoms, num_edges = len(records.num_atoms), int(node_ptr[-1]), 2 * len(pairs)
    ring, in_ring = _rings(records, node_ptr, ends)
    x = _table(map(_atom_codes, records.atoms.rows), len(NODE_COLUMNS))[_ints(records.atom_code)]
    degree = x[:, 1] + np.bincount(ends.ravel(), minlength=num_atoms)
    x[:, 1] = np.where(degree <= _MAX_DEGREE, degree + 1, 0)
    if records.cip:
        x[_ints(records.cip), 3] = _ints(_CHIRALITY.get(label, 0) for label in records.cip.values())
    x[:, 7] = ring
    bonds = _table(map(_bond_codes, records.bonds.rows), len(EDGE_COLUMNS))[_ints(records.bond_code)]
    bonds[:, 2] += in_ring
    return GraphChunk(
        node_ptr=node_ptr,
        edge_ptr=2 * bond_ptr,
        x=x,
        x_float=np.zeros((num_atoms, 0), dtype=np.float32),
        edge_index=np.array([pairs.ravel(), pairs[:, ::-1].ravel()]),
        edge_attr=np.repeat(bonds, 2, axis=0),
        edge_float=np.zeros((num_edges, 0), dtype=np.float32),
        u=np.zeros((num_graphs, 0), dtype=np.float32),
        y=np.zeros((num_graphs, 0), dtype=np.float32),
    )


def _atom_codes(values: Values) -> Values:
    """NODE_COLUMNS of a kind of atom; of its degree the hydrogens, no chirality and no ring."""
    number, charge, hydrogens, hybridization, aromatic, _ = values
    return (
        _code(number - 1, len(_ELEMENTS)),
        hydrogens,
        _code(charge + 3, 7),
        1,
        _code(hydrogens, 7),
        _code(hybridization - 1, len(_HYBRIDIZATIONS)),
        aromatic + 1,
        1,
    )


def _bond_codes(values: Values) -> Values:
    """EDGE_COLUMNS of a kind of bond, outside of rings."""
    kind, conjugated, stereo = values
    return _BOND_CODES.get(kind, 0), conjugated + 1, 1, _code(stereo, len(_BOND_STEREO))


def _code(index: int, num_categories: int) -> int:
    """Category code of an index into the categories; outside of them unknown."""
    return index + 1 if 0 <= index < num_categories else 0


def _rings(records: Records, node_ptr: Ints, ends: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Ring code of each atom (N,), and whether each bond is in a ring (B,)."""
    size, number = _ints(records.ring_size), _ints(records.ring_number)
    first = np.repeat(node_ptr[:-1], records.num_rings)  # (R,) first atom of the ring's molecule
    atoms = _ints(records.ring_atoms) + np.repeat(first, size)
    smallest = np.full(node_ptr[-1], _NO_RING)
    np.minimum.at(smallest, atoms, np.repeat(np.minimum(size, _MAX_RING + 1), size))
    # A bond is in a ring exactly when its ends share one: if not in that ring itself, it cuts it into two smaller ones.
    in_ring = np.zeros(len(ends), dtype=bool)
    word, bit = np.divmod(np.repeat(number, size), 64)  # a bit a ring of the molecule
    bit = np.uint64(1) << bit.astype(np.uint64)
    for w in range(max(records.num_rings, default=0) // 64 + 1):
        member = np.zeros(node_ptr[-1], dtype=np.uint64)
        np.bitwise_or.at(member, atoms, np.where(word == w, bit, np.uint64(0)))
        in_ring |= np.bitwise_and.reduce(member[ends], axis=1) != 0
    return _RING_CODES[smallest], in_ring


_CHIRALITY = {"R": 2, "S": 3}
_BOND_CODES = {int(Chem.BondType.names[name]): code for code, name in enumerate(_BONDS, start=1)}
_NO_RING = _MAX_RING + 2
_RING_CODES = np.array([0, 0, 0, *range(2, _MAX_RING + 1), 1], dtype=np.int32)  # smallest ring: 3, 4, ..., larger, none


def _table(rows: Iterable[Values], width: int) -> Ints:
    """One row of codes a kind of atom or bond.  # (C, width)"""
    return np.array([*rows], dtype=np.int32).reshape(-1, width)


def _ints(values: Iterable[int]) -> Ints:
    return np.fromiter(values, dtype=np.int32)
