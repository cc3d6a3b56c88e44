"""A worker: one process that holds one bundle's code, and answers as MLflow's scoring server does.

    python -B -m serving.server.engine FD BUNDLE BYTES

FD is a socket to the server (serving/server/fleet.py). The first message out is {"ready": …} or {"failure": …}; then
requests {"id", "kind", …} come in and answers {"id", "status", …} go out. The worker ends with the socket. It may take
BYTES of private memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import resource
import signal
import socket
import sys
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.machine import give_memory_back
from serving.server.frames import pack_frame, read_frame
from serving.server.inference import read_inference, write_inference
from serving.server.json_guard import parse_json
from serving.server.limits import Limits
from serving.server.refusal import RequestError
from serving.server.tables import JSON, read_json, read_table

log = logging.getLogger("serving")


@dataclass
class Invocation:
    """One request, and what is noted while it is answered."""

    id: int
    kind: str  # "invocations" or "infer"
    content_type: str
    body: bytes
    model: str = ""  # its name and version, for the Open Inference Protocol
    version: str = ""
    deadline: float | None = None  # moment of time.monotonic(), which all processes of a machine share
    rows: int = 0
    errors: Counter[str] = field(default_factory=Counter)


class Engine:
    """Answers requests with one bundle."""

    def __init__(self, folder: Path) -> None:
        import mlflow.pyfunc

        config = {"threads": 1}  # of the network: workers stand beside each other
        model = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True, model_config=config)
        # MLflow would check the table before the model does, and answer for all rows where one is wrong.
        self._model = model.unwrap_python_model()
        signature = model.metadata.signature
        self.inputs, self.outputs = (
            [{"name": str(column.name), "type": _type_name(column)} for column in columns]
            for columns in (signature.inputs, signature.outputs)
        )
        self.schema = json.loads((folder / "artifacts" / "schema.json").read_text(encoding="utf-8"))
        self.example = json.loads((folder / "serving_input_example.json").read_text(encoding="utf-8"))

    async def describe(self) -> dict[str, Any]:
        """What the model takes and answers, and its answer to its own example."""
        request = Invocation(0, "invocations", JSON, json.dumps(self.example).encode())
        status, body = await self.answer(request)
        return {
            "inputs": self.inputs,
            "outputs": self.outputs,
            "schema": self.schema,
            "example": self.example,
            "answer": json.loads(body) if status == 200 else None,
        }

    async def answer(self, request: Invocation) -> tuple[int, bytes]:
        """Status and body of the answer, always JSON; a refusal never repeats what the client sent."""
        set_deadline(request.deadline)
        work = self._infer if request.kind == "infer" else self._invoke
        try:
            return 200, await asyncio.to_thread(work, request)
        except MemoryError:
            refusal = RequestError(
                503, "TEMPORARILY_UNAVAILABLE", "there is no memory for this request; send fewer rows"
            )
            return refusal.status, refusal.body(v2=request.kind == "infer")
        except RequestError as refusal:
            return refusal.status, refusal.body(v2=request.kind == "infer")

    def _invoke(self, request: Invocation) -> bytes:
        """A request of `/invocations`."""
        table = read_table(request.body, request.content_type, self.inputs)
        return json.dumps({"predictions": self._predict(request, table)}).encode()

    def _infer(self, request: Invocation) -> bytes:
        """A request of the Open Inference Protocol."""
        asked = parse_json(request.body)
        records = self._predict(request, read_json(read_inference(asked, self.inputs)))
        found = write_inference(asked, records, request.model, request.version, self.outputs)
        return json.dumps(found).encode()

    def _predict(self, request: Invocation, table: Any) -> list[dict[str, Any]]:
        """Let the bundle answer; one record a row.

        Raises:
            RequestError: if it refuses the request as a whole.
        """
        from mlflow.exceptions import MlflowException

        request.rows = len(table)
        try:
            answers = self._model.predict(None, table)
        except MlflowException as error:  # the bundle's own words, which hold nothing of the request
            status = error.get_http_status_code()
            raise RequestError(status if status != 500 else 503, error.error_code, error.message) from None
        request.errors.update(code for code in answers["error"] if code is not None)
        return list(answers.to_dict("records"))


def _type_name(column: Any) -> str:
    """`string`, `double` or `any`."""
    return str(getattr(column.type, "name", "any")).lower() if column.type is not None else "any"


class EngineSocket:
    """The engine at its socket."""

    def __init__(self, engine: Engine, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.engine, self.reader, self.writer = engine, reader, writer
        self.tasks: set[asyncio.Task[None]] = set()
        self.batches: deque[tuple[int, int]] = deque(maxlen=10_000)  # graphs and requests of each run of the network
        watch_batches(self.batches)

    async def run(self) -> None:
        """Answer until the server is gone."""
        with contextlib.suppress(EOFError):
            while True:
                head, body = await read_frame(self.reader)
                task = asyncio.create_task(self.answer(Invocation(**head, body=body)))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    async def answer(self, request: Invocation) -> None:
        """Answer one request; whatever happens, say that its place is free."""
        try:
            status, body = await self.engine.answer(request)
        except Exception as error:
            log.error("request %d failed: %s", request.id, type(error).__name__)
            refusal = RequestError(503, "TEMPORARILY_UNAVAILABLE", "the worker failed on this request")
            status, body = refusal.status, refusal.body(v2=request.kind == "infer")
        head = {"id": request.id, "status": status, "rows": request.rows, "errors": request.errors}
        batches = [self.batches.popleft() for _ in range(len(self.batches))]
        self.writer.write(pack_frame(head | {"batches": batches}, body))
        large = max(len(request.body), len(body)) > Limits.large_bytes
        request.body = body = b""
        await self.writer.drain()
        if large:
            await asyncio.to_thread(give_memory_back)


def set_deadline(moment: float | None) -> None:
    """Tell the bundle's code when nobody waits for this request any more; older bundles do not ask."""
    module = sys.modules.get("serving.deadline")
    if module is not None and moment is not None:
        module.AT.set(moment)


