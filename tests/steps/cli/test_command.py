"""How every step ends: one line and a code, once."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60, env=os.environ | environment
    )


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_without_our_letters_shows_a_question_mark(encoding):
    code = "from steps.cli.command import run, say; run(lambda argv: say('a → b ≥ c'))"
    done = run_python(code, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stdout) == (0, b"a ? b ? c\n"), done.stderr
    code = "from pipeline.errors import DataError; from steps.cli.command import run\n"
    done = run_python(code + "def step(argv): raise DataError('→')\nrun(step)", PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (2, b"error: ?\n")


@pytest.mark.parametrize(("load", "given", "policy"), [(0, "", "None"), (99, "", "PASSIVE"), (99, "ACTIVE", "ACTIVE")])
def test_threads_wait_without_spinning_on_a_busy_machine(load, given, policy):
    """It must stand in the environment before torch loads."""
    code = (
        f"import os, sys; os.getloadavg = lambda: ({load}, 0, 0)\n"
        "import steps.cli.command; print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
    )
    environment = {"OMP_WAIT_POLICY": given} if given else {}
    assert run_python(code, **environment).stdout.decode().split() == [policy, "False"]


def test_output_that_is_no_terminal_of_the_system_is_left_alone():
    """As in a notebook, or where somebody collects it as text."""
    code = (
        "import contextlib, io\n"
        "from steps.cli.command import run, say\n"
        "out = io.StringIO()\n"
        "with contextlib.redirect_stdout(out):\n"
        "    run(lambda argv: say('a → b'))\n"
        "assert out.getvalue() == 'a → b\\n'\n"
    )
    done = run_python(code)
    assert (done.returncode, done.stderr) == (0, b"")
