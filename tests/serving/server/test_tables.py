"""Each form of a request becomes the table that MLflow's scoring server makes of it, its values as they came."""

from __future__ import annotations

import json
from io import BytesIO

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from serving.server.limits import Limits
from serving.server.refusal import RequestError
from serving.server.tables import CSV, JSON, PARQUET, read_json, read_table

COLUMNS = [{"name": name, "type": kind} for name, kind in (("smiles", "string"), ("t", "double"))]
VALUES = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text()
NESTED = VALUES | st.lists(VALUES) | st.dictionaries(st.text(), VALUES)
ROWS = st.lists(st.fixed_dictionaries({"smiles": NESTED, "t": NESTED}), min_size=1)

FORMS = {
    "dataframe_records": lambda rows: rows,
    "instances": lambda rows: rows,
    "inputs": lambda rows: {name: [row[name] for row in rows] for name in ("smiles", "t")},
    "dataframe_split": lambda rows: {"columns": ["t", "smiles"], "data": [[row["t"], row["smiles"]] for row in rows]},
}


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None)
@given(rows=ROWS)
def test_values_stay_as_they_came_in_every_form(form, rows):
    table = read_json({form: FORMS[form](rows)})
    for name in ("smiles", "t"):
        assert list(map(repr, table[name])) == [repr(row[name]) for row in rows]


@pytest.mark.mlflow
@pytest.mark.parametrize("form", FORMS)
def test_the_table_is_that_of_mlflows_scoring_server(form):
    from mlflow.pyfunc.scoring_server import infer_and_parse_data
    from mlflow.types import ColSpec, Schema

    asked = {form: FORMS[form]([{"smiles": "CC", "t": 1.5}, {"smiles": "C", "t": 2.0}])}
    schema = Schema([ColSpec("string", "smiles"), ColSpec("double", "t")])
    expected = pd.DataFrame(infer_and_parse_data(asked, schema))[["smiles", "t"]]
    assert read_json(asked)[["smiles", "t"]].to_dict("list") == expected.to_dict("list")


def test_one_row_may_come_without_lists():
    assert read_json({"inputs": {"smiles": "C", "t": 1}}).to_dict("records") == [{"smiles": "C", "t": 1}]


@pytest.mark.parametrize(
    "asked",
    [
        *(None, 5, "S3CRET", [1], {}, {"S3CRET": []}, {"inputs": [], "instances": []}, {"dataframe_records": "S3CRET"}),
        *({"inputs": {"smiles": ["S3CRET"], "t": [1, 2]}}, {"dataframe_split": {"columns": ["smiles"]}}),
        {"dataframe_split": {"columns": ["smiles"], "data": [["S3CRET", 1]]}},
        {"dataframe_split": {"columns": ["smiles"], "data": [["C"]], "S3CRET": 1}},
    ],
)
def test_what_has_no_form_is_refused_without_its_content(asked):
    with pytest.raises(RequestError, match="exactly one of") as caught:
        read_table(json.dumps(asked).encode(), JSON, COLUMNS)
    assert (caught.value.status, "S3CRET" in caught.value.message) == (400, False)


def test_a_parquet_of_other_types_is_left_to_the_model_row_by_row():
    table = pd.DataFrame({"smiles": pd.Categorical(["C", "CC"]), "t": ["warm", None]})
    found = read_table(table.to_parquet(), PARQUET, COLUMNS)
    assert (found["smiles"].tolist(), found["t"][0]) == (["C", "CC"], "warm")


def test_a_csv_has_text_and_numbers_or_is_refused():
    found = read_table(b"smiles,t\n1,2\nC,\n", CSV, COLUMNS)
    assert (found["smiles"].tolist(), found["t"].tolist()[0]) == (["1", "C"], 2.0)
    for body in (b"", b"smiles,t\nC,warm\n", b"smiles,t\n\xff,1\n", b"smiles,t\nC,CC,1\n"):
        with pytest.raises(RequestError) as caught:
            read_table(body, CSV, COLUMNS)
        assert caught.value.status == 400


def refused(body, content_type=JSON):
    with pytest.raises(RequestError) as caught:
        read_table(body, content_type, COLUMNS)
    return caught.value


def packed(**columns):
    file = BytesIO()
    parquet.write_table(pa.table(columns), file, compression="zstd")
    return file.getvalue()


BOMBS = {
    "one text in many rows": {"smiles": ["C" * 20_000] * 100},
    "one text in lists": {"nodes": [[{"symbol": "C" * 20_000}] * 10] * 10},
    "one text of fixed length": {"smiles": pa.array([b"C" * 20_000] * 100, pa.binary(20_000))},
    "empty cells": {f"c{k}": pa.nulls(100, pa.int8()) for k in range(100)},
    "rows": {"t": [1.0] * 2_000},
}


@pytest.fixture
def small_limits(monkeypatch):
    """A thousandth of what a server takes, so that a bomb is none for the tests."""
    for name, limit in {"parquet_bytes": 1_000_000, "parquet_rows": 1_000, "table_cells": 4_000}.items():
        monkeypatch.setattr(Limits, name, limit)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("name", BOMBS)
def test_a_small_parquet_that_unpacks_to_much_is_refused(name):
    body = packed(**BOMBS[name])
    assert len(body) < 50_000  # and its footer tells no more than that
    error = refused(body, PARQUET)
    assert error.status == 413
    assert "the Parquet file unpacks to more than" in error.message or "more than 4000 cells" in error.message


def test_a_parquet_with_texts_that_repeat_is_read():
    rows = {"smiles": ["CCO", None, "C"] * 3_000, "nodes": [[{"symbol": "C", "n": 1}], None, []] * 3_000}
    table = read_table(packed(**rows), PARQUET, COLUMNS)
    assert [None if pd.isna(text) else text for text in table["smiles"]] == rows["smiles"]
    assert [None if row is None else list(row) for row in table["nodes"]] == rows["nodes"]


@pytest.mark.usefixtures("small_limits")
def test_records_with_a_name_each_are_a_table_of_too_many_cells():
    records = [{f"name{k}": k} for k in range(64)]
    error = refused(json.dumps({"dataframe_records": records}).encode())
    assert (error.status, error.message) == (413, "the table has more than 4000 cells")
    assert len(read_json({"dataframe_records": records[:63]})) == 63
