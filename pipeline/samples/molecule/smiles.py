"""SMILES → RDKit molecule, and the keys by which molecules are told apart, grouped and split."""

from __future__ import annotations

import functools
import hashlib
import logging
import re
import threading

from rdkit import Chem, rdBase

from pipeline.errors import RowError
from pipeline.schema import Limits

# No SMILES needs more characters for an atom, with brackets, charge, stereo, bonds and ring numbers.
_MAX_CHARACTERS_PER_ATOM = 50
_ATOM = re.compile(r"\[[^\]]*\]|Br|Cl|[BCNOPSFIbcnops*]")
_ATOM_OR_RING = re.compile(rf"({_ATOM.pattern})|%\((\d+)\)|%(\d\d)|(\d)")
# To find rings RDKit takes 0.4 s and 280 MB for one of 3,000 atoms, 6 s and 2.2 GB for one of 9,000, and 23 s and 2 GB
# for 1,000 fused squares, whose squared lengths in the text come to 10⁹. A text of this length can cost little.
_MAX_RING_COST = 10**7
_CHEAP_CHARACTERS = 1_000
_REACTION_ARROW = re.compile(r"(?<!-)>")  # `->` is a dative bond
_TIMESTAMP = re.compile(r"^\[\d\d:\d\d:\d\d\] ")
_POSITION = re.compile(r"around position (\d+):")
_STEREO_OR_ISOTOPE = re.compile(r"[@/\\]|\[\d")
_MAX_SCAFFOLD_RINGS = 60  # RDKit's scaffold takes 0.04 s for 50 rings, 4 s for 200
_HEAVY_HYDROGEN = re.compile(r"\[\d+H")
_ATOM_MAP = re.compile(r":\d+\]")
# A text without these has no stereo, no map numbers, no extension, and no hydrogen that is an atom of its own.
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9()\[\]=#.%+-]|\[[\dHDT#]")
_BARE = Chem.SmilesParserParams()
for _name in ("sanitize", "removeHs", "allowCXSMILES", "parseName"):
    setattr(_BARE, _name, False)


def parse_smiles(smiles: str, limits: Limits) -> Chem.Mol:
    """Read one SMILES: sanitised, hydrogens implicit, atom-map numbers removed.

    RDKit's log is silent from the first call on, in the whole process: a failure is told in the error instead.

    Raises:
        RowError: invalid_smiles with RDKit's reason, no_atoms, or too_large. The text never holds the SMILES.
    """
    smiles = smiles.strip()
    _check_text(smiles, limits)
    _catch_log()
    mol = None if _NOT_PLAIN.search(smiles) else _read_plain(smiles)
    if mol is None:
        _log.lines = []
        mol = Chem.MolFromSmiles(smiles)
    if mol is None:
        raise RowError("invalid_smiles", _reason(smiles, _log.lines))
    check_size(mol, limits)
    if _ATOM_MAP.search(smiles):  # numbers of a reaction, not of the molecule: they must not part equal molecules
        for atom in mol.GetAtoms():
            atom.SetAtomMapNum(0)
        Chem.AssignStereochemistry(mol, cleanIt=True, force=True)  # the numbers told equal neighbours apart
    return mol


def _read_plain(smiles: str) -> Chem.Mol | None:
    """Read a SMILES that has no hydrogens to remove and no stereo to assign: a fifth quicker than with both steps.

    Returns:
        The same molecule as `Chem.MolFromSmiles`, or None where that one may know better or tells why not.
    """
    mol = Chem.MolFromSmiles(smiles, _BARE)
    if mol is None:
        return None
    try:
        Chem.SanitizeMol(mol)
    except ValueError:
        return None
    return mol


def check_size(mol: Chem.Mol, limits: Limits) -> None:
    """Refuse a molecule without atoms, or beyond the limits.

    Raises:
        RowError: no_atoms or too_large.
    """
    atoms, edges = mol.GetNumAtoms(), 2 * mol.GetNumBonds()
    if atoms == 0:
        raise RowError("no_atoms", "The molecule has no atoms.")
    if atoms > limits.max_nodes or edges > limits.max_edges:
        raise RowError(
            "too_large",
            f"The molecule has {atoms} atoms and {edges} directed edges; "
            f"at most {limits.max_nodes} and {limits.max_edges} are taken.",
        )


def identity_key(mol: Chem.Mol) -> str:
    """Canonical SMILES with stereo and isotopes: equal for replicates of one molecule."""
    return str(Chem.MolToSmiles(mol))


def group_key(mol: Chem.Mol) -> str:
    """Canonical SMILES without stereo and isotopes: molecules of one group stay on one side of a split."""
    return str(Chem.MolToSmiles(light(mol), isomericSmiles=False))


def light(mol: Chem.Mol) -> Chem.Mol:
    """The molecule as it is; where it has isotopes, without them and stereo: deuterium is an implicit hydrogen then."""
    if not any(atom.GetIsotope() for atom in mol.GetAtoms()):
        return mol
    plain = Chem.Mol(mol)
    for atom in plain.GetAtoms():
        atom.SetIsotope(0)
    Chem.RemoveStereochemistry(plain)  # for a double bond's sake a hydrogen would stay
    return Chem.RemoveHs(plain)


