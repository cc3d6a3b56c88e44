"""verify: what is damaged is named, and what no run made is not blamed."""

from __future__ import annotations

import pytest

from pipeline.errors import BundleError, StoreError
from steps.verify import Kept, find_damage


def fail(error: Exception):
    def digest() -> str:
        raise error

    return digest


@pytest.mark.parametrize(
    ("digest", "expected", "damage"),
    [
        (lambda: "aa", "aa", None),
        (lambda: "aa", None, None),  # no finished run names it
        (lambda: "a" * 64, "b" * 64, "whole, but not what its run made: digest aaaaaaaaaaaa, expected bbbbbbbbbbbb"),
        (fail(StoreError("x.memmap is missing")), "aa", "x.memmap is missing"),
        (fail(BundleError("changed")), None, "changed"),
    ],
)
def test_damage_by_hand(digest, expected, damage):
    assert find_damage(Kept("stores/x", digest, expected)) == damage


def test_a_mistake_of_ours_is_no_damage():
    with pytest.raises(ZeroDivisionError):
        find_damage(Kept("stores/x", fail(ZeroDivisionError()), None))
