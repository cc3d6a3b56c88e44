"""The process that answers holds the bundle's code and none of the project."""

import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT


def test_the_answering_process_imports_nothing_of_the_project():
    code = "import runpy, sys; runpy.run_path('pipeline/bundle/answering.py'); assert 'pipeline' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the peak of the parent cannot be left out")
def test_the_peak_of_a_program_is_not_that_of_the_one_that_started_it():
    ballast = np.ones(50_000_000)
    code = "import runpy; print(runpy.run_path('pipeline/bundle/answering.py')['peak_memory_bytes']())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert 1e6 < int(done.stdout) < ballast.nbytes / 2
