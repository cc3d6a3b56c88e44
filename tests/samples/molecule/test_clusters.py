"""Molecules with alike scaffolds stand together."""

import numpy as np

from pipeline.samples.molecule.clusters import cluster_scaffolds


def test_scaffolds_that_are_alike_are_together():
    chains, benzenes = ["CCO", "CCN"], ["Cc1ccccc1", "OCc1ccccc1", "c1ccccc1"]
    steroids = ["C1CCC2C(C1)CCC1C2CCC2CCCC12", "CC12CCC3C(CCC4CCCCC34)C1CCC2O"]
    clusters = cluster_scaffolds([*chains, *benzenes, *steroids, "nonsense"], named=True)
    sets = {title: np.flatnonzero(rows).tolist() for title, rows in clusters}
    assert sets["no rings"] == [0, 1, 7]
    assert sets["like c1ccccc1"] == [2, 3, 4]
    assert any(rows == [5, 6] for rows in sets.values())
    assert not any("c1" in title for title, _ in cluster_scaffolds(benzenes, named=False))
    assert [title for title, _ in cluster_scaffolds(chains, named=True)] == ["no rings"]
