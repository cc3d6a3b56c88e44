"""What stands before the board: ASGI middleware that asks where a request comes from and who sends it.

A browser sends a login along with every request, also with one that another website makes it send. So a request is
answered only if it names the board as its host (a foreign name that points to 127.0.0.1 does not) and, where the
browser says from which page it comes, if that page is the board's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from pipeline.errors import PipelineError
from pipeline.review.board.desk import Desk, Desks, Seat
from pipeline.review.board.logins import TooManyLoginsError
from pipeline.runs.person import Person

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Mapping[str, str]
Identify = Callable[[Headers, str], Awaitable[Seat | None]]

POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'"
)
SAFE = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer", "X-Content-Type-Options": "nosniff"}


class Guard:
    """Lets a request through to `app` with the sender's desk in `scope["meta"]`, or answers it itself.

    Args:
        hosts: names, with port where there is one, under which browsers reach the board.
        identify: headers and address -> who sends them, or None; may ask the tracking server.
    """

    def __init__(self, app: App, hosts: Iterable[str], identify: Identify, desks: Desks) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)
        self.identify = identify
        self.desks = desks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = refuse_origin(headers, self.hosts)
        if refusal:
            await _answer(scope, receive, send, 403, refusal)
            return
        try:
            desk = await self._desk(headers, (scope.get("client") or ("",))[0])
        except TooManyLoginsError as error:
            await _answer(scope, receive, send, 429, str(error), error.retry_after)
            return
        except PipelineError as error:  # the tracking server is away
            await _answer(scope, receive, send, 503, str(error))
            return
        if desk is None:
            await _answer(scope, receive, send, 401, "Log in as a user of the tracking server.")
            return
        kept = [
            pair for pair in scope["headers"] if pair[0].lower() != b"authorization"
        ]  # the notebook needs no password
        await self.app(dict(scope) | {"headers": kept, "meta": {"desk": desk}}, receive, _hardened(send))

    async def _desk(self, headers: Headers, address: str) -> Desk | None:
        seat = await self.identify(headers, address)
        return None if seat is None else self.desks.of(seat)


def refuse_origin(headers: Headers, hosts: frozenset[str]) -> str | None:
    """Return why a request is none that the board's own page makes, or None."""
    host = headers.get("host", "").lower()
    if host not in hosts:
        return f"This board does not answer as '{host[:100]}'. Pass allowed_hosts= the name under which it is reached."
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() not in hosts:
        return "A page of another website may not use this board."
    site, mode = headers.get("sec-fetch-site"), headers.get("sec-fetch-mode")
    if site in ("cross-site", "same-site") and mode != "navigate":
        return "A page of another website may not read this board."
    return None


def by_proxy(header: str) -> Identify:
    """Identify by a header that a proxy in front of the board sets after its own login."""

    async def identify(headers: Headers, address: str) -> Seat | None:
        name = headers.get(header.lower(), "").strip()
        return Seat(Person(name, f"header {header} of the proxy", True), proxied=True) if name else None

    return identify


def as_one(person: Person) -> Identify:
    """Whoever asks is the person who started the board: only that person may reach it."""

    async def identify(headers: Headers, address: str) -> Seat | None:
        return Seat(person)

    return identify


def _hardened(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            extra = [(name.lower().encode(), value.encode()) for name, value in SAFE.items()]
            message = dict(message) | {"headers": [*message.get("headers", ()), *extra]}
        await send(message)

    return sender


async def _answer(
    scope: Scope, receive: Receive, send: Send, status: int, text: str, retry_after: int | None = None
) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": text[:100]})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="graphline review board", charset="UTF-8"'))
    if retry_after is not None:
        headers.append((b"retry-after", str(retry_after).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
