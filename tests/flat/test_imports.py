"""What a module imports, over all levels: the closure that keys cover and bundles ship."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pipeline.imports import ROOT, copy_files, imported_modules, trace_imports

FILES = {
    "pipeline/__init__.py": "",
    "pipeline/a.py": "import numpy as np\nfrom pipeline.sub import b\nimport os\n",
    "pipeline/sub/__init__.py": "",
    "pipeline/sub/b.py": "def late():\n    from . import c\n    import pandas\n",
    "pipeline/sub/c.py": "from pipeline import a  # a circle\nfrom ..d import x\n",
    "pipeline/d.py": "import typing\nx = 1\nif typing.TYPE_CHECKING:\n    import torch\nelse:\n    import yaml\n",
    "pipeline/unused.py": "import rdkit\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if Path(path or ".").resolve() != ROOT])
    return tmp_path


def test_the_closure_by_hand(project: Path) -> None:
    """Imports inside functions count, those for types alone do not, and a circle ends."""
    found = trace_imports(["pipeline.a"], project)
    assert list(found.files) == [name for name in sorted(FILES) if name != "pipeline/unused.py"]
    assert found.packages == {"numpy", "pandas", "yaml"}


def test_a_closed_package_is_not_followed(project: Path) -> None:
    found = trace_imports(["pipeline.a"], project, without=["pipeline.sub"])
    assert list(found.files) == ["pipeline/__init__.py", "pipeline/a.py"]
    assert found.packages == {"numpy"}


def test_the_users_own_modules_are_found_on_the_path(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path_factory.mktemp("own")
    (own / "mine.py").write_text("import scipy\nfrom pipeline import d\n")
    (own / "pipeline.py").write_text("import sklearn\n")  # hides nothing of the project
    monkeypatch.syspath_prepend(str(own))
    found = trace_imports(["mine"], project)
    assert list(found.files) == ["mine.py", "pipeline/__init__.py", "pipeline/d.py"]
    assert found.packages == {"scipy", "yaml"}


def test_names_are_those_from_where_a_file_lies(project: Path) -> None:
    found = imported_modules(project / "pipeline/sub/c.py", package="pipeline.sub")
    assert sorted(found) == ["pipeline", "pipeline.a", "pipeline.d", "pipeline.d.x"]
    late = project / "pipeline/sub/b.py"
    assert imported_modules(late, package="pipeline.sub", top_level_only=True) == []
    assert sorted(imported_modules(late, package="pipeline.sub")) == ["pandas", "pipeline.sub", "pipeline.sub.c"]


def test_files_are_laid_out_as_in_the_project(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    out = tmp_path_factory.mktemp("out")
    files = trace_imports(["pipeline.sub.c"], project).files
    copy_files(files, out)
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.py")) == list(files)
    assert all((out / name).read_text() == FILES[name] for name in files)


def test_the_server_of_a_bundle_ships_no_training_code() -> None:
    found = trace_imports(["serving.model"], ROOT)
    assert {"pipeline/schema.py", "pipeline/graph.py", "serving/model.py"} <= set(found.files)
    assert not [name for name in found.files if name.startswith(("pipeline/training", "pipeline/network", "steps"))]
    assert not {"torch", "lightning", "sklearn"} & found.packages
