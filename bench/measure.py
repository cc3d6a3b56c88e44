"""Ours and a peer timed in turn, and what came out kept as one JSON file a subject.

A subject's script builds both sides on the same data, proves that they compute the same thing, times them as
interleaved pairs (A B A B …) and calls `write_result`. `python -m bench.report` turns all results into RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline.machine import commit, environment

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "bench" / "results"


def peer_program(text: str, parser: argparse.ArgumentParser) -> str:
    """A program of the environment of the peers; a missing one ends the bench in one line."""
    if not Path(text).is_file():
        parser.error(f"{text} is not there. Peers live in an environment of their own: run `make .venv-peers/.done`.")
    return text


@dataclass(frozen=True)
class Spread:
    """Median, smallest and largest of several measurements."""

    median: float
    min: float
    max: float
    n: int

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclass(frozen=True)
class Claim:
    """One figure.

    Attributes:
        what: the figure in words, with sizes.
        unit: of `ours` and `peer`: `s`, `ms`, `MB`, `B`, `1/s` …
        threads: computing threads of each side.
        against: the peer; None where the figure stands alone.
        ratio: how many times better ours is, each pair by itself; None where the figure stands alone.
        goal: what was aimed at, in words.
    """

    what: str
    unit: str
    ours: Spread
    threads: int = 1
    against: str | None = None
    peer: Spread | None = None
    ratio: Spread | None = None
    goal: str = ""


@dataclass(frozen=True)
class Result:
    """What a subject's page shows.

    Attributes:
        same: how it was proved that both sides compute the same thing.
        floor: what this machine allows, and how far from it we are; one sentence each.
        profile: part of the work -> its share of ours (0 to 1).
        notes: what a reader must know.
    """

    subject: str
    title: str
    command: str
    claims: list[Claim]
    same: str
    floor: list[str] = field(default_factory=list)
    profile: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def time_pairs(
    ours: Callable[[], object],
    peer: Callable[[], object],
    rounds: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[list[float], list[float]]:
    """Call both in turn, `rounds` times after one untimed call each.

    Returns:
        Seconds of ours and of the peer, pair by pair.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        for call, found in zip((ours, peer), times, strict=True):
            start = clock()
            call()
            if turn:
                found.append(clock() - start)
    return times


def compare_pairs(
    what: str, against: str, ours: list[float], peer: list[float], *, unit: str = "s", threads: int = 1,
    goal: str = "", more_is_better: bool = False,
) -> Claim:  # fmt: skip
    """Make a claim from paired measurements; its ratio is above 1 where ours is better."""
    ratios = [a / b if more_is_better else b / a for a, b in zip(ours, peer, strict=True)]
    claim = Claim(what, unit, Spread.of(ours), threads, against, Spread.of(peer), Spread.of(ratios), goal)
    print(
        f"{what}: {claim.ratio.median:.2f}× ({claim.ratio.min:.2f}–{claim.ratio.max:.2f}) against {against}", flush=True
    )  # type: ignore[union-attr]
    return claim


def figure(what: str, values: list[float], unit: str, *, threads: int = 1, goal: str = "") -> Claim:
    """Make a claim that stands alone."""
    found = Spread.of(values)
    print(f"{what}: {found.median:.4g} {unit} ({found.min:.4g}–{found.max:.4g})", flush=True)
    return Claim(what, unit, found, threads, goal=goal)


def write_result(result: Result) -> None:
    """Write bench/results/<subject>.json with the machine, the versions and the commit."""
    facts = {
        **asdict(result),
        "commit": commit(ROOT),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": {**environment(), "processor": processor()},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{result.subject}.json"
    path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}", flush=True)


def read_result(subject: str) -> dict[str, Any]:
    """A result as `write_result` left it."""
    found: dict[str, Any] = json.loads((RESULTS / f"{subject}.json").read_text(encoding="utf-8"))
    return found


def use_threads(count: int) -> None:
    """Let torch compute with `count` threads."""
    import torch

    torch.set_num_threads(count)


def processor() -> str:
    """Name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, in MB."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes / (1e6 if platform.system() == "Darwin" else 1e3)


def private_memory_mb(pid: int | None = None) -> float:
    """Memory that only this process holds and no file backs, in MB (Linux: RssAnon)."""
    status = Path(f"/proc/{pid or os.getpid()}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")) / 1e3
