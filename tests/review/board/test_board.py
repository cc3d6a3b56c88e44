"""The review board without a browser: who may ask, what a form is good for, and what stands on the page."""

from __future__ import annotations

import asyncio
import base64
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError, RegistryError
from pipeline.report.html import Html
from pipeline.review.board import form, guard, page
from pipeline.review.board.desk import Seat, Settings
from pipeline.review.board.page import Line, Listing, Molecule, Past, Score, Sheet, SliceLine, with_interval
from pipeline.review.board.ticket import Drawn, Ticket
from pipeline.review.decision import APPROVE, REJECT
from pipeline.runs.person import Person
from steps.board import BoardConfig

HOSTS = ("127.0.0.1:5002", "board.example.org")
ADA, BOB = (Person(name, "tracking server login", True) for name in ("ada", "bob"))
TICKET = Ticket("toy", 3, 1, ("models:/x", "run", "digest"), False, ADA)


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

    identify = guard.by_login(check)
    for headers in (
        {},
        {"Authorization": basic("Ada", "wrong")},
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic !"},
    ):
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


def test_a_login_is_asked_for_again(monkeypatch):
    answers = iter(["ada", None])
    identify = guard.by_login(lambda user, password: next(answers))
    header = {"authorization": basic("ada", "right")}
    assert identify(header) == identify(header) == Seat(ADA, ("ada", "right"))
    later = time.monotonic() + guard.LOGIN_LIVES_S + 1
    monkeypatch.setattr(guard.time, "monotonic", lambda: later)
    assert identify(header) is None  # the password was changed meanwhile


def test_a_tracking_server_that_is_away_is_said():
    def check(user, password):
        raise RegistryError("no tracking server answers")

    sent, scope = send(guard.by_login(check), OURS | {"Authorization": basic("ada", "right")})
    assert scope is None
    assert (sent[0]["status"], sent[1]["body"]) == (503, b"no tracking server answers")


def test_a_password_is_in_no_text_of_a_seat():
    assert "secret" not in repr(Seat(ADA, ("ada", "secret")))


@given(st.text(min_size=1).filter(lambda text: ":" not in text), st.text())
def test_basic_credentials_come_back(user, password):
    assert guard.read_basic(basic(user, password)) == (user, password)


def test_a_proxy_names_the_reviewer():
    identify = guard.by_proxy("X-User")
    assert send(identify, OURS)[0][0]["status"] == 401
    _, scope = send(identify, OURS | {"X-User": "ada@example.org"})
    assert scope["meta"]["desk"] == Seat(Person("ada@example.org", "header X-User of the proxy", True), proxied=True)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"port": 0}, "port=0: expected"),
        ({"identity_header": "X-User", "host": "0.0.0.0"}, "could claim a name"),
        ({"gate": "nowhere.yaml"}, "nowhere.yaml: cannot be read"),
    ],
)
def test_settings_that_would_be_wrong_are_refused(values, says):
    with pytest.raises(ConfigError, match=says):
        BoardConfig(**values)


def test_names_of_the_board():
    assert "127.0.0.1:5002" in BoardConfig().hosts
    assert BoardConfig(host="10.0.0.5", port=80, allowed_hosts="a.example, b.example:8443").hosts == [
        "10.0.0.5:80",
        "a.example",
        "b.example:8443",
    ]


class FakeDesk:
    """Stands for `Desk`: records what it is asked, and answers with `answer`."""

    def __init__(self, answer="done", person=ADA):
        self.person, self.answer, self.asked = person, answer, []
        self.proxied, self.settings = False, Settings()

    def ask(self, function, *words):
        self.asked.append((function.__name__, *words))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def ticket(**values) -> Ticket:
    return Ticket(**({name: getattr(TICKET, name) for name in Ticket.__dataclass_fields__ if name != "used"} | values))


WORDS = {action: words for words, action in form.choices(TICKET).items()}


def filled(action: str = APPROVE, reason: str = "good", **more: str) -> dict[str, str]:
    return {"action": WORDS.get(action, action), "reason": reason, **more}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "Choose"),
        ({}, "Choose"),
        ({"action": None, "reason": "x"}, "Choose"),
        (filled("rollback"), "Choose"),
        (filled(reason="  \n"), "reason"),
        (filled(override=" "), "verdict is not passed"),
        (filled(override="urgent"), None),
        (filled(REJECT), None),
    ],
)
def test_a_form_says_what_is_missing(answer, says):
    said = form.missing(ticket(needs_override=True), answer)
    assert said is None if says is None else says in said


def test_a_form_is_good_for_one_click():
    desk, one = FakeDesk(), ticket()
    assert form.submit(desk, one, filled(reason="")) is None
    assert not desk.asked
    assert "done" in form.submit(desk, one, filled())
    assert form.submit(desk, one, filled()) is None
    assert form.submit(desk, one, filled(REJECT)) is None
    assert len(desk.asked) == 1
    assert desk.asked[0][:5] == ("act", one, APPROVE, "good", "")


def test_a_form_is_good_for_whom_it_was_drawn():
    desk = FakeDesk(person=BOB)
    assert "drawn for ada, you are bob" in form.submit(desk, ticket(), filled())
    assert not desk.asked


