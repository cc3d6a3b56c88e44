"""The README's figures are those of bench/results, and a bench says what it lacks."""

from __future__ import annotations

import os
import subprocess
import sys

from bench.report import with_accuracies
from tests.conftest import ROOT


def test_the_readme_shows_the_kept_results():
    readme = (ROOT / "README.md").read_text()
    assert with_accuracies(readme) == readme


def test_a_bench_without_its_peers_is_one_line_that_names_the_command(tmp_path):
    """From a folder without peers, as in a new clone."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.training"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ("Traceback" in done.stderr, done.returncode) == (False, 2), done.stderr
    assert done.stderr.strip().endswith("an environment of their own: run `make .venv-peers/.done`.")
