"""How soon a serving process is ready, what memory it holds, and what importing costs: ours beside the torch pyfunc.

python -m bench.startup            # about three minutes
python -m bench.startup --quick    # one pair of each; writes nothing
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench.measure import ROOT, Claim, Result, Spread, compare_pairs, figure, write_result
from bench.servers import (
    Served,
    build_empty,
    build_models,
    compare_answers,
    read_smiles,
    request_of,
    running,
    serving_python,
)

PEER = "torch pyfunc"
MLFLOW = "mlflow.pyfunc.scoring_server"
OURS = "serving.model, pipeline.featurize"
TORCH = "torch, torch_geometric"
# what serving/model.py imports beside MLflow
BARE = "pandas, serving.deadline, serving.request, serving.session, serving.sharing, pipeline.featurize"


class Start(NamedTuple):
    ready_s: float
    memory_mb: float
    used_mb: float  # memory after some requests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    rounds = 1 if parser.parse_args().quick else 5
    claims = imports((rounds + 1) // 2)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ours, peer = build_models(Path(folder))
        empty = build_empty(Path(folder) / "empty", ours.python)
        smiles = read_smiles()
        with running(ours) as server, running(peer) as other:
            same = compare_answers(server, other, smiles)
        bodies = [request_of(smiles[start : start + 256]) for start in range(0, 1024, 256)]
        claims += starts("serving process", lambda: start(ours, bodies), lambda: start(peer, bodies), rounds)
        bare = [start(empty, []) for _ in range(max(1, rounds // 2))]
        whole = max(1, rounds // 2)
        claims += starts("`mlflow models serve`, both its processes",
                         lambda: start(ours, [], alone=False), lambda: start(peer, [], alone=False), whole)  # fmt: skip
    claims.append(figure("MLflow's server with an empty model: ready", [one.ready_s for one in bare], "s"))
    claims.append(figure("MLflow's server with an empty model: memory", [one.memory_mb for one in bare], "MB"))
    if rounds == 1:
        return
    write_result(
        Result(
            "startup", "Start of serving", "python -m bench.startup", claims, same=same, floor=floors(claims, bare),
            notes=[
                "Ours runs in the environment of serving/requirements.txt (mlflow-skinny, no torch), as in production; "
                "the peer in the project's. The serving process is `uvicorn mlflow.pyfunc.scoring_server.app:app`, "
                "which `mlflow models serve` starts after importing MLflow itself, and a container starts at once.",
                "Memory is the proportional set size, when /ping first answers 200 and after four requests of 256.",
            ],
        )
    )  # fmt: skip


def imports(rounds: int) -> list[Claim]:
    """Fresh processes, one of each before that are not counted: the files are in memory then."""
    skinny, full = serving_python(), Path(sys.executable)
    pairs = {
        "importing what serving/model.py needs, MLflow aside": ((skinny, "", BARE), (full, "", TORCH), "torch and PyG"),
        "the same, MLflow included in ours alone": ((skinny, "", OURS), (full, "", TORCH), "torch and PyG"),
        "the same in a process that has imported MLflow's server, as both do": (
            (skinny, MLFLOW, OURS),
            (full, MLFLOW, TORCH),
            "torch and PyG there",
        ),
    }
    claims = []
    for what, (ours, peer, against) in pairs.items():
        times: tuple[list[float], list[float]] = ([], [])
        for turn in range(rounds + 1):
            for (python, before, modules), found in zip((ours, peer), times, strict=True):
                seconds = import_seconds(python, before, modules)
                if turn:
                    found.append(seconds)
        claims.append(compare_pairs(what, against, *times, goal="at least 5×, aim 10×"))
    return claims


def import_seconds(python: Path, before: str, modules: str) -> float:
    """Seconds of `import modules` in a fresh process that has imported `before`; Python's own start is not in it."""
    code = (
        f"import time\n{f'import {before}' if before else ''}\nstart = time.perf_counter()\n"
        f"import {modules}\nprint(time.perf_counter() - start)"
    )
    done = subprocess.run(
        [python, "-W", "ignore", "-c", code],
        cwd=ROOT,
        env=Served(python, ROOT).environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout.splitlines()[-1])


def start(served: Served, bodies: list[bytes], *, alone: bool = True) -> Start:
    """Start a server, ask it a few times and end it."""
    with running(served, alone=alone) as server:
        memory = server.memory_mb()
        for body in bodies:
            server.ask(body)
        return Start(server.ready_s, memory, server.memory_mb())


def starts(what: str, ours: Callable[[], Start], peer: Callable[[], Start], rounds: int) -> list[Claim]:
    """Start both in turn."""
    found: tuple[list[Start], list[Start]] = ([], [])
    for _ in range(rounds):
        for call, some in zip((ours, peer), found, strict=True):
            some.append(call())

    def of(field: str) -> list[list[float]]:
        return [[getattr(one, field) for one in some] for some in found]

    claims = [
        compare_pairs(f"{what}: ready after start", PEER, *of("ready_s"), goal="at least 3×, aim 5×"),
        compare_pairs(f"{what}: memory when ready", PEER, *of("memory_mb"), unit="MB", goal="at least 3×, aim 5×"),
    ]
    if any(one.used_mb != one.memory_mb for one in found[0]):
        claims.append(compare_pairs(f"{what}: memory after requests", PEER, *of("used_mb"), unit="MB"))
    return claims


def floors(claims: list[Claim], bare: list[Start]) -> list[str]:
    """MLflow's server alone, and what our model adds to it."""
    ready, memory = (Spread.of([getattr(one, name) for one in bare]).median for name in ("ready_s", "memory_mb"))
    ours = {claim.what: claim for claim in claims}
    found = [ours[f"serving process: {name}"] for name in ("ready after start", "memory when ready")]
    peers = [claim.peer.median for claim in found if claim.peer]
    return [
        f"MLflow's server with a model that does nothing is ready after {ready:.1f} s and holds {memory:.0f} MB "
        f"(MLflow, FastAPI, pandas, pyarrow): no model behind it can be more than {peers[0] / ready:.1f}× sooner or "
        f"{peers[1] / memory:.1f}× smaller than the peer. Ours adds {found[0].ours.median - ready:.1f} s and "
        f"{found[1].ours.median - memory:.0f} MB (ONNX Runtime, RDKit, the network)."
    ]


if __name__ == "__main__":
    main()
