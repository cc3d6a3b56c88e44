"""How every step ends: one line and a code, once."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

SECOND_SIGNAL = """
import importlib, sys
from steps.cli import command

for moment in range(40):
    importlib.reload(command)
    seen = stops = 0

    def trace(frame, event, argument):
        global seen
        seen += 1
        if seen == moment:
            command._stop(15, frame)
        return trace

    sys.settrace(trace)
    try:
        command._stop(2, None)
    except KeyboardInterrupt:
        stops += 1
    finally:
        sys.settrace(None)
    assert stops == 1, (moment, stops)
"""


def test_a_second_signal_at_any_moment_of_the_first_stops_once_and_does_not_hang():
    """Ctrl-C reaches a step from the terminal and again from `mlflow run`, which ends it."""
    done = subprocess.run([sys.executable, "-c", SECOND_SIGNAL], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
