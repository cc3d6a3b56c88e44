"""The rule of imports: it keeps serving small, steps quick, and the way of the data readable."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter

import pytest

from pipeline.imports import ROOMS, ROOT, imported_modules
from tests.imports import FILES, ORDER, allowed, arrows, circles, loaded, module_name, station, upward


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_file_loads_what_its_station_may(path):
    assert loaded(path) <= allowed(path)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_arrows_point_one_way(path):
    allowed = {"pipeline": {"pipeline"}, "serving": {"serving", "pipeline"}, "steps": {"steps", "pipeline"}}
    rooms = {name.split(".")[0] for name in imported_modules(path)} & set(ROOMS)
    assert rooms <= allowed[path.relative_to(ROOT).parts[0]]


def test_a_package_imports_none_below_it_and_nothing_runs_in_circles():
    graph = arrows()
    assert upward(graph) == []
    assert circles(graph) == []


def test_the_check_sees_an_arrow_up_and_a_circle():
    graph = {
        "pipeline.rows.table": {"pipeline.store.store"},
        "pipeline.store.store": {"pipeline.store.files", "pipeline.rows.table"},
        "pipeline.store.files": {"pipeline.schema"},
    }
    assert upward(graph) == ["pipeline.rows.table → pipeline.store.store"]
    assert circles(graph) == [["pipeline.rows.table", "pipeline.store.store"]]


def test_every_package_is_a_station_and_none_is_crowded():
    packages = {path.name for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").exists()}
    assert packages == set(ORDER) - {""}
    counts = Counter(path.parent for path in FILES if station(module_name(path)) is not None)
    assert max(counts.values()) <= 16, counts.most_common(1)


def test_the_first_line_of_a_file_says_what_it_is_for():
    assert [str(path) for path in FILES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_inits_are_empty():
    assert all(not path.read_text() for room in ROOMS for path in (ROOT / room).rglob("__init__.py"))


def test_modules_do_nothing_at_import():
    """Nothing but definitions, constants, imports and the guard of `python -m` at module level."""
    for path in FILES:
        for node in ast.parse(path.read_text()).body:
            call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            if call:
                text = ast.unparse(node)
                assert module_name(path) in STARTS, f"{path.name}: {text}"
                assert "os.environ." in text or "set_model" in text, f"{path.name}: {text}"


STARTS = ("serving.model", "steps.cli.command")
"""MLflow loads the one, each step the other first: they tell MLflow how to behave before it is imported."""


def test_pipeline_prints_nothing():
    """Lines for people go to the `say` of who calls; `verify` is a script besides, packed with the evidence."""
    for path in (path for path in FILES if path.is_relative_to(ROOT / "pipeline")):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        prints = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]
        assert not prints or module_name(path) == "pipeline.review.verify", path.name


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
        "import sys, serving.session, serving.request, serving.model, serving.app, serving.server.engine\n"
        "bad = {'torch', 'lightning', 'torch_geometric', 'tensordict', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
