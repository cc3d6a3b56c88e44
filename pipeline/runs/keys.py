"""When is a step's result still true: one key over everything that can change it.

code        source of every module of the project that the step imports, own networks and callbacks too
packages    pinned versions of what those modules import, and of what that needs in turn
parameters  resolved values: `1e-3` and `0.001` are one
inputs      digests of the data, or of the results that the step reads
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.imports import kind_imports, trace_imports

DISTRIBUTIONS = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow"}
"""Packages that are imported under another name than they are installed."""

CLOSED = ("mlflow", "torch", "torch-geometric", "lightning", "jsonargparse", "onnx-ir")
"""What these need in turn (web servers, template engines, file systems) computes no number of ours."""

KeyFacts = dict[str, dict[str, Any]]


class StepKey(str):
    """The key of a step, 32 hexadecimal digits, with the facts it stands for.

    Attributes:
        facts: `code`, `packages`, `parameters` and `inputs`, each by name.
        files: the source files, by their names in `facts["code"]`.
    """

    facts: KeyFacts
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
    data_kind: str | None = None,
) -> StepKey:
    """Compute the key of a step.

    Args:
        config: resolved values.
        inputs: digests of what the step reads, by name.
        root: project folder.
        also: modules that the step runs without importing them, and the user's own.
        texts: further files of the project that the step copies or reads.
        data_kind: of the data: the code of others does not count, nor which others there are. None counts all.
    """
    instead = kind_imports(data_kind) if data_kind else {}
    code = trace_imports([f"steps.{step}", *also], root, instead=instead)
    chosen = {f"{module.replace('.', '/')}.py" for module in instead}
    files = {name: path for name, path in code.files.items() if name not in chosen}
    files |= {name: root / name for name in texts}
    facts: KeyFacts = {
        "code": {name: _file_digest(path) for name, path in files.items()},
        "packages": package_versions(code.packages, root),
        "parameters": json.loads(json.dumps(config, default=str)),
        "inputs": dict(inputs),
    }
    content = json.dumps({"step": step, **facts}, sort_keys=True)
    key = StepKey(hashlib.sha256(content.encode()).hexdigest()[:32])
    key.facts, key.files = facts, files
    return key


def differences(before: KeyFacts, now: KeyFacts) -> list[str]:
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


def _file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else "gone"
