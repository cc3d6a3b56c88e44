"""`mlflow run .` when nothing changed since the last run: the whole command, in a copy of the project.

python -m bench.rerun            # about four minutes, of which the first run takes one or two
python -m bench.rerun --quick    # one repetition; writes nothing
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.measure import ROOT, Result, figure, write_result

BIN = Path(sys.executable).parent
RUN = [str(BIN / "mlflow"), "run", ".", "--env-manager", "local", "-P", "max_epochs=2"]
# Nobody's step can start without them: MLflow in the command line, MLflow and its database in the step.
COMMAND_LINE = [str(BIN / "mlflow"), "--version"]
STEP = [sys.executable, "-c", "import mlflow, mlflow.store.tracking.sqlalchemy_store"]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "mlruns", "mlflow.db", "bench", "tests")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    rounds = 1 if parser.parse_args().quick else 5
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        project = Path(folder) / "project"
        shutil.copytree(ROOT, project, ignore=LEFT_OUT)
        first, text = seconds(RUN, project)
        assert "reused" not in text, text
        whole, line, step = [], [], []
        for _ in range(rounds):
            taken, text = seconds(RUN, project)
            assert len(re.findall("reused, nothing changed", text)) == 4, text
            whole.append(taken)
            line.append(seconds(COMMAND_LINE, project)[0])
            step.append(seconds(STEP, project)[0])
        inside = profile(project)
    own = [run - a - b for run, a, b in zip(whole, line, step, strict=True)]
    claims = [
        figure("`mlflow run .`, nothing changed: the whole command", whole, "s", goal="at most 10 s, aim 5 s"),
        figure("of it outside the imports of MLflow, which it imports twice", own, "s"),
        figure("the first run, 2 epochs", [first], "s"),
    ]
    if rounds == 1:
        return
    imports = statistics.median(line) + statistics.median(step)
    write_result(
        Result(
            "rerun",
            "A run without changes",
            "python -m bench.rerun",
            claims,
            same="all four steps say that they are reused; each looks at the data's digest, the code, the pins",
            floor=[
                f"`mlflow --version` takes {statistics.median(line):.1f} s, and importing MLflow with its SQLite store "
                f"in the step's process {statistics.median(step):.1f} s: {imports:.1f} s before anything of ours runs."
            ],
            profile={
                "MLflow's command line": round(statistics.median(line) / statistics.median(whole), 3),
                "MLflow's import in the step": round(statistics.median(step) / statistics.median(whole), 3),
            },
            notes=[f"Inside the step: {inside}.", "SQLite and local artifacts in the project folder, as by default."],
        )
    )


def seconds(command: list[str], project: Path) -> tuple[float, str]:
    """Run to the end: seconds and what it printed."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "PYTHONPATH"))}
    environment = keep | {
        "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
    }
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=project, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    taken = time.perf_counter() - start
    assert done.returncode == 0, done.stdout
    return taken, done.stdout


def profile(project: Path) -> str:
    """What the keys of the four steps cost, in a sentence."""
    code = (
        "import time\nfrom pathlib import Path\nfrom pipeline.runs.keys import step_key\nstart = time.perf_counter()\n"
        "for step in ('prepare', 'train', 'evaluate', 'register'):\n"
        "    step_key(step, {}, {}, Path.cwd(), also=['serving.model'])\nprint(time.perf_counter() - start)"
    )
    taken = float(seconds([sys.executable, "-c", code], project)[1].splitlines()[-1])
    return f"the keys over code and packages of all steps take {taken:.2f} s"


if __name__ == "__main__":
    main()
