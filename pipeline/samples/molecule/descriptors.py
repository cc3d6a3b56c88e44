"""Molecule → numbers of the molecule as a whole: logP, polar surface, counts of rings and groups.

What messages between neighbours see late or not at all, above all with few molecules to learn from. These are RDKit's
descriptors that are quick enough for serving: `Properties`, the MQN counts and the VSA sums.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem
from rdkit.Chem import rdFingerprintGenerator, rdMolDescriptors

from pipeline.schema import Column

_PROPERTIES = rdMolDescriptors.Properties()
_NAMES = (
    *_PROPERTIES.GetPropertyNames(),
    *(f"MQN{n}" for n in range(1, 43)),
    *(f"PEOE_VSA{n}" for n in range(1, 15)),
    *(f"SMR_VSA{n}" for n in range(1, 11)),
    *(f"SlogP_VSA{n}" for n in range(1, 13)),
)
DESCRIPTOR_COLUMNS = tuple(Column(name, "numeric") for name in _NAMES)
FINGERPRINT_SIZE = 512
_FINGERPRINT = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=FINGERPRINT_SIZE)


def describe(mol: Chem.Mol) -> NDArray[np.float32]:
    """Describe a molecule.

    Returns:
        (121,) float32, each sign(v) · log(1 + |v|), so that one large molecule does not stretch the scale; NaN where
        RDKit finds no finite number (partial charges of some metals).

    Source: Nguyen et al. 2009, ChemMedChem 4, 1803 (MQN); Labute 2000, J. Mol. Graph. Model. 18, 464 (VSA).
    """
    values = np.array(
        [
            *_PROPERTIES.ComputeProperties(mol),
            *rdMolDescriptors.MQNs_(mol),
            *rdMolDescriptors.PEOE_VSA_(mol),
            *rdMolDescriptors.SMR_VSA_(mol),
            *rdMolDescriptors.SlogP_VSA_(mol),
        ]
    )
    values[~np.isfinite(values)] = math.nan
    scaled: NDArray[np.float32] = (np.sign(values) * np.log1p(np.abs(values))).astype(np.float32)
    return scaled


def count_substructures(mol: Chem.Mol) -> NDArray[np.float32]:
    """How often each circular substructure of radius 2 stands in a molecule.

    Returns:
        (512,) float32; substructures share a place by chance.

    Source: Rogers & Hahn 2010, J. Chem. Inf. Model. 50, 742 (ECFP4, counted and folded).
    """
    return _FINGERPRINT.GetCountFingerprintAsNumPy(mol).astype(np.float32)  # type: ignore[no-any-return]
