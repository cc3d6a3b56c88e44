"""What each file may import at module level, closed over the project: it keeps serving small and steps quick."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from pipeline.cache import ROOMS, imported_modules
from tests.conftest import ROOT

GROUPS = {
    "N": {"numpy"},
    "P": {"pandas"},
    "R": {"rdkit"},
    "T": {"torch", "tensordict", "torch_geometric", "lightning"},
    "O": {"onnx", "onnxruntime"},
    "M": {"mlflow", "requests"},
    "A": {"uvicorn", "h11", "prometheus_client"},
    "Q": {"tqdm", "jsonargparse", "yaml"},
    "W": {"marimo"},
}

SERVER = ("frames", "refusal", "jsonguard", "numbers", "inference", "engine", "fleet", "release", "docs")
"""Rooms of the production server that need nothing but the standard library at module level."""

MAY_IMPORT = {
    **dict.fromkeys(("errors", "schema", "trainconfig", "source", "cache", "bundle", "gate", "verdict"), ""),
    **dict.fromkeys(("decision", "verify", "history", "signing", "evidencepage", "card", "page"), ""),
    **dict.fromkeys(("answer", "answering", "child", "children", "cost", "comparison", "beside", "markdown"), ""),
    **dict.fromkeys(("delimited", "machine", "parquet", "sdf", "serveconfig"), ""),
    **dict.fromkeys(("manifest", "checkpoints", "workfolder", "orphans"), ""),
    **dict.fromkeys(("columns", "graph", "split", "metrics", "labels", "labeltext", "spool", "survey"), "N"),
    **dict.fromkeys(("buckets", "identity", "rowtable", "calibration", "ragged"), "N"),
    **dict.fromkeys(
        ("table", "kinds", "graphtable", "pygdata", "answerfile", "scoring", "answers", "evaluation"), "NP"
    ),
    "image": "",
    **dict.fromkeys(("molecule", "records", "descriptors", "featurize", "baselines", "drawing"), "NPR"),
    **dict.fromkeys(("figures", "parts", "dataset", "pages", "slices", "overlap", "challenge"), "NPR"),
    **dict.fromkeys(
        (
            "store",
            "storefiles",
            "loader",
            "colors",
            "onnxforms",
            "scatter",
            "layers",
            "readouts",
            "forest",
            "losses",
            "network",
            "ensemble",
            "trainer",
            "training",
        ),
        "NT",
    ),
    "resuming": "T",
    **dict.fromkeys(("export", "parity"), "NTO"),
    **dict.fromkeys(
        (
            "tracking",
            "trackingserver",
            "registry",
            "releases",
            "decisionlog",
            "evidence",
            "audit",
            "champion",
            "grants",
        ),
        "M",
    ),
    **dict.fromkeys(("opponent", "judging"), "NPRM"),
    "review": "MNP",
    "serving/deadline": "",
    **dict.fromkeys(("board/page", "board/form", "board/desk", "board/guard"), ""),
    **dict.fromkeys(("board/facts", "board/sheet"), "NPRM"),
    "board/app": "W",
    "serving/session": "NO",
    "serving/sharing": "NO",
    "serving/request": "NP",
    "serving/model": "NOPM",
    **dict.fromkeys((f"serving/{name}" for name in SERVER), ""),
    **dict.fromkeys(("serving/app", "serving/gate", "serving/metrics", "serving/connection"), "A"),
    **dict.fromkeys(("steps/main", "steps/prepare", "steps/train", "steps/evaluate", "cli/reuse"), "NPRQ"),
}
"""Per file of pipeline (or with its folder): the groups of packages it may reach at module level."""

FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py")


def reached(path, seen=None):
    """Top-level packages that importing `path` imports, through the project's own files."""
    seen = set() if seen is None else seen
    found = set()
    for name in imported_modules(path, top_level_only=True):
        parts = name.split(".")
        if parts[0] not in ROOMS:
            found.add(parts[0])
            continue
        file = ROOT.joinpath(*parts).with_suffix(".py")
        if file.is_file() and file not in seen:
            seen.add(file)
            found |= reached(file, seen)
    return found - set(sys.stdlib_module_names) - set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_imports_stay_within_the_table(path):
    place = path.stem if path.parent.name == "pipeline" else f"{path.parent.name}/{path.stem}"
    default = "Q" if path.relative_to(ROOT).parts[0] == "steps" else None
    letters = MAY_IMPORT.get(place, default)
    assert letters is not None, f"{place} is not in the table: decide what it may import"
    allowed = set().union(*(GROUPS[letter] for letter in letters)) if letters else set()
    assert reached(path) <= allowed


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_arrows_point_one_way(path):
    allowed = {"pipeline": {"pipeline"}, "serving": {"serving", "pipeline"}, "steps": {"steps", "pipeline"}}
    rooms = {name.split(".")[0] for name in imported_modules(path)} & set(ROOMS)
    assert rooms <= allowed[path.relative_to(ROOT).parts[0]]


def test_inits_are_empty():
    assert all(not path.read_text() for room in ROOMS for path in (ROOT / room).rglob("__init__.py"))


def test_modules_do_nothing_at_import():
    """Nothing but definitions, constants, imports and the guard of `python -m` at module level."""
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            if call:
                text = ast.unparse(node)
                assert "environ.setdefault" in text or "set_model" in text, f"{path.name}: {text}"


def test_the_server_loads_no_model_code():
    """One process holds one bundle's code, and the server's process none; mlflow only where a model is fetched."""
    code = (
        "import sys, serving.app\n"
        "bad = {'mlflow', 'pandas', 'numpy', 'onnxruntime', 'rdkit', 'serving.model', 'serving.request'}\n"
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_serving_imports_no_torch():
    code = (
        "import sys, serving.session, serving.request, serving.model, serving.app, serving.engine\n"
        "bad = {'torch', 'lightning', 'torch_geometric', 'tensordict', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
