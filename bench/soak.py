"""Ten minutes at 80 % load on `serving.app`; then it, plain `mlflow models serve` and LitServe with the same bundle.

    python -m bench.soak            # about twenty minutes
    python -m bench.soak --quick    # the same path in two minutes; writes nothing

The load of the soak is open: requests begin by the clock, whether the last ones are answered or not, and a latency
counts from the moment when its request was due. The comparison is closed, server by server in turn.
"""

from __future__ import annotations

import argparse
import http.client
import itertools
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bench.measure import ROOT, Claim, Result, compare_pairs, figure, write_result
from bench.servers import (
    Served,
    Server,
    build_models,
    compare_answers,
    post,
    read_smiles,
    request_of,
    running,
    serving_python,
)
from pipeline.machine import usable_cores

SIZE, CLIENTS, SHARE = 8, 16, 0.8
GROWTH_MB, GROWTH_FILES = 30, 20
LITSERVE = "litserve==0.2.19"
PLAIN, LIT = "mlflow models serve", "LitServe"


class Load(NamedTuple):
    """What a stretch of load came to.

    Attributes:
        rate: molecules answered a second.
        quantiles: p50, p99 and p999 of the requests in ms.
        errors: requests that were not answered with 200.
    """

    rate: float
    quantiles: tuple[float, float, float]
    errors: int


class Sample(NamedTuple):
    """Memory and open files of a server at a moment."""

    memory_mb: float
    files: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    rounds, seconds, soak_s = (1, 2.0, 15.0) if quick else (7, 20.0, 600.0)
    workers = usable_cores()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, ExitStack() as stack:
        built, _ = build_models(Path(folder))
        servers = start(stack, built, workers)
        smiles = read_smiles()
        app = servers["ours"]
        same = "; ".join(f"{name}: {compare_answers(app, servers[name], smiles)}" for name in (PLAIN, LIT))
        bodies = [request_of(smiles[start : start + SIZE]) for start in range(0, len(smiles) - SIZE, SIZE)]
        claims = compare(servers, bodies, rounds, seconds)
        top = closed_load(app, bodies, seconds).rate
        soaked, before, after = soak(app, bodies, SHARE * top / SIZE, soak_s)
    assert not soaked.errors, f"{soaked.errors} requests of the soak failed"
    assert after.memory_mb < before.memory_mb + GROWTH_MB, (before, after)
    assert after.files < before.files + GROWTH_FILES, (before, after)
    what = f"soak of {soak_s / 60:g} minutes at {SHARE:.0%} load"
    claims += [
        figure(f"{what}: answers", [soaked.rate], "1/s"),
        *(
            figure(f"{what}: {p}", [value], "ms")
            for p, value in zip(("p50", "p99", "p999"), soaked.quantiles, strict=True)
        ),
        figure(f"{what}: growth of memory", [after.memory_mb - before.memory_mb], "MB", goal=f"below {GROWTH_MB}"),
        figure(f"{what}: growth of open files", [after.files - before.files], "files", goal=f"below {GROWTH_FILES}"),
    ]
    if quick:
        return
    write_result(
        Result(
            "soak", "Serving under load", "python -m bench.soak", claims, same=same,
            notes=[
                f"Requests of {SIZE} molecules as `dataframe_records`, {CLIENTS} clients. serving.app and LitServe "
                f"have {workers} workers of one thread, {PLAIN} one process; all serve the same bundle. No request of "
                "the soak failed.",
                "The clients share the cores with the servers.",
            ],
        )
    )  # fmt: skip


