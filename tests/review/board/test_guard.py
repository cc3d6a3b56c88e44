"""Before the board: only its own page, only whom the tracking server or the proxy names."""

from __future__ import annotations

import asyncio
import base64

import pytest

from pipeline.errors import RegistryError
from pipeline.review.board import guard
from pipeline.review.board.desk import Seat
from pipeline.review.board.logins import Logins
from pipeline.runs.person import Person

HOSTS = ("127.0.0.1:5002", "board.example.org")


ADA, BOB = (Person(name, "tracking server login", True) for name in ("ada", "bob"))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class Chairs:
    """Stands for `Desks`: a desk is its seat."""

    def of(self, seat):
        return seat


def send(identify, headers: dict[str, str], kind: str = "http"):
    """One request through the guard; returns what it answered and the scope that the app saw, or None."""
    seen, sent = [], []

    async def app(scope, receive, send):
        seen.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        return {"type": "websocket.connect"}

    async def sender(message):
        sent.append(message)

    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "method": "GET", "path": "/", "headers": pairs}
    asyncio.run(guard.Guard(app, HOSTS, identify, Chairs())(scope, receive, sender))
    return sent, seen[0] if seen else None


OURS = {"Host": HOSTS[0]}


@pytest.mark.parametrize(
    ("headers", "allowed"),
    [
        (OURS, True),
        (OURS | {"Origin": "http://127.0.0.1:5002"}, True),
        (OURS | {"Origin": "http://127.0.0.1:5002", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}, True),
        ({"Host": "Board.Example.org", "Origin": "https://board.example.org"}, True),
        (OURS | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, True),  # a link in a mail
        ({}, False),
        ({"Host": "evil.example"}, False),  # a foreign name that points to 127.0.0.1
        ({"Host": "127.0.0.1:5003"}, False),
        (OURS | {"Origin": "https://evil.example"}, False),
        (OURS | {"Origin": "http://127.0.0.1:8888"}, False),  # another server of this machine
        (OURS | {"Origin": "null"}, False),  # a sandboxed frame, a file
        (OURS | {"Origin": "https://evil.example", "Sec-Fetch-Mode": "navigate"}, False),  # a form that posts here
        (OURS | {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, False),
        (OURS | {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}, False),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_only_the_boards_own_page_may_use_it(headers, allowed, kind):
    sent, scope = send(guard.as_one(ADA), headers, kind)
    assert (scope is not None) is allowed
    if not allowed:
        refused = {"http": ("status", 403), "websocket": ("code", 1008)}[kind]
        assert sent[0][refused[0]] == refused[1]


def test_pages_forbid_what_they_do_not_need():
    sent, _ = send(guard.as_one(ADA), OURS)
    headers = dict(sent[0]["headers"])
    assert b"frame-ancestors 'none'" in headers[b"content-security-policy"]
    assert b"default-src 'self'" in headers[b"content-security-policy"]


def test_a_login_is_the_servers_and_of_its_request_only():
    asked = []

    def check(user, password):
        asked.append(user)
        return user.lower() if password == "right" else None

    identify = Logins(check)
    for headers in ({}, {"Authorization": basic("Ada", "wrong")}, {"Authorization": "Bearer x"}):
        sent, scope = send(identify, OURS | headers)
        assert scope is None
        assert sent[0]["status"] == 401
        assert dict(sent[0]["headers"])[b"www-authenticate"].startswith(b"Basic ")
    assert send(identify, OURS | {"Authorization": basic("Ada", "wrong")}, "websocket")[0][0]["code"] == 1008

    asked.clear()
    for name in ("Ada", "Bob", "Ada"):
        _, scope = send(identify, OURS | {"Authorization": basic(name, "right")})
        assert scope["meta"]["desk"] == Seat(Person(name.lower(), "tracking server login", True), (name, "right"))
        assert b"authorization" not in dict(scope["headers"])  # the notebook never sees a password
    assert asked == ["Ada", "Bob"]


def test_who_tries_too_often_is_told_when_to_come_back():
    identify = Logins(lambda user, password: None)
    answers = [send(identify, OURS | {"Authorization": basic("ada", f"wrong {n}")})[0] for n in range(5)]
    assert [sent[0]["status"] for sent in answers] == [401, 401, 401, 429, 429]
    assert int(dict(answers[-1][0]["headers"])[b"retry-after"]) >= 1
    assert answers[-1][1]["body"].startswith(b"Too many wrong passwords; wait ")


def test_a_tracking_server_that_is_away_is_said():
    def check(user, password):
        raise RegistryError("no tracking server answers")

    sent, scope = send(Logins(check), OURS | {"Authorization": basic("ada", "right")})
    assert scope is None
    assert (sent[0]["status"], sent[1]["body"]) == (503, b"no tracking server answers")


def test_a_password_is_in_no_text_of_a_seat():
    assert "secret" not in repr(Seat(ADA, ("ada", "secret")))


def test_a_proxy_names_the_reviewer():
    identify = guard.by_proxy("X-User")
    assert send(identify, OURS)[0][0]["status"] == 401
    _, scope = send(identify, OURS | {"X-User": "ada@example.org"})
    assert scope["meta"]["desk"] == Seat(Person("ada@example.org", "header X-User of the proxy", True), proxied=True)
