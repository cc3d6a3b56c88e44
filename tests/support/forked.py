"""Steps in processes of their own: real ones to kill and to run side by side, but without the seconds that each would
take to import. They are forked from a server that has imported all and done nothing: what other tests did in this
process (threads, locks, open databases) does not reach them. `mlflow.projects.run` is replaced by a fork, too.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import sqlite3
import sys
import time
from contextlib import chdir, closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.conftest import PATIENCE_S, ROOT

QUICK = ["--data=mine", "--target=y", "--hidden_dim=8", "--num_layers=1", "--max_epochs=3", "--resamples=20"]
ALL = ["prepare", "train", "evaluate", "register"]
STEPS = [f"steps.{name}" for name in ("main", "prepare", "train", "evaluate", "register", "verify")]
MODULES = (
    *("store.build", "store.store", "training.train", "bundle.export", "bundle.parity", "bundle.scoring"),
    *("evaluation.predictions", "report.fill", "runs.registry"),
)
FOREIGN = ["mlflow.pyfunc", "lightning.pytorch.loggers", "sklearn.ensemble", "onnxscript", "matplotlib.pyplot"]

LATE = "LATE_STEP"
"""In the environment of `main`: the step whose process is slow to start."""

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload([*FOREIGN, *STEPS, *(f"pipeline.{name}" for name in MODULES), "tests.support.forked"])


class Folder:
    """A copy of the project with data of its own, and its runs in a database of its own."""

    def __init__(self, folder: Path, uri: str | None = None, graphs: int = 60) -> None:
        self.folder = folder
        for room in ("steps", "pipeline", "serving"):
            shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("requirements.txt", "pyproject.toml", "gate.yaml", "MLproject", "python_env.yaml"):
            shutil.copy(ROOT / name, folder / name)
        write_graphs(folder / "mine", graphs)
        self.database = folder / "mlflow.db"
        self.env = {
            "MLFLOW_TRACKING_URI": uri or f"sqlite:///{self.database}",
            "MLFLOW_EXPERIMENT_NAME": "graphline",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
            "OMP_NUM_THREADS": "1",
            "TMPDIR": str(folder / "tmp"),
        }
        (folder / "tmp").mkdir()

    def start(self, step: str, *words: str, env: dict[str, str] | None = None) -> Running:
        return Running(step, list(words), self.folder, self.env | (env or {}))

    def run(self, step: str, *words: str, code: int = 0, env: dict[str, str] | None = None) -> str:
        running = self.start(step, *words, env=env)
        found = running.wait()
        assert found == code, running.text()
        assert "Traceback" not in running.text(), running.text()
        return running.text()

    def main(self, *words: str, code: int = 0, env: dict[str, str] | None = None) -> str:
        return self.run("main", *QUICK, *words, code=code, env=env)

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection:
            return list(connection.execute(sql))

    def runs(self) -> list[dict[str, Any]]:
        """All runs, oldest first: status, tags, and metrics but for those of time."""
        tags: dict[str, dict[str, str]] = {}
        for run, key, value in self.query("select run_uuid, key, value from tags"):
            tags.setdefault(run, {})[key] = value
        rows = self.query("select run_uuid, status, artifact_uri from runs order by start_time")
        return [{"id": r, "status": s, "artifacts": a, "tags": tags.get(r, {})} for r, s, a in rows]

    def wait_for_step(self, step: str, running: Running, tag: str = "graphline.step") -> None:
        """Until the run of a step is taken over by its process, or has another tag, or `main` has ended."""
        while running.poll() is None:
            with suppress(sqlite3.OperationalError):  # the tables are still being made
                if any(run["tags"].get(tag) == step for run in self.runs()):
                    return
            time.sleep(0.1)  # who reads a SQLite file keeps others from writing

    def finished(self, step: str) -> list[dict[str, Any]]:
        found = [run for run in self.runs() if run["tags"].get("graphline.step") == step]
        return [run for run in found if "graphline.complete" in run["tags"]]

    def products(self, room: str) -> list[Path]:
        return sorted((self.folder / ".graphline" / room).glob("[!.]*/"))

    def leftovers(self) -> list[str]:
        """Temporary files and folders, in the work folder and beside it."""
        work = self.folder / ".graphline"
        hidden = [path for path in work.rglob("*") if path.name.startswith(".") or path.name.endswith(".part")]
        foreign = ("db_init_lock", ".ses")  # MLflow's lock, ONNX Runtime's session: files, always the same
        temporary = [path for path in (self.folder / "tmp").iterdir() if not path.name.startswith(foreign)]
        return [str(path) for path in (*hidden, *temporary)]


def ran(text: str) -> list[str]:
    """The steps that a run of `main` did not reuse."""
    reused = re.findall(r"^(\w+): reused", text, re.MULTILINE)
    return [step for step in ALL if step not in reused]


def write_graphs(folder: Path, count: int) -> None:
    """Graph tables: paths and rings, no two alike, with a label that can be learnt."""
    folder.mkdir()
    graphs, nodes, edges = ["graph_id,y"], ["graph_id,node_id,kind,weight"], ["graph_id,source,target"]
    for g in range(count):
        n = 3 + g % 6
        graphs.append(f"g{g},{n + 0.01 * g:.2f}")
        nodes += [f"g{g},{i},{'ab'[(i * g) % 2]},{g / 7:.3f}" for i in range(n)]
        edges += [f"g{g},{i},{(i + 1) % n}" for i in range(n - g % 2)]
    for name, lines in {"graphs": graphs, "nodes": nodes, "edges": edges}.items():
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


class Running:
    """A started step, leader of its own process group."""

    def __init__(self, step: str, words: list[str], folder: Path, env: dict[str, str]) -> None:
        self.out = folder / f"out-{time.monotonic_ns()}.txt"
        self.process = forks.Process(target=_lead, args=(step, words, folder, env, self.out))
        with chdir(ROOT):  # where the server finds what it imports, when this is the first
            self.process.start()

    def text(self) -> str:
        return self.out.read_text(errors="replace") if self.out.exists() else ""

    def poll(self) -> int | None:
        """The exit code, once it has ended; minus the signal that killed it."""
        return self.process.exitcode

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        self.process.join(timeout_s)
        code = self.poll()
        assert code is not None, f"still running: {self.text()}"
        return code

    def wait_for(self, word: str) -> None:
        """Until it has printed `word`, or has ended."""
        while word not in self.text() and self.poll() is None:
            time.sleep(0.005)

    def kill(self, number: int = signal.SIGKILL, *, group: bool = True) -> None:
        pid = self.process.pid
        assert pid is not None
        with suppress(ProcessLookupError):
            os.killpg(pid, number) if group else os.kill(pid, number)


def _lead(*what: Any) -> None:
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also when the tests, in a background, ignore it
    _become(*what)


def _become(step: str, words: list[str], cwd: Path, env: dict[str, str], out: Path) -> None:
    """Be a step, as `python -m` would run it; end this process as the step ends."""
    code = 1
    try:
        os.chdir(cwd)
        for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
            del os.environ[name]
        os.environ.update(env)
        file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = open(1, "w", closefd=False)
        sys.stderr = open(2, "w", closefd=False)
        sys.argv = [step, *words]
        import tempfile

        tempfile.tempdir = None
        import mlflow

        from steps.cli.command import run

        mlflow.set_tracking_uri(env["MLFLOW_TRACKING_URI"])
        mlflow.projects.run = _projects(cwd, env, out)
        run(importlib.import_module(f"steps.{step}").main)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _projects(cwd: Path, env: dict[str, str], out: Path) -> Any:
    """What stands for `mlflow.projects.run`: a run that is created and a process that is forked, from one that has
    never opened the database."""
    requests, answers = os.pipe(), os.pipe()
    if os.fork() == 0:
        stops = (signal.SIGINT, signal.SIGTERM)
        for number in stops:
            signal.signal(number, signal.SIG_IGN)
        os.close(requests[1])
        os.close(answers[0])
        with open(requests[0]) as lines, open(answers[1], "w") as reply:
            for line in lines:
                step, words, run_id = json.loads(line)
                child = os.fork()
                if child == 0:
                    for number in stops:
                        signal.signal(number, signal.SIG_DFL)
                    if step == env.get(LATE):
                        time.sleep(PATIENCE_S)
                    _become(step, words, cwd, env | {"MLFLOW_RUN_ID": run_id}, out)
                reply.write(f"{child}\n")
                reply.flush()
                reply.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
                reply.flush()
        os._exit(0)
    os.close(requests[0])
    os.close(answers[1])
    ask, reply = open(requests[1], "w"), open(answers[0])

    def start(uri: str, step: str, *, parameters: dict[str, str], experiment_id: str, env_manager: str) -> Any:
        import mlflow
        from mlflow.exceptions import ExecutionException

        client, parent = mlflow.MlflowClient(), mlflow.active_run().info.run_id
        tags = {"mlflow.parentRunId": parent, "mlflow.project.entryPoint": step}
        run_id = client.create_run(experiment_id, tags=tags).info.run_id
        ask.write(json.dumps([step, [f"--{name}={value}" for name, value in parameters.items()], run_id]) + "\n")
        ask.flush()
        child = int(reply.readline())
        try:
            code = int(reply.readline())
        except KeyboardInterrupt:
            os.kill(child, signal.SIGTERM)
            reply.readline()
            if client.get_run(run_id).info.status == "RUNNING":
                client.set_terminated(run_id, "FAILED")
            raise
        if code:
            if client.get_run(run_id).info.status == "RUNNING":
                client.set_terminated(run_id, "FAILED")
            raise ExecutionException(f"Run (ID '{run_id}') failed")
        return SimpleNamespace(run_id=run_id)

    return start
