"""Stand-ins for what answers behind the server: a release without bytes, and a fleet that answers by a function."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serving.server.fleet import Answer, Job, ServedBundle
from serving.server.limits import Limits
from serving.server.refusal import RequestError

RELEASE = ServedBundle("toy", "3", "d" * 64, Path("/none"), lambda: None, lambda: None)
READY = {
    "inputs": [{"name": "smiles", "type": "string"}],
    "outputs": [{"name": "size", "type": "double"}],
    "schema": {},
    "example": {},
}


def answer(status: int = 200, body: bytes = b"{}", rows: int = 1, **errors: int) -> Answer:
    return Answer(status, body, rows, errors, [(rows, 1)], RELEASE)


class ToyFleet:
    """A fleet whose answers come from `reply`: an answer, an error, or None for never."""

    def __init__(self, reply: Callable[[dict[str, Any], bytes], Answer | Exception | None]) -> None:
        self.reply = reply
        self.release, self.ready = RELEASE, READY
        self.queue: deque[Job] = deque()
        self.limits, self.in_flight, self.workers = Limits(queue=8), 0, [1]
        self.alive = True
        self.asked: list[tuple[dict[str, Any], bytes]] = []
        self.dropped: list[Job] = []

    def ask(self, head: dict[str, Any], body: bytes) -> Job:
        self.asked.append((head, body))
        said = self.reply(head, body)
        if isinstance(said, RequestError):
            raise said
        job = Job(head, body)
        if isinstance(said, Exception):
            job.answer.set_exception(said)
        elif said is not None:
            job.answer.set_result(said)
        return job

    def drop(self, job: Job) -> None:
        self.dropped.append(job)

    def retry_after(self) -> int:
        return 7


class Client:
    """Sends one request through an ASGI app and keeps what came back."""

    def __init__(self, app: Any) -> None:
        self.app = app

    def ask(
        self, method: str, path: str, *parts: bytes, headers: dict[str, str] | None = None, leave: bool = False
    ) -> tuple[int | None, dict[str, str], bytes]:
        """Status, headers and body; None where nobody was there to read.

        Args:
            parts: of the body, as they come.
            leave: the client goes away once its body is sent.
        """
        sent: list[dict[str, Any]] = []
        pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
        incoming = [
            {"type": "http.request", "body": part, "more_body": k + 1 < len(parts)} for k, part in enumerate(parts)
        ]
        incoming += [{"type": "http.disconnect"}] if leave else []

        async def receive() -> dict[str, Any]:
            return incoming.pop(0) if incoming else await asyncio.Event().wait()  # type: ignore[return-value]

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": pairs}
        asyncio.run(self.app(scope, receive, send))
        if not sent:
            return None, {}, b""
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return sent[0]["status"], found, sent[1]["body"]
