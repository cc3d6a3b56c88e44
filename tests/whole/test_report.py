"""The README's figures are those of bench/results, and a bench says what it lacks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from bench.report import with_accuracies
from tests.conftest import ROOT


def test_the_readme_shows_the_kept_results():
    readme = (ROOT / "README.md").read_text()
    assert with_accuracies(readme) == readme


@pytest.mark.parametrize(
    ("command", "asks"),
    [
        (["bench.training"], True),
        (["bench.accuracy", "solubility"], True),
        (["bench.accuracy_speed"], True),
        (["bench.accuracy_speed", "--seeds", "--help"], False),
    ],
)
def test_a_bench_without_its_peers_is_one_line_that_names_the_command(command, asks, tmp_path):
    """From a folder without peers, as in a new clone."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    last = done.stderr.strip().rsplit("\n", 1)[-1]
    assert ("Traceback" in done.stderr, done.returncode) == (False, 2 if asks else 0), done.stderr
    assert last.endswith("Peers live in an environment of their own: run `make .venv-peers/.done`.") is asks
