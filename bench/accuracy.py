"""Accuracy of the default network beside chemprop and the forest: same molecules, same splits, several seeds.

    python -m bench.accuracy solubility --seeds 0 1 2 --who graphline forest
    python -m bench.accuracy bbbp --split random --split_seeds 0 1 2
    python -m bench.accuracy bbbp --split scaffold --split_seeds 0 1 2
    python -m bench.accuracy bbbp --split scaffold --split_seeds 0 1 2 --who graphline --with forest

Writes bench/results/accuracy-<data>-<split>.json; a row replaces the one of the same answerer, split and seed.
The peer is chemprop 2.3.1 with its defaults (`pip install chemprop==2.3.1` into an environment of its own), 50 epochs
on solubility, 30 on bbbp.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import peer_program
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.dataset.split import SIDES, TEST, TRAIN, VALIDATION
from pipeline.evaluation.metrics import METRICS, score_target
from pipeline.evaluation.predictions import fit_store_baselines
from pipeline.machine import commit, environment
from pipeline.store.build import build_store
from pipeline.store.store import Store

ROOT = Path(__file__).parent.parent
WHO = ("graphline", "chemprop", "forest")
EPOCHS = {"solubility": 50, "bbbp": 30}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=EPOCHS)
    parser.add_argument("--split")
    parser.add_argument("--split_seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--who", nargs="+", choices=WHO, default=list(WHO))
    parser.add_argument("--peer", type=Path, default=".venv-peers/bin/chemprop", help="chemprop's program")
    parser.add_argument("--side", choices=SIDES, default="test", help="validation: for choosing settings")
    parser.add_argument("--with", dest="more", choices=("descriptors", "forest"), help="for ours; kept as graphline+…")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="training settings")
    arguments = parser.parse_args()
    if "chemprop" in arguments.who:
        peer_program(str(arguments.peer), parser)
    rows = []
    for split_seed in arguments.split_seeds:
        with tempfile.TemporaryDirectory() as folder:
            more = {arguments.more: True} if arguments.more else {}
            config = PrepareConfig(data=arguments.data, split=arguments.split, split_seed=split_seed, **more)
            store = build_store(
                config, find_source(config, ROOT, Path(folder)), Path(folder) / "store", "", lambda n: n
            )
            rows += compare(store, arguments, split_seed, Path(folder))
    report(rows, arguments)


def compare(store: Store, arguments: argparse.Namespace, split_seed: int, folder: Path) -> list[dict[str, Any]]:
    """Train ours and the peer in turn on one split, seed by seed; the forest once."""
    side = SIDES.index(arguments.side)
    rows = []
    target = store.schema.targets[0].name
    for seed in arguments.seeds:
        for who in arguments.who:
            started = time.monotonic()
            if who == "graphline":
                who += f"+{arguments.more}" if arguments.more else ""
                answers = train_ours(store, side, seed, arguments.set, folder / f"ours-{seed}")
            elif who == "chemprop":
                epochs = EPOCHS[arguments.data]
                answers = train_peer(store, side, seed, epochs, arguments.peer.absolute(), folder / f"peer-{seed}")
            elif seed == arguments.seeds[0]:  # it has no seed worth varying
                answers = fit_store_baselines(store, [side])[0][side]["forest"][target]
            else:
                continue
            rows.append(row(store, side, who, split_seed, seed, answers, time.monotonic() - started))
    return rows


def row(
    store: Store, side: int, who: str, split_seed: int, seed: int, answers: np.ndarray, seconds: float
) -> dict[str, Any]:
    target = store.schema.targets[0]
    y = store.tensors["graphs", "y"][store.indices(side)].numpy()[:, 0]
    scores = {name: score.value for name, score in score_target(target, y, answers, resamples=1).items()}
    headline = scores["rmse" if target.kind == "regression" else "roc_auc"]
    print(f"{who:10} split_seed {split_seed} seed {seed}: {headline:.4f}  ({seconds:.0f} s)", flush=True)
    return {"who": who, "split_seed": split_seed, "seed": seed, "seconds": round(seconds, 1), **scores}


def train_ours(store: Store, side: int, seed: int, settings: list[str], folder: Path) -> np.ndarray:
    """Our answers for one side, on the trained scale or as probabilities."""
    import torch

    from pipeline.network.ensemble import Ensemble
    from pipeline.network.network import INPUTS
    from pipeline.store.loader import gather
    from pipeline.training.train import load_networks, train
    from steps.train import parse

    config = parse([*(f"--{setting}" for setting in settings), "--seed", str(seed), "--prepare_run", "none"]).config
    train(store, config, folder)
    ensemble = Ensemble(load_networks(folder, store.schema, store.statistics), store.schema).eval()
    answers = []
    with torch.no_grad():
        for ids in np.array_split(store.indices(side), max(1, len(store.indices(side)) // 256)):
            batch = gather(store, ids)
            made = ensemble(*(batch[name] for name in INPUTS))
            answers.append((made if isinstance(made, torch.Tensor) else made[0]).numpy())
    return np.concatenate(answers)[:, 0]


def train_peer(store: Store, side: int, seed: int, epochs: int, program: Path, folder: Path) -> np.ndarray:
    """chemprop's answers, trained on the same sides with its own defaults."""
    folder.mkdir(parents=True)
    names = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
    kind = {"regression": "regression", "binary": "classification"}[store.schema.targets[0].kind]
    y = store.tensors["graphs", "y"].numpy()[:, 0]
    with open(folder / "all.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["smiles", "y", "split"])
        for code, name in names.items():
            chosen = store.indices(code)
            writer.writerows([smiles, label, name] for smiles, label in zip(store.ids(chosen), y[chosen], strict=True))
    chosen = store.indices(side)
    with open(folder / "ask.csv", "w", newline="") as file:
        csv.writer(file).writerows([["smiles"], *([smiles] for smiles in store.ids(chosen))])
    common = ["--smiles-columns", "smiles", "--accelerator", "cpu", "--num-workers", "0"]
    subprocess.run(
        [program, "train", "-i", "all.csv", "--target-columns", "y", "--splits-column", "split", "--task-type", kind,
         "--epochs", str(epochs), "--pytorch-seed", str(seed), "--save-dir", "out", *common],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(
        [program, "predict", "-i", "ask.csv", "-o", "answers.csv", "--model-paths", "out/model_0/best.pt", *common],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    with open(folder / "answers.csv", newline="") as file:
        answers = list(csv.DictReader(file))
    column = next(name for name in answers[0] if name.startswith(("y", "pred")))
    return np.array([float(answer[column]) for answer in answers])


def report(rows: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    """Print mean and spread per answerer; keep test results with machine, versions and commit."""
    metric = next(one.name for one in METRICS.values() if one.leads and one.name in rows[0])
    for found in rows:
        found |= {"commit": commit(ROOT), "settings": arguments.set if found["who"].startswith("graphline") else []}
    path = ROOT / "bench" / "results" / f"accuracy-{arguments.data}-{arguments.split or 'given'}.json"
    if arguments.side == "test" and path.exists():
        new = {(row["who"], row["split_seed"], row["seed"]) for row in rows}
        old = json.loads(path.read_text())["rows"]
        rows = [row for row in old if (row["who"], row["split_seed"], row["seed"]) not in new] + rows
    summary = {}
    for who in dict.fromkeys(row["who"] for row in rows):
        values = [row[metric] for row in rows if row["who"] == who]
        summary[who] = {"mean": statistics.mean(values), "min": min(values), "max": max(values), "n": len(values)}
        print(f"{who:10} {metric} mean {summary[who]['mean']:.4f}  ({min(values):.4f} to {max(values):.4f})")
    if arguments.side == "test":
        path.parent.mkdir(exist_ok=True)
        facts = {"metric": metric, "summary": summary, "rows": rows, "environment": environment()}
        path.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
