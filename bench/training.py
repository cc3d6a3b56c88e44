"""An epoch of training: our D-MPNN beside chemprop's, our GINE beside the same network from PyG's layers.

    python -m bench.training [--peers .venv-peers/bin/python] [--quick]

Every side is a process of its own that rests while another works; all train under Lightning on the same molecules in
the same batches of 64 (bench.sides, bench.peer_chemprop).
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch

from bench.epochs import Side
from bench.measure import (
    ROOT,
    Claim,
    Result,
    compare_pairs,
    peer_program,
    time_pairs,
    use_threads,
    write_result,
)
from bench.sides import DMPNN, GINE, PygNetwork, build_ours, pyg_loader, train_loader
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.network import layers as layers_of
from pipeline.network.forms.equal_rows import Rows, group_rows, to_tensors
from pipeline.network.forms.table import compute
from pipeline.store.build import build_store
from pipeline.store.store import Store
from pipeline.training.config import TrainConfig

DATA = {"bbbp": "1024 molecules of 25 atoms", "solubility": "915 molecules of 13 atoms"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default=".venv-peers/bin/python", help="Python of the environment with chemprop")
    parser.add_argument("--quick", action="store_true", help="one round on the smaller data; nothing is written")
    arguments = parser.parse_args()
    peer_program(arguments.peers, parser)
    rounds = 1 if arguments.quick else 12
    claims, same = [], []
    with tempfile.TemporaryDirectory() as name:
        for data in list(DATA)[arguments.quick :]:
            folder = Path(name) / data
            config = PrepareConfig(data=data)
            store = build_store(config, find_source(config, ROOT, Path(name)), folder / "store", "", lambda n: n)
            write_task(store, folder)
            claims += compare_dmpnn(data, folder, arguments.peers, rounds)
            claims += compare_gine(data, folder, 4 * rounds)  # its epochs are short
            same = [check_chemprop(folder / "messages.npz"), check_pyg(store)]
        floor, profile = measure_floor(store)
    if arguments.quick:
        return
    write_result(
        Result(
            subject="training",
            title="Training",
            command="python -m bench.training",
            claims=claims,
            same=" ".join(same),
            floor=floor,
            profile=profile,
            notes=[
                "Steady epochs of training steps under Lightning: no validation, checkpoints, loggers or progress bar.",
                "Our step clips gradients and so does PyG's; chemprop's does not, by its default. The D-MPNN of ours "
                "has a weight matrix a hop where chemprop's hops share one, and so more parameters to update.",
                "Rows of a batch that are equal (nodes and edges with equal surroundings) are computed once, with "
                "equal results; that is what takes our D-MPNN below the matrix products of the peer.",
            ],
        )
    )


def write_task(store: Store, folder: Path) -> None:
    """The training molecules, and the batches of the first epochs, for a side that cannot read a store."""
    loader = train_loader(store)
    chosen = loader.sampler.indices
    with (folder / "train.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["smiles", "y"])
        writer.writerows(zip(store.ids(chosen), store.arrays.y[chosen, 0].tolist(), strict=True))
    place = {int(graph): k for k, graph in enumerate(chosen)}
    epochs = []
    for epoch in range(20):
        loader.set_epoch(epoch)
        epochs.append([[place[int(graph)] for graph in ids] for ids in loader.sampler])
    task = {"kind": store.schema.targets[0].kind, "batches": epochs}
    (folder / "task.json").write_text(json.dumps(task))


def compare_dmpnn(data: str, folder: Path, peers: str, rounds: int) -> list[Claim]:
    claims = []
    with ExitStack() as stack:
        ours = stack.enter_context(Side("ours", sys.executable, "bench.sides", "dmpnn", folder / "store"))
        for cache, least in (("cached", "2× (aim: 3×)"), ("uncached", "3× (aim: 4.5×)")):
            peer = stack.enter_context(Side("chemprop", peers, "bench.peer_chemprop", "epochs", folder, cache))
            for threads in (1, 2) if data == "solubility" else (1,):
                what = f"epoch, D-MPNN 300 × 3, {DATA[data]}"
                claims.append(compare(what, f"chemprop 2.3.1, {cache}", ours, peer, rounds, threads, least))
    return claims


def compare_gine(data: str, folder: Path, rounds: int) -> list[Claim]:
    with ExitStack() as stack:
        ours, peer = (
            stack.enter_context(Side(w, sys.executable, "bench.sides", w, folder / "store")) for w in ("gine", "pyg")
        )
        what, goal = f"epoch, GINE 128 × 4, {DATA[data]}", "1.6× (aim: 2.5×)"
        return [compare(what, "PyG layers and DataLoader", ours, peer, rounds, threads, goal) for threads in (1, 2)]


def compare(what: str, against: str, ours: Side, peer: Side, rounds: int, threads: int, goal: str) -> Claim:
    times = time_pairs(lambda: ours.epoch(threads), lambda: peer.epoch(threads), rounds)
    return compare_pairs(what, against, *times, threads=threads, goal=goal)


def check_chemprop(path: Path) -> str:
    """Our messages with chemprop's weights and features are chemprop's messages."""
    given = {name: torch.from_numpy(value) for name, value in np.load(path).items()}
    width, atoms = given["h"].shape[1], given["x"].shape[1]
    layers = layers_of.DMPNN(width, 3, 0.0)
    with torch.no_grad():
        for weight in (layers.w_i.weight, layers.w_o.weight):
            weight.zero_()
        layers.w_i.weight[:, :atoms] = given["w_i"][:, :atoms]
        layers.w_o.weight[:, :atoms], layers.w_o.weight[:, width:] = given["w_o"].split([atoms, width], dim=1)
        layers.w_o.bias.copy_(given["b_o"])
        for w_m in layers.w_m:
            w_m.weight.copy_(given["w_h"])  # type: ignore[operator, union-attr]
        rows = [group_rows(torch.zeros((len(one), 0), dtype=torch.int64), one) for one in (given["x"], given["e"])]
        first = to_tensors(rows[0].first, rows[1].first)
        x = torch.nn.functional.pad(given["x"], (0, width - atoms))[first[0]]
        e = given["e"][first[1]] @ given["w_i"][:, atoms:].T
        of = to_tensors(rows[0].of, rows[1].of)
        found = compute(layers, Rows(x, of[0]), given["edge_index"], Rows(e, of[1]), given["reverse"])
    torch.testing.assert_close(found, given["h"], rtol=1e-4, atol=1e-5)
    return "With chemprop's weights and features our messages equal chemprop's on a batch (1e-4)."


def check_pyg(store: Store) -> str:
    """The network from PyG's layers answers as ours, batch for batch in the same order."""
    ours = build_ours(store, GINE).network
    theirs = PygNetwork(ours)
    for mine, other, _ in zip(train_loader(store), pyg_loader(store), range(3), strict=False):
        with torch.no_grad():
            torch.testing.assert_close(ours.inner(mine), theirs(other), rtol=1e-4, atol=1e-4)
    return "With copied weights the network from PyG's layers answers as ours, on three batches in order (1e-4)."


