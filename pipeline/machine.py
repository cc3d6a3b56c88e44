"""What this machine is and what a run uses of it."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("mlflow", "lightning", "torch", "torch_geometric", "tensordict", "onnx", "onnxruntime", "rdkit", "pandas")


def usable_cores() -> int:
    """Cores that this process may run on: the affinity, not the host."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS has no affinity


def disk_use(folder: Path) -> int:
    """Bytes of all files below `folder`."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def human_size(size_bytes: int) -> str:
    """Write a number of bytes for people: `1.4 MB`."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def environment() -> dict[str, str]:
    """Versions and machine, for cards and results."""
    facts = {"python": platform.python_version(), "system": platform.platform(), "cores": str(usable_cores())}
    for package in PACKAGES:
        try:
            facts[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            facts[package] = "not installed"
    return facts


def installed() -> str:
    """Every installed package as `name==version`, a line each: what it takes to build this environment again."""
    found = {(package.metadata["Name"] or "").lower(): package.version for package in metadata.distributions()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()) if name)


def commit(root: Path) -> str:
    """The commit of the project, with `+changes` when files differ from it; `unknown` outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"],
            cwd=root,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip() or "unknown"
