"""promote: what a reviewer asks for, and how the release is served."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.errors import ConfigError
from pipeline.review.decision import APPROVE
from steps import promote


@pytest.fixture
def asked(monkeypatch):
    """What is handed to the decision."""
    heard = []

    def carry_out(step, action, name, sign_key, **values):
        heard.append((step, action, name, sign_key, values))
        return SimpleNamespace(record=SimpleNamespace(model="m"))

    monkeypatch.setattr(promote, "carry_out", carry_out)
    return heard


def test_all_that_is_asked_is_handed_on_and_the_last_line_serves(asked, capsys):
    promote.main(["--version=4", "--reason=better", "--champion=3", "--override=a known fault", "--gate=g.yaml"])
    values = {"reason": "better", "version": "4", "champion": 3, "override": "a known fault", "gate": Path("g.yaml")}
    assert asked == [("promote", APPROVE, None, None, values)]
    assert '-m "models:/m@champion"' in capsys.readouterr().out.splitlines()[-1]


def test_nothing_given_is_the_newest_beside_what_it_was_compared_with(asked):
    promote.main(["--champion", "", "--override="])
    assert asked[0][4] == {"reason": "", "version": None, "champion": None, "override": "", "gate": Path("gate.yaml")}


@pytest.mark.parametrize("argv", [["--champion=one"], ["--to=3"]])
def test_what_is_wrong_is_one_line(asked, argv):
    with pytest.raises(ConfigError, match=f"promote: {argv[0].partition('=')[0]}"):
        promote.main(argv)
    assert not asked