def watch_batches(batches: deque[tuple[int, int]]) -> None:
    """Note the size of each run of the network, where the bundle's code tells it."""
    module = sys.modules.get("serving.sharing")
    if module is not None:
        module.observers.append(lambda graphs, nodes, requests, seconds: batches.append((graphs, requests)))


def forget_own_code() -> None:
    """Make room for the bundle's `pipeline` and `serving`; what is loaded keeps running.

    The bundle was released with its own code: nothing of this checkout may stand before it.
    """
    root = str(Path(__file__).parents[2])
    sys.path[:] = [place for place in sys.path if place and str(Path(place).resolve()) != root]
    for name in [name for name in sys.modules if name.split(".")[0] in ("pipeline", "serving")]:
        del sys.modules[name]


def limit_memory(size_bytes: int) -> None:
    """Let what needs more private memory fail here with a MemoryError, instead of ending the whole container.

    Not RLIMIT_AS, which counts what is only mapped: libraries, files and reserved addresses.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    least = size_bytes if hard == resource.RLIM_INFINITY else min(size_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (least, hard))


async def main(connection: socket.socket, folder: Path) -> None:
    # The server ends this process by its socket: a Ctrl-C or a SIGTERM to the whole group is the server's to handle.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    reader, writer = await asyncio.open_connection(sock=connection)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(Limits.places))
    try:
        engine = Engine(folder)
        ready = await engine.describe()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        writer.write(pack_frame({"failure": reason}))
        await writer.drain()
        return
    gc.freeze()  # what is loaded stays: a collection need not look at it
    writer.write(pack_frame({"ready": ready}))
    await EngineSocket(engine, reader, writer).run()
    os._exit(0)  # a thread may still be at work for nobody


if __name__ == "__main__":
    limit_memory(int(sys.argv[3]))
    forget_own_code()
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])))
