"""Checks of passwords are few at a time, and nobody keeps a reviewer out by sending wrong ones."""

from __future__ import annotations

import asyncio
import base64
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import RegistryError
from pipeline.review.board import logins
from pipeline.review.board.desk import Seat
from pipeline.review.board.logins import CHECKS, FREE_MISTAKES, WAITING, Logins, TooManyLoginsError, read_basic
from pipeline.runs.person import Person

ADA = Seat(Person("ada", "tracking server login", True), ("ada", "right"))


def basic(user: str, password: str) -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Server:
    """Stands for the tracking server: slow on purpose, it counts what it is asked and how much of that at once."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.asked: list[str] = []
        self.most = self._now = 0
        self._seconds, self._lock = seconds, threading.Lock()

    def check(self, user: str, password: str) -> str | None:
        with self._lock:
            self.asked.append(user)
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self._seconds)
        with self._lock:
            self._now -= 1
        return user if password == "right" else None


def test_a_page_that_asks_for_a_hundred_files_is_one_check():
    server = Server(0.01)
    identify = Logins(server.check)

    async def page():
        return await asyncio.gather(*(identify(basic("ada", "right"), "1.1.1.1") for _ in range(100)))

    assert asyncio.run(page()) == [ADA] * 100
    assert server.asked == ["ada"]


def test_a_login_is_asked_for_again_and_at_another_address(monkeypatch):
    answers = iter(["ada", "ada", None])
    identify = Logins(lambda user, password: next(answers))

    def ask(address):
        return asyncio.run(identify(basic("ada", "right"), address))

    assert ask("1.1.1.1") == ask("1.1.1.1") == ask("2.2.2.2") == ADA
    later = time.monotonic() + logins.LIVES_S + 1
    monkeypatch.setattr(logins.time, "monotonic", lambda: later)
    assert ask("1.1.1.1") is None  # the password was changed meanwhile


def test_sixteen_clients_with_wrong_passwords_do_not_keep_a_reviewer_waiting():
    """Counted in checks, not in seconds: how many come between a reviewer's click and its answer."""
    server = Server(0.005)
    identify = Logins(server.check)
    refused = 0

    async def attack(client: int, stop: asyncio.Event) -> None:
        nonlocal refused
        tries = 0
        while not stop.is_set():
            tries += 1
            try:
                await identify(basic(f"user {client}-{tries}", "wrong"), "6.6.6.6")
            except TooManyLoginsError:
                refused += 1
            await asyncio.sleep(0)

    async def scene() -> tuple[int, int]:
        stop = asyncio.Event()
        attackers = [asyncio.create_task(attack(client, stop)) for client in range(16)]
        await asyncio.sleep(0.05)
        before = len(server.asked)
        assert await identify(basic("ada", "right"), "1.1.1.1") == ADA  # new, from another address
        new = len(server.asked) - before
        before = len(server.asked)
        for _ in range(50):
            assert await identify(basic("ada", "right"), "1.1.1.1") == ADA  # known: no check at all
        known = len(server.asked) - before
        assert await identify(basic("bob", "right"), "6.6.6.6")  # from where the attack comes, behind the same proxy
        stop.set()
        await asyncio.gather(*attackers)
        return new, known

    new, known = asyncio.run(scene())
    assert new <= 2 + CHECKS
    assert known <= 1
    assert server.most <= 2  # one of the attackers' address beside the reviewer's


@pytest.mark.parametrize("address", ["1.1.1.1", "6.6.6.6"])
def test_wrong_passwords_for_a_name_delay_it_at_their_address_only(address, monkeypatch):
    server, now = Server(), time.monotonic()
    identify = Logins(server.check)
    monkeypatch.setattr(logins.time, "monotonic", lambda: now)
    for n in range(FREE_MISTAKES):
        assert asyncio.run(identify(basic("ada", f"wrong {n}"), "6.6.6.6")) is None
    if address == "1.1.1.1":
        assert asyncio.run(identify(basic("ada", "right"), address)) == ADA
        return
    with pytest.raises(TooManyLoginsError, match="Too many wrong passwords; wait 1 s") as caught:
        asyncio.run(identify(basic("ada", "right"), address))
    assert caught.value.retry_after == 1
    assert len(server.asked) == FREE_MISTAKES  # what is refused is not checked
    now += 1.5
    assert asyncio.run(identify(basic("ada", "right"), address)) == ADA
    assert asyncio.run(identify(basic("ada", "wrong"), address)) is None  # and the count began anew
    assert asyncio.run(identify(basic("ada", "wrong again"), address)) is None


def test_a_delay_grows_to_five_minutes_and_no_further(monkeypatch):
    identify, now, pauses = Logins(lambda user, password: None), time.monotonic(), []
    monkeypatch.setattr(logins.time, "monotonic", lambda: now)
    for n in range(14):
        assert asyncio.run(identify(basic("ada", f"wrong {n}"), "6.6.6.6")) is None
        try:
            asyncio.run(identify(basic("ada", "next"), "6.6.6.6"))
        except TooManyLoginsError as error:
            pauses.append(error.retry_after)
            now += error.retry_after + 0.1
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == logins.LONGEST_S


def test_checks_of_one_address_do_not_pile_up():
    server = Server(0.002)
    identify = Logins(server.check)

    async def crowd():
        asked = (identify(basic(f"user {n}", "wrong"), "6.6.6.6") for n in range(3 * WAITING))
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(crowd())
    assert len(server.asked) < 2 * WAITING
    assert {type(answer) for answer in answers} == {type(None), TooManyLoginsError}
    assert asyncio.run(identify(basic("ada", "right"), "6.6.6.6")) == ADA  # when they are gone


def test_a_check_that_failed_is_no_mistake_of_the_reviewer():
    def check(user, password):
        raise RegistryError("no tracking server answers")

    identify = Logins(check)
    for _ in range(FREE_MISTAKES + 2):
        with pytest.raises(RegistryError, match="no tracking server answers"):
            asyncio.run(identify(basic("ada", "right"), "1.1.1.1"))


@pytest.mark.parametrize(
    "header", ["", "Bearer x", "Basic !", "Basic", "Basic " + base64.b64encode(b"no colon").decode()]
)
def test_what_is_no_login_is_nobody_and_asks_nobody(header):
    server = Server()
    assert asyncio.run(Logins(server.check)({"authorization": header}, "1.1.1.1")) is None
    assert server.asked == []


@given(st.text(min_size=1).filter(lambda text: ":" not in text), st.text())
def test_basic_credentials_come_back(user, password):
    assert read_basic(basic(user, password)["authorization"]) == (user, password)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["right", "wrong"]), st.sampled_from("12")), max_size=12)
)
def test_only_the_right_password_ever_gets_a_seat(tries):
    identify = Logins(Server().check)
    for user, password, address in tries:
        try:
            seat = asyncio.run(identify(basic(user, password), address))
        except TooManyLoginsError:
            assert sum(one == (user, "wrong", address) for one in tries) >= FREE_MISTAKES
            continue
        known = Seat(Person(user, "tracking server login", True), (user, password))
        assert seat == (known if password == "right" else None)
