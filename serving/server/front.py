"""The ASGI app: what is asked, by whom it is answered, within which limits; one line of log a request.

connection ─► route ─► content type, body ─► queue ─► worker ─► answer, header of its release, log, metrics
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import quote

from pipeline.machine import give_memory_back
from serving.server.docs import docs_page, openapi
from serving.server.fleet import Answer, Fleet, Job
from serving.server.inference import describe_model
from serving.server.limits import Limits
from serving.server.prometheus import CONTENT_TYPE, Metrics
from serving.server.refusal import RequestError
from serving.server.releases import Standing
from serving.server.tables import CSV, JSON, PARQUET

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CONTENT_TYPES = (JSON, CSV, PARQUET)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})")
_OUTCOMES = {
    **{200: "ok", 400: "bad_request", 404: "not_found", 405: "method_not_allowed", 408: "slow_client"},
    **{413: "too_large", 415: "content_type", 429: "overloaded", 503: "unavailable", 504: "timeout"},
}

log = logging.getLogger("serving")


class ClientGoneError(Exception):
    """Nobody is there to read an answer."""


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: MutableMapping[str, Any]) -> None:
        self.started = time.monotonic()
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.headers: list[tuple[bytes, bytes]] = scope["headers"]
        asked = self.header(b"x-request-id") or ""
        self.id = asked if _REQUEST_ID.fullmatch(asked) else secrets.token_hex(16)
        trace = _TRACEPARENT.fullmatch(self.header(b"traceparent") or "")
        self.trace, flags = (trace[1], trace[2]) if trace else (secrets.token_hex(16), "00")
        self.traceparent = f"00-{self.trace}-{secrets.token_hex(8)}-{flags}"
        self.route = "other"
        self.size = 0
        self.held = 0
        self.job: Job | None = None
        self.answer: Answer | None = None

    def header(self, name: bytes) -> str | None:
        """A header's value; two of a name are none."""
        found = [value for key, value in self.headers if key == name]
        return found[0].decode("latin-1") if len(found) == 1 else None

    @property
    def v2(self) -> bool:
        return self.path.startswith("/v2")


_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")
"""What a header may hold as it is; other letters of a model's name are percent-encoded."""

Page = tuple[int, str, bytes]  # status, content type, body


