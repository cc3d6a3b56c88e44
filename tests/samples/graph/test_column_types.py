"""Columns of graph tables: which are numbers, which are categories, and their values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError, RowError
from pipeline.samples.graph.column_types import KindScan, encode_array
from pipeline.samples.graph.columns import encode
from pipeline.schema import Column

cell = st.none() | st.text("01.tTrue ", max_size=4) | st.integers(-5, 5) | st.floats(width=16) | st.booleans()


@given(st.lists(cell, min_size=1, max_size=6))
def test_both_encoders_agree(values: list[object]) -> None:
    column = Column("c", "categorical", ("1", "true", "0.5", "t"))
    texts = pa.array([None if value is None else str(value) for value in values], pa.string())
    np.testing.assert_array_equal(encode_array(texts, column, "nodes")[0], encode(texts.to_pylist(), column, "nodes"))
    numbers = [value for value in values if isinstance(value, float)]
    ours, problems = encode_array(pa.array(numbers, pa.float64()), Column("n", "numeric"), "nodes")
    if problems:
        with pytest.raises(RowError) as caught:
            encode(numbers, Column("n", "numeric"), "nodes")
        assert caught.value.code == problems[0][1].code == "not_finite"
    else:
        np.testing.assert_array_equal(ours, encode(numbers, Column("n", "numeric"), "nodes"))


def test_kind_scan_limits_and_decimal_comma(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.samples.graph.column_types.MAX_CATEGORIES", 3)
    scan = KindScan(tmp_path, "c", text=True)
    scan.add(pa.array(["a", "b", "c", "d", "e"]))
    with pytest.raises(DataError, match="more than 3 different texts"):
        scan.column()
    scan = KindScan(tmp_path, "c", text=True, decimal=",")
    for batch in (["1,5", "2"], ["3,5", "NA", None], ["4", "5,5"]):
        scan.add(pa.array(batch))
    assert scan.column() == Column("c", "numeric")
    values, problems = encode_array(pa.array(["1,5", "NA", None, "x"]), Column("c", "numeric"), "nodes.csv", ",")
    np.testing.assert_array_equal(values, np.array([1.5, np.nan, np.nan, np.nan], np.float32))
    assert [(bad.tolist(), error.code) for bad, error in problems] == [([False, False, False, True], "wrong_type")]
    with pytest.raises(DataError, match="boolean"):
        KindScan(tmp_path, "c", text=False, kind="numeric").add(pa.array([True]))


def settled(batches: list[list[object]], **options: object) -> Column:
    scan = KindScan(Path("nodes.csv"), "c", text=bool(options.pop("text", False)), **options)  # type: ignore[arg-type]
    for batch in batches:
        scan.add(pa.array(batch))
    return scan.column()


@pytest.mark.parametrize(
    ("batches", "options", "kind", "categories"),
    [
        ([["b", "a", None], ["a"]], {}, "categorical", ("a", "b")),
        ([[10, 2, 1]], {}, "categorical", ("1", "2", "10")),  # whole numbers by their value
        ([[0.5, 1.0]], {}, "numeric", ()),
        ([[True, False]], {}, "categorical", ("false", "true")),
        ([list(range(33))], {}, "numeric", ()),  # too many whole numbers
        ([list(range(32))], {}, "categorical", tuple(map(str, range(32)))),
        ([["1", "2.5"]], {"text": True}, "numeric", ()),
        ([["1", "x"]], {"text": True}, "categorical", ("1", "x")),
        ([[1, 2]], {"kind": "numeric"}, "numeric", ()),
        ([[0.5]], {"kind": "categorical"}, "categorical", ("0.5",)),
    ],
)
def test_kinds_by_hand(batches, options, kind, categories) -> None:
    assert settled(batches, **options) == Column("c", kind, categories)


def test_fractions_beside_words_are_the_users_to_decide() -> None:
    with pytest.raises(DataError, match=r"nodes\.csv: column 'c' .*categorical=c"):
        settled([["0.5", "tall"]], text=True)
    assert settled([["0.5", "tall"]], text=True, kind="numeric") == Column("c", "numeric")


def test_unknown_and_missing_categories_are_code_0() -> None:
    column = Column("c", "categorical", ("a", "b"))
    for values in (pa.array(["b", None, "z", "a"]), pa.array(["b", None, "z", "a"]).dictionary_encode()):
        codes, problems = encode_array(values, column, "nodes.csv")
        assert (codes.tolist(), codes.dtype, problems) == ([2, 0, 0, 1], np.int32, [])


def test_numbers_that_float32_cannot_hold_are_named() -> None:
    values, problems = encode_array(pa.array([1.0, 1e39, float("inf")]), Column("c", "numeric"), "nodes.csv")
    assert values[0] == 1
    assert [(bad.tolist(), error.code) for bad, error in problems] == [([False, True, True], "not_finite")]
    assert "nodes.csv column 'c'" in problems[0][1].detail
