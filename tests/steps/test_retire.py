"""retire: which champion goes out of use, and why."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.review.decision import RETIRE
from steps import retire


@pytest.fixture
def asked(monkeypatch):
    """What is handed to the decision."""
    heard = []

    def carry_out(step, action, name, sign_key, **values):
        heard.append((step, action, name, sign_key, values))

    monkeypatch.setattr(retire, "carry_out", carry_out)
    return heard


def test_the_champion_is_named_by_number_so_that_another_one_stays(asked):
    retire.main(["--reason=the assay changed", "--name=m", "--champion=3", "--sign_key=key"])
    retire.main(["--reason=x"])
    assert asked == [
        ("retire", RETIRE, "m", "key", {"reason": "the assay changed", "champion": 3}),
        ("retire", RETIRE, None, None, {"reason": "x", "champion": None}),
    ]


@pytest.mark.parametrize("argv", [["--champion=latest"], ["--version=3"]])
def test_what_is_wrong_is_one_line(asked, argv):
    with pytest.raises(ConfigError, match=f"retire: {argv[0].partition('=')[0]}"):
        retire.main(argv)
    assert not asked
