"""Silent drift of RDKit, torch or our own code: what is made of some molecules is what it was."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.support.golden import GOLDEN, MOLECULES, compute

SAVED = json.loads(GOLDEN.read_text(encoding="utf-8"))
ON_PURPOSE = "; if that is meant, raise FEATURIZER_VERSION, say so in CHANGELOG, and run python -m tests.support.golden"


@pytest.fixture(scope="module")
def now():
    return compute()


def test_features_change_only_with_the_version_of_the_featurizer(now):
    changed = [s for s in MOLECULES if SAVED["molecules"][s]["features"] != now["molecules"][s]["features"]]
    if SAVED["featurizer_version"] == now["featurizer_version"]:
        assert not changed, f"features of {changed[:3]} changed under the same version{ON_PURPOSE}"
    assert SAVED["featurizer_version"] == now["featurizer_version"], "run python -m tests.support.golden"


@pytest.mark.parametrize("name", ["identity", "group", "scaffold"])
def test_keys_are_what_they_were(now, name):
    """A split and the replicates depend on them."""
    assert {s: now["molecules"][s][name] for s in MOLECULES} == {s: SAVED["molecules"][s][name] for s in MOLECULES}


@pytest.mark.parametrize("name", ["descriptors", "answer"])
def test_numbers_are_what_they_were_within_tolerance(now, name):
    for smiles in MOLECULES:
        new, old = (np.array(one["molecules"][smiles][name], dtype=float) for one in (now, SAVED))
        np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-4, err_msg=f"{name} of {smiles}{ON_PURPOSE}")


def test_the_golden_molecules_are_those_of_the_file():
    assert list(SAVED["molecules"]) == MOLECULES
    assert len(set(MOLECULES)) == len(MOLECULES) >= 50
