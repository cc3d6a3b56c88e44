"""The server's app before any worker: routes, kinds of bodies, limits, headers, and one line of log a request."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest

from serving.server.front import Gate, Limits
from serving.server.prometheus import Metrics
from serving.server.refusal import RequestError
from serving.server.releases import Standing
from tests.support.fleets import RELEASE, Client, ToyFleet, answer

JSON = {"Content-Type": "application/json"}


class Server:
    """A gate before a toy fleet, asked as a client asks."""

    def __init__(self, reply: Any = lambda head, body: answer(body=b'{"predictions": []}'), **limits: Any) -> None:
        self.fleet = ToyFleet(reply)
        self.gate = Gate(self.fleet, Metrics(self.fleet), Limits(**limits))  # type: ignore[arg-type]
        self.client = Client(self.gate)

    def post(self, *parts: bytes, path: str = "/invocations", leave: bool = False, **headers: str):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.ask("POST", path, *(parts or (b"{}",)), headers=JSON | named, leave=leave)

    def metric(self, start: str) -> float:
        lines = self.gate.metrics.page(None).decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


def message(body: bytes) -> str:
    return json.loads(body)["message"]


def test_a_request_reaches_a_worker_as_it_came_and_its_answer_says_of_which_release_it_is(capsys):
    server = Server()
    status, headers, body = server.post(b'{"a":', b" 1}", X_Request_Id="order-66")
    assert (status, body) == (200, b'{"predictions": []}')
    (head, sent) = server.fleet.asked[0]
    assert sent == b'{"a": 1}'
    assert (head["kind"], head["content_type"], head["model"], head["version"]) == (
        *("invocations", "application/json"),
        *("toy", "3"),
    )
    assert (headers["x-model-digest"], headers["x-model-version"]) == (RELEASE.digest, "toy/3")
    assert (headers["x-request-id"], headers["x-content-type-options"]) == ("order-66", "nosniff")
    line = json.loads(capsys.readouterr().out)
    assert (line["id"], line["status"], line["outcome"], line["bytes_in"], line["rows"]) == (
        *("order-66", 200, "ok"),
        *(8, 1),
    )
    assert len(server.fleet.dropped) == 1  # its place is free again


@pytest.mark.parametrize("name", ["溶解度", "Löslichkeit 5%", "two\r\nlines"])
def test_a_name_beyond_latin_letters_is_percent_encoded_and_the_log_tells_what_was_sent(capsys, name):
    named = replace(answer(), release=replace(RELEASE, name=name))
    status, headers, _ = Server(lambda head, body: named).post()
    assert status == 200
    assert headers["x-model-version"].isascii()
    assert headers["x-model-version"].isprintable()
    assert unquote(headers["x-model-version"]) == f"{name}/3"
    assert json.loads(capsys.readouterr().out)["status"] == status


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("HEAD", "/ping", 200),
        ("GET", "/version", 200),
        ("GET", "/metrics", 200),
        ("GET", "/v2", 200),
        ("GET", "/v2/models/toy/ready", 200),
        ("GET", "/v2/models/toy/versions/3/ready", 200),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/health/", 404),
        ("POST", "/health", 405),
        ("GET", "/invocations", 405),
        ("DELETE", "/v2/models/toy/infer", 405),
    ],
)
def test_every_page_has_its_methods(method: str, path: str, status: int):
    found, headers, body = Server().client.ask(method, path)
    assert found == status
    assert (body == b"") is (method == "HEAD")
    if status == 405:
        assert headers["allow"] in ("POST", "GET, HEAD")


def test_the_version_is_the_releases():
    server = Server()
    server.gate.standing = Standing(False, "toy version 3 is retired")
    body = json.loads(server.client.ask("GET", "/version")[2])
    assert body == {"name": "toy", "version": "3", "digest": RELEASE.digest, "log": "toy version 3 is retired"}
    assert b"graphline_log_agrees 0.0" in server.client.ask("GET", "/metrics")[2]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda server: None, ""),
        (lambda server: setattr(server.gate, "draining", True), "draining"),
        (lambda server: setattr(server.fleet, "alive", False), "no worker"),
    ],
)
def test_ready_says_why_not(change: Any, reason: str):
    server = Server()
    change(server)
    status, headers, body = server.client.ask("GET", "/ready")
    assert (status, json.loads(body)) == (503 if reason else 200, {"ready": not reason, "reason": reason})
    assert (headers.get("connection") == "close") is (reason == "draining")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json; charset=UTF-8"}, 200),
        ({"Content-Type": 'text/csv; charset="utf-8"'}, 200),
        ({"Content-Type": "application/json; charset=latin-1"}, 415),
        ({"Content-Type": "text/html"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "identity"}, 200),
    ],
)
def test_kinds_of_bodies(headers: dict[str, str], status: int):
    server = Server()
    found, _, _ = server.client.ask("POST", "/invocations", b"{}", headers=JSON | headers)
    assert (found, len(server.fleet.asked)) == (status, int(status == 200))


def test_the_open_inference_protocol_takes_json_only_and_says_errors_its_own_way():
    path = "/v2/models/toy/infer"
    server = Server()
    assert server.client.ask("POST", path, b"{}", headers=JSON)[0] == 200
    assert server.fleet.asked[0][0]["kind"] == "infer"
    status, _, body = server.client.ask("POST", path, b"", headers={"Content-Type": "text/csv"})
    assert (status, list(json.loads(body))) == (415, ["error"])


def test_a_body_beyond_the_limit_is_refused_by_its_header_and_by_its_bytes():
    server = Server(body_bytes=10)
    for found in (server.post(b"x" * 11, Content_Length="11"), server.post(b"x" * 6, b"x" * 5)):
        assert (found[0], message(found[2])) == (413, "the body is larger than 10 bytes")
    assert server.post(b"x" * 10)[0] == 200
    assert server.gate.held == 0  # whatever came is forgotten


def test_too_many_bytes_at_the_same_time_are_refused_for_a_while():
    server = Server(held_bytes=4)
    status, headers, body = server.post(b"12345")
    assert (status, headers["retry-after"], message(body)) == (429, "7", "too many bytes are waiting")
    assert server.gate.held == 0


def test_time_is_over_for_slow_clients_and_slow_workers():
    slow = Server(body_s=0.01)
    status, headers, _ = slow.client.ask("POST", "/invocations", headers=JSON)  # the body never comes
    assert (status, headers["connection"]) == (408, "close")
    never = Server(lambda head, body: None, time_s=0.01)
    status, _, body = never.post()
    assert (status, message(body)) == (504, "no answer within 0.01 s; send fewer rows")
    assert len(never.fleet.dropped) == 1


def test_a_client_that_leaves_gets_no_answer_and_frees_its_place(capsys):
    server = Server(lambda head, body: None)
    assert server.post(b"{}", leave=True) == (None, {}, b"")
    assert json.loads(capsys.readouterr().out)["outcome"] == "client_gone"
    assert len(server.fleet.dropped) == 1
    assert server.client.ask("POST", "/invocations", headers=JSON, leave=True)[0] is None  # before its body came


def test_refusals_of_the_fleet_go_on_to_the_client():
    full = RequestError(429, "RESOURCE_EXHAUSTED", "too many requests are waiting", Retry_After="2")
    status, headers, body = Server(lambda head, body: full).post()
    assert (status, headers["retry-after"]) == (429, "2")
    assert json.loads(body) == {"error_code": "RESOURCE_EXHAUSTED", "message": "too many requests are waiting"}


def test_a_failure_of_ours_tells_nothing_of_what_was_sent(capsys, caplog):
    server = Server(lambda head, body: ValueError("S3CRET"))
    status, _, body = server.post(b'{"smiles": "S3CRET"}')
    assert (status, message(body)) == (503, "the server failed on this request")
    assert "S3CRET" not in capsys.readouterr().out + caplog.text


@pytest.mark.parametrize("bad", ["a" * 129, "a b", 'x"y', ""])
def test_ids_that_could_harm_a_log_are_replaced(bad: str):
    headers = Server().post(X_Request_Id=bad, traceparent=bad)[1]
    assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
    assert re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", headers["traceparent"])


def test_a_trace_goes_on_under_a_new_span():
    trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    given = Server().post(traceparent=f"00-{trace}-{span}-01")[1]["traceparent"].split("-")
    assert (given[0], given[1], given[3]) == ("00", trace, "01")
    assert given[2] != span
    zero = Server().post(traceparent=f"00-{'0' * 32}-{span}-01")[1]["traceparent"]
    assert "0" * 32 not in zero


def test_metrics_count_what_was_answered_and_what_was_not():
    server = Server(lambda head, body: answer(rows=5, invalid_smiles=2))
    server.post()
    server.client.ask("GET", "/nowhere")
    assert server.metric('graphline_requests_total{outcome="ok",route="/invocations"}') == 1
    assert server.metric('graphline_requests_total{outcome="not_found",route="other"}') == 1
    assert server.metric("graphline_rows_total") == 5
    assert server.metric('graphline_row_errors_total{code="invalid_smiles"}') == 2
