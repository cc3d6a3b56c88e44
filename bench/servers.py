"""Models and servers of bench/serving.py and bench/startup.py: the default network as our bundle and as torch pyfunc.

Ours is served from an environment of its own that holds `serving/requirements.txt` and nothing else, as in
production; the peer from the project's, which has torch and PyG.
"""

from __future__ import annotations

import contextlib
import csv
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import ROOT

ENVIRONMENTS = ROOT / ".graphline" / "bench"
EMPTY = """
import mlflow
from mlflow.pyfunc import PythonModel
class Empty(PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input
mlflow.models.set_model(Empty())
"""
"""A pyfunc that does nothing: what MLflow's server costs by itself."""


@dataclass(frozen=True)
class Served:
    """A saved model and the interpreter that serves it.

    Attributes:
        shadows: folder of modules that are found first.
    """

    python: Path
    folder: Path
    shadows: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Of every process that serves: its own programs first, one computing thread, no telemetry.

        Compiled code is kept, as Python does by itself: some machines turn that off.
        """
        path = f"{self.python.parent}{os.pathsep}{os.environ.get('PATH', '')}"
        mlflow = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "__pyfunc_model_path__": str(self.folder)}
        others = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
        keep = {name: value for name, value in os.environ.items() if name not in others}
        first = {"PYTHONPATH": str(self.shadows)} if self.shadows else {}
        return keep | {"PATH": path, "OMP_NUM_THREADS": "1"} | mlflow | first

    def command(self, port: int) -> list[str]:
        """The whole command of a user."""
        program = self.python.with_name("mlflow")
        where = ["--host", "127.0.0.1", "--port", str(port), "--env-manager", "local"]
        return [str(program), "models", "serve", "--model-uri", str(self.folder), *where]

    def process(self, port: int) -> list[str]:
        """The serving process alone: what that command starts, and what a container starts."""
        where = ["--host", "127.0.0.1", "--port", str(port)]
        return [str(self.python.with_name("uvicorn")), *where, "mlflow.pyfunc.scoring_server.app:app"]


def build_models(folder: Path, epochs: int = 1) -> tuple[Served, Served]:
    """Train the default network for a moment; save it as our bundle and as the peer's pyfunc."""
    _apart(_save_models, folder, epochs)
    # The peer's requirements do not bring these two, which uvicorn takes where they are; ours do.
    shadows = folder / "shadows"
    shadows.mkdir()
    for name in ("uvloop", "httptools"):
        (shadows / f"{name}.py").write_text("raise ImportError\n", encoding="utf-8")
    return Served(serving_python(), folder / "bundle"), Served(Path(sys.executable), folder / "peer" / "model", shadows)


def build_empty(folder: Path) -> Served:
    """Save the pyfunc that does nothing; it is served as our bundle is."""
    _apart(_save_empty, folder)
    return Served(serving_python(), folder / "model")


def _apart(save: Callable[..., None], *arguments: object) -> None:
    """Call in a process of its own: whatever this one had mapped too, a server's PSS would count by half."""
    with ProcessPoolExecutor(1, get_context("spawn")) as child:
        child.submit(save, *arguments).result()


def _save_models(folder: Path, epochs: int) -> None:
    from pipeline.bundle.build import build_bundle
    from pipeline.bundle.export import export_onnx
    from pipeline.bundle.requests import build_example
    from pipeline.dataset.config import PrepareConfig
    from pipeline.dataset.source import find_source
    from pipeline.store.build import build_store
    from pipeline.training.config import TrainConfig
    from pipeline.training.train import load_networks, train

    config = PrepareConfig()
    store = build_store(config, find_source(config, ROOT, folder), folder / "store", "", lambda n: n)
    settings = TrainConfig(max_epochs=epochs)
    train(store, settings, folder / "checkpoints")
    networks = load_networks(folder / "checkpoints", store.schema, store.statistics)
    export_onnx(networks, store.schema, folder / "model.onnx", {})
    example = build_example(store, True)
    build_bundle(folder / "bundle", folder / "model.onnx", store.schema, example, {})
    _save_peer(folder / "peer", networks[0], store.schema, settings.num_layers, example)


def _save_peer(folder: Path, network: Any, schema: Any, num_layers: int, example: Any) -> None:
    """Save the same weights for bench/torch_model.py."""
    import mlflow
    import torch

    folder.mkdir()
    columns = (*schema.node_columns, *schema.edge_columns)
    sizes = {
        "nodes": [column.num_codes for column in schema.node_columns],
        "edges": [column.num_codes for column in schema.edge_columns],
    }
    weights = plain_weights(network.state_dict(), sizes)
    saved = {
        "labels": {column.name: list(column.categories) for column in columns},
        "target": schema.targets[0].name,
        "settings": {"sizes": sizes, "hidden_dim": len(weights["node_bias"]), "num_layers": num_layers},
        "weights": weights,
    }
    torch.save(saved, folder / "network.pt")
    signature = mlflow.models.ModelSignature(
        inputs=mlflow.types.Schema([mlflow.types.ColSpec("string", "smiles")]),
        outputs=mlflow.types.Schema([mlflow.types.ColSpec("double", saved["target"])]),
    )
    mlflow.pyfunc.save_model(
        str(folder / "model"),
        python_model=str(ROOT / "bench" / "torch_model.py"),
        artifacts={"network.pt": str(folder / "network.pt")},
        signature=signature,
        input_example=example,
        pip_requirements=["torch", "torch_geometric", "rdkit", "pandas"],
    )