def start(stack: ExitStack, built: Served, workers: int) -> dict[str, Server]:
    """All three servers of one bundle, each in an environment of its own kind."""
    deploy = (ROOT / "serving" / "deploy" / "requirements.txt").read_text(encoding="utf-8")
    ours = Served(serving_python("app", deploy), built.folder)
    lit = Served(serving_python("litserve", f"{LITSERVE}\n"), built.folder)

    def app_words(port: int) -> list[str]:
        options = ["--bundle", str(built.folder), "--port", str(port), "--workers", str(workers)]
        return [str(ours.python), "-m", "serving.app", *options]

    def lit_words(port: int) -> list[str]:
        return [str(lit.python), str(ROOT / "bench" / "litserve_server.py"), str(built.folder), str(port), str(workers)]

    return {
        "ours": stack.enter_context(running(ours, page="/ready", words=app_words, folder=ROOT)),
        PLAIN: stack.enter_context(running(built)),
        LIT: stack.enter_context(running(lit, page="/health", words=lit_words)),
    }


def compare(servers: dict[str, Server], bodies: list[bytes], rounds: int, seconds: float) -> list[Claim]:
    """Load all servers in turn."""
    loads: dict[str, list[Load]] = {name: [] for name in servers}
    for turn in range(rounds + 1):
        for name, server in servers.items():
            load = closed_load(server, bodies, seconds if turn else 2.0)
            assert not load.errors, f"{name}: {load.errors} errors"
            if turn:
                loads[name].append(load)
    claims = []
    what = f"requests of {SIZE} from {CLIENTS} clients"
    for peer in (PLAIN, LIT):
        pair = (loads["ours"], loads[peer])
        rates = [[load.rate for load in side] for side in pair]
        claims.append(compare_pairs(f"{what}: answers", peer, *rates, unit="1/s", more_is_better=True))
        for k, quantile in enumerate(("p50", "p99", "p999")):
            times = [[load.quantiles[k] for load in side] for side in pair]
            claims.append(compare_pairs(f"{what}: {quantile}", peer, *times, unit="ms"))
    return claims


def closed_load(server: Server, bodies: list[bytes], seconds: float) -> Load:
    """Each client asks again as soon as it is answered."""
    end = time.perf_counter() + seconds

    def due(number: int) -> float | None:
        now = time.perf_counter()
        return now if now < end else None

    return _load(server, bodies, due)


def soak(server: Server, bodies: list[bytes], rate: float, seconds: float) -> tuple[Load, Sample, Sample]:
    """Requests begin `rate` times a second; memory and files after the first tenth and at the end."""
    samples: list[Sample] = []
    begin = time.perf_counter()

    def watch() -> None:
        for moment in (0.1 * seconds, seconds - 1):
            time.sleep(max(0.0, begin + moment - time.perf_counter()))
            samples.append(Sample(server.memory_mb(), server.open_files()))

    def due(number: int) -> float | None:
        moment = number / rate
        return begin + moment if moment < seconds else None

    watcher = threading.Thread(target=watch)
    watcher.start()
    load = _load(server, bodies, due)
    watcher.join()
    return load, samples[0], samples[1]


def _load(server: Server, bodies: list[bytes], due: Callable[[int], float | None]) -> Load:
    """Ask from all clients; `due` says when a request begins, or None when it is over."""
    numbers = itertools.count()
    latencies: list[list[float]] = [[] for _ in range(CLIENTS)]
    errors = [0] * CLIENTS

    def work(client: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
        while (moment := due(number := next(numbers))) is not None:
            time.sleep(max(0.0, moment - time.perf_counter()))
            status, _ = post(connection, bodies[number % len(bodies)])
            latencies[client].append(time.perf_counter() - moment)
            errors[client] += status != 200
        connection.close()

    threads = [threading.Thread(target=work, args=(client,)) for client in range(CLIENTS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = time.perf_counter() - start
    pooled = 1e3 * np.array([one for some in latencies for one in some])
    assert len(pooled), "no client got an answer"
    p50, p99, p999 = (float(q) for q in np.quantile(pooled, (0.5, 0.99, 0.999)))
    return Load(SIZE * len(pooled) / taken, (p50, p99, p999), sum(errors))


if __name__ == "__main__":
    main()
