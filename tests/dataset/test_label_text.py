"""One cell of a target column, by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.dataset.label_text import (
    BOUNDS,
    class_name,
    is_grouped_number,
    is_missing,
    parse_number,
    positive_class,
)


@pytest.mark.parametrize("value", [None, math.nan, "", "  ", "NA", "n/a", "NaN", "NULL", "<NA>"])
def test_what_is_missing(value: object) -> None:
    assert is_missing(value)


@pytest.mark.parametrize("value", ["none", "None", 0, 0.0, False, "0", "-", "?"])
def test_what_is_not(value: object) -> None:
    """`none` is a class beside `mild` and `severe`."""
    assert not is_missing(value)


@pytest.mark.parametrize(
    ("value", "decimal", "parsed"),
    [
        ("5", ".", ("", 5.0)),
        (" <= 5.5 ", ".", ("<=", 5.5)),
        ("<5", ".", ("<", 5.0)),
        (">1e3", ".", (">", 1000.0)),
        ("≥ 2", ".", ("≥", 2.0)),
        ("~3", ".", ("~", 3.0)),
        ("=4", ".", ("=", 4.0)),
        ("−2", ".", ("", -2.0)),  # the minus of typesetters
        ("1,5", ",", ("", 1.5)),
        ("1.234", ",", ("", None)),  # a separator of thousands, perhaps
        ("1,5", ".", ("", None)),
        ("1_000", ".", ("", None)),
        ("active", ".", ("", None)),
        ("<", ".", ("<", None)),
        (True, ".", ("", None)),
        (7, ".", ("", 7.0)),
        (10**400, ".", ("", math.inf)),
    ],
)
def test_a_value_is_a_sign_and_a_number(value: object, decimal: str, parsed: tuple[str, float | None]) -> None:
    assert parse_number(value, decimal) == parsed


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(["", "<", ">", "<=", ">=", "~", "="]))
def test_every_number_comes_back_with_its_sign(number: float, sign: str) -> None:
    assert parse_number(f"{sign}{number!r}", ".") == (sign, number)
    assert parse_number(f"{sign} {str(number).replace('.', ',')}", ",") == (sign, number)


@pytest.mark.parametrize(
    ("value", "name"),
    [(1, "1"), (1.0, "1"), ("1", "1"), ("1.0", "1"), (" a b ", "a b"), (0.5, "0.5"), ("<5", "<5"), ("~5", "5"),
     (True, "True"), (1e20, "1e+20"), ("-0", "0")],
)  # fmt: skip
def test_one_class_has_one_name(value: object, name: str) -> None:
    assert class_name(value) == name


@given(st.integers(-(10**14), 10**14))
def test_a_whole_number_is_one_class_however_it_is_written(number: int) -> None:
    assert {class_name(number), class_name(float(number)), class_name(str(number)), class_name(f"{number}.0")} == {
        str(number)
    }


@pytest.mark.parametrize("text", ["1,234", "1.234.567", "1'234", "1 234,5", "-1,5", "+12,345.67"])
def test_numbers_with_separators_are_recognised(text: str) -> None:
    assert is_grouped_number(text)


@pytest.mark.parametrize("text", ["1234", "1.5", "12,34,56", "abc", "1,234,"])
def test_others_are_not(text: str) -> None:
    assert not is_grouped_number(text)


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        (("0", "1"), "1"),
        (("yes", "no"), "yes"),
        (("inactive", "active"), "active"),
        (("active", "weak"), "active"),
        (("decoy", "weak"), "weak"),
        (("BBB+", "BBB-"), "BBB+"),
        (("toxic", "nontoxic"), "toxic"),
        (("permeable", "impermeable"), "permeable"),
        (("a", "b"), "b"),
        (("Hit", "Miss"), "Hit"),
    ],
)
def test_the_class_of_interest_is_found_by_its_word(names: tuple[str, str], positive: str) -> None:
    assert positive_class(names) == positive


def test_bounds_are_signs_that_say_which_side() -> None:
    assert "~" not in BOUNDS
    assert {"<", ">"} <= BOUNDS
