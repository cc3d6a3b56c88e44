"""audit: a time and a file of keys are checked before the server is asked."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from steps.audit import AuditConfig, main


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--at", "yesterday"], "at=yesterday: expected a time like"),
        (["--allowed_signers", "nowhere"], "allowed_signers=nowhere: no file at /"),
        (["--heads", "x"], "--heads: there is no such parameter; did you mean --head?"),
    ],
)
def test_what_is_wrong_is_one_line(argv, says):
    with pytest.raises(ConfigError, match=f"^audit: {says}".replace("?", r"\?")) as caught:
        main(argv)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("at", ["2026-11-01", "2026-11-01T12:00", "2026-11-01T12:00+02:00"])
def test_times_that_are_taken(at):
    assert AuditConfig(at=at).at == at
