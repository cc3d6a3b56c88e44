"""A worker: one process that holds one bundle's code and answers through MLflow's own scoring server.

    python -B -m serving.server.engine FD BUNDLE

FD is a socket to the server (serving/server/fleet.py). The first message out is {"ready": …} or {"failure": …}; then
requests {"id", "kind", …} come in and answers {"id", "status", …} go out. The worker ends with the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.machine import give_memory_back
from serving.server.frames import LARGE, PLACES, pack_frame, read_frame
from serving.server.inference import read_inference, write_inference
from serving.server.json_guard import parse_json
from serving.server.numbers import take_out
from serving.server.refusal import RequestError

JSON, CSV = "application/json", "text/csv"
PARQUET = "application/vnd.apache.parquet"
MAX_PARQUET_BYTES = 256 << 20  # unpacked
MAX_PARQUET_ROWS = 1_000_000

_SCOPE: dict[str, Any] = {
    **{"type": "http", "method": "POST", "path": "/invocations", "raw_path": b"/invocations", "query_string": b""},
    **{"root_path": "", "http_version": "1.1", "scheme": "http", "asgi": {"version": "3.0"}},
    **{"server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1)},
}

log = logging.getLogger("serving")


@dataclass
class Request:
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
    refusal: RequestError | None = None
    no_numbers: dict[int, str] = field(default_factory=dict)  # row -> column


CURRENT: ContextVar[Request] = ContextVar("CURRENT")


class Noted:
    """The loaded model, as MLflow's scoring server sees it: notes rows, row errors and refusals of each request."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.metadata = model.metadata
        self._names = [column.name for column in model.metadata.get_input_schema().inputs if column.required]

    def predict(self, data: Any, params: Any = None) -> Any:
        import pandas as pd
        from mlflow.exceptions import MlflowException

        request = CURRENT.get()
        request.rows = len(data)
        missing = [name for name in self._names if name not in getattr(data, "columns", self._names)]
        if missing:
            message = f"the request has no column {missing}; expected the columns {self._names}"
            request.refusal = RequestError(400, "INVALID_PARAMETER_VALUE", message)
        if request.content_type == CSV and not isinstance(data.index, pd.RangeIndex):
            # pandas then takes the first column for row labels, and each other one for its neighbour.
            request.refusal = RequestError(400, "BAD_REQUEST", "a row has more cells than the header")
            raise request.refusal
        try:
            answers = self._model.predict(data, params=params)
        except MlflowException as error:
            # The bundle's own errors hold nothing of the request; MLflow's, such as those of its schema check, do.
            if request.refusal is None and not type(error).__module__.startswith("mlflow."):
                status = error.get_http_status_code()
                request.refusal = RequestError(status if status != 500 else 503, error.error_code, error.message)
            raise
        except Exception as error:
            # Its text may hold the client's data.
            log.error("the model failed on request %d: %s", request.id, type(error).__name__)
            raise
        for row, name in request.no_numbers.items():
            if answers["error"].iat[row] == "missing":
                answers.loc[row, ["error", "error_detail"]] = "wrong_type", f"'{name}' is no number."
        request.errors.update(code for code in answers["error"] if code is not None)
        return answers


