"""JSON as a request may be: bounded in depth and digits, keys once, finite numbers, UTF-8.

Python's own parser takes more than JSON (NaN, Infinity, keys twice) and fails on less (deep nesting, long integers).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from serving.server.limits import Limits
from serving.server.refusal import RequestError

# Possessive: a text without its closing quote costs one pass, too.
_NO_BRACKETS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^\[\]{}"]++', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


def parse_json(body: bytes) -> Any:
    """Read a JSON text.

    Raises:
        RequestError: 400, if it is no JSON (RFC 8259), or beyond the limits.
    """
    if body.count(b"[") + body.count(b"{") > Limits.json_containers:
        raise _refused(f"the JSON has more than {Limits.json_containers} brackets and braces")
    if _is_deeper(body, Limits.json_depth):
        raise _refused(f"the JSON is nested deeper than {Limits.json_depth} levels")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refused(f"the body is not UTF-8 (byte {error.start})") from None
    try:
        return json.loads(
            text, object_pairs_hook=_pairs, parse_int=_integer, parse_float=_number, parse_constant=_constant
        )
    except json.JSONDecodeError as error:
        raise _refused(f"the body is no JSON: {error.msg} (character {error.pos})") from None


def _is_deeper(body: bytes, depth: int) -> bool:
    """Whether brackets nest deeper; each replacement takes the innermost level away."""
    if body.count(b"[") + body.count(b"{") <= depth:
        return False
    brackets = _NO_BRACKETS.sub(b"", body).translate(_ONE_KIND)
    for _ in range(depth):
        brackets, before = brackets.replace(b"[]", b""), brackets
        if brackets == before:  # nothing is left, or what does not close
            return len(brackets) > depth
    return bool(brackets)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _refused("an object of the JSON has the same key twice")
    return found


def _integer(text: str) -> int:
    if len(text) > Limits.json_digits:
        raise _refused(f"a number of the JSON has more than {Limits.json_digits} digits")
    return int(text)


def _number(text: str) -> float:
    if len(text) > Limits.json_digits:
        raise _refused(f"a number of the JSON has more than {Limits.json_digits} digits")
    value = float(text)
    if not math.isfinite(value):
        raise _refused("a number of the JSON is beyond the range of a float64")
    return value


def _constant(name: str) -> None:
    raise _refused(f"{name} is no JSON")


def _refused(message: str) -> RequestError:
    return RequestError(400, "BAD_REQUEST", message)
