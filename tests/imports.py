"""The picture of the project's imports: `python -m tests.imports` prints it, tests/whole/test_imports.py holds it.

Files that lie flat in `pipeline/` are the contract that training and serving share. The packages are the stations of
the way of the data, in order: a package imports itself, the flat files, and packages above it.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from pipeline.imports import ROOMS, ROOT, imported_modules

PACKAGES = {
    "N": {"numpy"},
    "P": {"pandas"},
    "R": {"rdkit"},
    "T": {"torch", "tensordict", "torch_geometric", "lightning"},
    "O": {"onnx", "onnxruntime"},
    "M": {"mlflow", "requests"},
    "A": {"uvicorn", "h11", "prometheus_client", "marimo"},
    "Q": {"tqdm", "jsonargparse", "yaml"},
}
"""What a letter stands for."""

ORDER = {
    "": "N",
    "rows": "NP",
    "samples": "NPR",
    "network": "NT",
    "runs": "M",
    "dataset": "NPR",
    "store": "NPRT",
    "training": "NPRT",
    "bundle": "NPRTOM",
    "evaluation": "NPRM",
    "report": "NPR",
    "review": "NPRMA",
}
"""Stations of `pipeline`, from top to bottom, and what their files may load while they are imported."""

TOPS = {"serving": "NPOMA", "steps": "NPRQ"}
"""What stands on `pipeline`."""

FILES = sorted(path for top in ROOMS for path in (ROOT / top).rglob("*.py") if path.name != "__init__.py")


def station(name: str) -> str | None:
    """The station of a module of `pipeline`: "" for a flat file, None for a module of something else."""
    parts = name.split(".")
    if parts[0] != "pipeline" or len(parts) < 2:
        return None
    return parts[1] if parts[1] in ORDER else ""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def targets(path: Path) -> Iterator[str]:
    """Modules of the project that a file names in any import, for type checking only too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if ROOT.joinpath(*name.split(".")).with_suffix(".py").is_file())


def loaded(path: Path, seen: set[Path] | None = None) -> set[str]:
    """Top-level packages of others that importing `path` loads, through the project's own files."""
    seen = set() if seen is None else seen
    found = set()
    for name in imported_modules(path, top_level_only=True):
        if name.split(".")[0] not in ROOMS:
            found.add(name.split(".")[0])
            continue
        file = ROOT.joinpath(*name.split(".")).with_suffix(".py")
        if file.is_file() and file not in seen:
            seen.add(file)
            found |= loaded(file, seen)
    return found - set(sys.stdlib_module_names) - set(ROOMS)


def allowed(path: Path) -> set[str]:
    """Packages of others that a file may load."""
    place = station(module_name(path))
    letters = TOPS[path.relative_to(ROOT).parts[0]] if place is None else ORDER[place]
    return set().union(*(PACKAGES[letter] for letter in letters))


def arrows() -> dict[str, set[str]]:
    """Module -> the modules of the project that it names."""
    return {module_name(path): set(targets(path)) - {module_name(path)} for path in FILES}


def upward(graph: dict[str, set[str]]) -> list[str]:
    """Arrows of `pipeline` that break the rule."""
    places = list(ORDER)
    found = []
    for source, names in graph.items():
        for name in names:
            here, there = station(source), station(name)
            if here is not None and (there is None or places.index(there) > places.index(here)):
                found.append(f"{source} → {name}")
    return sorted(found)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, over any number of steps (Tarjan 1972, strongly connected components)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph.get(name, ()):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            circle = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(circle) > 1:
                found.append(sorted(circle))

    for name in graph:
        if name not in order:
            visit(name)
    return sorted(found)


def main() -> None:
    graph = arrows()
    files, arrow = defaultdict(list), defaultdict(set)
    for name, names in graph.items():
        place = station(name)
        here = name.split(".")[0] if place is None else place
        files[here].append(name.rpartition(".")[2])
        arrow[here] |= {there for other in names if (there := station(other)) and there != here}
    for place, letters in {**ORDER, **TOPS}.items():
        print(f"{place or 'flat':<11} {letters:<6} {', '.join(files[place])}")
        if arrow[place]:
            print(f"{'':<18} → {', '.join(one for one in ORDER if one in arrow[place])}")
    for line in upward(graph):
        print(f"breaks the rule: {line}")
    for circle in circles(graph):
        print(f"circle: {' ⇄ '.join(circle)}")


if __name__ == "__main__":
    main()
