"""What training covers, for the card and for the warnings of a bundle."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from pipeline.answer import PREDICTION
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.dataset.split import TEST, TRAIN
from pipeline.graph import pack
from pipeline.schema import Schema, Target
from pipeline.store.build import build_store
from pipeline.store.scope import covered, with_ranges
from serving.domain import Domain
from tests.conftest import ROOT
from tests.support.schemas import toy_schema

TARGETS = (
    Target("y", "regression"),
    Target("IC50", "regression", transform="p", unit="nM"),
    Target("toxic", "binary", classes=("no", "yes")),
)


def store(*sides):
    """Four graphs of 1, 2, 3 and 40 nodes."""
    y = np.array([[-1, 6, 0], [np.nan, 9, 1], [2, np.nan, 1], [99, 99, 0]], dtype=np.float32)
    arrays = SimpleNamespace(node_ptr=np.array([0, 1, 3, 6, 46]), y=y)
    where = np.array(sides)
    return SimpleNamespace(
        schema=toy_schema(*TARGETS), arrays=arrays, indices=lambda side: np.flatnonzero(where == side)
    )


def test_only_training_counts_and_missing_labels_do_not():
    found = covered(store(TRAIN, TRAIN, TRAIN, TEST))
    assert found.nodes == (1, 3)
    assert found.labels == {"y": (-1.0, 2.0), "IC50": (6.0, 9.0)}
    assert covered(store(TEST, TRAIN, TRAIN, TRAIN)).nodes == (2, 40)


def test_the_schema_of_a_bundle_has_the_labels_in_original_units():
    toy = toy_schema(*TARGETS)
    schema = with_ranges(toy, covered(store(TRAIN, TRAIN, TRAIN, TEST)))
    assert schema.node_range == (1, 3)
    assert schema.targets[0].label_range == (-1.0, 2.0)
    np.testing.assert_allclose(schema.targets[1].label_range, (1.0, 1000.0))  # 1 nM is 9, 1 µM is 6
    assert schema.targets[2].label_range is None
    assert Schema.from_json(schema.to_json()) == schema
    assert "range" not in toy.to_json()  # as the code of before wrote it


def test_no_molecule_of_training_is_unlike_training(tmp_path):
    """From data to warnings: what a bundle says of its training holds for each row of it."""
    config = PrepareConfig(data="solubility")
    store = build_store(config, find_source(config, ROOT, tmp_path), tmp_path / "store", "", lambda rows: rows)
    schema = with_ranges(store.schema, covered(store))
    train = [store.graph(int(i)) for i in store.indices(TRAIN)]
    labels = store.arrays.y[store.indices(TRAIN)]
    told = [one for one in Domain(schema).warnings(pack(train), {PREDICTION: labels}) if one]
    assert all("only once in training" in one for one in told)
    assert not any("where training had" in one or "beyond" in one for one in told)
    assert len(told) < 0.02 * len(train)
