"""Digests: the sha256 of a file, of a list of files, and of a folder that holds the list of its own.

The sha256 of `digests.json` is the digest of the folder: who knows it can tell that no byte has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.errors import BundleError

DIGESTS = "digests.json"
UNSIGNED = (DIGESTS, "registered_model_meta")
"""At the top of a bundle: the list itself, and what MLflow writes beside a model when a version is downloaded."""

PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".cloudpickle", ".pyc")

_MEND = "Fetch the bundle again; if it is damaged where it is kept, register or release the model again."


def file_sha256(path: Path) -> str:
    """sha256 of the bytes of a file: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_sha256(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """sha256 of files by their path below a folder, sorted."""
    return {name: file_sha256(folder / name) for name in sorted(names)}


def write_digests(folder: str | Path) -> str:
    """Write `digests.json` of a finished bundle.

    Returns:
        The digest of the bundle: 64 hexadecimal digits.

    Raises:
        BundleError: if the folder holds a link or a pickle.
    """
    folder = Path(folder)
    digests = list_sha256(folder, _files(folder))
    content = json.dumps(digests, indent=1, ensure_ascii=False).encode()
    (folder / DIGESTS).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def verify(folder: str | Path) -> str:
    """Compare every file of a bundle with its digest.

    Returns:
        The digest of the bundle, to be compared with the one that was signed off.

    Raises:
        BundleError: naming the first file that changed, is missing, is not listed, is a link or a pickle.
    """
    folder = Path(folder)
    listed, digest = _read_list(folder)
    for name in sorted(listed):
        if file_sha256(folder / name) != listed[name]:
            raise BundleError(f"{folder}: '{name}' is not what was signed off (sha256 differs). {_MEND}")
    return digest


def copy_listed(folder: str | Path, target: Path) -> None:
    """Copy a bundle to a new folder: the files of its list and no other.

    Raises:
        BundleError: naming the first file that is missing, is not listed, is a link or a pickle.
    """
    folder = Path(folder)
    for name in (DIGESTS, *_read_list(folder)[0]):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, target / name, follow_symlinks=False)


@contextlib.contextmanager
def private_copy(folder: str | Path, expected: str | None = None, called: str = "") -> Iterator[Path]:
    """Copy a bundle to a folder that only this user can read, verify the copy, and remove it in the end.

    Loading a bundle writes into it, and a folder that others can write may change between check and use.

    Args:
        expected: the digest that was signed off, if it is known.
        called: what an error calls it; its folder if empty.

    Raises:
        BundleError: as `verify`, or if the digest is another one.
    """
    called = called or str(folder)
    with tempfile.TemporaryDirectory(prefix="graphline-") as temporary:  # mode 0700
        copy = Path(temporary) / "bundle"
        if not Path(folder).is_dir():
            raise BundleError(f"{Path(folder).absolute()}: no such bundle folder.")
        try:
            copy_listed(folder, copy)
            digest = verify(copy)
        except OSError as error:
            raise BundleError(f"{called}: cannot be copied ({str(error)[:200]}).") from None
        except BundleError as error:
            raise BundleError(str(error).replace(str(copy), called).replace(str(folder), called)) from None
        if expected is not None and digest != expected:
            raise BundleError(f"{called}: the digest is sha256 {digest}, expected {expected}. {_MEND}")
        yield copy


def _files(folder: Path) -> Iterator[str]:
    """Every file that is signed, relative to the bundle, with forward slashes.

    Raises:
        BundleError: at a link, a pickle or something that is no plain file.
    """
    for parent, folders, names in os.walk(folder):
        for name in sorted(folders + names):
            path = Path(parent) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                raise BundleError(f"{folder}: '{relative}' is a link; a bundle holds plain files only.")
            if path.is_dir() or relative in UNSIGNED:
                continue
            if not path.is_file():
                raise BundleError(f"{folder}: '{relative}' is no plain file.")
            if path.suffix.lower() in PICKLES:
                raise BundleError(f"{folder}: '{relative}' may hold a pickle, which runs code when it is read.")
            yield relative


def _read_list(folder: Path) -> tuple[dict[str, str], str]:
    """The list of a bundle and the bundle's digest; the files that are there are those of the list.

    Raises:
        BundleError: naming the first file that is missing, is not listed, is a link or a pickle.
    """
    listed, digest = _read_digests(folder)
    found = set(_files(folder))
    for name in sorted(found ^ listed.keys()):
        what = "is missing" if name in listed else f"is not listed in {DIGESTS}"
        raise BundleError(f"{folder}: '{name}' {what}. {_MEND}")
    return listed, digest


def _read_digests(folder: Path) -> tuple[dict[str, str], str]:
    path = folder / DIGESTS
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{folder.absolute()}: there is no {DIGESTS}; this is no bundle of graphline.")
    content = path.read_bytes()
    try:
        listed = json.loads(content)
    except ValueError:
        listed = None
    if not isinstance(listed, dict):
        raise BundleError(f"{folder}: {DIGESTS} cannot be read. {_MEND}")
    return listed, hashlib.sha256(content).hexdigest()
