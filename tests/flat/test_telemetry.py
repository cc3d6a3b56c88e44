"""The switches are set before anything else is imported, and stay what they are in processes that we start."""

from __future__ import annotations

import os
import subprocess
import sys

from pipeline.telemetry import SWITCHES, startup_line


def test_python_starts_with_the_switches_set(tmp_path):
    (tmp_path / "graphline.pth").write_text(startup_line())
    code = (
        f"import site, os; site.addsitedir({str(tmp_path)!r}); print([os.environ.get(k) for k in {list(SWITCHES)!r}])"
    )
    bare = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    done = subprocess.run([sys.executable, "-c", code], env=bare, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(list(SWITCHES.values()))


def test_it_is_one_line_that_python_takes_for_code():
    assert startup_line().startswith("import ")
    assert startup_line().count("\n") == 1
