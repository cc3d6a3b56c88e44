"""Descriptions of molecules for a forest: substructures and RDKit's descriptors."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Descriptors, rdFingerprintGenerator

from pipeline.graph import Floats
from pipeline.samples.source import finite

_FINGERPRINT_SIZE = 2048
# Ipc and AvgIpc grow with the fourth power of the atoms (45 s at 469 atoms); qed is made of the others, at a quarter of
# the time of all.
_LEFT_OUT = ("Ipc", "AvgIpc", "qed")
_MAX_DESCRIBED_ATOMS = 300  # above, descriptors are zero; a second a molecule would pass the time of the forest


def describe_molecules(smiles: Sequence[str], pool: Executor | None = None) -> Floats:
    """Describe molecules by count Morgan fingerprints (radius 2, 2048 bits) and RDKit's descriptors.

    Left out are Ipc, AvgIpc and qed for their cost. Descriptors above 300 atoms, and values that are not numbers, are
    zero.

    Args:
        pool: of processes, to share the work of more than a few hundred molecules.

    Returns:
        (G, 2048 + D) float32, finite.

    Source: Rogers & Hahn 2010, J. Chem. Inf. Model. 50, 742 (the fingerprints).
    """
    pieces = [list(smiles[start : start + 64]) for start in range(0, len(smiles), 64)]
    tables = pool.map(_describe, pieces) if pool and len(pieces) > 4 else map(_describe, pieces)
    return np.concatenate([np.empty((0, _FINGERPRINT_SIZE + len(_DESCRIPTORS)), np.float32), *tables])


_DESCRIPTORS = [(name, function) for name, function in Descriptors.descList if name not in _LEFT_OUT]


def _describe(smiles: list[str]) -> Floats:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=_FINGERPRINT_SIZE)
    table = np.zeros((len(smiles), _FINGERPRINT_SIZE + len(_DESCRIPTORS)))
    with rdBase.BlockLogs(), np.errstate(all="ignore"):
        for row, one in zip(table, smiles, strict=True):
            molecule = Chem.MolFromSmiles(one)
            if molecule is None:  # the store has only what RDKit reads
                continue
            row[:_FINGERPRINT_SIZE] = generator.GetCountFingerprintAsNumPy(molecule)
            if molecule.GetNumAtoms() <= _MAX_DESCRIBED_ATOMS:
                row[_FINGERPRINT_SIZE:] = [_descriptor(function, molecule) for _, function in _DESCRIPTORS]
    return finite(table)


def _descriptor(function: Any, molecule: Chem.Mol) -> float:
    try:
        return float(function(molecule))
    except (ValueError, RuntimeError, ZeroDivisionError, OverflowError):  # such as charges of an unknown element
        return 0.0
