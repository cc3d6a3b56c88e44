"""Clusters of molecules with alike scaffolds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DataStructs
from rdkit.Chem import rdFingerprintGenerator
from rdkit.ML.Cluster import Butina

from pipeline.errors import RowError
from pipeline.samples.molecule.smiles import parse_smiles, scaffold_key
from pipeline.schema import Limits

_MAX_SCAFFOLDS = 2_000  # all pairs of them are compared
_DISTANCE = 0.5  # of scaffolds in a cluster (Tanimoto)


def cluster_scaffolds(smiles: Sequence[str], *, named: bool) -> list[tuple[str, NDArray[np.bool_]]]:
    """Clusters of molecules with alike Bemis-Murcko scaffolds, and those without rings.

    Scaffolds are clustered by count-free Morgan fingerprints (radius 2), the largest cluster first.

    Args:
        named: whether a cluster may show the scaffold in its middle.

    Source: Butina 1999, J. Chem. Inf. Comput. Sci. 39, 747.
    """
    scaffolds = [_scaffold(one) for one in smiles]
    number = {name: k for k, (name, _) in enumerate(Counter(filter(None, scaffolds)).most_common(_MAX_SCAFFOLDS))}
    cluster = np.array([number.get(name, -1) if name else -2 for name in scaffolds], dtype=np.int64)
    clusters = [("no rings", cluster == -2)]
    names = list(number)
    for k, members in enumerate(_cluster(names)):
        title = f"like {names[members[0]]}" if named else f"cluster {k + 1}"
        clusters.append((title, np.isin(cluster, members)))
    return clusters


def _scaffold(smiles: str) -> str | None:
    """The scaffold, or None of a molecule without rings, or that cannot be read."""
    try:
        molecule = parse_smiles(smiles, Limits())
    except RowError:
        return None
    return scaffold_key(molecule) if molecule.GetRingInfo().NumRings() else None


def _cluster(scaffolds: Sequence[str]) -> list[list[int]]:
    """Clusters of scaffolds, the one in the middle first."""
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=2, fpSize=1024)
    prints = [generator.GetFingerprint(Chem.MolFromSmiles(one)) for one in scaffolds]
    distances = [1 - alike for k in range(1, len(prints)) for alike in _alike(prints[k], prints[:k])]
    if not prints:
        return []
    found = Butina.ClusterData(distances, len(prints), _DISTANCE, isDistData=True, reordering=True)  # type: ignore[no-untyped-call]
    return [list(members) for members in found]


def _alike(one: Any, others: Sequence[Any]) -> list[float]:
    return list(DataStructs.BulkTanimotoSimilarity(one, others))
