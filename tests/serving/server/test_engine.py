"""A worker: what it says of its bundle, what it answers, and that its place is free whatever happens."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections import deque
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from serving.server import engine as engines
from serving.server.engine import Engine, EngineSocket, Invocation, forget_own_code, set_deadline, watch_batches
from serving.server.frames import pack_frame, read_frame
from serving.server.refusal import RequestError
from serving.server.tables import JSON
from tests.support.small_models import write_molecule_bundle


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The engine of a bundle that answers atoms + temperature, without a process of its own."""
    folder = tmp_path_factory.mktemp("engine") / "bundle"
    write_molecule_bundle(folder)
    path, modules = list(sys.path), set(sys.modules)
    yield Engine(folder)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("code_model_"):
            del sys.modules[name]


def ask(engine: Engine, body: Any, kind: str = "invocations", content_type: str = JSON, **more: Any):
    """Status, answer and the request as it is afterwards."""
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Invocation(1, kind, content_type, sent, **more)
    status, answer = asyncio.run(engine.answer(request))
    return status, json.loads(answer), request


def rows(*smiles: Any, temperature: Any = 0.5) -> dict[str, Any]:
    return {"dataframe_records": [{"smiles": one, "temperature": temperature} for one in smiles]}


def test_it_says_what_it_takes_and_what_it_answers_to_its_example(engine: Engine) -> None:
    said = asyncio.run(engine.describe())
    assert said["inputs"] == [{"name": "smiles", "type": "string"}, {"name": "temperature", "type": "double"}]
    assert [column["name"] for column in said["outputs"]][:1] == ["size"]
    assert said["schema"]["name"] == "atoms"
    assert [record["size"] for record in said["answer"]["predictions"]] == [4.0, 8.0]  # CCO and 1, benzene and 2


def test_rows_are_answered_one_by_one_and_their_errors_are_counted(engine: Engine) -> None:
    status, answer, request = ask(engine, rows("CCO", "C1CC", None, "C"))
    assert status == 200
    assert [record["size"] for record in answer["predictions"]] == [3.5, None, None, 1.5]
    assert [record["error"] for record in answer["predictions"]] == [None, "invalid_smiles", "missing", None]
    assert (request.rows, dict(request.errors)) == (4, {"invalid_smiles": 1, "missing": 1})


def test_csv_is_answered_alike(engine: Engine) -> None:
    body = b"smiles,temperature\nCCO,0.5\n"
    assert ask(engine, body, content_type="text/csv")[:2] == ask(engine, rows("CCO"))[:2]


def test_the_open_inference_protocol_is_answered_with_the_same_numbers(engine: Engine) -> None:
    tensors = [
        {"name": "smiles", "shape": [2], "datatype": "BYTES", "data": ["CCO", "C"]},
        {"name": "temperature", "shape": [2], "datatype": "FP64", "data": [0.5, 0.5]},
    ]
    status, answer, request = ask(engine, {"id": "7", "inputs": tensors}, "infer", model="atoms", version="3")
    assert (status, answer["id"], answer["model_name"], answer["model_version"]) == (200, "7", "atoms", "3")
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    assert found["size"] == [3.5, 1.5]
    assert request.rows == 2


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        (b"{", "invocations", "message"),
        ({"dataframe_records": [{"smiles": "C"}]}, "invocations", "temperature"),
        (b"{", "infer", "error"),
    ],
)
def test_a_refusal_is_in_the_words_of_its_protocol(engine: Engine, body: Any, kind: str, says: str) -> None:
    status, answer, _ = ask(engine, body, kind)
    assert status == 400
    assert set(answer) == ({"error"} if kind == "infer" else {"error_code", "message"})
    assert says in json.dumps(answer)


class Toy:
    """An engine whose answers the test gives."""

    def __init__(self, answers: list[Any]) -> None:
        self.answers = answers

    async def answer(self, request: Invocation) -> tuple[int, bytes]:
        said = self.answers[request.id]
        if isinstance(said, Exception):
            raise said
        request.rows, request.errors = 2, engines.Counter(missing=1)
        return 200, said


def play(answers: list[Any], *bodies: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """Send requests to a worker, go away, and read what it said to each."""

    async def scene() -> list[tuple[dict[str, Any], bytes]]:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        worker = EngineSocket(Toy(answers), *await asyncio.open_connection(sock=theirs))  # type: ignore[arg-type]
        worker.batches.extend([(5, 2), (1, 1)])
        running = asyncio.create_task(worker.run())
        heard = []
        for number, body in enumerate(bodies):
            writer.write(pack_frame({"id": number, "kind": "invocations", "content_type": JSON}, body))
            heard.append(await read_frame(reader))
        writer.close()
        await asyncio.wait_for(running, 10)  # it ends with its socket
        return heard

    return asyncio.run(scene())


def test_an_answer_says_what_the_server_counts() -> None:
    (first, second) = play([b"one", b"two"], b"{}", b"{}")
    head = {"id": 0, "status": 200, "rows": 2, "errors": {"missing": 1}, "batches": [[5, 2], [1, 1]]}
    assert first == (head, b"one")
    assert second == (head | {"id": 1, "batches": []}, b"two")  # each run of the network is told once


def test_a_request_that_breaks_the_worker_is_answered_and_the_next_one_too(caplog: pytest.LogCaptureFixture) -> None:
    (broken, good) = play([ValueError("secret CCO"), b"two"], b"{}", b"{}")
    assert (broken[0]["status"], json.loads(broken[1])["message"]) == (503, "the worker failed on this request")
    assert good[1] == b"two"
    assert "request 0 failed: ValueError" in caplog.text
    assert "secret" not in caplog.text


def test_memory_of_large_requests_is_given_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(engines, "give_memory_back", lambda: given.append(1))
    play([b"small", b"x" * (engines.Limits.large_bytes + 1), b"last"], b"{}", b"{}", b"{}")
    assert given == [1]


def test_older_bundles_neither_ask_for_a_deadline_nor_tell_their_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("serving.deadline", "serving.sharing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    set_deadline(5.0)
    watch_batches(deque())
    set_to: list[float] = []
    sharing = SimpleNamespace(observers=[])
    monkeypatch.setitem(sys.modules, "serving.deadline", SimpleNamespace(AT=SimpleNamespace(set=set_to.append)))
    monkeypatch.setitem(sys.modules, "serving.sharing", sharing)
    batches: deque[tuple[int, int]] = deque()
    set_deadline(None)
    set_deadline(5.0)
    watch_batches(batches)
    sharing.observers[0](12, 300, 3, 0.1)
    assert (set_to, list(batches)) == ([5.0], [(12, 3)])


def test_nothing_of_this_checkout_stands_before_the_bundles_code(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(engines.Path(engines.__file__).parents[2])
    monkeypatch.setattr(sys, "path", ["", root, "/elsewhere"])
    modules = {"pipeline.x": ModuleType("x"), "serving": ModuleType("serving"), "pipelines": ModuleType("other")}
    monkeypatch.setattr(engines.sys, "modules", modules)
    forget_own_code()
    assert sys.path == ["/elsewhere"]
    assert set(modules) == {"pipelines"}


def test_a_refusal_of_the_bundle_keeps_its_status(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: Invocation) -> bytes:
        raise RequestError(504, "DEADLINE_EXCEEDED", "too late")

    monkeypatch.setattr(engine, "_invoke", refuse)
    assert ask(engine, rows("C"))[0] == 504