def test_a_refusal_is_said_and_the_form_is_used_up():
    desk, one = FakeDesk(RegistryError("release 2 is live now")), ticket()
    outcome = form.submit(desk, one, filled(reason="<b>because</b>"))
    assert "Refused: release 2 is live now" in outcome
    assert "&lt;b&gt;because" in outcome
    assert 'href="?name=toy&amp;version=3"' in outcome
    assert form.submit(desk, one, filled()) is None


def test_an_override_goes_along_only_to_approve():
    desk = FakeDesk()
    form.submit(desk, ticket(needs_override=True), filled(REJECT, override="left over"))
    form.submit(desk, ticket(needs_override=True), filled(APPROVE, override="urgent"))
    assert [asked[2:5] for asked in desk.asked] == [(REJECT, "good", ""), (APPROVE, "good", "urgent")]


def test_the_choices_name_version_and_champion():
    assert list(form.choices(ticket())) == [
        "Approve: version 3 becomes the champion in place of release 1",
        "Reject: version 3 is never released",
    ]
    assert "in place of" not in next(iter(form.choices(ticket(champion=0))))


def test_after_a_decision_no_candidate_is_looked_at():
    desk = FakeDesk(Drawn("", "", "", None))
    query = {"name": "toy", "version": "3"}
    form.look(desk, query, decided=False)
    form.look(desk, query, decided=True)
    assert [asked[1:3] for asked in desk.asked] == [("toy", "3"), ("toy", "")]
    assert "not there" in form.look(FakeDesk(RegistryError("not there")), query, decided=False).top


@pytest.mark.parametrize(
    ("value", "lo", "hi", "text"),
    [
        (0.54891, 0.4931, 0.60211, "0.549 [0.493, 0.602]"),
        (1234.56, 1100.2, 1391.0, "1235 [1100, 1391]"),
        (0.000012, 0.000010, 0.000014, "0.000012 [0.000010, 0.000014]"),
        (-0.0384, -0.0611, -0.0122, "−0.038 [−0.061, −0.012]"),
        (0.5, 0.5, 0.5, "0.500 [0.500, 0.500]"),
        (0.5871234, None, None, "0.587"),
        (0.0, None, None, "0.000"),
        (15.3, None, None, "15.3"),
    ],
)
def test_numbers_are_rounded_to_what_the_interval_tells(value, lo, hi, text):
    assert with_interval(value, lo, hi) == text


def test_a_difference_has_its_sign():
    assert with_interval(0.0384, -0.01, 0.08, signed=True) == "+0.038 [−0.010, +0.080]"


EVIL = "<script>alert(1)</script>"


def every_page() -> str:
    """All that can stand on the board, every text of it hostile."""
    score = Score(EVIL, EVIL, EVIL, EVIL, "worse", EVIL)
    sheet = Sheet(
        EVIL,
        "failed",
        EVIL,
        "worse",
        EVIL,
        scores={EVIL: [score]},
        notes=[EVIL],
        drawn={EVIL: "<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'><script>1</script></svg>"},
        slices=[SliceLine(EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, "unclear")],
        slices_note=EVIL,
        worst={EVIL: [Molecule(EVIL, EVIL)]},
        moved={EVIL: [Molecule(EVIL, EVIL)]},
        checks=[(EVIL, EVIL)],
        facts={EVIL: EVIL},
        decided=EVIL,
    )
    listing = Listing(EVIL, (EVIL, '"other"'), EVIL, [Line(1, EVIL, EVIL, EVIL, EVIL, EVIL)], older=2)
    return "".join(
        [
            page.build_listing(listing, EVIL, 1),
            page.build_sheet(sheet),
            page.build_past([Past(1, EVIL, EVIL, EVIL, EVIL, EVIL)], EVIL),
            page.build_outcome(EVIL, "failed", '"&', 3, EVIL),
        ]
    )


class Checker(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.seen = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_escaped_and_names_no_outside_address():
    checked = Checker(every_page())
    assert checked.open == []
    assert "script" not in checked.seen
    assert checked.links
    assert all(link.startswith(("?", "#")) for link in checked.links)


def test_what_is_worse_is_said_before_the_numbers():
    sheet = Sheet("Version 3 of toy", "passed", "Passed.", "worse", "Worse than the champion", scores={"logS": []})
    text = page.build_sheet(sheet)
    assert text.index("Worse than the champion") < text.index("Passed.") < text.index("<table")
    assert 'class="verdict slim failed">Worse' in text


def test_the_chosen_candidate_is_marked_and_its_link_names_it():
    lines = [Line(k, "2026-11-01 12:00", "eve", "passed", "RMSE 0.5", "waiting") for k in (3, 2)]
    text = page.build_listing(Listing("a b&c", ("a b&c",), "Nothing is live.", lines), "ada", 2)
    assert text.count('aria-current="true"') == 1
    assert text.index("version=3") < text.index('aria-current="true"') < text.index("version=2")
    assert 'href="?name=a+b%26c&amp;version=2"' in text


def test_the_style_touches_the_board_only():
    style = page.board_style()
    assert style.startswith(".board{")
    assert style.count("{") == style.count("}")
    assert "body{" not in style
    assert isinstance(page.board(Html("<p></p>")), Html)
