"""The form of the board: one click on one candidate, as it was when the page was drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import PipelineError
from pipeline.review.board.desk import Desk
from pipeline.review.board.page import build_outcome
from pipeline.review.board.ticket import Drawn, Ticket
from pipeline.review.decision import APPROVE, REJECT, name_release


def look(desk: Desk, query: Mapping[str, Any], *, decided: bool) -> Drawn:
    """Draw the page that the address asks for; after a decision without any candidate."""
    from pipeline.review.board.facts import draw

    name = str(query.get("name") or desk.settings.name or "")
    version = "" if decided else str(query.get("version") or "")
    try:
        return desk.ask(draw, name, version, desk.person, desk.settings.gate)
    except PipelineError as error:
        return Drawn(build_outcome(str(error), "failed"), "", "", None)


def choices(ticket: Ticket) -> dict[str, str]:
    """What the form offers, in words that name version and champion -> action."""
    replaced = f" in place of {name_release(ticket.champion)}" if ticket.champion else ""
    return {
        f"Approve: version {ticket.version} becomes the champion{replaced}": APPROVE,
        f"Reject: version {ticket.version} is never released": REJECT,
    }


def missing(ticket: Ticket, answer: Mapping[str, Any] | None) -> str | None:
    """What is still to be filled in, or None.

    Args:
        answer: `action`, one of the words of `choices`; `reason`; `override`.
    """
    given = answer or {}
    action = _chosen(ticket, given)
    if action is None:
        return "Choose to approve or to reject."
    if not str(given.get("reason") or "").strip():
        return "Give the reason."
    if action == APPROVE and ticket.needs_override and not str(given.get("override") or "").strip():
        return "Its verdict is not passed: say why it may be released all the same, or reject it."
    return None


def _chosen(ticket: Ticket, given: Mapping[str, Any]) -> str | None:
    """The action chosen; marimo checks a form with what the browser sends, a list of one, and hands on the one."""
    chosen = given.get("action")
    return choices(ticket).get(str(chosen[0] if isinstance(chosen, list) and chosen else chosen))


def submit(desk: Desk, ticket: Ticket, answer: Mapping[str, Any] | None) -> str | None:
    """Carry out a click.

    Returns:
        What came of it as HTML; None when nothing did, because the form is incomplete or was used.
    """
    if ticket.used or missing(ticket, answer):
        return None
    ticket.used = True
    given = answer or {}
    action, reason = str(_chosen(ticket, given)), str(given["reason"])
    if desk.person != ticket.person:
        text = f"The page was drawn for {ticket.person.name}, you are {desk.person.name}. Nothing was decided."
        return build_outcome(text, "failed", ticket.name, ticket.version, reason)
    from pipeline.review.board.facts import act

    override = str(given.get("override") or "") if action == APPROVE else ""
    try:
        text = desk.ask(act, ticket, action, reason, override, desk.settings.gate, desk.proxied)
    except PipelineError as error:
        return build_outcome(f"Refused: {error}", "failed", ticket.name, ticket.version, reason)
    return build_outcome(text, "passed")