class Engine:
    """Answers requests with MLflow's scoring server around one model."""

    def __init__(self, folder: Path) -> None:
        import mlflow.pyfunc
        from mlflow.pyfunc import scoring_server

        config = {"threads": 1}  # of the network: workers stand beside each other
        model = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True, model_config=config)
        self.app = scoring_server.init(Noted(model))
        signature = model.metadata.signature
        self.inputs, self.outputs = (
            [{"name": str(column.name), "type": _type_name(column)} for column in columns]
            for columns in (signature.inputs, signature.outputs)
        )
        self.schema = json.loads((folder / "artifacts" / "schema.json").read_text(encoding="utf-8"))
        self.example = json.loads((folder / "serving_input_example.json").read_text(encoding="utf-8"))

    async def describe(self) -> dict[str, Any]:
        """What the model takes and answers, and its answer to its own example."""
        request = Request(0, "invocations", JSON, json.dumps(self.example).encode())
        status, body = await self.answer(request)
        return {
            "inputs": self.inputs,
            "outputs": self.outputs,
            "schema": self.schema,
            "example": self.example,
            "answer": json.loads(body) if status == 200 else None,
        }

    async def answer(self, request: Request) -> tuple[int, bytes]:
        """Status and body of the answer, always JSON; a refusal never repeats what the client sent."""
        CURRENT.set(request)
        set_deadline(request.deadline)
        try:
            if request.kind == "infer":
                return 200, await self._infer(request)
            body = request.body
            if request.content_type == JSON:
                body = await asyncio.to_thread(self._read_json, request)
            elif request.content_type == PARQUET:
                body = await asyncio.to_thread(_read_parquet, request.body, self.inputs)
            return 200, await self._invoke(request, body, request.content_type)
        except RequestError as refusal:
            return refusal.status, refusal.body(v2=request.kind == "infer")

    def _read_json(self, request: Request) -> bytes:
        """The body as MLflow may see it."""
        asked = parse_json(request.body)
        request.no_numbers = take_out(asked, self.inputs)
        return json.dumps(asked).encode() if request.no_numbers else request.body

    async def _infer(self, request: Request) -> bytes:
        """A request of the Open Inference Protocol."""

        def read() -> tuple[Any, bytes]:
            asked = parse_json(request.body)
            return asked, json.dumps(read_inference(asked, self.inputs)).encode()

        def write(answer: bytes) -> bytes:
            found = write_inference(asked, json.loads(answer), request.model, request.version, self.outputs)
            return json.dumps(found).encode()

        asked, table = await asyncio.to_thread(read)
        return await asyncio.to_thread(write, await self._invoke(request, table, JSON))

    async def _invoke(self, request: Request, body: bytes, content_type: str) -> bytes:
        """Ask MLflow's `/invocations`.

        Raises:
            RequestError: if it does not answer.
        """
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        scope = _SCOPE | {"headers": headers}
        incoming = [{"type": "http.request", "body": body, "more_body": False}]
        sent: list[Any] = []

        async def receive() -> Any:
            return incoming.pop() if incoming else await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        try:
            await self.app(scope, receive, send)
            status = sent[0]["status"]
        except Exception:  # what MLflow's parsers do not catch; the text may hold the client's data
            status = 400
        if status != 200:
            raise request.refusal or RequestError(400, "BAD_REQUEST", _unread(content_type, self.inputs))
        return b"".join(message.get("body", b"") for message in sent)


def _unread(content_type: str, inputs: list[dict[str, str]]) -> str:
    forms = ", ".join(("dataframe_records", "dataframe_split", "instances", "inputs"))
    columns = ", ".join(f"{one['name']} ({one['type']})" for one in inputs)
    what = f"an object with exactly one of {forms}" if content_type == JSON else "a table"
    return f"the body cannot be read as {what} with the columns {columns}; see /docs"


def _type_name(column: Any) -> str:
    """`string`, `double` or `any`."""
    return str(getattr(column.type, "name", "any")).lower() if column.type is not None else "any"


def _read_parquet(body: bytes, inputs: list[dict[str, str]]) -> bytes:
    """The body as MLflow may see it: whole numbers of 64 bits are no doubles to it, nor is a category a string.

    Raises:
        RequestError: if it is no Parquet, or too large: its own footer says to which size a small file unpacks.
    """
    from io import BytesIO

    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(BytesIO(body))
    except Exception:  # pyarrow's errors, and what a damaged footer makes of them
        raise RequestError(400, "BAD_REQUEST", "the body is no Parquet file") from None
    footer = file.metadata
    size = sum(footer.row_group(k).total_byte_size for k in range(footer.num_row_groups))
    if footer.num_rows > MAX_PARQUET_ROWS or size > MAX_PARQUET_BYTES:
        limits = f"{MAX_PARQUET_ROWS} rows or {MAX_PARQUET_BYTES} bytes"
        raise RequestError(413, "BAD_REQUEST", f"the Parquet file unpacks to more than {limits}")
    types = {one["name"]: one["type"] for one in inputs}
    schema = file.schema_arrow
    for k, column in enumerate(schema):
        if types.get(column.name) == "double" and pa.types.is_integer(column.type):
            schema = schema.set(k, column.with_type(pa.float64()))
        if types.get(column.name) == "string" and pa.types.is_dictionary(column.type):
            schema = schema.set(k, column.with_type(pa.string()))
    if schema.equals(file.schema_arrow):
        return body
    out = BytesIO()
    try:
        parquet.write_table(file.read().cast(schema.remove_metadata()), out)
    except (pa.ArrowException, OSError):
        raise RequestError(400, "BAD_REQUEST", "the body is a damaged Parquet file") from None
    return out.getvalue()


class Worker:
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
                task = asyncio.create_task(self.answer(Request(**head, body=body)))
                self.tasks.add(task)
                task.add_done_callback(self.tasks.discard)

    async def answer(self, request: Request) -> None:
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
        large = max(len(request.body), len(body)) > LARGE
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


async def main(connection: socket.socket, folder: Path) -> None:
    # The server ends this process by its socket: a Ctrl-C or a SIGTERM to the whole group is the server's to handle.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    reader, writer = await asyncio.open_connection(sock=connection)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(PLACES))
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
    await Worker(engine, reader, writer).run()
    os._exit(0)  # a thread may still be at work for nobody


if __name__ == "__main__":
    forget_own_code()
    os.environ["MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"] = "86400"  # the server's time budget rules
    asyncio.run(main(socket.socket(fileno=int(sys.argv[1])), Path(sys.argv[2])))
