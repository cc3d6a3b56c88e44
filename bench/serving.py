"""Answers per second and 99th percentile of `mlflow models serve`: our bundle beside the same network as torch pyfunc.

    python -m bench.serving            # about six minutes
    python -m bench.serving --quick    # the same path in a minute; writes nothing

Both servers run for the whole time; while one is asked the other waits. Clients are threads of this process with
connections that stay open.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.measure import ROOT, Claim, Result, compare_pairs, figure, write_result
from bench.servers import (
    Served,
    Server,
    build_empty,
    build_models,
    compare_answers,
    post,
    read_smiles,
    request_of,
    running,
)

SIZES, CLIENTS = (1, 256), (1, 16)
GOAL = {1: "at least 1.5×, aim 3×", 256: "at least 2×, aim 3×"}
PEER = "torch pyfunc"


class Load(NamedTuple):
    """What a stretch of load came to: molecules answered a second, 99th percentile of the requests in ms."""

    rate: float
    p99: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    rounds, seconds = (1, 0.5) if quick else (9, 4.0)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ours, peer = build_models(Path(folder))
        empty = build_empty(Path(folder) / "empty")
        smiles = read_smiles()
        with running(ours, alone=False) as server, running(peer, alone=False) as other:
            same = compare_answers(server, other, smiles)
            claims = [
                claim
                for size in SIZES
                for clients in CLIENTS
                for claim in load_pairs(server, other, smiles, size, clients, rounds, seconds)
            ]
        with running(empty, alone=False) as server:
            claims += [claim for clients in CLIENTS for claim in load_empty(server, smiles, clients, rounds, seconds)]
        times = profile(ours, smiles[:1024], Path(folder), 1 if quick else 7)
        alone = profile(ours, smiles[:1], Path(folder), 20 if quick else 300)
    outside = [
        100 * (1 - (parse + network) / whole)
        for whole, parse, network in zip(times["invocations"], times["parse"], times["network"], strict=True)
    ]
    claims.append(
        figure("of a request of 1024 molecules, outside RDKit's parsing and the network", outside, "%",
               goal="at most 25 %, aim 10 %")
    )  # fmt: skip
    if quick:
        return
    write_result(
        Result(
            "serving", "Serving", "python -m bench.serving", claims, same=same, floor=floors(times, alone),
            profile=shares(times),
            notes=[
                "Requests are `dataframe_records`; a server is one process, started by `mlflow models serve`; one "
                "computing thread each. Ours runs in the environment of serving/requirements.txt, the peer in the "
                "project's, without uvloop and httptools, which its own requirements do not bring.",
                "The peer is bench/torch_model.py: RDKit atom by atom as in PyG's from_smiles, `Batch.from_data_list`, "
                "the same weights in torch eager under inference_mode. It does not check its input, and a molecule "
                "that RDKit cannot read fails its whole request.",
                "The clients share the two cores with the server.",
            ],
        )
    )  # fmt: skip


def load_pairs(
    ours: Server, peer: Server, smiles: list[str], size: int, clients: int, rounds: int, seconds: float
) -> list[Claim]:
    """Load both in turn with requests of `size` molecules from so many clients."""
    bodies = bodies_of(smiles, size)
    loads: tuple[list[Load], list[Load]] = ([], [])
    for turn in range(rounds + 1):
        for server, found in zip((ours, peer), loads, strict=True):
            load = put_load(server, bodies, clients, seconds if turn else 0.5, size)
            if turn:
                found.append(load)
    what = f"requests of {size} from {clients} client{'s' if clients > 1 else ''}"
    rates = [[load.rate for load in found] for found in loads]
    tails = [[load.p99 for load in found] for found in loads]
    return [
        compare_pairs(f"{what}: answers", PEER, *rates, unit="1/s", goal=GOAL[size], more_is_better=True),
        compare_pairs(f"{what}: 99th percentile", PEER, *tails, unit="ms", goal=GOAL[size]),
    ]


def bodies_of(smiles: list[str], size: int) -> list[bytes]:
    """Different requests of so many molecules."""
    return [request_of(smiles[start : start + size]) for start in range(0, len(smiles) - size, max(size, 16))]


def load_empty(server: Server, smiles: list[str], clients: int, rounds: int, seconds: float) -> list[Claim]:
    """What MLflow's server answers by itself: its share of the time of any model."""
    bodies = [request_of([one]) for one in smiles]
    put_load(server, bodies, clients, 0.5, 1)
    loads = [put_load(server, bodies, clients, seconds, 1) for _ in range((rounds + 1) // 2)]
    what = f"MLflow's server with an empty model, requests of 1 from {clients} client{'s' if clients > 1 else ''}"
    return [
        figure(f"{what}: answers", [load.rate for load in loads], "1/s"),
        figure(f"{what}: 99th percentile", [load.p99 for load in loads], "ms"),
    ]


def put_load(server: Server, bodies: list[bytes], clients: int, seconds: float, size: int) -> Load:
    """Ask without a pause from `clients` threads until the time is over; every request is waited for."""
    end = time.perf_counter() + seconds
    latencies: list[list[float]] = [[] for _ in range(clients)]

    def work(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        turn = client
        while time.perf_counter() < end:
            start = time.perf_counter()
            status, answer = post(connection, bodies[turn % len(bodies)])
            latencies[client].append(time.perf_counter() - start)
            assert status == 200, answer[:500]
            turn += clients
        connection.close()

    threads = [threading.Thread(target=work, args=(client,)) for client in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - start
    pooled = [one for some in latencies for one in some]
    assert all(latencies), "a client got no answer"
    return Load(size * len(pooled) / taken, 1e3 * float(np.quantile(pooled, 0.99)))


def profile(served: Served, smiles: list[str], folder: Path, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of the parts of one request, as bench/request_profile.py takes them."""
    request = folder / "request.json"
    request.write_bytes(request_of(smiles))
    done = subprocess.run(
        [served.python, "-P", ROOT / "bench" / "request_profile.py", served.folder, request, str(rounds)],
        cwd=folder, env=served.environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    times: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return times


def shares(times: dict[str, list[float]]) -> dict[str, float]:
    """Shares of a request of 1024 molecules inside the server's function."""
    whole, predict, featurize, parse, network = (statistics.median(found) for found in times.values())
    parts = {
        "RDKit's parsing": parse,
        "the rest of the featurizer": featurize - parse,
        "network": network,
        "our checks, batches and answer table": predict - featurize - network,
        "MLflow: JSON, schema, pandas": whole - predict,
    }
    return {name: round(max(0.0, part / whole), 3) for name, part in parts.items()}


def floors(times: dict[str, list[float]], alone: dict[str, list[float]]) -> list[str]:
    """What bounds both sides."""
    whole, predict, featurize, _, network = (statistics.median(found) for found in alone.values())
    parse, large = statistics.median(times["parse"]), statistics.median(times["invocations"])
    return [
        f"One molecule takes {whole:.1f} ms inside the server's function, of which {whole - predict:.1f} ms are "
        f"MLflow's own (JSON, schema, tables), which the peer pays too; featurizer {featurize:.2f} ms, network "
        f"{network:.2f} ms. HTTP comes on top.",
        f"1024 molecules take {large:.0f} ms, of which RDKit parses for {parse:.0f} ms.",
    ]


if __name__ == "__main__":
    main()