def light_smiles(smiles: str, limits: Limits) -> str | None:
    """The SMILES of the molecule without isotopes, where it has heavy hydrogens; else None, as for unreadable text."""
    if not _HEAVY_HYDROGEN.search(smiles):
        return None
    try:
        return str(Chem.MolToSmiles(light(parse_smiles(smiles, limits))))
    except (RowError, ValueError, RuntimeError):
        return None


def scaffold_key(mol: Chem.Mol) -> str:
    """Bemis-Murcko scaffold (ring systems and the chains between them) without stereo; acyclic: the group key.

    A molecule of more than 60 rings is its own scaffold.

    Source: Bemis and Murcko 1996, doi:10.1021/jm9602928.
    """
    mol = light(mol)
    if 0 < mol.GetRingInfo().NumRings() <= _MAX_SCAFFOLD_RINGS:
        return group_key(Chem.MurckoDecompose(mol))
    return group_key(mol)


def molecule_keys(mol: Chem.Mol) -> tuple[str, str]:
    """Identity and group key; quicker than one by one where a molecule has no stereo."""
    identity = identity_key(mol)
    return identity, group_key(mol) if _STEREO_OR_ISOTOPE.search(identity) else identity


def digest(text: str) -> tuple[int, int]:
    """128 bits of BLAKE2b as two uint64, so that keys of any length take 16 bytes."""
    value = hashlib.blake2b(text.encode(), digest_size=16).digest()
    return int.from_bytes(value[:8], "little"), int.from_bytes(value[8:], "little")


class _Log(threading.local):
    """The lines RDKit logged for the molecule that this thread reads."""

    lines: list[str] = []  # noqa: RUF012 - replaced for each molecule, never appended to here


class _Catch(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if len(_log.lines) < 8:  # the reason comes first
            _log.lines.append(record.getMessage())


_log = _Log()


@functools.cache
def _catch_log() -> None:
    """Send RDKit's log to the thread that caused it. RDKit writes it per process, and offers no reason elsewhere."""
    rdBase.LogToPythonLogger()
    logger = logging.getLogger("rdkit")
    logger.handlers[:] = [_Catch()]
    logger.propagate = False


def _check_text(smiles: str, limits: Limits) -> None:
    if not smiles:
        raise RowError("no_atoms", "The SMILES is empty.")
    if not smiles.isascii() or not smiles.isprintable():
        at = next(i for i, letter in enumerate(smiles) if not (letter.isascii() and letter.isprintable()))
        raise RowError("invalid_smiles", f"Character {at + 1} of the SMILES is not printable ASCII.")
    atoms, _, behind = smiles.partition(" ")
    if behind and not behind.lstrip().startswith("|"):  # RDKit would take it for a name and answer for the rest
        raise RowError("invalid_smiles", f"A blank stands behind character {len(atoms)} of the SMILES.")
    if len(_REACTION_ARROW.findall(atoms)) > 1:
        raise RowError("invalid_smiles", "It is a reaction, with > between its parts; one molecule is expected.")
    if len(atoms) > _CHEAP_CHARACTERS and _ring_cost(atoms) > _MAX_RING_COST:
        raise RowError("too_large", "The molecule has too many, or too large, rings to be found.")
    if len(smiles) <= limits.max_nodes:
        return  # a SMILES has at least one character an atom
    if len(smiles) > _MAX_CHARACTERS_PER_ATOM * limits.max_nodes:
        raise RowError(
            "too_large", f"The SMILES has {len(smiles)} characters; at most {limits.max_nodes} atoms are taken."
        )
    # RDKit takes minutes to read 100,000 atoms, or to tell what is wrong with them: they are counted before.
    found = _ATOM.findall(atoms)
    heavy = len(found) - found.count("[H]")
    if heavy > limits.max_nodes:
        raise RowError("too_large", f"The molecule has {heavy} atoms; at most {limits.max_nodes} are taken.")
    if len(atoms) > _MAX_CHARACTERS_PER_ATOM * len(found):
        raise RowError("invalid_smiles", f"The SMILES has {len(atoms)} characters for {len(found)} atoms.")


def _ring_cost(atoms: str) -> int:
    """The squares of the rings' lengths as they are written, added up: what finding them costs, and not less.

    The length of a ring in the text is the number of atoms between the two places of its number.
    """
    opened: dict[int, int] = {}
    place = cost = 0
    for atom, *numbers in _ATOM_OR_RING.findall(atoms):
        if atom:
            place += 1
            continue
        number = int("".join(numbers))
        start = opened.pop(number, None)
        if start is None:
            opened[number] = place
        else:
            cost += (place - start + 1) ** 2
    return cost


def _reason(smiles: str, lines: list[str]) -> str:
    """Turn RDKit's log into one sentence that does not repeat the SMILES."""
    first = _TIMESTAMP.sub("", lines[0]) if lines else ""
    if first.startswith("SMILES Parse Error: "):
        first = first.removeprefix("SMILES Parse Error: ").split(":")[0]  # what follows the colon is the SMILES
        first = first.removesuffix(" for input").removesuffix(" while parsing")
        position = next(filter(None, map(_POSITION.search, lines)), None)
        if position:
            first += f" near character {position[1]}"
    if not first or (len(smiles) > 3 and smiles in first):
        return "RDKit cannot read the SMILES and gives no reason."
    return f"RDKit cannot read the SMILES: {first[:200].rstrip('.')}."
