"""Several processes answer at once, in order; here each is a toy that answers by a function."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.bundle import pool
from pipeline.bundle.child import Reply
from pipeline.errors import PipelineError
from tests.conftest import PATIENCE_S


class ToyChild:
    """Answers twice each number; a table with a 13 kills it."""

    started = 0
    columns = ("twice",)

    def __init__(self, folder: Path) -> None:
        self.dead = False

    def __enter__(self) -> ToyChild:
        ToyChild.started += 1
        return self

    def __exit__(self, *_: object) -> None:
        ToyChild.started -= 1

    def ask(self, table: dict[str, list[int]]) -> Reply:
        self.dead = self.dead or 13 in table["n"]
        if self.dead:
            raise PipelineError("the process that holds the bundle failed")
        return Reply({"twice": [2 * n for n in table["n"]]}, 0.0, 0)


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(pool, "Child", ToyChild)
    ToyChild.started = 0
    yield
    assert ToyChild.started == 0  # whatever happened, all are ended


def tables(sizes: list[int], read: list[int] | None = None) -> Iterator[tuple[int, dict[str, list[int]]]]:
    for number, size in enumerate(sizes):
        if read is not None:
            read.append(number)
        yield number, {"n": list(range(20, 20 + size))}


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=20), st.integers(1, 4))
def test_answers_come_in_the_order_of_the_tables(sizes: list[int], processes: int) -> None:
    with pool.Children(Path(), processes) as children:
        found = list(children.answer(tables(sizes)))
    assert found == [(k, {"twice": [2 * n for n in range(20, 20 + size)]}) for k, size in enumerate(sizes)]


def test_at_most_two_tables_a_process_are_read_ahead() -> None:
    read: list[int] = []
    with pool.Children(Path(), 3) as children:
        answers = children.answer(tables([1] * 50, read))
        for done in range(10):
            next(answers)
            assert len(read) <= done + 1 + 2 * 3
        answers.close()


def test_an_empty_table_asks_nobody_and_another_process_starts_only_where_one_would_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pool.Children(Path(), 3) as children:
        assert (children.columns, ToyChild.started) == (("twice",), 1)
        assert list(children.answer(tables([0, 0]))) == [(0, {"twice": []}), (1, {"twice": []})]
        assert ToyChild.started == 1
        meet = threading.Barrier(2, timeout=PATIENCE_S)
        ask = ToyChild.ask

        def together(self: ToyChild, table: Any) -> Reply:
            meet.wait()
            return ask(self, table)

        monkeypatch.setattr(ToyChild, "ask", together)
        assert len(list(children.answer(tables([1, 1])))) == 2
        assert ToyChild.started == 2


def test_a_process_that_fails_ends_the_answers_with_its_reason_and_nobody_waits_for_ever() -> None:
    with pool.Children(Path(), 1) as children:
        answers = children.answer(iter([(0, {"n": [1]}), (1, {"n": [13]}), (2, {"n": [2]})]))
        assert next(answers) == (0, {"twice": [2]})
        with pytest.raises(PipelineError, match="the process that holds the bundle failed"):
            list(answers)
