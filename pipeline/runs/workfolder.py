"""The work folder: who may write a product now, and nothing left over from a process that was killed.

    .graphline/
        stores/<key> checkpoints/<key> bundles/<key>   products; each stands there whole or not at all
        stores/.<key>-xxxxxxxx                         one that is being built, under the lock of its product
        locks/stores-<key>.lock                        held by the process that builds or fetches this product
        locks/claim-<step>-<key>.lock                  held by `main` from the question "is it done?" to the answer

The locks are the operating system's (`flock`): they end with the process that holds them, however it ends.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOMS = ("stores", "checkpoints", "bundles", "dataset")

Say = Callable[[str], object]
"""Takes a line for people."""

_LEFTOVER = re.compile(r"\.(.+)[-.][a-z0-9_]{8}(?:\.part)?")
_SCRATCH = "graphline-run-"


@contextlib.contextmanager
def hold(product: Path, say: Say) -> Iterator[None]:
    """Be the only process that builds or fetches a product, and start without what a killed one left of it."""
    with locked(_product_lock(product), say, f"{product} is in work by another run"):
        for name in _leftovers(product.parent):
            if name[0] == product.name:
                shutil.rmtree(product.parent / name[1], ignore_errors=True)
        yield


@contextlib.contextmanager
def claim(work: Path, name: str, say: Say) -> Iterator[None]:
    """Be the only run in this work folder that decides about `name`."""
    with locked(work / "locks" / f"claim-{name}.lock", say, f"{name.split('-')[0]}: another run is at the same step"):
        yield


@contextlib.contextmanager
def locked(path: Path, say: Say, busy: str) -> Iterator[None]:
    """Hold a lock file; say once why one must wait, if that takes more than a moment."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        say(f"{busy}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def sweep(work: Path) -> None:
    """Remove what killed processes left half built, in all rooms."""
    from filelock import FileLock, Timeout

    for room in ROOMS:
        for product, name in _leftovers(work / room):
            lock = FileLock(_product_lock(work / room / product))
            with contextlib.suppress(Timeout, OSError), lock.acquire(timeout=0):
                shutil.rmtree(work / room / name, ignore_errors=True)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Give this process a folder of its own for all of Python's `tempfile`; remove those of dead processes."""
    from filelock import FileLock, Timeout

    before = tempfile.tempdir
    root = Path(tempfile.gettempdir())
    for folder in root.glob(f"{_SCRATCH}*"):
        with contextlib.suppress(Timeout, OSError), FileLock(folder / "lock").acquire(timeout=0):
            shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=_SCRATCH, ignore_cleanup_errors=True) as own:
        lock = FileLock(Path(own) / "lock")
        lock.acquire()
        while not (Path(own) / "lock").is_file():  # another process came before the lock, and took it for a dead one's
            lock.release()
            Path(own).mkdir(exist_ok=True)
            lock.acquire()
        tempfile.tempdir = own
        try:
            yield Path(own)
        finally:
            tempfile.tempdir = before
            lock.release()


def _product_lock(product: Path) -> Path:
    return product.parent.parent / "locks" / f"{product.parent.name}-{product.name}.lock"


def _leftovers(room: Path) -> list[tuple[str, str]]:
    """Names of products and of what is left of an attempt to build them."""
    names = [path.name for path in room.iterdir()] if room.is_dir() else []
    return [(match[1], name) for name in names if (match := _LEFTOVER.fullmatch(name))]
