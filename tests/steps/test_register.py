"""register: what it needs, and that the same bundle is registered once."""

from __future__ import annotations

import pytest

from pipeline.errors import ConfigError
from steps.register import key_of, main
from tests.conftest import ROOT


@pytest.mark.parametrize("argv", [[], ["--evaluate_run", ""], ["--evaluate_run="]])
def test_without_a_run_there_is_nothing_to_register(argv):
    with pytest.raises(ConfigError, match="register needs the run it registers; pass evaluate_run=RUN_ID"):
        main(argv)


def test_the_key_is_of_the_bundle_and_its_name(monkeypatch):
    monkeypatch.chdir(ROOT)
    keys = [key_of(digest, name) for digest, name in (("a", "m"), ("a", "m"), ("b", "m"), ("a", "n"))]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
