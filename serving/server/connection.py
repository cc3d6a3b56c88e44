"""A connection that is not kept open by clients who send or read slowly; answers in JSON what is no HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

from serving.server.limits import Limits
from serving.server.refusal import RequestError


class Connection(H11Protocol):
    """uvicorn's connection with limits; uvicorn makes one for each client."""

    limits = Limits()
    _waiting: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None
    _since = 0.0  # when it began to wait for its client

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections and not self._make_room():
            self._refuse(RequestError(503, "TEMPORARILY_UNAVAILABLE", "too many connections"))
        else:
            self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self.resume_writing()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self._since = self.loop.time()
            self._stop_waiting()

    def on_response_complete(self) -> None:
        self._wait_for_head()  # before what comes now: pipelined requests stop it again
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stalled = self.loop.call_later(self.limits.read_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def send_400_response(self, msg: str) -> None:
        self._refuse(RequestError(400, "BAD_REQUEST", "this is no valid HTTP/1.1 request"))

    @property
    def awaits_client(self) -> bool:
        """Whether the head or the rest of a body is still to come."""
        in_body = self.cycle is not None and self.cycle.more_body and not self.cycle.response_complete
        return (self._waiting is not None or in_body) and not self.transport.is_closing()

    def _make_room(self) -> bool:
        """Close the connection that has awaited its client longest, so that half requests never lock out others."""
        others = [one for one in self.connections if isinstance(one, Connection) and one is not self]
        waiting = [one for one in others if one.awaits_client]
        if waiting:
            slowest = min(waiting, key=lambda one: one._since)
            slowest._refuse(RequestError(503, "TEMPORARILY_UNAVAILABLE", "too many connections"))
        return bool(waiting)

    def _refuse(self, refusal: RequestError) -> None:
        body = refusal.body(v2=False)
        headers = [("content-type", "application/json"), ("content-length", str(len(body))), ("connection", "close")]
        events: tuple[Any, ...] = (
            h11.Response(status_code=refusal.status, headers=headers, reason=STATUS_PHRASES[refusal.status]),
            h11.Data(data=body),
        )
        for event in (*events, h11.EndOfMessage()):
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE, h11.SEND_BODY):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _wait_for_head(self) -> None:
        self._stop_waiting()
        self._since = self.loop.time()
        self._waiting = self.loop.call_later(self.limits.head_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
