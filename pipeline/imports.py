"""What a module of the project imports, over all levels: the code that a key covers, and that a bundle ships."""

from __future__ import annotations

import ast
import functools
import itertools
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
"""The project's folder."""

ROOMS = ("steps", "pipeline", "serving")


class Imports(NamedTuple):
    """What some modules import, over all levels."""

    files: dict[str, Path]  # source files of the project, by their path in it
    packages: set[str]  # names of other people's packages


def trace_imports(
    modules: Iterable[str],
    root: Path,
    *,
    without: Iterable[str] = (),
    instead: Mapping[str, Sequence[str]] | None = None,
) -> Imports:
    """Follow the import statements of modules, also inside functions, as far as the project's own files go.

    The project is what lies below `root` or, for the user's own modules, on a path of PYTHONPATH.

    Args:
        without: modules and packages of the project that are not followed.
        instead: module -> the modules that it imports here, in place of what its text says.
    """
    closed, instead = set(without), instead or {}
    roots = [root, *_own_paths(root)]
    found = Imports({}, set())
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in seen or not closed.isdisjoint(_with_parents(module)):
            continue
        seen.add(module)
        waiting += [module.rpartition(".")[0]] if "." in module else []  # a package runs before its modules
        top = module.partition(".")[0]
        if top in sys.stdlib_module_names:
            continue
        place = _module_file(module, roots[:1] if top in ROOMS else roots)
        if place is None:
            found.packages.update([top] if top not in ROOMS else [])
            continue
        name, path = place
        found.files[name] = path
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        waiting += instead[module] if module in instead else imported_modules(path, package=package)
    own = {name.split("/")[0].removesuffix(".py") for name in found.files}
    return Imports(dict(sorted(found.files.items())), found.packages - own)


def kind_imports(data_kind: str) -> dict[str, tuple[str, ...]]:
    """What `pipeline.samples.kinds` imports where all data are of one kind: as `trace_imports` takes it."""
    return {"pipeline.samples.kinds": (f"pipeline.samples.{data_kind}.kind",)}


def copy_files(files: Mapping[str, Path], folder: Path) -> None:
    """Lay out traced files in a folder as they lie in the project."""
    for name, source in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _with_parents(module: str) -> Iterator[str]:
    """`a`, `a.b` and `a.b.c` of `a.b.c`."""
    return itertools.accumulate(module.split("."), "{}.{}".format)


def _module_file(module: str, roots: Sequence[Path]) -> tuple[str, Path] | None:
    for root in roots:
        place = root.joinpath(*module.split("."))
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return path.relative_to(root).as_posix(), path
    return None


def _own_paths(root: Path) -> list[Path]:
    """Where Python looks besides the project, but for what is installed."""
    installed = {Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)}
    paths = [Path(entry or ".").resolve() for entry in sys.path]
    return [path for path in paths if path != root.resolve() and path.is_dir() and not installed & {*path.parents}]


def imported_modules(path: Path, *, top_level_only: bool = False, package: str = "") -> list[str]:
    """Names of the modules that a file may import; `from a import b` may mean `a.b`.

    Args:
        top_level_only: leave out imports inside functions and under `if TYPE_CHECKING`.
        package: where the file lies, for `from . import b`.
    """
    return list(_imported_modules(path.read_text(encoding="utf-8"), top_level_only, package))


@functools.cache  # by content, never stale: the keys of one run read every file several times
def _imported_modules(text: str, top_level_only: bool, package: str) -> tuple[str, ...]:
    tree = ast.parse(text)
    names: list[str] = []
    for node in tree.body if top_level_only else _statements(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            parents = parts[: len(parts) - node.level + 1] if node.level else []
            module = ".".join(filter(None, [*parents, node.module]))
            names += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return tuple(names)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement that may run, and none of the expressions, which are most of a tree."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
            continue
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, block, ())
        yield node