class Gate:
    """Answers every request of HTTP."""

    def __init__(self, fleet: Fleet, metrics: Metrics, limits: Limits) -> None:
        self.fleet, self.metrics, self.limits = fleet, metrics, limits
        self.draining = False
        self.standing = Standing(None, "not compared")  # of the release, in the log of decisions
        self.held = 0  # bytes of bodies that are here

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        exchange = Exchange(scope)
        headers: dict[str, str] = {}
        try:
            status, content_type, body = await self.respond(exchange, receive)
        except RequestError as refusal:
            status, content_type, body = refusal.status, JSON, refusal.body(v2=exchange.v2)
            headers = refusal.headers
        except ClientGoneError:
            self.note(exchange, 499, 0)
            return
        except Exception as error:  # ours; its text may hold the client's data
            log.error("request %s failed: %s", exchange.id, type(error).__name__)
            failure = RequestError(503, "TEMPORARILY_UNAVAILABLE", "the server failed on this request")
            status, content_type, body = 503, JSON, failure.body(v2=exchange.v2)
        finally:
            self.held -= exchange.held
        if (answer := exchange.answer) is not None:
            headers |= {"X-Model-Digest": answer.release.digest}
            version = f"{answer.release.name}/{answer.release.version or 'bundle'}"
            headers |= {"X-Model-Version": quote(version, safe=_PLAIN)}
        headers |= {"Content-Type": content_type, "Content-Length": str(len(body)), "X-Request-Id": exchange.id}
        headers |= {"traceparent": exchange.traceparent, "X-Content-Type-Options": "nosniff"}
        if self.draining:
            headers["Connection"] = "close"
        raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
        self.note(exchange, status, len(body))  # nothing can change the status any more
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": b"" if exchange.method == "HEAD" else body})
        if max(exchange.size, len(body)) > self.limits.large_bytes:
            exchange.job = None  # it holds the body
            await asyncio.to_thread(give_memory_back)

    async def respond(self, exchange: Exchange, receive: Receive) -> Page:
        """The answer of the page that is asked for."""
        pages, asked = self.pages(), exchange.path
        if asked in pages:
            exchange.route = asked if not exchange.v2 else "/v2"
            _allow(exchange, "GET", "HEAD")
            return pages[asked]()
        kinds = {"/invocations": "invocations"} | {f"{base}/infer": "infer" for base in self.models()}
        if asked not in kinds:
            raise RequestError(404, "RESOURCE_DOES_NOT_EXIST", "there is no such page; see /docs")
        kind = kinds[asked]
        exchange.route = asked if kind == "invocations" else "/v2/infer"
        _allow(exchange, "POST")
        content_type = read_content_type(exchange, (JSON,) if kind == "infer" else CONTENT_TYPES)
        body = await self.read_body(exchange, receive)
        return await self.ask(exchange, receive, {"kind": kind, "content_type": content_type}, body)

    def models(self) -> list[str]:
        """Where the Open Inference Protocol finds the model."""
        release = self.fleet.release
        base = f"/v2/models/{release.name if release else ''}"
        return [base, f"{base}/versions/{self.version}"]

    @property
    def version(self) -> str:
        release = self.fleet.release
        return (release.version or release.digest[:12]) if release else ""

    def pages(self) -> dict[str, Callable[[], Page]]:
        """Pages that take no worker."""
        ready, live = self.ready_page, lambda: _json({"live": True})
        found: dict[str, Callable[[], Page]] = {
            **{"/health": live, "/ping": live, "/ready": ready, "/v2/health/live": live, "/v2/health/ready": ready},
            "/version": lambda: _json(self.facts()),
            "/metrics": lambda: (200, CONTENT_TYPE, self.metrics.page(self.standing.agrees)),
            "/openapi.json": lambda: _json(self.openapi()),
            "/docs": lambda: (200, "text/html; charset=utf-8", docs_page(self.openapi(), self.fleet.ready)),
            "/v2": lambda: _json({"name": "graphline", "version": "1", "extensions": []}),
        }
        for base in self.models():
            found |= {base: self.model_page, f"{base}/ready": ready}
        return found

    def facts(self) -> dict[str, str]:
        release = self.fleet.release
        if release is None:
            return {}
        return {"name": release.name, "version": release.version, "digest": release.digest, "log": self.standing.said}

    def openapi(self) -> dict[str, Any]:
        release = self.fleet.release
        assert release is not None
        return openapi(release.name, self.version, self.fleet.ready, self.limits.body_bytes)

    def model_page(self) -> Page:
        ready, release = self.fleet.ready, self.fleet.release
        assert release is not None
        return _json(describe_model(release.name, self.version, ready["inputs"], ready["outputs"]))

    def ready_page(self) -> Page:
        """Whether new requests should come here: not when stopping or without a worker.

        A full queue is answered by 429 to whoever comes: under a load that fills all replicas, each that took itself
        out would leave more to the others, until none is left.
        """
        reasons = {
            "draining": self.draining,
            "no worker": not self.fleet.alive,
        }
        found = [reason for reason, holds in reasons.items() if holds]
        return _json({"ready": not found, "reason": ", ".join(found)}, 503 if found else 200)

    async def read_body(self, exchange: Exchange, receive: Receive) -> bytes:
        """Receive the body of a request.

        Raises:
            RequestError: 413 beyond the limit, 408 if it comes too slowly, 429 if too many bytes are here already.
            ClientGoneError: if it does not come whole.
        """
        too_large = RequestError(413, "BAD_REQUEST", f"the body is larger than {self.limits.body_bytes} bytes")
        declared = exchange.header(b"content-length") or ""
        if declared.isdecimal() and int(declared[:20]) > self.limits.body_bytes:
            raise too_large
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self.limits.body_s):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise ClientGoneError
                    part = message.get("body", b"")
                    parts.append(part)
                    exchange.size += len(part)
                    exchange.held += len(part)
                    self.held += len(part)
                    if exchange.size > self.limits.body_bytes:
                        raise too_large
                    if self.held > self.limits.held_bytes:
                        wait = str(self.fleet.retry_after())
                        raise RequestError(429, "RESOURCE_EXHAUSTED", "too many bytes are waiting", Retry_After=wait)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            message_ = f"the body did not come within {self.limits.body_s:g} s"
            raise RequestError(408, "BAD_REQUEST", message_, Connection="close") from None

    async def ask(self, exchange: Exchange, receive: Receive, head: dict[str, Any], body: bytes) -> Page:
        """Let a worker answer, and no longer than somebody waits for it.

        Raises:
            RequestError: 504 beyond the time budget, 429 if too many wait.
            ClientGoneError: if the client leaves.
        """
        names = {"model": self.fleet.release.name, "version": self.version} if self.fleet.release else {}
        deadline = time.monotonic() + self.limits.time_s
        job = exchange.job = self.fleet.ask(head | names | {"deadline": deadline}, body)
        gone = asyncio.ensure_future(_wait_until_gone(receive))
        waiting: set[asyncio.Future[Any]] = {job.answer, gone}
        try:
            await asyncio.wait(waiting, timeout=self.limits.time_s, return_when=asyncio.FIRST_COMPLETED)
            if job.answer.done():
                exchange.answer = job.answer.result()
                return exchange.answer.status, JSON, exchange.answer.body
            if gone.done():
                raise ClientGoneError
            raise RequestError(504, "DEADLINE_EXCEEDED", f"no answer within {self.limits.time_s:g} s; send fewer rows")
        finally:
            gone.cancel()
            self.fleet.drop(job)

    def note(self, exchange: Exchange, status: int, size: int) -> None:
        """Count a request and write its line of log: what happened, and nothing of what was sent."""
        seconds = time.monotonic() - exchange.started
        outcome = _OUTCOMES.get(status, "client_gone")
        self.metrics.count(exchange.route, outcome, seconds, exchange.answer)
        job, answer = exchange.job, exchange.answer
        write_line(
            event="request", id=exchange.id, trace=exchange.trace, span=exchange.traceparent[36:52],
            method=exchange.method if exchange.route != "other" else "", route=exchange.route, status=status,
            outcome=outcome, ms=round(1e3 * seconds, 1), wait_ms=round(1e3 * (job.sent - job.queued), 1) if job else 0,
            bytes_in=exchange.size, bytes_out=size, rows=answer.rows if answer else 0,
            row_errors=sum(answer.errors.values()) if answer else 0,
            version=answer.release.version if answer else "", digest=answer.release.digest[:12] if answer else "",
        )  # fmt: skip


