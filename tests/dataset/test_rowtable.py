"""What the rows of a part say beside their graph, and which of them cannot stay."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.rowtable import read_row_table
from pipeline.dataset.split import NO_SIDE, TEST, TRAIN, VALIDATION
from pipeline.errors import RowError
from pipeline.rows.table import Rows
from pipeline.schema import Column, Target
from tests.support.schemas import toy_schema

NUMBER = Target("y", "regression")
BINARY = Target("b", "binary", classes=("no", "yes"))


def read(columns: dict[str, list[object]], *targets: Target, errors: Any = None, features: Any = (), **options: Any):
    """The row table of a part with these columns."""
    values = {name: np.array([*column, None], dtype=object)[:-1] for name, column in columns.items()}
    size = len(next(iter(values.values())))
    rows = Rows(np.arange(1, size + 1), values, {})
    schema = toy_schema(*targets, graph_columns=tuple(Column(name, "numeric") for name in features))
    side = options.pop("side", None)
    config = PrepareConfig(**options)
    source = SimpleNamespace(split=config.split or "random")
    opened = SimpleNamespace(
        schema=schema, data=SimpleNamespace(decimal_of=lambda _: "."), side_column=side, source=source
    )
    return read_row_table(SimpleNamespace(rows=rows, errors=errors or {}), opened, config)


def codes(table: Any) -> dict[int, str]:
    return {row: error.code for row, error in sorted(table.errors.items())}


def test_a_row_stays_while_one_target_has_a_value():
    found = read({"y": ["1.5", None, "tall", ""], "b": ["yes", "no", "no", None]}, NUMBER, BINARY)
    np.testing.assert_array_equal(found.y, np.float32([[1.5, 1], [np.nan, 0], [np.nan, 0], [np.nan, np.nan]]))
    assert codes(found) == {2: "invalid_label", 3: "no_label"}
    assert found.leaving == {3}


def test_what_is_wrong_with_the_graph_comes_first():
    found = read({"y": [None, "x"]}, NUMBER, errors={0: RowError("invalid_smiles", "no"), 1: RowError("no_atoms", "")})
    assert codes(found) == {0: "invalid_smiles", 1: "no_atoms"}
    assert found.leaving == {0, 1}


def test_bounds_leave_or_are_counted():
    columns = {"y": [">10", "5", "<1"]}
    dropped = read(columns, NUMBER)
    assert (codes(dropped), dropped.leaving, dropped.bounds) == ({0: "censored", 2: "censored"}, {0, 2}, 0)
    kept = read(columns, NUMBER, censored="bound")
    assert (kept.y[:, 0].tolist(), kept.leaving, kept.bounds) == ([10, 5, 1], set(), 2)


def test_a_feature_must_be_a_number_that_float32_holds():
    found = read(
        {"y": ["1"] * 5, "pH": ["7", "acid", None, "1e39", "inf"], "T": ["1", "2", "3", "4", "5"]},
        NUMBER,
        features=("pH", "T"),
    )
    assert codes(found) == {1: "wrong_type", 2: "missing", 3: "not_finite", 4: "not_finite"}
    assert found.leaving == {1, 2, 3, 4}
    assert found.u[0].tolist() == [7, 1]
    assert found.errors[1].detail == "feature 'pH' is not a number"


def test_sides_are_read_and_a_row_without_one_leaves():
    found = read({"y": ["1"] * 4, "set": ["train", "Validation", "TEST", "who"]}, NUMBER, side="set", split="set")
    assert found.given.tolist() == [TRAIN, VALIDATION, TEST, NO_SIDE]
    assert codes(found) == {3: "no_split"}
    assert found.leaving == {3}
    assert np.isnan(found.time).all()


def test_times_are_years_and_a_row_without_one_leaves():
    found = read({"y": ["1"] * 3, "day": ["2020-01-01", "1999", "soon"]}, NUMBER, split="time", time_column="day")
    assert found.time[:2].tolist() == pytest.approx([2020.0, 1999.0])
    assert codes(found) == {2: "no_split"}
    assert (found.given == NO_SIDE).all()
