"""Check the evidence of a release without anything but Python's standard library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

GENESIS = "0" * 64
"""What the first record has before it."""


def line_hash(text: str) -> str:
    """sha256 of a record's line."""
    return hashlib.sha256(text.encode()).hexdigest()


def chain_faults(lines: Sequence[str]) -> list[str]:
    """Say where a chain of records is broken.

    Args:
        lines: what stands at number 1, 2, …; empty where nothing does.
    """
    faults = []
    before = GENESIS
    for number, line in enumerate(lines, 1):
        fault = _fault(number, line, before, lines)
        if fault:
            faults.append(f"record {number}: {fault}")
        before = line_hash(line)
    return faults


def _fault(number: int, line: str, before: str, lines: Sequence[str]) -> str | None:
    try:
        record = json.loads(line)
        sequence, previous = int(record["sequence"]), str(record["previous"])
    except (ValueError, KeyError, TypeError):
        return "it is missing, or was deleted or overwritten"
    if sequence == number:
        return None if previous == before else "it does not follow the one before it: one of the two was changed"
    fits = 0 < sequence < number and previous == (line_hash(lines[sequence - 2]) if sequence > 1 else GENESIS)
    return None if fits else "it claims a place that was never free: it was changed or moved"
