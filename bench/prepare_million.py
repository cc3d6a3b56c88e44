"""Peak memory of `prepare` for a million molecules, all processes together.

python -m bench.prepare_million            # about five minutes
"""

from __future__ import annotations

import argparse
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from bench.measure import Result, figure, write_result
from bench.prepare import build, write_molecules

PROCESSES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few molecules, nothing is written")
    quick = parser.parse_args().quick
    count = 10_000 if quick else 1_000_000
    context = get_context("spawn")  # a fresh process: the memory of this one is not counted
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_molecules(folder / "many.csv", count, seed=2)
        answers = context.Queue()
        start = time.perf_counter()
        child = context.Process(target=prepare, args=(folder, answers))
        child.start()
        assert child.pid is not None
        peak, at_peak = 0.0, list[float]()
        while child.is_alive():
            sizes = [pss_mb(pid) for pid in family(child.pid)]
            if sum(sizes) > peak:
                peak, at_peak = sum(sizes), sizes
            time.sleep(0.2)
        seconds = time.perf_counter() - start
        graphs, groups, merged, size_bytes = answers.get()
    claims = [
        figure(
            f"peak memory of all processes, {count:,} molecules, {PROCESSES} at work", [peak], "MB",
            threads=PROCESSES, goal="at most 1500 MB, aim 800 MB",
        ),
        figure(f"time for {count:,} molecules, start to end", [seconds], "s", threads=PROCESSES),
        figure("size of the store, a molecule", [size_bytes / graphs], "B"),
    ]  # fmt: skip
    if quick:
        return
    result = Result(
        subject="prepare_million",
        title="Memory of preparing a million molecules",
        command="python -m bench.prepare_million",
        claims=claims,
        same=f"{graphs:,} graphs in {groups:,} groups came out; {merged:,} rows were merged as replicates.",
        floor=[
            f"At the peak the main process held {at_peak[0]:.0f} MB and each other one "
            f"{max(at_peak[1:], default=0):.0f} MB at most. Of each molecule its keys, label, side and row number stay "
            f"in memory, about 70 bytes: {70 * count / 1e6:.0f} MB; graphs and SMILES go through files.",
        ],
        notes=[
            "Memory is the sum of the proportional set sizes (PSS: shared pages count once) of the main process and "
            f"all below it, sampled five times a second; {len(at_peak)} processes were there at the peak.",
            "Molecules are pairs of shipped ones; where a pair comes twice, or the other way round, rows are merged.",
        ],
    )
    write_result(result)


def prepare(folder: Path, answers: object) -> None:
    """Build the store, and tell its graphs, groups, merged rows and bytes."""
    store = build(folder / "many.csv", folder, PROCESSES)
    report = store.manifest["source"]
    size_bytes = sum(file["size_bytes"] for name, file in store.manifest["files"].items() if name.startswith("tensors"))
    facts = (store.num_graphs, sum(report["split"]["groups"].values()), report["replicates"]["merged"], size_bytes)
    answers.put(facts)  # type: ignore[attr-defined]


def family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        lists = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [pid, *(one for children in lists for child in children for one in family(int(child)))]


def pss_mb(pid: int) -> float:
    """Proportional set size of a process; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("Pss:")), 0.0)


if __name__ == "__main__":
    main()
