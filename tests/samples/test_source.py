"""Rows of a file as questions to a bundle, and the numbers beside a sample."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.rows.table import open_table
from pipeline.samples.source import features_of, finite, parse_features, questions_of
from pipeline.schema import Column
from tests.support.schemas import MOLECULES

PH, T = Column("pH", "numeric"), Column("T", "numeric")


def column(*values):
    return np.array([*values, None], dtype=object)[:-1]


def test_features_by_hand():
    values = {"pH": column("7", "acid", None, "1e39", "−1,5", "7"), "T": column("1", "x", "2", "3", "4", "inf")}
    u, errors = parse_features(values, (PH, T), lambda _: ",", 6)
    assert u[0].tolist() == [7, 1]
    assert u[4].tolist() == [-1.5, 4]
    assert {row: (error.code, error.detail) for row, error in errors.items()} == {
        1: ("wrong_type", "feature 'pH' is not a number"),  # the first that is wrong with it
        2: ("missing", "feature 'pH' is empty"),
        3: ("not_finite", "feature 'pH' is too large for float32"),
        5: ("not_finite", "feature 'T' is too large for float32"),
    }


def test_rows_without_features_are_as_many_as_before():
    u, errors = parse_features({}, (), lambda _: ".", 3)
    assert (u.shape, errors) == ((3, 0), {})


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=8))
def test_stored_features_come_back_as_a_client_would_send_them(numbers):
    sent = features_of(np.array(numbers, dtype=np.float32)[:, None], (PH,))
    u, errors = parse_features({"pH": column(*sent["pH"])}, (PH,), lambda _: ".", len(numbers))
    assert (u[:, 0].tolist(), errors) == (numbers, {})


@given(st.lists(st.floats(), max_size=8))
def test_a_forest_gets_finite_float32(numbers):
    found = finite(np.array(numbers))
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    limit = float(np.finfo(np.float32).max)
    for value, got in zip(numbers, found.tolist(), strict=True):
        if value != value:
            assert got == 0
        elif abs(value) <= limit:
            assert got == np.float32(value)
        else:
            assert got == np.copysign(limit, value)


def test_only_good_rows_are_asked_and_all_columns_are_kept(tmp_path):
    (tmp_path / "m.csv").write_text("structure,temperature,note\nC,1,a\nCC,,b\nCCC,hot,c\nX,4,d\nC,5,e\n")
    found = questions_of(open_table(tmp_path / "m.csv"), {"smiles": "structure"}, MOLECULES, 2)
    assert (found.columns, found.files) == (("structure", "temperature", "note"), (tmp_path / "m.csv",))
    questions = list(found.questions)
    assert [question.num_rows for question in questions] == [2, 2, 1]
    assert [question.asked.tolist() for question in questions] == [[0], [1], [0]]
    # what is no SMILES is the bundle's to say
    assert [question.columns for question in questions] == [
        {"smiles": [smiles], "temperature": [t]} for smiles, t in (("C", 1.0), ("X", 4.0), ("C", 5.0))
    ]
    assert [{row: error.code for row, error in question.errors.items()} for question in questions] == [
        {1: "missing"},
        {0: "wrong_type"},
        {},
    ]
    assert [question.values["note"].tolist() for question in questions] == [["a", "b"], ["c", "d"], ["e"]]


def test_a_file_without_a_feature_of_the_model_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("smiles\nC\n")
    with pytest.raises(DataError, match="temperature"):
        questions_of(open_table(tmp_path / "m.csv"), {"smiles": "smiles"}, MOLECULES, 2)
