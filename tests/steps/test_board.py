"""board: settings that would let the wrong people in are refused."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from steps.board import BoardConfig


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"port": 0}, "port=0: expected"),
        ({"identity_header": "X-User", "host": "0.0.0.0"}, "could claim a name"),
        ({"gate": "nowhere.yaml"}, "nowhere.yaml: cannot be read"),
    ],
)
def test_settings_that_would_be_wrong_are_refused(values, says):
    with pytest.raises(ConfigError, match=says):
        BoardConfig(**values)


def test_names_of_the_board():
    assert "127.0.0.1:5002" in BoardConfig().hosts
    assert BoardConfig(host="10.0.0.5", port=80, allowed_hosts="a.example, b.example:8443").hosts == [
        "10.0.0.5:80",
        "a.example",
        "b.example:8443",
    ]
