"""What a store says of itself, `manifest.json`, and whether its files are so. Needs no torch.

Names, sizes and the small descriptions are compared at every opening; every byte at the first one on this machine,
and again whenever a file looks touched (size, time or inode): `<store>.checked` remembers what was compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from pathlib import Path
from typing import Any

from pipeline.digests import file_sha256
from pipeline.errors import StoreError

STORE_VERSION = 1
MANIFEST = "manifest.json"
ROWS = "rows.parquet"
TENSORS = "tensors"


def check_store(folder: Path, *, checksums: bool = False) -> dict[str, Any]:
    """Check that a store is whole.

    Args:
        checksums: read every byte, also of files that were compared before.

    Returns:
        The manifest.

    Raises:
        StoreError: names the first file that is missing, foreign, of a wrong size or changed, or says that the
            store was written by another version; and what to do.
    """
    manifest = read_manifest(folder)
    now_ns = time.time_ns()
    known = _read_checked(folder, manifest["digest"])
    try:
        check_files(folder, manifest["files"], known={} if checksums else known)
    except PermissionError as error:
        raise StoreError(f"{error.filename}: may not be read; ask its owner, or use another work folder.") from None
    if any(known.get(name) != _look(folder / name) for name in manifest["files"]):
        remember_checked(folder, manifest, now_ns)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest of a store.

    Raises:
        StoreError: if it is missing, changed, or of another format.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise StoreError(f"{folder}: no store is here ({MANIFEST} is missing); run prepare to make one.")
    try:
        manifest: dict[str, Any] = json.loads(path.read_bytes())
        version, digest = manifest["store_version"], manifest["digest"]
    except PermissionError:
        raise StoreError(f"{path}: may not be read; ask its owner, or use another work folder.") from None
    except (ValueError, KeyError, TypeError):
        raise damaged(folder, MANIFEST, "cannot be read") from None
    if version != STORE_VERSION:
        newer = isinstance(version, int) and version > STORE_VERSION
        raise StoreError(
            f"{folder}: the store has format {version}, this graphline reads format {STORE_VERSION}; "
            + ("update graphline, or " if newer else "")
            + "delete the folder and run prepare again."
        )
    if digest != manifest_digest(manifest):
        raise damaged(folder, MANIFEST, "was changed after it was written")
    return manifest


def manifest_digest(manifest: dict[str, Any]) -> str:
    """sha256 of a manifest without its own `digest`."""
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def list_files(folder: Path) -> list[str]:
    """The files below a store's folder but its manifest, sorted."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return sorted(name for name in names if name != MANIFEST)


def check_files(folder: Path, files: dict[str, dict[str, Any]], *, known: dict[str, list[int]]) -> None:
    """Compare the files of a store with the manifest's list.

    Args:
        known: what files looked like when their bytes were compared; those are not read again.

    Raises:
        StoreError: names the first file that is missing, foreign, of a wrong size or changed.
    """
    here = list_files(folder)
    for name in here:
        if name not in files:
            raise damaged(folder, name, "does not belong to the store")
    for name, want in files.items():
        path = folder / name
        if name not in here:
            raise damaged(folder, name, "is missing")
        size_bytes = path.stat().st_size
        if size_bytes != want["size_bytes"]:
            raise damaged(folder, name, f"has {size_bytes} bytes instead of {want['size_bytes']}")
        # tensordict's own small descriptions are always read: they say how the other bytes are to be understood
        unread = name.endswith("meta.json") or known.get(name) != _look(path)
        if unread and file_sha256(path) != want["sha256"]:
            raise damaged(folder, name, "was changed after it was written (its sha256 differs)")


def remember_checked(folder: Path, manifest: dict[str, Any], time_ns: int) -> None:
    """Note what the files look like whose bytes were compared; where nothing may be written, they are read again.

    Args:
        time_ns: when the comparison began.
    """
    # A file written within a tick of the clock may change again without a new time: read it once more next time.
    settled = time_ns - 50_000_000
    looks = {name: _look(folder / name) for name in manifest["files"]}
    files = {name: look for name, look in looks.items() if look[1] < settled}
    with contextlib.suppress(OSError):
        content = json.dumps({"digest": manifest["digest"], "files": files})
        checked_path(folder).write_text(content, encoding="utf-8")


def checked_path(folder: Path) -> Path:
    """Where it is noted that the bytes of a store were compared."""
    return folder.with_name(f"{folder.name}.checked")


def _read_checked(folder: Path, digest: str) -> dict[str, list[int]]:
    try:
        checked = json.loads(checked_path(folder).read_bytes())
        return dict(checked["files"]) if checked["digest"] == digest else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _look(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]


def damaged(folder: Path, name: str, what: str) -> StoreError:
    """The error that names a file of a store, what is wrong with it, and the way out."""
    return StoreError(f"{folder}: {name} {what}; delete the folder and run prepare again.")
