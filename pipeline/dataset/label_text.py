"""One cell of a target column: missing, a number with or without a sign, or the name of a class."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from pipeline.rows.number import read_number
from pipeline.rows.table import MISSING_WORDS

POSITIVE_WORDS = (
    "1",
    "true",
    "t",
    "yes",
    "y",
    "active",
    "positive",
    "pos",
    "hit",
    "binder",
    "inhibitor",
    "toxic",
    "pass",
)
NEGATIVE_WORDS = ("0", "false", "f", "no", "n", "inactive", "negative", "neg", "none", "decoy", "fail")

BOUNDS = frozenset(("<", ">", "<=", ">=", "≤", "≥"))

_MISSING = MISSING_WORDS - {"none"}  # "none" is a class beside "mild" and "severe"
_SIGNS = ("<=", ">=", "<", ">", "≤", "≥", "~", "≈", "=")
_GROUPED = re.compile(r"[-+]?(\d{1,3}([,.'’ \u00a0\u202f]\d{3})+([.,]\d+)?|\d+,\d+)")


def is_missing(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().lower() in _MISSING
    return value is None or (isinstance(value, float) and math.isnan(value))


def parse_number(value: object, decimal: str) -> tuple[str, float | None]:
    """Take a value apart: its sign (`<`, `~`, … or nothing) and its number, None if it has none."""
    if isinstance(value, bool):
        return "", None
    if isinstance(value, (int, float)):
        try:
            return "", float(value)
        except OverflowError:  # an integer of hundreds of digits
            return "", math.inf
    text = str(value).strip()
    sign = next((sign for sign in _SIGNS if text.startswith(sign)), "") if text[:1] in _SIGNS else ""
    return sign, read_number(text[len(sign) :], decimal)


def parse_percent(value: object, decimal: str) -> float | None:
    """The number before a percent sign, None if this is none: `45.0%` is 45."""
    text = value.strip() if isinstance(value, str) else ""
    return read_number(text[:-1], decimal) if text.endswith("%") else None


def class_name(value: object, decimal: str = ".") -> str:
    """The name of a class, so that 1, 1.0 and "1" are the same one."""
    sign, number = parse_number(value, decimal)
    if number is None:
        return str(value).strip()
    name = str(int(number)) if number.is_integer() and abs(number) < 1e15 else repr(number)
    return sign + name if sign in BOUNDS else name


def is_grouped_number(text: str) -> bool:
    """Whether a text that is no number would be one without separators of thousands, or with a point for its comma."""
    return _GROUPED.fullmatch(text.strip()) is not None


def positive_class(names: Sequence[str]) -> str:
    """Choose the class of interest of two: by its word, as `toxic` beside `nontoxic`, else the last."""
    for words, sign, other in ((POSITIVE_WORDS, "+", 0), (NEGATIVE_WORDS, "-", 1)):
        found = [i for i, name in enumerate(names) if name.casefold() in words or name.endswith(sign)]
        if len(found) == 1:
            return names[found[0] ^ other]
    first, last = (name.casefold() for name in names)
    return names[0] if last.endswith(first) else names[1]
