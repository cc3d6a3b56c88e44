"""Statistics in one pass are those of numpy in two."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store import survey
from pipeline.store.survey import DistinctRows, Moments, RowCoder


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=6), st.floats(-10, 10), st.floats(0.1, 100))
def test_moments_are_those_of_numpy(sizes, mean, spread):
    rng = np.random.default_rng(0)
    parts = [(mean + spread * rng.normal(size=(size, 3))).astype(np.float32) for size in sizes]
    for part in parts:
        part[rng.random(part.shape) < 0.3] = np.nan
    moments = Moments()
    for part in parts:
        moments.add(part)
    values = np.concatenate(parts).astype(np.float64)
    found = moments.result()
    for column in range(3):
        there = values[:, column][~np.isnan(values[:, column])]
        varies = len(there) > 1
        np.testing.assert_allclose(found["mean"][column], there.mean() if len(there) else 0, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(found["std"][column], there.std() if varies else 1, rtol=1e-6)


def test_a_constant_column_has_std_one_in_any_number_of_parts():
    moments = Moments()
    for size in (3, 7, 11):
        moments.add(np.full((size, 1), 0.1, dtype=np.float32))
    assert moments.result()["std"] == [1.0]


def test_distinct_rows_are_sorted_and_give_up(monkeypatch):
    rows = DistinctRows()
    rows.add(np.array([[2, 1], [0, 5]], dtype=np.uint8))
    rows.add(np.array([[0, 300], [2, 1]], dtype=np.int32))
    table = rows.table(2)
    assert table.tolist() == [[0, 5], [0, 300], [2, 1]]
    assert table.dtype == np.int16
    coder = RowCoder(table)
    assert coder.encode(np.array([[9, 9], [2, 1], [0, 5]]), np.array([1, 2, 1])).tolist() == [2, 0, 2]
    monkeypatch.setattr(survey, "MAX_TABLE_ROWS", 3)
    rows.add(np.array([[7, 7]]))
    assert rows.table(2) is None
