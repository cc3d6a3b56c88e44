"""How soon a serving process is ready, what memory it holds, and what importing costs: ours beside the torch pyfunc.

python -m bench.startup            # about seven minutes
python -m bench.startup --quick    # one pair of each; writes nothing
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench.measure import ROOT, Claim, Result, Spread, compare_pairs, figure, write_result
from bench.servers import (
    Served,
    build_empty,
    build_models,
    compare_answers,
    read_smiles,
    running,
    serving_python,
)
from bench.serving import bodies_of, put_load

PEER, GOAL = "torch pyfunc", "at least 3×, aim 5×"
SIZE, CLIENTS = 256, 16
MLFLOW = "mlflow.pyfunc.scoring_server"
OURS = "serving.model, pipeline.samples.molecule.featurize"
TORCH = "torch, torch_geometric"
# what serving/model.py imports beside MLflow
MODEL = "serving.deadline, serving.request, serving.session, serving.sharing"
BARE = f"pandas, {MODEL}, pipeline.samples.molecule.featurize"


class Start(NamedTuple):
    ready_s: float
    memory_mb: float
    peak_mb: float | None  # of one that was put under load


FIGURES = (
    ("ready after start", "s", "ready_s"),
    ("memory when ready", "MB", "memory_mb"),
    ("highest memory under load", "MB", "peak_mb"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    rounds, seconds = (1, 2.0) if parser.parse_args().quick else (5, 20.0)
    claims = imports((rounds + 1) // 2)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ours, peer = build_models(Path(folder))
        empty = build_empty(Path(folder) / "empty")
        smiles = read_smiles()
        with running(ours) as server, running(peer) as other:
            same = compare_answers(server, other, smiles)
        bodies = bodies_of(smiles, SIZE)
        claims += starts("serving process", *(partial(start, one, bodies, seconds) for one in (ours, peer)), rounds)
        few = (rounds + 1) // 2
        bare = [start(empty, bodies, seconds) for _ in range(few)]
        claims += starts("`mlflow models serve`, both its processes",
                         *(partial(start, one, alone=False) for one in (ours, peer)), few)  # fmt: skip
    empties = {name: [getattr(one, field) for one in bare] for name, _, field in FIGURES}
    claims += [figure(f"MLflow's server with an empty model: {name}", empties[name], unit) for name, unit, _ in FIGURES]
    if rounds == 1:
        return
    write_result(
        Result(
            "startup", "Start of serving", "python -m bench.startup", claims, same=same, floor=floors(claims, empties),
            notes=[
                "Ours runs in the environment of serving/requirements.txt (mlflow-skinny, no torch), as in production; "
                "the peer in the project's. The serving process is `uvicorn mlflow.pyfunc.scoring_server.app:app`, "
                "which `mlflow models serve` starts after importing MLflow itself, and a container starts at once.",
                "Memory when ready is the proportional set size when /ping first answers 200; under load it is the "
                f"largest resident set while {CLIENTS} clients send requests of {SIZE} for {seconds:g} s.",
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


def start(served: Served, bodies: list[bytes] | None = None, seconds: float = 0.0, *, alone: bool = True) -> Start:
    """Start a server, put it under load if there are requests, and end it."""
    with running(served, alone=alone) as server:
        memory = server.memory_mb()
        if bodies:
            put_load(server, bodies, CLIENTS, seconds, SIZE)
        return Start(server.ready_s, memory, server.peak_mb() if bodies else None)


def starts(what: str, ours: Callable[[], Start], peer: Callable[[], Start], rounds: int) -> list[Claim]:
    """Start both in turn."""
    found = [(ours(), peer()) for _ in range(rounds)]
    claims = []
    for name, unit, field in FIGURES:
        values = [[getattr(one, field) for one in side] for side in zip(*found, strict=True)]
        if None not in values[0]:
            claims.append(compare_pairs(f"{what}: {name}", PEER, values[0], values[1], unit=unit, goal=GOAL))
    return claims


def floors(claims: list[Claim], empties: dict[str, list[float]]) -> list[str]:
    """MLflow's server alone, and what our model adds to it."""
    ours = {claim.what: claim for claim in claims}
    found = []
    for name, unit, _ in FIGURES:
        claim, empty = ours[f"serving process: {name}"], Spread.of(empties[name]).median
        assert claim.peer is not None
        found.append(
            f"{name}: {empty:.3g} {unit} with a model that does nothing, so none behind MLflow can be more than "
            f"{claim.peer.median / empty:.1f}× better than the peer; ours adds "
            f"{claim.ours.median - empty:.2g} {unit} (ONNX Runtime, RDKit, the network)."
        )
    return found


if __name__ == "__main__":
    main()
