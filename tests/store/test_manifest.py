"""What a store says of itself, and every way in which its files may be otherwise."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.digests import file_sha256
from pipeline.errors import StoreError
from pipeline.store import manifest as manifests
from pipeline.store.manifest import (
    MANIFEST,
    STORE_VERSION,
    check_store,
    checked_path,
    list_files,
    manifest_digest,
    read_manifest,
)


def write_manifest(folder: Path, **changes: Any) -> dict[str, Any]:
    names = list_files(folder)
    files = {n: {"size_bytes": (folder / n).stat().st_size, "sha256": file_sha256(folder / n)} for n in names}
    manifest = {"store_version": STORE_VERSION, "files": files} | changes
    manifest["digest"] = manifest_digest(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return manifest


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    (folder / "tensors").mkdir(parents=True)
    (folder / "tensors" / "x.memmap").write_bytes(b"0123456789")
    (folder / "tensors" / "meta.json").write_text("{}")
    (folder / "rows.parquet").write_bytes(b"rows")
    write_manifest(folder)
    return folder


def test_files_are_listed_but_the_manifest_itself(store: Path) -> None:
    assert list_files(store) == ["rows.parquet", "tensors/meta.json", "tensors/x.memmap"]


def test_the_digest_is_of_everything_but_itself(store: Path) -> None:
    manifest = read_manifest(store)
    rest = {key: value for key, value in manifest.items() if key != "digest"}
    text = json.dumps(rest, sort_keys=True, ensure_ascii=False)
    assert manifest["digest"] == hashlib.sha256(text.encode()).hexdigest() == manifest_digest(rest)
    assert manifest_digest(dict(reversed(manifest.items()))) == manifest["digest"]
    assert manifest_digest(manifest | {"more": 1}) != manifest["digest"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda s: flip(s / "tensors/x.memmap"), r"tensors/x\.memmap was changed .* sha256 differs"),
        (lambda s: (s / "tensors/x.memmap").write_bytes(b"short"), "has 5 bytes instead of 10"),
        (lambda s: (s / "rows.parquet").unlink(), "rows.parquet is missing"),
        (lambda s: (s / "more").touch(), "more does not belong to the store"),
        (lambda s: (s / MANIFEST).unlink(), "no store is here"),
        (lambda s: (s / MANIFEST).write_text("{"), "manifest.json cannot be read"),
        (lambda s: (s / MANIFEST).write_text("[]"), "manifest.json cannot be read"),
        (lambda s: (s / MANIFEST).write_text('{"store_version": 1}'), "manifest.json cannot be read"),
        (
            lambda s: (s / MANIFEST).write_text((s / MANIFEST).read_text().replace("10", "11")),
            "manifest.json was changed after it was written",
        ),
        (lambda s: write_manifest(s, store_version=STORE_VERSION + 1), "update graphline, or delete the folder"),
        (lambda s: write_manifest(s, store_version=0), r"format 0, this graphline reads format 1; delete the folder"),
    ],
)
def test_every_harm_is_named_with_the_way_out(store: Path, harm: Any, says: str) -> None:
    harm(store)
    with pytest.raises(StoreError, match=says):
        check_store(store)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose bytes are read."""
    seen: list[str] = []

    def note(path: Path) -> str:
        seen.append(path.name)
        return file_sha256(path)

    monkeypatch.setattr(manifests, "file_sha256", note)
    return seen


def age(store: Path) -> None:
    """A file that was written just now is read again: its time may not tell the next change."""
    for path in store.rglob("*"):
        os.utime(path, ns=(10**18, 10**18))


def test_bytes_are_read_once_and_the_small_descriptions_always(store: Path, reads: list[str]) -> None:
    age(store)
    check_store(store)
    assert sorted(reads) == ["meta.json", "rows.parquet", "x.memmap"]
    reads.clear()
    check_store(store)
    assert reads == ["meta.json"]
    check_store(store, checksums=True)
    assert sorted(reads[1:]) == ["meta.json", "rows.parquet", "x.memmap"]
    reads.clear()
    (store / "tensors/x.memmap").touch()
    check_store(store)
    assert sorted(reads) == ["meta.json", "x.memmap"]


def test_a_note_of_another_store_or_a_broken_one_is_none(store: Path, reads: list[str]) -> None:
    age(store)
    check_store(store)
    for text in ("{", "[]", json.dumps({"digest": "other", "files": {}}), json.dumps({"files": {}})):
        checked_path(store).write_text(text)
        reads.clear()
        check_store(store)
        assert len(reads) == 3


def test_a_file_written_within_a_tick_of_the_clock_is_read_again(store: Path, reads: list[str]) -> None:
    check_store(store)
    reads.clear()
    manifests.remember_checked(store, read_manifest(store), (store / "rows.parquet").stat().st_mtime_ns)
    check_store(store)
    assert sorted(reads) == ["meta.json", "rows.parquet", "x.memmap"]
