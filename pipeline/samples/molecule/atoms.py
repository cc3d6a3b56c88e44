"""Molecules → what RDKit says of their atoms, bonds and rings: each kind of atom asked once, not each atom.

Asking atom by atom takes as long as reading the SMILES. So a molecule is written in RDKit's own binary form, in which
equal atoms have equal bytes, cut into records, and only the first atom of each record is asked. A molecule whose
binary form is not as known (another version of it, query atoms, isotopes, 256 atoms or more) is asked atom by atom.

Source: Code/GraphMol/MolPickler.cpp of RDKit, format 16.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from rdkit import Chem

Values = tuple[int, ...]
"""Of an atom: atomic number, charge, hydrogens, hybridization, aromatic, chiral tag. Of a bond: type, conjugated,
stereo. Enumerations as RDKit numbers them."""


class Records:
    """The atoms and bonds of a chunk of molecules: tables of distinct ones, and a code for each (N atoms, B bonds)."""

    def __init__(self) -> None:
        self.atoms = _Kinds(_atom_values, _is_known_atom)
        self.bonds = _Kinds(_bond_values, _is_known_bond)
        self.num_atoms: list[int] = []  # per molecule, as the next two
        self.num_bonds: list[int] = []
        self.num_rings: list[int] = []
        self.atom_code: list[int] = []  # (N,) row of atoms.rows
        self.bond_code: list[int] = []  # (B,) row of bonds.rows
        self.ends: list[int] = []  # (2 B,) begin and end of bond after bond, numbered within the molecule
        self.ring_size: list[int] = []  # per ring, as the next
        self.ring_number: list[int] = []  # of the molecule's rings
        self.ring_atoms: list[int] = []  # of ring after ring, numbered within the molecule
        self.cip: dict[int, str] = {}  # atom (of N) -> CIP label; few have one

    def append(self, mol: Chem.Mol) -> None:
        """Take in a sanitised molecule."""
        parts = _cut(mol.ToBinary(_NO_PROPERTIES))
        atoms = self.atoms.codes(parts.atoms, mol.GetAtomWithIdx) if parts else None
        bonds = self.bonds.codes(parts.bonds, mol.GetBondWithIdx) if parts else None
        if parts is None or atoms is None or bonds is None:
            self._append_asked(mol)
        else:
            self._extend(mol, atoms, bonds, parts.ends, parts.rings)

    def _append_asked(self, mol: Chem.Mol) -> None:
        atoms = [self.atoms.code(atom) for atom in mol.GetAtoms()]
        bonds = [self.bonds.code(bond) for bond in mol.GetBonds()]
        ends = [end for bond in mol.GetBonds() for end in (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())]
        self._extend(mol, atoms, bonds, ends, mol.GetRingInfo().AtomRings())

    def _extend(
        self, mol: Chem.Mol, atoms: list[int], bonds: list[int], ends: Iterable[int], rings: Sequence[Sequence[int]]
    ) -> None:
        if not self.atoms.stereo.isdisjoint(atoms):
            for i, code in enumerate(atoms):
                if code in self.atoms.stereo and mol.GetAtomWithIdx(i).HasProp("_CIPCode"):
                    self.cip[len(self.atom_code) + i] = mol.GetAtomWithIdx(i).GetProp("_CIPCode")
        self.num_atoms.append(len(atoms))
        self.num_bonds.append(len(bonds))
        self.num_rings.append(len(rings))
        self.atom_code += atoms
        self.bond_code += bonds
        self.ends += ends
        self.ring_number += range(len(rings))
        for ring in rings:
            self.ring_size.append(len(ring))
            self.ring_atoms += ring


class _Kinds:
    """Distinct atoms or bonds, numbered as they come.

    Attributes:
        rows: their values.
        stereo: the codes of those whose last value, their stereo, is not 0.
    """

    def __init__(self, ask: Callable[[Any], Values], is_known: Callable[[bytes], bool]) -> None:
        self.rows: list[Values] = []
        self.stereo: set[int] = set()
        self._ask, self._is_known = ask, is_known
        self._code: dict[bytes | Values, int] = {}

    def codes(self, records: list[bytes], one: Callable[[int], Any]) -> list[int] | None:
        """The code of each record; None if a record is not of the known form.

        Args:
            one: the atom or bond at a place of `records`.
        """
        code = self._code
        try:
            return [code[record] for record in records]
        except KeyError:
            pass
        for place, record in enumerate(records):
            if record not in code:
                if not self._is_known(record):
                    return None
                self._add(record, self._ask(one(place)))
        return [code[record] for record in records]

    def code(self, one: Any) -> int:
        """The code of an atom or bond that is asked."""
        values = self._ask(one)
        if values not in self._code:
            self._add(values, values)
        return self._code[values]

    def _add(self, key: bytes | Values, values: Values) -> None:
        if values[-1]:
            self.stereo.add(len(self.rows))
        self._code[key] = len(self.rows)
        self.rows.append(values)


def _atom_values(atom: Chem.Atom) -> Values:
    return (
        atom.GetAtomicNum(),
        atom.GetFormalCharge(),
        atom.GetTotalNumHs(),
        int(atom.GetHybridization()),
        atom.GetIsAromatic(),
        int(atom.GetChiralTag()),
    )


def _bond_values(bond: Chem.Bond) -> Values:
    return int(bond.GetBondType()), bond.GetIsConjugated(), int(bond.GetStereo())


class _Parts(NamedTuple):
    """The binary form of a molecule, cut."""

    atoms: list[bytes]
    bonds: list[bytes]  # without their ends
    ends: bytes  # begin and end of bond after bond
    rings: list[bytes]  # atoms of each ring


# The form: head, N and B as int32, flags; then by tag
#   atoms: element, flags, int32 of fields that follow, those fields: one byte each, the isotope four
#   bonds: begin, end, flags, fields that follow; stereo is followed by the number of its atoms and these
#   rings: int32 count, then size and atoms of each
_NO_PROPERTIES = int(Chem.PropertyPickleOptions.NoProps)
_HEAD = bytes.fromhex("efbeadde 00000000 10000000 04000000 00000000")
_ATOM_HEAD, _BOND_HEAD = 6, 3
_BOND_TAG, _RING_TAG, _END_OF_RINGS = 0x0B, 0x42, 0x17
_STEREO = 0x02
_ATOM_FLAGS, _BOND_FLAGS = 0x60, 0x6E  # aromatic, no implicit hydrogens; aromatic, conjugated, type, direction, stereo
_ATOM_SIZE = bytes(_ATOM_HEAD + fields.bit_count() for fields in range(256))
_BOND_SIZE = bytes(_BOND_HEAD + (0, 4)[flags >> 1 & 1] + (flags & 0x0C).bit_count() for flags in range(256))


def _cut(data: bytes) -> _Parts | None:
    """Cut the binary form of a molecule into records; None where it is not as known."""
    num_atoms, num_bonds = data[20], data[24]
    if not data.startswith(_HEAD) or data[21:24] != b"\0\0\0" or data[25:30] != b"\0\0\0\x80\x01":
        return None
    try:
        at = 30
        atoms, bonds, ends, rings = [], [], [], []
        for _ in range(num_atoms):
            end = at + _ATOM_SIZE[data[at + 2]]
            atoms.append(data[at:end])
            at = end
        if data[at] != _BOND_TAG:
            return None
        at += 1
        for _ in range(num_bonds):
            end = at + _BOND_SIZE[data[at + 2]]
            ends.append(data[at : at + 2])
            bonds.append(data[at + 2 : end])
            at = end
        if data[at] != _RING_TAG or data[at + 2 : at + 5] != b"\0\0\0":
            return None
        num_rings = data[at + 1]
        at += 5
        for _ in range(num_rings):
            end = at + 1 + data[at]
            rings.append(data[at + 1 : end])
            at = end
        if data[at] != _END_OF_RINGS:
            return None
    except IndexError:
        return None
    return _Parts(atoms, bonds, b"".join(ends), rings)


def _is_known_atom(record: bytes) -> bool:
    """Whether the record has no fields but those that `_cut` reckons with."""
    return not record[1] & ~_ATOM_FLAGS and record[3:6] == b"\0\0\0"


def _is_known_bond(record: bytes) -> bool:
    return not record[0] & ~_BOND_FLAGS and (not record[0] & _STEREO or record[-3] == 2)
