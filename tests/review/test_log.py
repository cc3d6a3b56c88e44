"""The log of decisions in a real MLflow registry: numbers, gaps, and who comes second."""

from __future__ import annotations

from dataclasses import replace

import pytest
from mlflow import MlflowClient

from pipeline.errors import LateError
from pipeline.review import log as logs
from pipeline.review.history import History, Record
from pipeline.review.log import append, log_of, mark_done, read_log, versions_of
from tests.support.records import BLANK

pytestmark = [pytest.mark.mlflow, pytest.mark.usefixtures("tracking")]


class Seal:
    """Stands for an SSH key."""

    def sign(self, text: str) -> str:
        return f"sealed {len(text)}"


def begin(name: str) -> History:
    MlflowClient().create_registered_model(log_of(name))
    return read_log(name)


def after(history: History, **changes: object) -> Record:
    return replace(BLANK, sequence=history.next_number, previous=history.head, model=history.name, **changes)


def test_records_are_numbered_and_come_back_as_they_were_written() -> None:
    assert read_log("nobody").entries == ()
    history = begin("plain")
    for reason in ("first", "second"):
        entry = append(history, after(history, reason=reason), "file:///bundle", Seal())  # type: ignore[arg-type]
        assert entry.signature == f"sealed {len(entry.text)}"
        history = read_log("plain")
        assert history.entries[-1][:3] == entry[:3]
    assert [record.reason for record in history.records] == ["first", "second"]
    assert history.faults() == []
    assert not history.entries[0].done
    mark_done("plain", history.entries[0])
    assert [entry.done for entry in read_log("plain").entries] == [True, False]


def test_the_second_writer_of_a_number_is_refused_and_its_record_is_void() -> None:
    history = begin("late")
    append(history, after(history, reason="mine"), "file:///bundle")
    with pytest.raises(LateError, match=r"another decision was written at the same moment .* nothing happened"):
        append(history, after(history, reason="yours"), "file:///bundle")
    found = read_log("late")
    assert [record.reason for record in found.records] == ["mine"]
    assert len(found.entries) == 2
    assert found.faults() == []


def test_a_record_that_was_asked_for_twice_is_no_second_one() -> None:
    history = begin("twice")
    record = after(history)
    first = append(history, record, "file:///bundle")
    assert append(history, record, "file:///bundle").text == first.text  # the first answer was lost


def test_a_deleted_version_leaves_a_gap_that_is_seen() -> None:
    history = begin("gap")
    for _ in range(3):
        append(history, after(history), "file:///bundle")
        history = read_log("gap")
    MlflowClient().delete_model_version(log_of("gap"), "2")
    found = read_log("gap")
    assert [entry.text == "" for entry in found.entries] == [False, True, False]
    assert "record 2: it is missing" in found.faults()[0]


def test_all_pages_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    history = begin("pages")
    for _ in range(5):
        append(history, after(history), "file:///bundle")
        history = read_log("pages")
    monkeypatch.setattr(logs, "PAGE", 2)
    assert sorted(int(version.version) for version in versions_of(log_of("pages"))) == [1, 2, 3, 4, 5]
    assert read_log("pages") == history