def _save_empty(folder: Path) -> None:
    import mlflow

    folder.mkdir()
    (folder / "empty.py").write_text(EMPTY, encoding="utf-8")
    columns = mlflow.types.Schema([mlflow.types.ColSpec("string", "smiles")])
    mlflow.pyfunc.save_model(
        str(folder / "model"),
        python_model=str(folder / "empty.py"),
        signature=mlflow.models.ModelSignature(inputs=columns),
        pip_requirements=["pandas"],
    )


def plain_weights(ours: dict[str, Any], sizes: dict[str, list[int]]) -> dict[str, Any]:
    """Our weights under the peer's names: one table a column, each code with its row."""
    part = "sequence.module.{}.module.{}".format
    weights = {}
    for k, (name, kind) in enumerate((("node", "nodes"), ("edge", "edges"))):
        rows = ours[part(k, "table")][ours[part(k, "row_of_code")]]
        for column, table in enumerate(rows.split(sizes[kind])):
            weights[f"{name}_tables.{column}.weight"] = table
        weights[f"{name}_bias"] = ours[part(k, "bias")]
    for name, values in ours.items():
        if name.startswith(part(2, "w_")):
            weights[name.removeprefix(part(2, ""))] = values
    for place, layer in ((0, 0), (3, 2)):
        for name in ("weight", "bias"):
            weights[f"mlp.{layer}.{name}"] = ours[f"head.mlp.{place}.{name}"]
    return weights | {name: ours[f"head.{name}"] for name in ("y_mean", "y_std")}


def serving_python(name: str = "serving", more: str = "") -> Path:
    """The interpreter of an environment with serving/requirements.txt; made at the first call.

    Args:
        more: further lines of requirements.
    """
    folder = ENVIRONMENTS / name
    python, done = folder / "bin" / "python", folder / "requirements.txt"
    wanted = (ROOT / "serving" / "requirements.txt").read_text(encoding="utf-8").rstrip() + "\n" + more
    if not done.is_file() or done.read_text(encoding="utf-8") != wanted:
        print(f"making {folder.relative_to(ROOT)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        given = folder / "wanted.txt"
        given.write_text(wanted, encoding="utf-8")
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(given)], check=True)
        given.rename(done)
    return python


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        ready_s: seconds from its start to the first answer of /ping.
    """

    process: subprocess.Popen[bytes]
    port: int
    ready_s: float

    def ask(self, body: bytes) -> list[dict[str, Any]]:
        """One request on a connection of its own: the records of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            status, answer = post(connection, body)
        finally:
            connection.close()
        assert status == 200, answer
        found: list[dict[str, Any]] = json.loads(answer)["predictions"]
        return found

    def memory_mb(self) -> float:
        """Proportional set size of all its processes: what is shared with other processes counts in parts."""
        return self._sum_mb("smaps_rollup", "Pss:")

    def peak_mb(self) -> float:
        """The largest resident set of its processes so far."""
        return self._sum_mb("status", "VmHWM:")

    def _sum_mb(self, name: str, field: str) -> float:
        total = 0
        for path in self.processes():
            with contextlib.suppress(OSError):
                lines = (path / name).read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith(field))
        return total / 1e3

    def open_files(self) -> int:
        """Of all its processes."""
        total = 0
        for path in self.processes():
            with contextlib.suppress(OSError):
                total += len(os.listdir(path / "fd"))
        return total

    def processes(self) -> list[Path]:
        """Folders in /proc of its process group."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if int((path / "stat").read_text().rpartition(")")[2].split()[2]) == self.process.pid:
                    found.append(path)
        return found


@contextlib.contextmanager
def running(
    served: Served,
    *,
    alone: bool = True,
    page: str = "/ping",
    words: Callable[[int], list[str]] | None = None,
    folder: Path | None = None,
) -> Iterator[Server]:
    """Start a server on a free port, wait until it is ready, and end its whole process group.

    Args:
        alone: only the serving process, not the command line that starts it.
        page: what answers when it is ready.
        words: another command, by port; `folder`: where it runs.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that whoever ends this script ends the server
    command = (words or (served.process if alone else served.command))(port)
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=served.environment, cwd=folder or served.folder.parent, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not answers(port, page):
            assert process.poll() is None, f"{command} ended with {process.returncode}"
            assert time.perf_counter() - start < 120, f"{command} is not ready"
            time.sleep(0.005)
        yield Server(process, port, time.perf_counter() - start)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def compare_answers(ours: Server, peer: Server, smiles: list[str]) -> str:
    """Prove that both servers answer alike.

    Raises:
        AssertionError: if they do not.
    """
    asked = smiles[:512]
    found = [[row["logS"] for row in server.ask(request_of(asked))] for server in (ours, peer)]
    difference = float(np.abs(np.subtract(*found)).max())
    assert difference < 1e-4, difference
    return f"{len(asked)} molecules, answers differ by at most {difference:.0e} log(mol/L)"


def answers(port: int, page: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", page)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def post(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes]:
    """Post one request on a connection that stays open: status and body of the answer."""
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, response.read()


def request_of(smiles: list[str]) -> bytes:
    return json.dumps({"dataframe_records": [{"smiles": one} for one in smiles]}).encode()


def read_smiles() -> list[str]:
    """The molecules of the built-in solubility set."""
    with open(ROOT / "data" / "solubility.csv", encoding="utf-8", newline="") as file:
        return [row["smiles"] for row in csv.DictReader(file)]