def read_content_type(exchange: Exchange, taken: tuple[str, ...]) -> str:
    """The kind of the body.

    Raises:
        RequestError: 415.
    """
    kind, _, parameters = (exchange.header(b"content-type") or "").lower().partition(";")
    plain = parameters.replace(" ", "").replace('"', "") in ("", "charset=utf-8")
    if kind.strip() not in taken or not plain:
        raise RequestError(415, "BAD_REQUEST", f"expected the header Content-Type: {' or '.join(taken)}, in UTF-8")
    if (exchange.header(b"content-encoding") or "identity").lower() != "identity":
        raise RequestError(415, "BAD_REQUEST", "the body is compressed; send it as it is")
    return kind.strip()


def write_line(**facts: Any) -> None:
    """One line of the log: JSON, on standard output."""
    sys.stdout.write(json.dumps({"time": round(time.time(), 3), **facts}) + "\n")
    sys.stdout.flush()


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _allow(exchange: Exchange, *methods: str) -> None:
    """
    Raises:
        RequestError: 405, if another method is asked for.
    """
    if exchange.method not in methods:
        allowed = ", ".join(methods)
        raise RequestError(405, "BAD_REQUEST", f"this page takes {allowed} only", Allow=allowed)


def _json(what: Any, status: int = 200) -> Page:
    return status, JSON, json.dumps(what).encode()
