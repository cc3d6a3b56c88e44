"""`python -m serving.app`, really started: protocols, limits, log, metrics, drain, swap."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from serving.app import share_memory
from serving.server.limits import Limits
from serving.server.tables import PARQUET
from tests.support.servers import refusal, serving_app, wait_until
from tests.support.small_models import graph_row, write_graph_bundle, write_molecule_bundle

pytestmark = pytest.mark.mlflow

ROW = {"smiles": "CCO", "temperature": 0.5}
BODY = {"dataframe_records": [ROW]}


def sizes(reply):
    assert reply.status == 200, reply.body[:500]
    return [row["size"] for row in reply.json["predictions"]]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("molecules") / "bundle"
    write_molecule_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def app(bundle):
    with serving_app(bundle.parent, "--bundle", str(bundle), "--workers", "2") as served:
        yield served


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs") / "bundle"
    write_graph_bundle(folder)
    with serving_app(folder.parent, "--bundle", str(folder), "--workers", "1") as served:
        yield served


def test_answers_as_mlflows_scoring_server_does(app):
    reply = app.invoke({"dataframe_records": [ROW, {"smiles": "bad", "temperature": 1}, {"temperature": 1}]})
    assert sizes(reply) == [3.5, None, None]
    assert [row["error"] for row in reply.json["predictions"]] == [None, "invalid_smiles", "missing"]
    assert sizes(app.invoke(b"smiles,temperature\nCC,1\n", "text/csv; charset=utf-8")) == [3]
    assert sizes(app.invoke({"inputs": {"smiles": ["C"], "temperature": [0]}})) == [1]


def test_says_which_version_answered(app, bundle):
    import hashlib

    digest = hashlib.sha256((bundle / "digests.json").read_bytes()).hexdigest()
    assert app.ask("GET", "/version").json["digest"] == digest
    headers = app.invoke(BODY).headers
    assert (headers["x-model-digest"], headers["x-model-version"]) == (digest, "atoms/bundle")


def test_text_and_booleans_are_no_numbers_and_harm_no_neighbour(app):
    rows = [ROW | {"temperature": "2"}, ROW, {"smiles": "C(", "temperature": True}, ROW | {"temperature": None}]
    answers = app.invoke({"dataframe_records": rows}).json["predictions"]
    assert [answer["error"] for answer in answers] == ["wrong_type", None, "invalid_smiles", "missing"]
    assert answers[0]["error_detail"] == "the feature 'temperature' takes numbers"
    assert answers[1] == app.invoke(BODY).json["predictions"][0]


def test_a_csv_row_with_more_cells_than_the_header_is_refused(app):
    """pandas would take each column for its neighbour."""
    reply = app.invoke(b"smiles,temperature\nC,CCO,0.5\n", "text/csv")
    assert (reply.status, reply.json["message"]) == (400, "a row has more cells than the header")
    assert sizes(app.invoke(b"smiles,temperature\nCCO,0.5\n", "text/csv")) == [3.5]


def test_parquet_of_whole_numbers_and_categories_is_read(app):
    table = pd.DataFrame({"smiles": pd.Categorical(["CCO", "C"]), "temperature": [1, 2], "other": [b"a", b"b"]})
    assert sizes(app.invoke(table.to_parquet(), "application/vnd.apache.parquet")) == [4, 3]


def test_request_id_and_trace_go_through(app):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    reply = app.invoke(BODY, X_Request_Id="order-66", traceparent=trace)
    assert reply.headers["x-request-id"] == "order-66"
    version, trace_id, span, flags = reply.headers["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", trace.split("-")[1], "01")
    assert span != trace.split("-")[2]
    line = next(line for line in app.lines() if line.get("id") == "order-66")
    assert (line["trace"], line["span"], line["rows"], line["outcome"]) == (trace_id, span, 1, "ok")
    for bad in ("a" * 500, "a b", "\x7f", 'x"y'):
        made = app.invoke(BODY, X_Request_Id=bad, traceparent=bad).headers
        assert re.fullmatch("[0-9a-f]{32}", made["x-request-id"])
        assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", made["traceparent"])


def test_nothing_of_a_request_is_logged_or_echoed(app):
    secret = "S3CRETSTRUCTURE"
    bodies = [
        {"dataframe_records": [{"smiles": secret, "temperature": secret}]},
        {"dataframe_records": [{secret: 1}]},
        {secret: [1]},
        {"inputs": {"smiles": [secret], "temperature": [[secret]]}},
        f'{{"dataframe_records": [{{"smiles": "{secret}'.encode(),
    ]
    replies = [app.invoke(body) for body in bodies]
    replies += [app.invoke(f"smiles,temperature\nC,{secret}\n".encode(), "text/csv"), app.ask("GET", f"/{secret}")]
    replies += [app.invoke(secret.encode(), "application/vnd.apache.parquet"), app.invoke(BODY, secret)]
    assert [reply.status for reply in replies] == [200, 400, 400, 200, 400, 400, 404, 400, 415]
    assert all(secret.encode() not in reply.body for reply in replies)
    assert all(set(reply.json) == {"error_code", "message"} for reply in replies if reply.status != 200)
    assert secret not in app.log.read_text()
    missing = app.invoke({"dataframe_records": [{"smiles": "C"}]}).json["message"]
    assert "no column ['temperature']" in missing


def test_metrics_count_requests_rows_and_errors_of_all_workers(app):
    def found():
        names = ('graphline_requests_total{outcome="ok",route="/invocations"}', "graphline_rows_total",
                 'graphline_row_errors_total{code="invalid_smiles"}', "graphline_request_seconds_count",
                 'graphline_request_rows_bucket{le="5.0"}')  # fmt: skip
        return [app.metric(name) for name in names]

    before = found()
    body = {"dataframe_records": [ROW, ROW, {"smiles": "bad", "temperature": 1}]}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: sizes(app.invoke(body)), range(20)))
    assert [b - a for a, b in zip(before, found(), strict=True)] == [20, 60, 20, 20, 20]
    assert app.metric("graphline_workers") == 2
    assert app.metric("graphline_model_info") == 1
    assert app.metric("graphline_queue_length") == 0


def test_answers_never_swap_under_mixed_load(app):
    def ask(n):
        rows = [{"smiles": "C" * (1 + k % 9), "temperature": n} for k in range(n % 17 + 1)]
        return sizes(app.invoke({"dataframe_records": rows})) == [1 + k % 9 + n for k in range(len(rows))]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))


def test_the_documented_example_works_when_sent(app, graphs):
    for served in (app, graphs):
        document = served.ask("GET", "/openapi.json").json
        for path, item in document["paths"].items():
            for method, operation in item.items():
                assert served.ask("HEAD", path).status in (200, 405)
                if method == "post":
                    example = operation["requestBody"]["content"]["application/json"]["example"]
                    reply = served.ask("POST", path, example)
                    assert reply.status == 200, reply.body
                    shown = operation["responses"]["200"]["content"]["application/json"].get("example", reply.json)
                    assert reply.json == shown
    page = graphs.ask("GET", "/docs").body.decode()
    for word in ("node.symbol", "C, N, O", "edge.order", "temperature", "colour", "red, green, blue"):
        assert word in page
    assert not re.search(r'(src|href)="(https?:)?//', page)


def test_open_inference_protocol(app, graphs):
    assert app.ask("GET", "/v2/health/live").json == {"live": True}
    assert app.ask("GET", "/v2/health/ready").status == 200
    model = app.ask("GET", "/v2/models/atoms").json
    assert [one["name"] for one in model["inputs"]] == ["smiles", "temperature"]
    base = f"/v2/models/atoms/versions/{model['versions'][0]}"
    assert app.ask("GET", f"{base}/ready").status == 200
    inputs = [
        {"name": "smiles", "shape": [2], "datatype": "BYTES", "data": ["CCO", "bad"]},
        {"name": "temperature", "shape": [2, 1], "datatype": "FP32", "data": [[0.5], [1]]},
    ]
    for path in ("/v2/models/atoms/infer", f"{base}/infer"):
        answer = app.ask("POST", path, {"id": "x", "inputs": inputs}).json
        found = {one["name"]: one["data"] for one in answer["outputs"]}
        assert (answer["id"], found["size"], found["error"]) == ("x", [3.5, None], ["", "invalid_smiles"])
    reply = app.ask("POST", "/v2/models/atoms/infer", {"inputs": inputs[:1]})
    assert (reply.status, list(reply.json)) == (400, ["error"])
    assert app.ask("POST", "/v2/models/other/infer", {"inputs": inputs}).status == 404
    row = graph_row(3, temperature=1.0)
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES", "data": [json.dumps(row[name])]}
        for name in ("nodes", "edges")
    ]
    inputs.append({"name": "temperature", "shape": [1], "datatype": "FP64", "data": [1.0]})
    outputs = graphs.ask("POST", "/v2/models/toy/infer", {"inputs": inputs}).json["outputs"]
    assert next(one["data"] for one in outputs if one["name"] == "size") == [4]


def test_methods_paths_and_heads(app):
    for method, path, status in (
        ("GET", "/invocations", 405), ("DELETE", "/health", 405), ("BREW", "/docs", 405), ("POST", "/ready", 405),
        ("GET", "/", 404), ("GET", "/health/", 404), ("GET", "//health", 404), ("GET", "/docs/../../etc/passwd", 404),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", 404), ("GET", "/health%00", 404), ("OPTIONS", "*", 404),
        ("HEAD", "/health", 200), ("GET", "/health?x=1", 200), ("GET", "/ping", 200),
    ):  # fmt: skip
        reply = app.ask(method, path)
        assert reply.status == status, (method, path)
        if reply.body:
            assert reply.json
    assert app.ask("GET", "/invocations").headers["allow"] == "POST"


def test_a_killed_worker_costs_no_request(app):
    """The request that it had goes to another worker; a new one starts in its place."""
    before = app.metric('graphline_worker_changes_total{kind="restarted"}')
    stop = threading.Event()

    def hammer(_):
        done = 0
        while not stop.is_set():
            assert sizes(app.invoke(BODY)) == [3.5]
            done += 1
        return done

    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(hammer, k) for k in range(6)]
        try:
            wait_until(lambda: app.metric("graphline_in_flight") > 1)
            os.kill(app.workers()[0], signal.SIGKILL)
            wait_until(lambda: app.metric('graphline_worker_changes_total{kind="restarted"}') == before + 1)
        finally:
            stop.set()
        assert all(one.result() > 0 for one in asked)
    wait_until(lambda: app.metric("graphline_workers") == 2)
    assert app.metric('graphline_worker_changes_total{kind="restarted"}') == before + 1


def copy_that_sleeps(bundle, folder, sleep_s):
    """The same bundle, whose model sleeps first: signed anew, as its author could."""
    from pipeline.digests import write_digests

    shutil.copytree(bundle, folder)
    code = folder / "model.py"
    text = code.read_text()
    marker = "        answers = Answers("
    assert marker in text
    wait = f"        import time; time.sleep({sleep_s}) if len(table) == 7 else None\n"
    code.write_text(text.replace(marker, wait + marker))
    write_digests(folder)
    return folder


def test_overtime_is_a_504_and_frees_its_place(bundle, tmp_path):
    """Seven rows make this model sleep in one piece of work that nothing can interrupt but the end of its worker."""
    slow = copy_that_sleeps(bundle, tmp_path / "slow", 60)
    with serving_app(tmp_path, "--bundle", str(slow), "--workers", "1", "--timeout", "1.5", "--queue", "2") as app:
        with ThreadPoolExecutor(8) as pool:
            replies = list(pool.map(lambda _: app.invoke({"dataframe_records": [ROW] * 7}), range(8)))
        statuses = sorted(reply.status for reply in replies)
        assert statuses == [429] * 2 + [504] * 6  # four in the worker, two wait, two are refused
        for reply in replies:
            assert reply.json["error_code"] in ("RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED")
            if reply.status == 429:
                assert int(reply.headers["retry-after"]) >= 1
        wait_until(lambda: app.invoke(BODY).status == 200, 60)  # the worker was killed, another one answers
        assert app.metric("graphline_in_flight") == 0


@pytest.mark.parametrize(
    ("memory_mb", "workers", "each_mb"), [(2048, 2, 832), (65_536, 8, 8144), (1024, 8, 512), (512, 1, 384)]
)
def test_workers_share_what_the_server_leaves_and_none_may_take_all(memory_mb, workers, each_mb):
    assert share_memory(memory_mb << 20, 256 << 20, workers) == each_mb << 20


def test_a_request_beyond_the_memory_of_a_worker_fails_alone(bundle, tmp_path):
    """One text for each of 90,000 rows: 225 MB, less than the largest table, and more than is left of 512 MiB."""
    texts = [str(k).rjust(2_500, "C") for k in range(90_000)]
    file = BytesIO()
    parquet.write_table(pa.table({"smiles": texts, "temperature": [0.0] * len(texts)}), file, compression="zstd")
    with serving_app(tmp_path, "--bundle", str(bundle), "--workers", "1", "--memory_mb", "700") as app:
        reply = app.invoke(file.getvalue(), PARQUET)
        assert (reply.status, reply.json["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
        wait_until(lambda: app.invoke(BODY).status == 200, 60)
        (worker,) = app.workers()
        assert resource.prlimit(worker, resource.RLIMIT_DATA)[0] == 512 << 20


def test_a_full_server_refuses_requests_and_stays_ready(bundle, tmp_path):
    slow = copy_that_sleeps(bundle, tmp_path / "slow", 4)
    with serving_app(tmp_path, "--bundle", str(slow), "--workers", "1", "--queue", "1") as app:
        with ThreadPoolExecutor(5) as pool:
            asked = [pool.submit(app.invoke, {"dataframe_records": [ROW] * 7}) for _ in range(5)]
            wait_until(lambda: app.metric("graphline_queue_length") == 1)
            assert app.invoke(BODY).status == 429
            assert app.ask("GET", "/ready").status == app.ask("GET", "/health").status == 200
            assert all(one.result().status == 200 for one in asked)
        assert app.ask("GET", "/ready").status == 200


def test_a_small_request_does_not_wait_for_large_ones(bundle, tmp_path):
    slow = copy_that_sleeps(bundle, tmp_path / "slow", 4)
    large = json.dumps({"dataframe_records": [ROW] * 7}).encode() + b" " * Limits.large_bytes
    with serving_app(tmp_path, "--bundle", str(slow), "--workers", "2") as app, ThreadPoolExecutor(9) as pool:
        asked = [pool.submit(app.invoke, large) for _ in range(9)]  # more than both workers have places
        wait_until(lambda: app.metric("graphline_queue_length") == 5)
        assert app.invoke(BODY).status == 200
        assert not any(one.done() for one in asked)
        assert all(one.result().status == 200 for one in asked)


def test_sigterm_drains_and_exits_0(bundle, tmp_path):
    slow = copy_that_sleeps(bundle, tmp_path / "slow", 3)
    with serving_app(tmp_path, "--bundle", str(slow), "--workers", "1", "--drain", "1.5") as app:
        with ThreadPoolExecutor(2) as pool:
            asked = pool.submit(app.invoke, {"dataframe_records": [ROW] * 7})
            wait_until(lambda: app.metric("graphline_in_flight") == 1, 20)
            workers = app.workers()
            app.process.send_signal(signal.SIGTERM)
            wait_until(lambda: app.ask("GET", "/ready").status == 503, 1.4)
            assert app.ask("GET", "/ready").json["reason"] == "draining"
            reply = app.invoke(BODY)  # who comes late is answered, and told to go
            assert (sizes(reply), reply.headers["connection"]) == ([3.5], "close")
            assert sizes(asked.result()) == [3.5] * 7
        assert app.process.wait(60) == 0
        assert app.lines()[-1]["event"] == "stopped"
        with pytest.raises(ConnectionRefusedError):
            app.ask("GET", "/ready")
        assert not any((Path("/proc") / str(pid)).exists() for pid in workers)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (lambda folder: (folder / "artifacts" / "model.onnx").write_bytes(b"x"), "model.onnx"),
        (lambda folder: (folder / "more.py").write_text(""), "more.py"),
        (lambda folder: (folder / "python_model.pkl").write_bytes(b""), "pickle"),
        (lambda folder: (folder / "digests.json").unlink(), "digests.json"),
    ],
)
def test_a_bundle_with_other_bytes_is_refused(bundle, tmp_path, harm, reason):
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    harm(folder)
    assert reason in refusal(["--bundle", str(folder)])


def test_a_bundle_that_answers_otherwise_than_recorded_is_refused(bundle, tmp_path):
    from pipeline.digests import write_digests

    folder = shutil.copytree(bundle, tmp_path / "bundle")
    record = folder / "example_answers.json"
    record.write_text(record.read_text().replace("8.0", "8.1"))
    write_digests(folder)
    assert "answers its input example differently" in refusal(["--bundle", str(folder)])


def test_a_taken_port_and_an_unreachable_server_are_one_line(bundle):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot listen" in refusal(["--bundle", str(bundle), "--port", str(taken.getsockname()[1])])
    line = refusal(["--model", "models:/none@champion"], MLFLOW_TRACKING_URI="http://127.0.0.1:9")
    assert "no tracking server" in line
    assert "models:/NAME@ALIAS" in refusal(["--model", "runs:/1/model"])


@pytest.mark.parametrize("option", [["--queue", "0"], ["--timeout", "nan"], ["--follow", "-1"], ["--drain", "-1"]])
def test_a_number_that_cannot_be_is_one_line(option):
    assert refusal(["--model", "models:/none@champion", *option]).startswith(f"error: {' '.join(option)}")
