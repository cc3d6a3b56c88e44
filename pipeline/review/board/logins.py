"""Logins by HTTP basic credentials, which the tracking server checks: few at a time, so that nobody keeps others out.

A check is dear (a server hashes passwords slowly on purpose), and anybody may ask for one. Credentials that were taken
are known for a minute, and wait for nobody. Others are checked one at a time an address and a few in all. Who sends
wrong ones for a name waits longer each time, by address and name: never by name alone, which would lock its owner out.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pipeline.errors import PipelineError
from pipeline.review.board.desk import Seat
from pipeline.runs.person import Person

LIVES_S = 60.0  # then the tracking server is asked again
CHECKS = 4  # at the same time, of all addresses
WAITING = 32  # of one address; a page asks for a hundred files at once, but under one login, which is one check
FREE_MISTAKES = 3
LONGEST_S = 300.0


class TooManyLoginsError(PipelineError):
    """A login is not checked now.

    Args:
        retry_after: seconds until it may be sent again.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _Mistakes(NamedTuple):
    number: int
    until: float  # moment of time.monotonic() from which a next try is checked


class Logins:
    """Identifies by HTTP basic credentials.

    Args:
        check: user, password -> the name that the tracking server gives, or None when it refuses. May block.
    """

    def __init__(self, check: Callable[[str, str], str | None]) -> None:
        self._check = check
        self._known: dict[bytes, tuple[float, Seat]] = {}  # by digest: no password is kept as a key
        self._running: dict[bytes, asyncio.Task[Seat | None]] = {}
        self._mistakes: dict[tuple[str, str], _Mistakes] = {}
        self._waiting: dict[str, int] = defaultdict(int)
        self._doors: dict[str, asyncio.Lock] = {}
        self._checks = asyncio.Semaphore(CHECKS)

    async def __call__(self, headers: Mapping[str, str], address: str) -> Seat | None:
        """Who sends these headers, or None.

        Raises:
            TooManyLoginsError: after wrong passwords for this name from this address, or where its checks pile up.
            PipelineError: if the tracking server cannot be asked.
        """
        header = headers.get("authorization", "")
        login = read_basic(header)
        if login is None:
            return None
        key = hashlib.sha256(f"{address} {header}".encode()).digest()
        self._forget(time.monotonic())
        if key in self._known:
            return self._known[key][1]
        if key not in self._running:
            self._refuse(address, login[0])
            self._waiting[address] += 1
            task = asyncio.create_task(self._ask(key, login, address))
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
        return await asyncio.shield(self._running[key])

    def _refuse(self, address: str, user: str) -> None:
        """
        Raises:
            TooManyLoginsError: where this login must not be checked now.
        """
        found = self._mistakes.get((address, user))
        left = found.until - time.monotonic() if found else 0.0
        if left > 0:
            raise TooManyLoginsError(f"Too many wrong passwords; wait {math.ceil(left)} s.", math.ceil(left))
        if self._waiting[address] >= WAITING:
            raise TooManyLoginsError("Too many logins wait to be checked; try again.", 1)

    async def _ask(self, key: bytes, login: tuple[str, str], address: str) -> Seat | None:
        try:
            async with self._doors.setdefault(address, asyncio.Lock()), self._checks:
                name = await asyncio.to_thread(self._check, *login)
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address], self._doors[address]
        now, who = time.monotonic(), (address, login[0])
        if name is None:
            number = self._mistakes[who].number + 1 if who in self._mistakes else 1
            pause = min(2.0 ** (number - FREE_MISTAKES), LONGEST_S) if number >= FREE_MISTAKES else 0.0
            self._mistakes[who] = _Mistakes(number, now + pause)
            return None
        self._mistakes.pop(who, None)
        seat = Seat(Person(name, "tracking server login", True), login)
        self._known[key] = now + LIVES_S, seat
        return seat

    def _forget(self, now: float) -> None:
        self._known = {key: known for key, known in self._known.items() if known[0] >= now}
        self._mistakes = {who: found for who, found in self._mistakes.items() if found.until + LONGEST_S >= now}


def read_basic(header: str) -> tuple[str, str] | None:
    """User and password of an `Authorization: Basic …` header."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(text, validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon and user else None
