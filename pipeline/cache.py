"""When is a step's result still true: one key over everything that can change it.

key = sha256(step, source of every project module the step imports, pinned packages, configuration, upstream)
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOMS = ("steps", "pipeline", "serving")


def step_key(
    step: str, config: Mapping[str, Any], upstream: Sequence[str], root: Path, also: Sequence[str] = ()
) -> str:
    """Compute the key of a step.

    Args:
        also: modules that the step runs without importing them.
        config: resolved values, so that `1e-3` and `0.001` are one key.
        upstream: digests of what the step reads.
        root: project folder.

    Returns:
        32 hexadecimal digits.
    """
    facts = {
        "step": step,
        "code": [code_digest(module, root) for module in (f"steps.{step}", *also)],
        "pins": hashlib.sha256((root / "requirements.txt").read_bytes()).hexdigest(),
        "config": config,
        "upstream": list(upstream),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:32]


def code_digest(module: str, root: Path) -> str:
    """Digest of the source of `module` and of every project module that it imports, over all levels."""
    digest = hashlib.sha256()
    for path in sources(module, root):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(path.read_bytes() + b"\0")
    return digest.hexdigest()


def sources(module: str, root: Path) -> list[Path]:
    """Files of `module` and of the project modules it imports, also inside functions, sorted."""
    found: set[Path] = set()
    waiting = [module]
    while waiting:
        path = root / f"{waiting.pop().replace('.', '/')}.py"
        if path in found or not path.is_file():
            continue
        found.add(path)
        waiting += imported_modules(path)
    return sorted(found)


def imported_modules(path: Path, *, top_level_only: bool = False) -> list[str]:
    """Names of the modules that a file imports, in order of appearance.

    Args:
        top_level_only: leave out imports inside functions and under `if TYPE_CHECKING`.
    """
    return list(_imported_modules(path.read_text(encoding="utf-8"), top_level_only))


@functools.cache  # by content, never stale: the keys of one run read every file several times
def _imported_modules(text: str, top_level_only: bool) -> tuple[str, ...]:
    tree = ast.parse(text)
    names: list[str] = []
    for node in tree.body if top_level_only else _statements(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
            if node.module.split(".")[0] in ROOMS:  # `from pipeline import graph` imports a module
                names += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(names)


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement, and none of the expressions, which are most of a tree."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, block, ())
        yield node
