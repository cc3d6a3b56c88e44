import dataclasses

import pytest

from pipeline.decision import Case, decide

GOOD = Case("m-candidates version 1", True, "passed", "ab" * 32, "ab" * 32, "better on the new plates")


def test_a_whole_case_is_allowed():
    assert decide(GOOD) is None


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"reason": "  "}, "reason"),
        ({"digest_found": "cd" * 32}, "digest cdcdcdcdcdcd"),
        ({"verdict": None, "verdict_reason": "no table"}, "no verdict (no table)"),
        ({"verdict": False, "verdict_reason": "rmse 2 > 1"}, "rmse 2 > 1"),
    ],
)
def test_each_lack_refuses_and_says_so(change, word):
    assert word in decide(dataclasses.replace(GOOD, **change))
