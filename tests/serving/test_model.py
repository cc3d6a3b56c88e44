"""The pyfunc behind MLflow's own scoring server, asked in every format that the server takes."""

import asyncio
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import BundleError
from pipeline.samples.kinds import kind_of
from pipeline.schema import Schema
from serving.session import Session
from tests.support.schemas import GRAPHS, MOLECULES, without_features
from tests.support.small_models import graph_row, load, write_count_model, write_graph_bundle, write_molecule_bundle


@pytest.fixture(scope="module")
def molecules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("molecules") / "bundle"
    write_molecule_bundle(folder)
    return load(folder)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs") / "bundle"
    write_graph_bundle(folder)
    return load(folder)


def ask(model, body, content_type="application/json"):
    """Post to the scoring server's app, as uvicorn would: (status, JSON)."""
    from mlflow.pyfunc import scoring_server

    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = []

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        sent.append(message)

    headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
    scope = {"type": "http", "method": "POST", "path": "/invocations", "headers": headers, "query_string": b""}
    scope |= {"http_version": "1.1", "scheme": "http", "root_path": "", "raw_path": b"/invocations"}
    scope |= {"server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "asgi": {"version": "3.0"}}
    asyncio.run(scoring_server.init(model)(scope, receive, send))
    text = b"".join(message.get("body", b"") for message in sent).decode()

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return sent[0]["status"], json.loads(text, parse_constant=refuse)


def parquet(table):
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


ROWS = pd.DataFrame({"smiles": ["CCO", "bad", "c1ccccc1"], "temperature": [0.5, 1.0, 2.0], "extra": ["a", "b", "c"]})
SPLIT = ROWS.to_dict("split")
FORMATS = {
    "dataframe_records": ({"dataframe_records": ROWS.to_dict("records")}, "application/json"),
    "dataframe_split": ({"dataframe_split": SPLIT}, "application/json; charset=utf-8"),
    "inputs": ({"inputs": {"smiles": ROWS.smiles.tolist(), "temperature": [0.5, 1, 2]}}, "application/json"),
    "inputs records": ({"inputs": ROWS.to_dict("records")}, "application/json"),
    "instances": ({"instances": ROWS[["smiles", "temperature"]].to_dict("records")}, "application/json"),
    "CSV": (ROWS.to_csv(index=False).encode(), "text/csv"),
    "Parquet": (parquet(ROWS), "application/vnd.apache.parquet"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_of_the_scoring_server(molecules, name):
    status, answer = ask(molecules, *FORMATS[name])
    assert status == 200, answer
    rows = answer["predictions"]
    assert [row["size"] for row in rows] == [3.5, None, 8.0]
    assert [row["error"] for row in rows] == [None, "invalid_smiles", None]
    assert list(rows[0]) == ["size", "error", "error_detail", "warning"]


def test_a_list_of_texts_is_enough_without_features(tmp_path):
    write_molecule_bundle(tmp_path / "bundle", without_features(MOLECULES))
    model = load(tmp_path / "bundle")
    status, answer = ask(model, {"inputs": ["C", "CC"]})
    assert (status, [row["size"] for row in answer["predictions"]]) == (200, [1, 2])


def test_bad_rows_get_their_own_error(molecules):
    records = [
        {"smiles": "C", "temperature": 1},
        {"smiles": None, "temperature": 1},
        {"smiles": 5, "temperature": 1},
        {"temperature": 1},
        {"smiles": "", "temperature": 1},
        {"smiles": "C"},
        {"smiles": "C" * 20_000, "temperature": 1},
    ]
    status, answer = ask(molecules, {"dataframe_records": records})
    assert status == 200
    codes = [row["error"] for row in answer["predictions"]]
    assert codes[:4] == [None, "missing", "wrong_type", "missing"]
    assert codes[5:] == ["missing", "too_large"]
    assert codes[4] is not None


def test_a_request_of_bad_rows_only_is_answered(molecules, graphs):
    _, answer = ask(molecules, {"dataframe_records": [{"smiles": None, "temperature": None}] * 2})
    assert [row["error"] for row in answer["predictions"]] == ["missing", "missing"]
    _, answer = ask(graphs, {"dataframe_records": [{"nodes": None, "edges": None, "temperature": None}]})
    assert [row["error"] for row in answer["predictions"]] == ["missing"]


def test_an_empty_table_answers_an_empty_list(molecules):
    status, answer = ask(molecules, {"dataframe_split": {"columns": ["smiles", "temperature"], "data": []}})
    assert (status, answer) == (200, {"predictions": []})


@pytest.mark.parametrize("missing", ["smiles", "temperature"])
def test_a_missing_column_is_a_400_that_names_it(molecules, missing):
    from mlflow.exceptions import MlflowException

    rows = ROWS.drop(columns=missing)
    status, answer = ask(molecules, {"dataframe_split": rows.to_dict("split")})
    assert status == 400
    assert missing in answer["message"]
    with pytest.raises(MlflowException, match=missing) as caught:  # without MLflow's signature before it
        molecules.unwrap_python_model().predict(None, rows)
    assert caught.value.get_http_status_code() == 400


def test_graphs_in_every_format(graphs):
    rows = [graph_row(2, temperature=1.0), graph_row(3, symbol="Xx"), graph_row(1) | {"edges": 5}]
    table = pd.DataFrame(rows)
    bodies = [
        {"dataframe_records": rows},
        {"dataframe_split": table.to_dict("split")},
        {"inputs": rows},
        {"inputs": table.to_dict("list")},
    ]
    for body in bodies:
        status, answer = ask(graphs, body)
        assert status == 200, answer
        first, unknown, bad = answer["predictions"]
        assert first == {
            **{"size": 3.0, "size_std": 0.125, "active": 0.25, "active_std": 0.0625, "colour": "green"},
            **{"colour=red": 0.2, "colour=green": 0.5, "colour=blue": 0.3, "colour_std": 0.02},
            **{"error": None, "error_detail": None, "warning": None},
        }
        assert unknown["warning"] == "symbol of a kind that was not in training"
        assert bad["error"] == "wrong_type"


def test_graphs_as_parquet_structs(graphs):
    status, answer = ask(graphs, parquet(pd.DataFrame([graph_row(2), graph_row(4)])), "application/vnd.apache.parquet")
    assert (status, [row["size"] for row in answer["predictions"]]) == (200, [2, 4])


def test_a_thousand_graphs_of_which_13_are_broken(graphs):
    broken = dict(zip(range(5, 1000, 77), [None, [], {}, "{", 5, True, {"symbol": 3}] * 2, strict=False))
    assert len(broken) == 13
    rows = [
        graph_row(1 + n % 9, temperature=n / 7) | ({"nodes": broken[n]} if n in broken else {}) for n in range(1000)
    ]
    answers = graphs.predict(pd.DataFrame(rows)).to_dict("records")
    without = graphs.predict(pd.DataFrame([row for n, row in enumerate(rows) if n not in broken])).to_dict("records")
    assert [answer for n, answer in enumerate(answers) if n not in broken] == without
    assert all(answers[n]["error"] in ("missing", "wrong_type") for n in broken)
    json.dumps(answers, allow_nan=False)


@pytest.mark.parametrize(("limit", "body"), [("max_rows", ["C"] * 6), ("max_bytes", ["C" * 5000])])
def test_a_limit_of_the_request_is_a_400_that_names_it_and_nothing_else(tmp_path, limit, body):
    write_molecule_bundle(tmp_path / "bundle", without_features(MOLECULES))
    model = load(tmp_path / "bundle", {"max_rows": 5, "max_bytes": 4000})
    status, answer = ask(model, {"inputs": body})
    assert (status, answer["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert limit in answer["message"]
    assert "CC" not in json.dumps(answer)  # MLflow's own errors show the table


def test_an_error_has_a_status_and_nothing_of_the_request(molecules, monkeypatch, caplog):
    model = molecules.unwrap_python_model()
    cases = [
        (ValueError("secret C1CC"), 500, "INTERNAL_ERROR"),
        (MemoryError(), 503, "TEMPORARILY_UNAVAILABLE"),
        (RuntimeError("BFCArena: Failed to allocate memory for requested buffer"), 503, "TEMPORARILY_UNAVAILABLE"),
    ]
    for error, status, code in cases:

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(model.session, "run", fail)
        got, answer = ask(molecules, {"inputs": {"smiles": ["CCCCCC", "CC"], "temperature": [0.5, 0.5]}})
        assert (got, answer["error_code"]) == (status, code)
        assert "secret" not in json.dumps(answer) + caplog.text
        assert "CCC" not in json.dumps(answer)


def test_work_stops_when_the_time_of_the_server_is_over(molecules, monkeypatch):
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "0.000001")
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException) as caught:
        molecules.predict(ROWS)
    assert caught.value.get_http_status_code() == 504


def test_a_deadline_reaches_the_thread_that_predicts(molecules):
    from serving import deadline

    token = deadline.AT.set(time.monotonic() - 1)
    try:
        status, answer = ask(molecules, {"inputs": {"smiles": ["CC"], "temperature": [0.5]}})
    finally:
        deadline.AT.reset(token)
    assert (status, answer["error_code"]) == (504, "DEADLINE_EXCEEDED")


@pytest.mark.parametrize("schema", [GRAPHS, MOLECULES])
def test_every_model_can_answer_the_request_that_warms_it_up(molecules, graphs, schema):
    model = graphs if schema is GRAPHS else molecules
    assert model.predict(pd.DataFrame(kind_of(schema.data_kind).smallest(schema)))["error"].tolist() == [None]


def test_what_mlflow_does_before_the_model_is_asked(molecules):
    """As docs/serving.md says: number columns of molecules are cast, and one text there fails the whole request."""

    def answers(smiles, temperatures):
        columns = {"smiles": smiles, "temperature": temperatures}
        status, answer = ask(molecules, {"dataframe_split": pd.DataFrame(columns).to_dict("split")})
        return [row["size"] or row["error"] for row in answer["predictions"]] if status == 200 else status

    assert answers(["C", "C"], [1.0, "warm"]) == 400
    assert answers(["C", "C"], ["2", True]) == [3.0, 2.0]
    assert answers(["C", 5, True], [1, 1, 1]) == [2.0, "wrong_type", "wrong_type"]
    assert answers([5, 6], [1, 1]) == ["wrong_type"] * 2


def test_features_of_graphs_are_checked_row_by_row(graphs):
    rows = [graph_row(2) | {"temperature": value} for value in (1.5, "2", True, None, "warm", 10**400)]
    _, answer = ask(graphs, {"dataframe_records": rows})
    wrong = ["wrong_type", "wrong_type", "missing", "wrong_type", "not_finite"]
    assert [row["error"] for row in answer["predictions"]] == [None, *wrong]


def test_requests_meet_inside_the_model(molecules):
    def answer(size):
        table = pd.DataFrame({"smiles": ["C" * size, "bad", "CC"], "temperature": [0.0, 0.0, float(size)]})
        return molecules.predict(table)["size"].tolist()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, range(1, 101))) == [[n, None, n + 2] for n in range(1, 101)]


def test_an_answer_does_not_depend_on_its_neighbours(molecules):
    table = pd.DataFrame({"smiles": ["C" * n for n in range(1, 60)], "temperature": [0.1] * 59})
    together = molecules.predict(table)["size"].to_numpy(float)
    alone = [molecules.predict(table.iloc[[row]])["size"].iloc[0] for row in range(len(table))]
    assert np.allclose(together, np.array(alone, float), rtol=0, atol=1e-6)


def test_model_schema_and_featurizer_must_belong_together(tmp_path):
    import dataclasses

    from serving.model import check_fit

    session = Session(write_count_model(tmp_path / "model.onnx", MOLECULES))
    check_fit(session, MOLECULES)
    with pytest.raises(BundleError, match="another schema"):
        check_fit(session, GRAPHS)
    old: Schema = dataclasses.replace(MOLECULES, featurizer_version=0)
    with pytest.raises(BundleError, match="features of version 0"):
        check_fit(Session(write_count_model(tmp_path / "old.onnx", old)), old)
