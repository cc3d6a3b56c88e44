"""The settings of a loaded bundle: what they may be, and what is said of the others."""

from __future__ import annotations

import math

import pytest

from pipeline.errors import ConfigError
from pipeline.serveconfig import ServeConfig


@pytest.mark.parametrize(
    "settings", [{}, {"max_rows": 1}, {"max_bytes": 1}, {"threads": 0}, {"wait_ms": 0}, {"wait_ms": 2.5}]
)
def test_what_may_be_set(settings: dict[str, float]) -> None:
    config = ServeConfig(**settings)
    assert {name: getattr(config, name) for name in settings} == settings


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_rows": 0}, "model_config max_rows=0: expected a number of at least 1."),
        ({"max_rows": 1.5}, "model_config max_rows=1.5: expected a number of at least 1."),
        ({"max_rows": True}, "model_config max_rows=True: expected a number of at least 1."),
        ({"max_bytes": "9"}, "model_config max_bytes='9': expected a number of at least 1."),
        ({"threads": -1}, "model_config threads=-1: expected a number of at least 0."),
        ({"wait_ms": math.nan}, "model_config wait_ms=nan: expected a number of at least 0."),
        ({"wait_ms": math.inf}, "model_config wait_ms=inf: expected a number of at least 0."),
        ({"wait_ms": None}, "model_config wait_ms=None: expected a number of at least 0."),
    ],
)
def test_what_may_not(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ServeConfig(**settings)
    assert str(caught.value) == says
