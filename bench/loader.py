"""Batches from the store, against PyG's DataLoader over a list of `Data`: speed, memory, size on disk.

    python -m bench.loader

The stores hold the molecules of data/solubility.csv and data/bbbp.csv (21.8 atoms on average), again and again.
"""

from __future__ import annotations

import argparse
import csv
import gc
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data, InMemoryDataset
from torch_geometric.loader import DataLoader

from bench.measure import (
    ROOT,
    Claim,
    Result,
    compare_pairs,
    figure,
    private_memory_mb,
    time_pairs,
    use_threads,
    write_result,
)
from pipeline.dataset.split import TRAIN
from pipeline.dataset.spool import Spool
from pipeline.samples.molecule.featurize import EDGE_COLUMNS, FEATURIZER_VERSION, NODE_COLUMNS, featurize_smiles
from pipeline.samples.packed import Names, Piece
from pipeline.schema import Limits, Schema, Target
from pipeline.store.loader import BatchLoader
from pipeline.store.store import Store, open_store, write_store

SIZES, BATCH_SIZES = (100_000, 1_000_000), (64, 512)
DRAWN = 10240  # graphs of a timed pass, drawn from the whole store
PEER = "PyG DataLoader over a list"
GOALS = {"speed": "20×, aim 40×", "first": "0.2 s, aim 0.1 s", "memory": "50 MB, aim 15 MB", "size": "300 B, aim 130 B"}
NOTES = [
    f"The stores hold 5,189 molecules again and again; a timed pass reads {DRAWN:,} drawn from all. "
    "PyG's list has an own `Data` for each graph, but the same molecules share their tensors: this spares it memory "
    "and cache misses; ours reads each graph from its own place.",
    "First batch and memory: in fresh processes after the imports, among them rdkit's, which opening a store of "
    "molecules needs for the featurizer's version. Memory is the growth of RssAnon, its largest value over a pass in "
    "batches of 512; mapped files are not counted, as the system can drop them.",
    "PyG in memory: the tensors of an `InMemoryDataset` of the same graphs, without a batch.",
]


class Tiled(Spool):
    """The same chunks several times, cut at `num_graphs`."""

    def __init__(self, folder: Path, num_graphs: int) -> None:
        super().__init__(folder)
        self.wanted = num_graphs

    def tile(self) -> None:
        self.period, self.num_graphs = self.num_graphs, self.wanted

    def __iter__(self) -> Iterator[tuple[Piece, Names]]:
        left = self.num_graphs
        while left:
            for piece, names in super().__iter__():
                here = np.arange(piece.num_graphs) < left
                left -= int(here.sum())
                if here.any():
                    yield piece.select(here), names.select(here)


def build_store(folder: Path, num_graphs: int) -> Store:
    """A store of so many molecules; graph g is molecule g modulo their number."""
    smiles = []
    for name in ("solubility", "bbbp"):
        with (ROOT / "data" / f"{name}.csv").open(encoding="utf-8") as file:
            smiles += [row["smiles"] for row in csv.DictReader(file)]
    found = featurize_smiles(smiles, Limits())
    spool = Tiled(folder.with_suffix(".spool"), num_graphs)
    spool.append(found.chunk, [smiles[row] for row in found.good])
    spool.tile()
    y = np.random.default_rng(0).normal(size=(num_graphs, 1)).astype(np.float32)
    return write_store(
        folder,
        spool,
        schema=Schema(
            "molecules",
            "molecule",
            (Target("y", "regression"),),
            NODE_COLUMNS,
            EDGE_COLUMNS,
            featurizer_version=FEATURIZER_VERSION,
        ),
        keep=np.ones(num_graphs, bool),
        y=y,
        split=np.full(num_graphs, TRAIN, np.int8),
        row=np.arange(1, num_graphs + 1),
        source={"period": spool.period},
    )


def pyg_data(store: Store, i: int) -> Data:
    graph = store.graph(i)
    x, edge_index, edge_attr = (
        torch.from_numpy(values.astype(np.int64)) for values in (graph.x, graph.edge_index, graph.edge_attr)
    )
    return Data(x=x, edge_index=edge_index, edge_attr=edge_attr, y=torch.from_numpy(graph.y)[None])


