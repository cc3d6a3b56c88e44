"""JSON as a request may be; Python's own parser is the oracle for what is JSON."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.server.json_guard import parse_json
from serving.server.limits import Limits
from serving.server.refusal import RequestError

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | FLOATS | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=30)


@settings(deadline=None)
@given(VALUES, st.booleans())
def test_what_python_writes_is_read_back(value, ascii_only):
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass" if ascii_only else "replace")
    assert parse_json(text) == json.loads(text)


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text('[]{}",:\\0123eE.+-ntf \n').map(str.encode))
def test_any_bytes_are_read_as_python_reads_them_or_refused(body):
    try:
        found = parse_json(body)
    except RequestError:
        return
    assert found == json.loads(body.removeprefix(b"\xef\xbb\xbf").decode())


@settings(deadline=None)
@given(st.lists(st.sampled_from("[{"), max_size=2 * Limits.json_depth))
def test_depth_is_counted_exactly(opening):
    text = "".join("[" if kind == "[" else '{"]}":' for kind in opening) + "1"
    text += "".join("]" if kind == "[" else "}" for kind in reversed(opening))
    if len(opening) <= Limits.json_depth:
        assert parse_json(text.encode()) == json.loads(text)
    else:
        with pytest.raises(RequestError, match="nested deeper"):
            parse_json(text.encode())


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "no JSON"),
        (b'{"a": 1', "no JSON"),
        (b'{"a": "b', "no JSON"),
        (b"[" * 100_000, "nested deeper"),
        (b"[" * 100_000 + b"]" * 100_000, "nested deeper"),
        (b'{"a":' * 100_000, "nested deeper"),
        (b'{"a": 1, "a": 1}', "same key twice"),
        (b'[{"a": {"b": 1, "c": 2, "b": 3}}]', "same key twice"),
        (b"[" + b"{}," * Limits.json_containers + b"{}]", "brackets and braces"),
        (b"[NaN]", "NaN is no JSON"),
        (b"[-Infinity]", "-Infinity is no JSON"),
        (b"[1e400]", "float64"),
        (b"[" + b"9" * 5000 + b"]", "digits"),
        (b"[0." + b"9" * 5000 + b"]", "digits"),
        (b'"\xff"', "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
    ],
)
def test_refused_with_a_reason(body, reason):
    with pytest.raises(RequestError, match=reason) as caught:
        parse_json(body)
    assert caught.value.status == 400
    assert len(caught.value.message) < 120


def test_the_longest_number_is_read_and_a_byte_order_mark_is_nothing():
    assert parse_json(b"\xef\xbb\xbf[" + b"1" * Limits.json_digits + b"]") == [int("1" * Limits.json_digits)]
    assert math.isclose(parse_json(b"1e308"), 1e308)


def test_a_quote_that_never_ends_costs_one_pass():
    """A quadratic scan would take hours."""
    for body in (b'"' + b"\\a" * 1_000_000, b'["' + b"x" * 5_000_000, b'"\\' * 500_000):
        with pytest.raises(RequestError):
            parse_json(body)
