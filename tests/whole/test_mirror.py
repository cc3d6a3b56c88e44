"""Each module has a test file of its name, in the room of its name, and each test file its module."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import ROOT

UNTESTED = {
    "pipeline/review/board/app.py": "a notebook: tests/whole/test_board_browser.py opens it in a browser",
    "pipeline/review/board/ticket.py": "fields only",
    "pipeline/runs/person.py": "fields only",
    "pipeline/samples/kind.py": "the seam, which computes nothing: each kind has its own tests",
    "serving/server/limits.py": "numbers only: each is tested where it holds",
    "steps/cli/mainconfig.py": "one field: tests/steps/test_main.py reads it",
}
"""Modules without a test file, with the reason."""

APART = ("whole", "support", "data", "examples")
"""Folders of tests that mirror no room."""


def file_of(module: Path) -> Path:
    """The test file of a module; that of `pipeline.rows.table` is `tests/rows/test_table.py`."""
    room, *folders = module.parts[:-1]
    folders = (folders or ["flat"]) if room == "pipeline" else [room, *folders]
    return Path("tests", *folders, f"test_{module.name}")


def modules() -> set[Path]:
    found = (path for room in ("pipeline", "serving", "steps") for path in (ROOT / room).rglob("*.py"))
    return {path.relative_to(ROOT) for path in found if path.name != "__init__.py"}


def test_each_module_has_its_test_file_or_a_reason_why_not():
    without = {module.as_posix() for module in modules() if not (ROOT / file_of(module)).is_file()}
    assert without == set(UNTESTED)


def test_each_test_file_has_its_module():
    files = {path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")}
    rooms = {path for path in files if path.parts[1] not in APART}
    assert rooms - {file_of(module) for module in modules()} == set()


def test_file_names_by_hand():
    assert file_of(Path("pipeline/schema.py")) == Path("tests/flat/test_schema.py")
    assert file_of(Path("pipeline/samples/graph/tables.py")) == Path("tests/samples/graph/test_tables.py")
    assert file_of(Path("serving/server/front.py")) == Path("tests/serving/server/test_front.py")
