"""Messages between server and worker: whatever is written comes back, in whatever pieces."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.server.frames import pack_frame, read_frame

HEADS = st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=9), max_size=4)


def read(parts: list[bytes], count: int) -> list[tuple[dict[str, Any], bytes]]:
    async def all_of() -> list[tuple[dict[str, Any], bytes]]:
        reader = asyncio.StreamReader()
        for part in parts:
            reader.feed_data(part)
        reader.feed_eof()
        return [await read_frame(reader) for _ in range(count)]

    return asyncio.run(all_of())


@given(st.lists(st.tuples(HEADS, st.binary(max_size=50)), min_size=1, max_size=4), st.integers(1, 7))
def test_messages_come_back_whatever_the_pieces(messages: list[tuple[dict[str, Any], bytes]], size: int) -> None:
    data = b"".join(pack_frame(head, body) for head, body in messages)
    parts = [data[k : k + size] for k in range(0, len(data), size)]
    assert read(parts, len(messages)) == messages


def test_a_frame_by_hand() -> None:
    assert pack_frame({}, b"ab") == b"\x00\x00\x00\x02\x00\x00\x00\x02{}ab"
    assert pack_frame({"a": 1}) == b'\x00\x00\x00\x08\x00\x00\x00\x00{"a": 1}'


@pytest.mark.parametrize("length", range(11))
def test_the_end_of_the_other_side_is_an_end_of_file(length: int) -> None:
    with pytest.raises(EOFError):
        read([pack_frame({}, b"ab")[:length]], 1)
