"""Trees as arrays: written whole, the same bytes for the same trees."""

from __future__ import annotations

import pytest

from pipeline.network.trees import read_forest, write_forest
from pipeline.training import forest as fitting
from pipeline.training.forest import fit_forest
from tests.support.forests import BINARY, CLASSES, NUMBER, table
from tests.support.schemas import toy_schema


@pytest.fixture(autouse=True)
def fewer_trees(monkeypatch):
    monkeypatch.setattr(fitting, "_TREES", 20)


def test_equal_trees_are_equal_bytes_and_come_back(tmp_path):
    u, y = table()
    schema = toy_schema(NUMBER, BINARY, CLASSES)
    for name in ("a", "b"):
        write_forest(fit_forest(schema, u, y, 1), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    trees = fit_forest(schema, u, y, 1)
    assert {name: values.tolist() for name, values in read_forest(tmp_path / "a").items()} == {
        name: values.tolist() for name, values in trees.items()
    }
