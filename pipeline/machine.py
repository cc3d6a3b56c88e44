"""What this machine is and what a run uses of it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

_HARMLESS = {"HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LD_PRELOAD", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV"}
_HARMLESS_BEGIN = ("ARROW_", "CUDA_", "GOMP_", "LC_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_")
PACKAGES = ("mlflow", "lightning", "torch", "torch_geometric", "tensordict", "onnx", "onnxruntime", "rdkit", "pandas")


def graphline_version() -> str:
    """The version in `pyproject.toml`."""
    import tomllib

    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])


def usable_cores() -> int:
    """Cores that this process may keep busy: its affinity and its container's quota, not the host's cores.

    A fraction of a core counts as none: threads beyond the quota would all be stopped for the rest of each period.
    """
    # macOS has no affinity.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(min(_quotas(Path("/")), default=cores))))


def is_busy() -> bool:
    """Whether others want twice the cores that we may use, by the load of the last minute."""
    return os.getloadavg()[0] > 2 * usable_cores()


def usable_memory() -> int:
    """Bytes that this process may fill: its container's limit, not the host's memory."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([host, *_memory_limits(Path("/"))])


def _memory_limits(root: Path) -> Iterator[int]:
    """The memory limits, in bytes, of this process's control group and of all groups above it; version 1 and 2.

    Source: docs.kernel.org/admin-guide/cgroup-v2.html, "memory.max"; docs.kernel.org/admin-guide/cgroup-v1/memory.html.
    """
    for folder in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (limit := _text(folder / name).strip()).isdecimal():  # "max" is none
                yield int(limit)


def _quotas(root: Path) -> Iterator[float]:
    """The CPU quotas, in cores, of this process's control group and of all groups above it; version 1 and 2.

    Source: docs.kernel.org/admin-guide/cgroup-v2.html, "cpu.max"; docs.kernel.org/scheduler/sched-bwc.html.
    """
    for folder in _groups(root, "cpu"):
        maximum = _text(folder / "cpu.max").split()
        period = maximum or [_text(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
        if len(period) == 2 and all(one.isdecimal() for one in period) and int(period[1]):
            yield int(period[0]) / int(period[1])


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's control group and of all groups above it, where the controller's files may lie."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)  # 0::/pods/7 in version 2, 4:cpu,cpuacct:/pods/7 in version 1
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers
        # In a container the path may be the host's, of which only the end of the tree, `mount` itself, is seen.
        yield from (mount, *(mount.joinpath(*parts) for parts in itertools.accumulate(_steps(group))))


def _steps(group: str) -> list[tuple[str, ...]]:
    return [(name,) for name in group.split("/") if name not in ("", "..")]


def _text(path: Path) -> str:
    """The text of a small file; nothing where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def give_memory_back() -> None:
    """Return what was freed to the system; glibc keeps it, others do it themselves."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def disk_use(folder: Path) -> int:
    """Bytes of all files below `folder`; some may vanish meanwhile, when another run tidies up."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.stat(os.path.join(parent, name)).st_size
    return total


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


def describe_load(threads: int) -> dict[str, str]:
    """How a run shares this machine: its threads, what else wants the cores, and how threads wait for each other."""
    waiting = os.environ.get("OMP_WAIT_POLICY", "ACTIVE").lower()
    return {"threads": str(threads), "load": f"{os.getloadavg()[0]:.1f}", "waiting": waiting}


def bare_environment() -> dict[str, str]:
    """What of our environment a process gets that runs a model's code: no credentials, addresses or search paths."""
    return {name: value for name, value in os.environ.items() if name in _HARMLESS or name.startswith(_HARMLESS_BEGIN)}


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
