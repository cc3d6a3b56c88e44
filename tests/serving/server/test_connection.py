"""A connection on a real socket: nonsense gets JSON, slow clients get the door."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from serving.server.connection import Connection
from serving.server.limits import Limits

Scene = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    while scope["method"] == "POST":
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message.get("more_body"):
            break
    body = b"x" * (8 << 20) if scope["path"] == "/large" else b"ok"
    length = str(len(body)).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": body})


LOST: list[bool] = []
"""Whether each connection that is gone was cut off."""


class Watched(Connection):
    def connection_lost(self, exc: Exception | None) -> None:
        LOST.append(self.transport.is_closing())
        super().connection_lost(exc)


def play(scene: Scene) -> None:
    LOST.clear()

    async def whole() -> None:
        config = uvicorn.Config(app, http=Connection, lifespan="off", log_level="critical", port=0)
        server = uvicorn.Server(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        running = await asyncio.get_running_loop().create_server(
            lambda: Watched(config=config, server_state=server.server_state, app_state={}), "127.0.0.1", 0
        )
        reader, writer = await asyncio.open_connection(*running.sockets[0].getsockname())
        try:
            await asyncio.wait_for(scene(reader, writer), 20)
        finally:
            writer.close()
            running.close()

    asyncio.run(whole())


async def get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str = "/") -> bytes:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return await reader.readuntil(b"ok")


@pytest.mark.parametrize("data", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"])
def test_what_is_no_http_is_answered_in_json_and_closed(data: bytes) -> None:
    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 Bad Request")
        assert json.loads(body)["message"] == "this is no valid HTTP/1.1 request"

    play(scene)


def test_a_head_that_does_not_come_in_time_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "limits", Limits(head_s=0.05))

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\n")
        assert await reader.read() == b""

    play(scene)


def test_an_idle_connection_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "limits", Limits(head_s=0.5))

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(3):
            assert (await get(reader, writer)).startswith(b"HTTP/1.1 200 OK")
        assert await reader.read() == b""

    play(scene)


def test_a_client_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "limits", Limits(read_s=0.05))

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        while not LOST:
            await asyncio.sleep(0.01)
        assert LOST.pop()

    play(scene)


def test_half_requests_do_not_lock_out_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two connections are all that are taken: those that began and do not go on make room, the slowest one first."""
    monkeypatch.setattr(Connection, "limits", Limits(connections=2))

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("peername")
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
        await asyncio.sleep(0.05)
        silent, silent_writer = await asyncio.open_connection(*address)
        await asyncio.sleep(0.05)
        others = []
        for slow in (reader, silent):
            other, other_writer = await asyncio.open_connection(*address)
            others.append(other_writer)
            assert (await get(other, other_writer)).startswith(b"HTTP/1.1 200 OK")
            assert b"too many connections" in await slow.read()
        for one in (*others, silent_writer):
            one.close()

    play(scene)


def test_too_many_connections_are_told_to_come_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "limits", Limits(connections=0))

    async def scene(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503 ")
        assert json.loads(body) == {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "too many connections"}

    play(scene)
