"""Accuracy at the speed of bench.training: our D-MPNN and chemprop, equally large, same schedule and epochs.

    python -m bench.accuracy_speed [--peers .venv-peers/bin/python] [--seeds 0 1 2 3 4]

Shipped split of solubility. A seed that was run again replaces what the result holds of it.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.accuracy import train_ours
from bench.measure import RESULTS, ROOT, Result, compare_pairs, figure, peer_program, read_result, write_result
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.dataset.split import TEST, TRAIN, VALIDATION
from pipeline.store.build import build_store
from pipeline.store.store import Store

SUBJECT, EPOCHS, LEARNING_RATE = "accuracy-speed", 50, 1e-3
OURS = ["hidden_dim=300", "num_layers=3", f"max_epochs={EPOCHS}", f"learning_rate={LEARNING_RATE}"]
RESAMPLES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=".venv-peers/bin/python", help="Python of the environment with chemprop")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4], help="none: report again")
    arguments = parser.parse_args()
    if arguments.seeds:
        peer_program(arguments.peers, parser)
    known = {row["seed"]: row for row in read_result(SUBJECT)["rows"]} if (RESULTS / f"{SUBJECT}.json").exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = PrepareConfig(data="solubility")
        store = build_store(config, find_source(config, ROOT, folder), folder / "store", "", lambda n: n)
        y = store.arrays.y[store.indices(TEST), 0].astype(float)
        for seed in arguments.seeds:
            known[seed] = train_both(store, seed, arguments.peers, folder)
            print({who: round(rmse(y, np.array(known[seed][who])), 4) for who in ("ours", "peer")}, flush=True)
    report([known[seed] for seed in sorted(known)], y)


def train_both(store: Store, seed: int, peers: str, folder: Path) -> dict[str, Any]:
    """Answers of both to the test side, in order, and the seconds they trained."""
    import torch

    torch.set_num_threads(1)
    start = time.perf_counter()
    ours = train_ours(store, TEST, seed, OURS, folder / f"ours-{seed}")
    middle = time.perf_counter()
    peer = train_peer(store, seed, peers, folder / f"peer-{seed}")
    seconds = [round(middle - start, 1), round(time.perf_counter() - middle, 1)]
    return {"seed": seed, "ours": ours.round(5).tolist(), "peer": np.round(peer, 5).tolist(), "seconds": seconds}


def train_peer(store: Store, seed: int, peers: str, folder: Path) -> list[float]:
    folder.mkdir()
    for name, side in (("train", TRAIN), ("val", VALIDATION), ("test", TEST)):
        chosen = store.indices(side)
        with (folder / f"{name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["smiles", "y"])
            writer.writerows(zip(store.ids(chosen), store.arrays.y[chosen, 0].tolist(), strict=True))
    (folder / "task.json").write_text(json.dumps({"epochs": EPOCHS, "learning_rate": LEARNING_RATE}))
    command = [peers, "-W", "ignore", "-m", "bench.peer_chemprop", "one-cycle", str(folder), str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"chemprop ended with code {done.returncode}:\n{done.stderr[-2000:]}")
    answers: list[float] = json.loads((folder / "answers.json").read_text())
    return answers


def report(rows: list[dict[str, Any]], y: np.ndarray) -> None:
    """Write the result; its rows hold every answer, so that seeds may be added and the bootstrap be repeated."""
    ours, peer = (np.array([row[who] for row in rows]) for who in ("ours", "peer"))  # (S, K)
    low, high = bootstrap(y, ours, peer)
    mean = float(np.mean([rmse(y, a) - rmse(y, b) for a, b in zip(ours, peer, strict=True)]))
    verdict = "better" if high < 0 else "not worse" if mean <= 0 else "worse" if low > 0 else "not told apart"
    print(f"RMSE ours − chemprop: {mean:+.4f} ({low:+.4f} to {high:+.4f}): {verdict}")
    error = [[rmse(y, one) for one in side] for side in (ours, peer)]
    what = f"test RMSE, solubility, shipped split, {len(rows)} seeds, {EPOCHS} epochs, 300 × 3, one cycle up to 1e-3"
    write_result(
        Result(
            subject=SUBJECT,
            title="Accuracy at that speed",
            command="python -m bench.accuracy_speed",
            claims=[
                compare_pairs(what, "chemprop 2.3.1", *error, unit="log mol/L", goal="not worse (aim: better)"),
                figure("seconds of a whole training, ours", [row["seconds"][0] for row in rows], "s"),
                figure("seconds of a whole training, chemprop (with its start)", [r["seconds"][1] for r in rows], "s"),
            ],
            same="same training, validation and test molecules, epochs, batch size, schedule and highest learning "
            "rate; the epoch is chosen on validation; chemprop's model and Adam are its defaults, ours AdamW.",
            notes=[
                f"Mean RMSE, ours − chemprop: {mean:+.4f}; paired bootstrap over test molecules and seeds "
                f"({RESAMPLES} times), 95 %: {low:+.4f} to {high:+.4f}: {verdict}."
            ],
        )
    )
    path = RESULTS / f"{SUBJECT}.json"
    path.write_text(json.dumps({**read_result(SUBJECT), "rows": rows}) + "\n", encoding="utf-8")


def bootstrap(y: np.ndarray, ours: np.ndarray, peer: np.ndarray) -> tuple[float, float]:
    """95 % interval of the difference of mean RMSE; molecules and seeds are drawn with replacement, for both alike."""
    rng = np.random.default_rng(0)
    squared = (ours - y) ** 2, (peer - y) ** 2
    found = []
    for _ in range(RESAMPLES):
        seeds, molecules = rng.integers(len(ours), size=len(ours)), rng.integers(len(y), size=len(y))
        a, b = (np.sqrt(one[seeds][:, molecules].mean(axis=1)).mean() for one in squared)
        found.append(a - b)
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def rmse(y: np.ndarray, answers: np.ndarray) -> float:
    return float(np.sqrt(np.mean((answers - y) ** 2)))


if __name__ == "__main__":
    main()
