"""What is no number under a number column is taken out of every form of a request, and nothing else is."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.server.numbers import take_out

COLUMNS = [{"name": name, "type": kind} for name, kind in (("smiles", "string"), ("t", "double"), ("p", "double"))]
NUMBERS = st.none() | st.integers() | st.floats(allow_nan=False)
OTHERS = st.booleans() | st.text() | st.lists(st.integers()) | st.dictionaries(st.text(), st.integers())
ROWS = st.lists(st.fixed_dictionaries({"smiles": st.text() | OTHERS, "t": NUMBERS | OTHERS, "p": NUMBERS}))

FORMS = {
    "dataframe_records": lambda rows: rows,
    "instances": lambda rows: rows,
    "inputs": lambda rows: {name: [row[name] for row in rows] for name in ("smiles", "t", "p")},
    "dataframe_split": lambda rows: {
        "columns": ["p", "smiles", "t"],
        "data": [[r["p"], r["smiles"], r["t"]] for r in rows],
    },
}


@pytest.mark.parametrize("form", FORMS)
@given(rows=ROWS)
def test_what_is_no_number_becomes_null_and_names_its_row(form, rows):
    asked = {form: FORMS[form](copy.deepcopy(rows))}
    wrong = [k for k, row in enumerate(rows) if type(row["t"]) not in (int, float, type(None))]
    assert take_out(asked, COLUMNS) == dict.fromkeys(wrong, "t")
    mended = [row | {"t": None} if k in wrong else row for k, row in enumerate(rows)]
    assert asked == {form: FORMS[form](mended)}


@pytest.mark.parametrize(
    "asked",
    [
        *(None, 5, "t", [1], {}, {"dataframe_records": 5}, {"dataframe_records": [1, None, {"smiles": "C"}]}),
        *({"inputs": [1]}, {"inputs": {"t": 5}}, {"inputs": {"smiles": ["C"]}}, {"dataframe_split": {"data": [["C"]]}}),
        {"dataframe_split": {"columns": ["smiles", "t"], "data": [["C"], 5]}},
        {"dataframe_split": {"columns": ["t", "t"], "data": [["C", "D"]]}},
    ],
)
def test_what_has_no_form_is_left_to_others(asked):
    before = copy.deepcopy(asked)
    assert take_out(asked, COLUMNS) == {}
    assert asked == before
