"""reject: which candidate is never released, and why."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.review.decision import REJECT
from steps import reject


@pytest.fixture
def asked(monkeypatch):
    """What is handed to the decision."""
    heard = []

    def carry_out(step, action, name, sign_key, **values):
        heard.append((step, action, name, sign_key, values))

    monkeypatch.setattr(reject, "carry_out", carry_out)
    return heard


def test_the_candidate_is_a_number_or_the_newest(asked):
    reject.main(["--version=4", "--reason=far off", "--gate=g.yaml"])
    reject.main(["--version", "", "--reason", "~"])
    assert asked == [
        ("reject", REJECT, None, None, {"reason": "far off", "version": "4", "gate": Path("g.yaml")}),
        ("reject", REJECT, None, None, {"reason": "~", "version": None, "gate": Path("gate.yaml")}),
    ]


def test_a_champion_has_no_say_in_it(asked):
    with pytest.raises(ConfigError, match="reject: --champion: there is no such parameter"):
        reject.main(["--champion=1"])
    assert not asked
