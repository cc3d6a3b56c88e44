"""The tree of errors: what its picture says, and what crosses process borders."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

from pipeline import errors
from pipeline.errors import ROW_CODES, DataError, PipelineError, RowError

CLASSES = {name: one for name, one in inspect.getmembers(errors, inspect.isclass) if one.__module__ == errors.__name__}


def test_the_picture_is_the_tree() -> None:
    parents = {0: "Exception"}
    for line in str(errors.__doc__).splitlines():
        if match := re.match(r"((?:[│ ] {3})*(?:[├└]── )?)(\w+Error)\b", line):
            depth = len(match[1]) // 4
            assert CLASSES[match[2]].__mro__[1].__name__ == parents[depth], match[2]
            parents[depth + 1] = match[2]
    assert set(re.findall(r"\w+Error\b", str(errors.__doc__))) == set(CLASSES)


def test_every_mistake_of_a_user_ends_with_code_2() -> None:
    assert {one.exit_code for one in CLASSES.values()} == {2}
    assert all(issubclass(one, PipelineError) for one in CLASSES.values())


@pytest.mark.parametrize("code", ROW_CODES)
def test_a_row_error_crosses_process_borders_whole(code: str) -> None:
    error = pickle.loads(pickle.dumps(RowError(code, "why")))
    assert (error.code, error.detail, str(error)) == (code, "why", f"{code}: why")
    assert isinstance(error, DataError)


def test_a_code_that_nobody_knows_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        RowError("strange", "why")