def pyg_list(store: Store) -> list[Data]:
    """One `Data` a graph; the same molecules share their tensors, which only helps the peer's cache."""
    period = store.manifest["source"]["period"]
    first = [pyg_data(store, i).to_dict() for i in range(min(period, store.num_graphs))]
    y = torch.from_numpy(store.arrays.y.copy())[:, None].unbind()
    gc.disable()  # a million objects that stay
    many = [Data(**{**first[i % period], "y": y[i]}) for i in range(store.num_graphs)]
    gc.enable()
    return many


def check_same(store: Store, many: list[Data], indices: np.ndarray) -> int:
    """Compare every field of whole passes with PyG's Batch; returns the number of batches."""
    compared = 0
    for batch_size in BATCH_SIZES:
        ours, peer = loaders(store, many, indices[:2048], batch_size)
        for mine, theirs in zip(ours, peer, strict=True):
            for name in ("x", "edge_index", "edge_attr", "batch", "y"):
                torch.testing.assert_close(mine[name], theirs[name], rtol=0, atol=0)  # type included
            assert torch.equal(mine["rev_edge_index"], torch.arange(mine["edge_index"].shape[1]) ^ 1)
            compared += 1
    return compared


def loaders(store: Store, many: list[Data], indices: np.ndarray, batch_size: int) -> tuple[BatchLoader, DataLoader]:
    """Both in the same random order."""
    ours = BatchLoader(store, indices, batch_size, True, 0)
    return ours, DataLoader(many, batch_sampler=[ids.tolist() for ids in ours.sampler])


def walk(loader: Any) -> None:
    for _ in loader:
        pass


def speed_claim(store: Store, many: list[Data], indices: np.ndarray, batch_size: int, rounds: int) -> tuple[Claim, str]:
    """Time both in turn; beside it, what copying the same batches takes."""
    ours, peer = loaders(store, many, indices, batch_size)
    times = [[t / len(ours) * 1e3 for t in side] for side in time_pairs(lambda: walk(ours), lambda: walk(peer), rounds)]
    what = f"a batch of {batch_size} in random order, {store.num_graphs:,} graphs"
    claim = compare_pairs(what, PEER, *times, unit="ms", goal=GOALS["speed"])
    batches: list[list[Tensor]] = [list(batch.values()) for batch in ours]
    size_bytes = sum(values.nbytes for batch in batches for values in batch) / len(batches)
    # one batch's copies at a time, as a training holds them
    copies, _ = time_pairs(lambda: walk([v.clone() for v in batch] for batch in batches), lambda: None, rounds)
    copy_ms = float(np.median(copies)) / len(batches) * 1e3
    floor = (
        f"{what}: copying {size_bytes / 1e6:.2f} MB takes {copy_ms:.3f} ms ({size_bytes / copy_ms / 1e6:.1f} GB/s), "
        f"ours {claim.ours.median / copy_ms:.1f} times that."
    )
    print(floor, flush=True)
    return claim, floor


def profile(store: Store, indices: np.ndarray, batch_size: int) -> dict[str, float]:
    """Share of each of our functions in a pass, by Python's own profiler (its cost falls on small calls)."""
    import cProfile
    import pstats

    profiler = cProfile.Profile()
    profiler.runcall(walk, BatchLoader(store, indices, batch_size, True, 0))
    found: dict[tuple[str, int, str], Any] = pstats.Stats(profiler).stats  # type: ignore[attr-defined]
    total = sum(entry[2] for entry in found.values())
    names = {"take": "graphs as stored", "decode": "feature rows", "_edge_index": "edge_index",
             "__init__": "TensorDict"}  # fmt: skip
    shares = {}
    for (file, _, function), entry in found.items():
        mine = (
            file.endswith(("pipeline/store/loader.py", "pipeline/store/store.py", "pipeline/store/ragged.py"))
            or "tensordict" in file
        )
        if mine and function in names:
            shares[names[function]] = shares.get(names[function], 0.0) + entry[3] / total
    return shares | {"the rest": max(0.0, 1 - sum(shares.values()))}


# --- in a process of its own --------------------------------------------------------------------------------------


