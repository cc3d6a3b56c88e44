"""Numbers written as text."""

import pytest

from pipeline.rows.number import read_number


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [
        (" 1.5 ", ".", 1.5),
        ("−1e3", ".", -1000.0),
        ("1,5", ",", 1.5),
        ("1,5", ".", None),
        ("1.234", ",", None),  # may be a thousand
        ("1_000", ".", None),
        ("word", ".", None),
        ("", ".", None),
    ],
)
def test_a_number_is_read_or_is_none(text, decimal, number):
    assert read_number(text, decimal) == number
