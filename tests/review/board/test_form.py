"""The form: what is missing, one click, and only for whom it was drawn."""

from __future__ import annotations

import pytest

from pipeline.errors import RegistryError
from pipeline.review.board import form
from pipeline.review.board.desk import Settings
from pipeline.review.board.ticket import Drawn, Ticket
from pipeline.review.decision import APPROVE, REJECT
from pipeline.runs.person import Person

ADA, BOB = (Person(name, "tracking server login", True) for name in ("ada", "bob"))


TICKET = Ticket("toy", 3, 1, ("models:/x", "run", "digest"), False, ADA)


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