def first_batch(folder: str) -> None:
    """Print CPU seconds until the first batch, and the memory of a pass in MB."""
    before = private_memory_mb()
    start = time.process_time()
    store = open_store(Path(folder))
    loader = BatchLoader(store, store.indices(TRAIN), 64, True, 0)
    batch = next(iter(loader))
    seconds = time.process_time() - start
    assert len(batch["y"]) == 64
    most = private_memory_mb()
    for k, _ in enumerate(BatchLoader(store, store.indices(TRAIN), 512, True, 0)):
        if k % 50 == 0:
            most = max(most, private_memory_mb())
    print(seconds, most - before)


def pyg_memory(folder: str) -> None:
    """Print the memory in MB of the same graphs as PyG keeps a data set in memory, and its bytes a graph."""
    store = open_store(Path(folder))
    period = min(store.manifest["source"]["period"], store.num_graphs)
    data, slices = InMemoryDataset.collate([pyg_data(store, i) for i in range(period)])
    before = private_memory_mb()
    times = -(-store.num_graphs // period)
    columns = {"edge_index": 1}
    held: list[Tensor] = [
        torch.cat([values] * times, dim=columns.get(name, 0)) for name, values in data.to_dict().items()
    ]
    held += [values.repeat(times) for values in slices.values()]
    print(sum(values.nbytes for values in held) / (times * period), private_memory_mb() - before)


def in_fresh_process(what: str, folder: Path) -> list[float]:
    command = [sys.executable, "-m", "bench.loader", "--only", what, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [float(word) for word in done.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test; writes nothing")
    parser.add_argument("--only", nargs=2, metavar=("WHAT", "STORE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    use_threads(1)
    if arguments.only:
        what, folder = arguments.only
        {"first_batch": first_batch, "pyg_memory": pyg_memory}[what](folder)
        return
    sizes, rounds, fresh = ((2000, 4000), 1, 1) if arguments.quick else (SIZES, 9, 3)
    claims: list[Claim] = []
    floor, shares, compared = [], {}, 0
    with tempfile.TemporaryDirectory() as temporary:
        for num_graphs in sizes:
            folder = Path(temporary) / str(num_graphs)
            store = build_store(folder, num_graphs)
            if num_graphs == sizes[-1]:  # before the list fills the memory
                claims += own_claims(store, fresh)
            many = pyg_list(store)
            drawn = np.random.default_rng(1).permutation(num_graphs)[:DRAWN]
            compared += check_same(store, many, drawn)
            for batch_size in BATCH_SIZES:
                claim, sentence = speed_claim(store, many, drawn, batch_size, rounds)
                claims.append(claim)
                floor.append(sentence)
            shares = profile(store, drawn, BATCH_SIZES[-1])
            del many
    if arguments.quick:
        return
    write_result(
        Result(
            subject="loader",
            title="Batches from the store",
            command="python -m bench.loader",
            claims=claims,
            same=f"{compared} batches of both sizes and stores: x, edge_index, edge_attr, batch and y equal PyG's "
            "Batch in value and type, and rev_edge_index names the reverse of each edge.",
            floor=floor,
            profile=shares,
            notes=NOTES,
        )
    )


def own_claims(store: Store, repeats: int) -> list[Claim]:
    """First batch, memory and size on disk."""
    size = f"{store.num_graphs:,} graphs"
    runs = [in_fresh_process("first_batch", store.folder) for _ in range(repeats)]
    seconds, memory = ([run[k] for run in runs] for k in (0, 1))
    pyg_bytes, pyg_mb = in_fresh_process("pyg_memory", store.folder)
    claims = [figure(f"CPU time to the first batch, {size}", seconds, "s", goal=GOALS["first"])]
    what, peer = f"anonymous memory of loading, {size}", "PyG InMemoryDataset"
    claims.append(compare_pairs(what, peer, memory, [pyg_mb] * repeats, unit="MB", goal=GOALS["memory"]))
    ours = sum(file["size_bytes"] for file in store.manifest["files"].values()) / store.num_graphs
    atoms = store.num_nodes / store.num_graphs
    what = f"size on disk of a molecule of {atoms:.1f} atoms, names included"
    claims.append(compare_pairs(what, peer, [ours], [pyg_bytes], unit="B", goal=GOALS["size"]))
    return claims


if __name__ == "__main__":
    main()
