"""Decisions carried out: what each leaves in the registry, what is refused, and what a kill leaves behind."""

from __future__ import annotations

import pytest

from pipeline.decision import APPROVE, RETIRE, ROLLBACK
from pipeline.decisionlog import read_log
from pipeline.errors import RegistryError
from tests.candidates import aliases, candidate, decide

pytestmark = [pytest.mark.mlflow, pytest.mark.usefixtures("tracking")]


def test_a_life_of_releases(tmp_path):
    for content in ("one", "two", "three"):
        candidate(tmp_path, "life", content)
    first = decide(tmp_path, "life", version="1")
    assert aliases("life") == {"champion": "1"}
    assert first.notes == ()
    decide(tmp_path, "life", version="2", champion=1)
    assert aliases("life") == {"champion": "2", "previous": "1"}
    decide(tmp_path, "life", version="3")
    back = decide(tmp_path, "life", ROLLBACK)
    assert (back.record.champion_before, back.record.champion_after, back.record.candidate) == (3, 2, 2)
    assert aliases("life") == {"champion": "2", "previous": "1"}
    decide(tmp_path, "life", ROLLBACK)
    assert aliases("life") == {"champion": "1"}
    with pytest.raises(RegistryError, match="no earlier release to go back to"):
        decide(tmp_path, "life", ROLLBACK)
    decide(tmp_path, "life", ROLLBACK, version="3")
    assert aliases("life") == {"champion": "3", "previous": "1"}
    decide(tmp_path, "life", RETIRE)
    assert aliases("life") == {"previous": "1"}
    history = read_log("life")
    assert [record.action for record in history.records] == [APPROVE] * 3 + [ROLLBACK] * 3 + [RETIRE]
    assert history.faults() == []
    assert all(entry.done for entry in history.entries)
