"""A number written as text."""

from __future__ import annotations


def read_number(text: str, decimal: str = ".") -> float | None:
    """Read a number written as text; None if it is none.

    Args:
        decimal: the decimal sign. With ",", text with a point is unreadable: "1.234" may be a thousand.
    """
    if "_" in text or (decimal == "," and "." in text):  # Python would read 1_000
        return None
    digits = text.strip().replace("−", "-")  # the minus of typesetters
    try:
        return float(digits.replace(",", ".") if decimal == "," else digits)
    except ValueError:
        return None
