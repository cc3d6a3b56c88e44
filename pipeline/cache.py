"""When is a step's result still true: one key over everything that can change it.

code        source of every module of the project that the step imports, own networks and callbacks too
packages    pinned versions of what those modules import, and of what that needs in turn
parameters  resolved values: `1e-3` and `0.001` are one
inputs      digests of the data, or of the results that the step reads
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

ROOMS = ("steps", "pipeline", "serving")

DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow"}
"""Packages that are imported under another name than they are installed."""

CLOSED = ("mlflow", "torch", "torch-geometric", "lightning", "jsonargparse", "onnx-ir")
"""What these need in turn (web servers, template engines, file systems) computes no number of ours."""

Facts = dict[str, dict[str, Any]]


class StepKey(str):
    """The key of a step, 32 hexadecimal digits, with the facts it stands for.

    Attributes:
        facts: `code`, `packages`, `parameters` and `inputs`, each by name.
        files: the source files, by their names in `facts["code"]`.
    """

    facts: Facts
    files: Mapping[str, Path]

    def edited(self) -> list[str]:
        """The source files that have changed since the key was made."""
        return [name for name, path in self.files.items() if _file_digest(path) != self.facts["code"][name]]


def step_key(
    step: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    root: Path,
    also: Sequence[str] = (),
    texts: Sequence[str] = (),
) -> StepKey:
    """Compute the key of a step.

    Args:
        config: resolved values.
        inputs: digests of what the step reads, by name.
        root: project folder.
        also: modules that the step runs without importing them, and the user's own.
        texts: further files of the project that the step copies or reads.
    """
    code = trace_imports([f"steps.{step}", *also], root)
    files = {**code.files, **{name: root / name for name in texts}}
    facts: Facts = {
        "code": {name: _file_digest(path) for name, path in files.items()},
        "packages": package_versions(code.packages, root),
        "parameters": json.loads(json.dumps(config, default=str)),
        "inputs": dict(inputs),
    }
    content = json.dumps({"step": step, **facts}, sort_keys=True)
    key = StepKey(hashlib.sha256(content.encode()).hexdigest()[:32])
    key.facts, key.files = facts, files
    return key


def differences(before: Facts, now: Facts) -> list[str]:
    """What changed between two sets of facts, in words for people."""
    lines = []
    for kind in ("inputs", "parameters", "code", "packages"):
        old, new = before.get(kind, {}), now.get(kind, {})
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) == new.get(name):
                continue
            if kind in ("parameters", "packages"):
                lines.append(f"{name} {_short(old.get(name))} → {_short(new.get(name))}")
            else:
                lines.append(f"{name} {'is new' if name not in old else 'is gone' if name not in new else 'changed'}")
    return lines


def _short(value: Any) -> str:
    text = "none" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"


class Imports(NamedTuple):
    """What some modules import, over all levels."""

    files: dict[str, Path]  # source files of the project, by their path in it
    packages: set[str]  # names of other people's packages


def trace_imports(modules: Iterable[str], root: Path) -> Imports:
    """Follow the import statements of modules, also inside functions, as far as the project's own files go.

    The project is what lies below `root` or, for the user's own modules, on a path of PYTHONPATH.
    """
    roots = [root, *_own_paths(root)]
    found = Imports({}, set())
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in seen:
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
        waiting += imported_modules(path, package=package)
    own = {name.split("/")[0].removesuffix(".py") for name in found.files}
    return Imports(dict(sorted(found.files.items())), found.packages - own)


def sources(module: str, root: Path) -> list[Path]:
    """Files of `module` and of the project modules it imports, sorted."""
    return sorted(trace_imports([module], root).files.values())


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


def package_versions(imports: Iterable[str], root: Path) -> dict[str, str]:
    """Pinned version of each package that is imported, and of the pinned ones that these need.

    A version that is installed in place of the pinned one is named, too; the build (`+cpu`) is not.
    """
    pins = _read_pins((root / "requirements.txt").read_text(encoding="utf-8"))
    found: dict[str, str] = {}
    direct = {_plain(DISTRIBUTIONS.get(name, name)) for name in imports}
    waiting = list(direct)
    while waiting:
        name = _plain(waiting.pop())
        here = _installed(name)
        if name in found or (name not in pins and (here is None or name not in direct)):
            continue
        pinned, version = pins.get(name, "not pinned"), here.version if here else "not installed"
        found[name] = pinned if version == pinned else f"{pinned}, {version} is installed"
        waiting += here.needs if here and name not in CLOSED else ()
    return dict(sorted(found.items()))


class _Installed(NamedTuple):
    version: str
    needs: tuple[str, ...]


@functools.cache
def _installed(name: str) -> _Installed | None:
    try:
        text = metadata.distribution(name).read_text("METADATA") or ""
    except metadata.PackageNotFoundError:
        return None
    head = text.partition("\n\n")[0]  # not through the mail parser: it would read every README
    version = re.search(r"^Version: ([^+\s]+)", head, re.MULTILINE)
    needs = re.findall(r"^Requires-Dist: ([\w.-]+)(.*)$", head, re.MULTILINE)
    return _Installed(version[1] if version else "unknown", tuple(n for n, rest in needs if "extra ==" not in rest))


def _read_pins(text: str) -> dict[str, str]:
    return {_plain(name): version for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported_modules(path: Path, *, top_level_only: bool = False, package: str = "") -> list[str]:
    """Names of the modules that a file may import, in order of appearance; `from a import b` may mean `a.b`.

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


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else "gone"
