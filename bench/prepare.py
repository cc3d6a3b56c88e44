"""SMILES to a store on disk, against PyG's from_smiles, collate and save; and two processes against one.

    python -m bench.prepare            # about three minutes

The molecules are made of pairs of small shipped ones, so that any number of distinct ones of real parts is there.
"""

from __future__ import annotations

import argparse
import csv
import random
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from bench.measure import ROOT, Claim, Result, compare_pairs, figure, time_pairs, use_threads, write_result

_FIRST_ATOM = re.compile(r"(\[[^\]]*\]|Br|Cl|[A-Za-z])\d*")
_BRACKET = re.compile(r"(\[[^\]]*\])")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few molecules, nothing is written")
    quick = parser.parse_args().quick
    use_threads(1)
    few, many = (500, 3000) if quick else (8000, 100_000)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        table, large = folder / "few.csv", folder / "many.csv"
        write_molecules(table, few, seed=0)
        write_molecules(large, many, seed=1)
        same = check_same(table, folder)
        claim, ours_s = against_pyg(table, folder, few, rounds=2 if quick else 4)
        floor_s, profile = take_apart(table, ours_s / few)
        claims = [claim, two_processes(large, folder, many, rounds=1 if quick else 5)]
    parsing = figure("parsing alone, Chem.MolFromSmiles", [1 / floor_s], "1/s")
    if quick:
        return
    result = Result(
        subject="prepare",
        title="From SMILES to a store",
        command="python -m bench.prepare",
        claims=[*claims, parsing],
        same=same,
        floor=[
            f"RDKit's `MolFromSmiles` alone takes {floor_s * 1e6:.0f} µs a molecule, {floor_s * few / ours_s:.0%} of "
            "ours; ours reads plain SMILES in less than that, since it leaves out the search for hydrogens and stereo "
            "that are not there."
        ],
        profile=profile,
        notes=[
            "Ours also reads and checks labels, merges replicates, splits without leaks, lists bad rows and writes "
            "checksums; PyG's side does none of these.",
            f"Two processes (the main one and one beside it) are timed with {many:,} molecules, the start of the other "
            "one and the last, serial part (split, writing) included.",
        ],
    )
    write_result(result)


def write_molecules(path: Path, count: int, *, seed: int) -> None:
    """Write a table of `count` molecules of about 22 atoms with a made-up label, nearly all of them distinct."""
    rng = random.Random(seed)
    with path.open("w", encoding="utf-8") as file:
        file.write("smiles,y\n")
        file.writelines(f"{smiles},{rng.gauss(0, 1):.3f}\n" for smiles in molecules(count, rng))


def molecules(count: int, rng: random.Random) -> Iterator[str]:
    """Join pairs of shipped molecules of 3 to 16 atoms at a carbon that has a hydrogen."""
    parts = halves()
    for _ in range(count):
        outer, inner = rng.sample(parts, 2)
        first = _FIRST_ATOM.match(outer)
        assert first is not None
        # the ring numbers of the inner one from %10 on: those of the outer one are still open around it
        texts = [text if text.startswith("[") else re.sub(r"(\d)", r"%1\1", text) for text in _BRACKET.split(inner)]
        yield f"{outer[: first.end()]}({''.join(texts)}){outer[first.end() :]}"


@cache
def halves() -> list[str]:
    """SMILES of the small shipped molecules, each written from some of its carbons."""
    from rdkit import Chem

    found = set()
    for name in ("bbbp", "solubility"):
        with (ROOT / "data" / f"{name}.csv").open(encoding="utf-8") as file:
            mols = [Chem.MolFromSmiles(row["smiles"]) for row in csv.DictReader(file)]
        for mol in mols:
            places = [a.GetIdx() for a in mol.GetAtoms() if a.GetSymbol() == "C" and a.GetTotalNumHs()]
            texts = [Chem.MolToSmiles(mol, rootedAtAtom=place) for place in places[:3]]
            if 3 <= mol.GetNumAtoms() <= 16 and not any(set(".%/@") & set(text) for text in texts):
                found.update(texts)
    return sorted(found)


def build(table: Path, folder: Path, processes: int) -> Any:
    """Ours, as `prepare` does it."""
    from pipeline.dataset.config import PrepareConfig
    from pipeline.dataset.source import find_source
    from pipeline.store.build import build_store

    config = PrepareConfig(data=str(table), target="y", split="random", processes=processes)
    return build_store(config, find_source(config, folder, folder), folder / "store", "digest", lambda rows: None)


def build_pyg(table: Path, path: Path) -> list[Any]:
    """PyG's way: a list of Data, collated and saved as an InMemoryDataset does it."""
    import torch
    from torch_geometric.data import InMemoryDataset
    from torch_geometric.utils import from_smiles

    graphs = []
    with table.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            data = from_smiles(row["smiles"])
            data.y = torch.tensor([[float(row["y"])]])
            graphs.append(data)
    InMemoryDataset.save(graphs, str(path))
    return graphs


