"""Who acts: a name, and how it is known."""

from __future__ import annotations

from typing import NamedTuple


class Person(NamedTuple):
    """Who acts.

    Attributes:
        name: what the login, or without one the system, calls them.
        how: how that is known, for people: `tracking server login`.
        proven: whether a login stands behind it.
    """

    name: str
    how: str
    proven: bool