def measure_floor(store: Store) -> tuple[list[str], dict[str, float]]:
    """The rate of matrix products here, and the share of our step that they take; with one thread."""
    use_threads(1)
    a, b = torch.randn(1500, 300), torch.randn(300, 300)
    rate = 2 * 1500 * 300 * 300 / timed(lambda: a @ b, 50) / 1e9
    floor, profile = [f"One core multiplies matrices (1500 × 300 × 300) at {rate:.0f} GFLOP/s."], {}
    for name, config in (("D-MPNN", DMPNN), ("GINE", GINE)):
        step = build_steps(store, config)
        seconds = timed(step, 3)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], with_flops=True) as record:
            step()
        events = record.key_averages()
        share = sum(event.flops for event in events if event.key in _PRODUCTS) / rate / 1e9 / seconds
        floor.append(
            f"{name}, {store.schema.name}: a step without loader and Lightning takes {seconds / 8 * 1e3:.1f} ms; its "
            f"matrix products at that rate would take {share:.0%} of it."
        )
        total = sum(event.self_cpu_time_total for event in events)
        rest = 1.0
        for part, keys in {"matrix products": _PRODUCTS, "gathers and sums": _SUMS, "sorting": {"aten::sort"}}.items():
            found = sum(event.self_cpu_time_total for event in events if event.key in keys) / total
            profile[f"{name} {part}"] = found
            rest -= found
        profile[f"{name} all else"] = rest
    return floor, profile


def build_steps(store: Store, config: TrainConfig) -> Callable[[], None]:
    """Eight training steps, without loader and Lightning."""
    module = build_ours(store, config)
    batches = list(train_loader(store))[:8]
    weights = list(module.network.parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-3, fused=True)

    def step() -> None:
        for batch in batches:
            sums, counts = module.loss(module.network.head, module.network.inner(batch), batch["y"])
            (sums.sum() / counts.sum()).backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()

    return step


_PRODUCTS = {"aten::mm", "aten::addmm"}
_SUMS = {
    *(f"aten::{name}" for name in ("index_select", "index_add_", "scatter_add_", "_embedding_bag")),
    "aten::_embedding_bag_forward_only",
}


def timed(call: Callable[[], object], times: int) -> float:
    """Median seconds of a call, after one that is not counted."""
    call()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


if __name__ == "__main__":
    main()
