"""What is drawn for a reviewer: the page, and a ticket for one click on one candidate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from pipeline.runs.person import Person


@dataclass
class Ticket:
    """What the reviewer looks at, and may decide on once.

    Attributes:
        champion: release that stands beside the candidate, 0 for none.
        seen: what its sheet rests on.
        needs_override: there is no passed verdict.
        used: whether the first click came.
    """

    name: str
    version: int
    champion: int
    seen: tuple[str, ...]
    needs_override: bool
    person: Person
    used: bool = False


class Drawn(NamedTuple):
    """The page as HTML, and the ticket for its form; None where there is nothing to decide."""

    top: str
    sheet: str
    past: str
    ticket: Ticket | None