def check_same(table: Path, folder: Path) -> str:
    """Compare the graphs of both sides wherever both have a column for something."""
    from torch_geometric.utils.smiles import e_map, x_map

    from pipeline.samples.molecule.featurize import EDGE_COLUMNS, NODE_COLUMNS

    store = build(table, folder, 1)
    theirs = build_pyg(table, folder / "pyg.pt")
    nodes = {column.name: place for place, column in enumerate(NODE_COLUMNS)}
    hybridizations, bonds = NODE_COLUMNS[nodes["hybridization"]].categories, EDGE_COLUMNS[0].categories
    for i, row in enumerate(store.rows.tolist()):
        graph, data = store.graph(i), theirs[row - 1]
        x = {name: graph.x[:, place] for name, place in nodes.items()}
        number, _, degree, charge, hydrogens, _, hybridization, aromatic, ring = data.x.numpy().T
        assert (x["element"] == number).all()
        assert (x["degree"] == degree + 1).all()
        assert (x["charge"] - 4 == charge - 5).all()  # neutral is the fourth of ours and the sixth of theirs
        assert (x["hydrogens"] == hydrogens + 1).all()
        assert (x["aromatic"] == aromatic + 1).all()
        assert ((x["ring"] > 1) == ring).all()
        named = [x_map["hybridization"][code] for code in hybridization]
        assert [hybridizations[code - 1] for code in x["hybridization"]] == named
        order = (graph.edge_index[0] * graph.num_nodes + graph.edge_index[1]).argsort()
        assert (graph.edge_index[:, order] == data.edge_index.numpy()).all()
        kinds, _, conjugated = data.edge_attr.numpy().T
        assert [bonds[code - 1] for code in graph.edge_attr[order, 0]] == [e_map["bond_type"][code] for code in kinds]
        assert (graph.edge_attr[order, 1] == conjugated + 1).all()
    return (
        f"The graphs of {store.num_graphs:,} molecules are equal: element, degree, charge, hydrogens, hybridization, "
        "aromaticity and ring membership of every atom, ends, type and conjugation of every bond."
    )


def against_pyg(table: Path, folder: Path, count: int, rounds: int) -> tuple[Claim, float]:
    """Molecules a second on one core, and the seconds of ours."""
    ours, theirs = time_pairs(lambda: build(table, folder, 1), lambda: build_pyg(table, folder / "pyg.pt"), rounds)
    claim = compare_pairs(
        f"SMILES to store, {count:,} molecules, one process",
        "PyG from_smiles, collate, save",
        [count / seconds for seconds in ours],
        [count / seconds for seconds in theirs],
        unit="1/s",
        goal="at least 4×, aim 5.5×",
        more_is_better=True,
    )
    return claim, sorted(ours)[len(ours) // 2]


def two_processes(table: Path, folder: Path, count: int, rounds: int) -> Claim:
    """Two processes, the main one among them, against the main one alone."""
    two, one = time_pairs(lambda: build(table, folder, 2), lambda: build(table, folder, 1), rounds)
    return compare_pairs(
        f"SMILES to store, {count:,} molecules, two processes",
        "itself on one",
        [count / seconds for seconds in two],
        [count / seconds for seconds in one],
        unit="1/s",
        goal="at least 1.8×, aim 1.95×",
        more_is_better=True,
    )


def take_apart(table: Path, ours_s: float) -> tuple[float, dict[str, float]]:
    """Seconds a molecule of RDKit's parsing alone, and the shares of our own parts."""
    from rdkit import Chem

    from pipeline.samples.molecule.atoms import Records
    from pipeline.samples.molecule.featurize import featurize_smiles
    from pipeline.samples.molecule.parts import Wanted, _featurize
    from pipeline.samples.molecule.smiles import parse_smiles
    from pipeline.schema import Limits

    with table.open(encoding="utf-8") as file:
        texts = [row["smiles"] for row in csv.DictReader(file)][:1000]
    mols = [parse_smiles(text, Limits()) for text in texts]

    def best(work: Callable[[], object]) -> float:
        return min(_seconds(work) for _ in range(7)) / len(texts)

    def discard(read: Callable[[str], object]) -> None:
        for text in texts:
            read(text)

    def record() -> None:
        records = Records()
        for mol in mols:
            records.append(mol)

    floor_s = best(lambda: discard(Chem.MolFromSmiles))
    parse_s = best(lambda: discard(lambda text: parse_smiles(text, Limits())))
    records_s = best(record)
    graphs_s = best(lambda: featurize_smiles(texts, Limits()))
    worker_s = best(lambda: _featurize(list(texts), wanted=Wanted(Limits())))
    parts_s = {
        "parsing": parse_s,
        "reading atoms and bonds": records_s,
        "columns": max(graphs_s - parse_s - records_s, 0.0),
        "hash of the skeleton, packing": max(worker_s - graphs_s, 0.0),
    }
    rest = "table, labels, keys, split, writing"
    return floor_s, {part: s / ours_s for part, s in parts_s.items()} | {rest: 1 - sum(parts_s.values()) / ours_s}


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
