"""rollback: to the release before, or to a named one."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from pipeline.review.decision import ROLLBACK
from steps import rollback


@pytest.fixture
def asked(monkeypatch):
    """What is handed to the decision."""
    heard = []

    def carry_out(step, action, name, sign_key, **values):
        heard.append((step, action, name, sign_key, values))

    monkeypatch.setattr(rollback, "carry_out", carry_out)
    return heard


def test_to_is_the_release_and_the_one_before_by_default(asked):
    rollback.main(["--to=2", "--reason=drifts", "--champion=0"])
    rollback.main([])
    assert asked == [
        ("rollback", ROLLBACK, None, None, {"reason": "drifts", "version": "2", "champion": 0}),
        ("rollback", ROLLBACK, None, None, {"reason": "", "version": None, "champion": None}),
    ]


@pytest.mark.parametrize("argv", [["--champion=two"], ["--version=3"]])
def test_what_is_wrong_is_one_line(asked, argv):
    with pytest.raises(ConfigError, match=f"rollback: {argv[0].partition('=')[0]}"):
        rollback.main(argv)
    assert not asked
