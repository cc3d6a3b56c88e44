"""The list of digests of a folder: whoever knows its sha256 knows every byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from pipeline.digests import DIGESTS, file_sha256, list_sha256, private_copy, verify, write_digests
from pipeline.errors import BundleError

EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"  # of no bytes, FIPS 180-4
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"abc")
    (folder / "sub" / "empty").write_bytes(b"")
    return folder


def test_digests_are_sha256_by_sorted_path(bundle: Path) -> None:
    assert file_sha256(bundle / "a.txt") == ABC
    assert list(list_sha256(bundle, ["sub/empty", "a.txt"]).items()) == [("a.txt", ABC), ("sub/empty", EMPTY)]


def test_the_digest_of_a_folder_is_that_of_its_list(bundle: Path) -> None:
    digest = write_digests(bundle)
    content = (bundle / DIGESTS).read_bytes()
    assert json.loads(content) == {"a.txt": ABC, "sub/empty": EMPTY}
    assert digest == hashlib.sha256(content).hexdigest() == verify(bundle)
    assert write_digests(bundle) == digest  # its own list is not in it
    moved = bundle.rename(bundle.with_name("elsewhere"))
    assert verify(moved) == digest


def test_what_mlflow_writes_beside_a_model_is_not_signed_and_compiled_code_is_refused(bundle: Path) -> None:
    digest = write_digests(bundle)
    (bundle / "registered_model_meta").write_text("model_name: x")
    assert verify(bundle) == digest
    (bundle / "sub" / "__pycache__").mkdir()
    (bundle / "sub" / "__pycache__" / "a.pyc").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"'sub/__pycache__/a\.pyc'"):
        verify(bundle)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: (folder / "a.txt").write_bytes(b"abd"), r"'a\.txt' is not what was signed off"),
        (lambda folder: (folder / "a.txt").unlink(), r"'a\.txt' is missing"),
        (lambda folder: (folder / "sub" / "more").touch(), r"'sub/more' is not listed"),
        (lambda folder: (folder / "b").symlink_to(folder / "a.txt"), "'b' is a link"),
        (lambda folder: (folder / "sub2").symlink_to(folder / "sub"), "'sub2' is a link"),
        (lambda folder: (folder / "x.PKL").touch(), r"'x\.PKL' may hold a pickle"),
        (lambda folder: os.mkfifo(folder / "pipe"), "'pipe' is no plain file"),
        (lambda folder: (folder / DIGESTS).unlink(), "there is no digests.json"),
        (lambda folder: (folder / DIGESTS).write_text("{"), "digests.json cannot be read"),
        (lambda folder: (folder / DIGESTS).write_text("[]"), "digests.json cannot be read"),
    ],
)
def test_every_harm_is_named(bundle: Path, harm, says: str) -> None:
    write_digests(bundle)
    harm(bundle)
    with pytest.raises(BundleError, match=says):
        verify(bundle)


@pytest.mark.parametrize("name", ["a.pkl", "a.pt", "a.ckpt", "a.joblib", "a.pyc"])
def test_a_folder_with_a_pickle_gets_no_list(bundle: Path, name: str) -> None:
    (bundle / name).touch()
    with pytest.raises(BundleError, match="may hold a pickle"):
        write_digests(bundle)
    assert not (bundle / DIGESTS).exists()


def test_a_private_copy_is_whole_for_this_user_only_and_gone_afterwards(bundle: Path) -> None:
    digest = write_digests(bundle)
    (bundle / "__pycache__").mkdir()
    with private_copy(bundle, digest) as copy:
        assert verify(copy) == digest
        assert not (copy / "__pycache__").exists()
        assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
        (copy / "a.txt").write_bytes(b"changed there only")
    assert not copy.parent.exists()
    assert verify(bundle) == digest


def test_a_copy_of_other_bytes_is_refused_under_the_name_it_is_called_by(bundle: Path) -> None:
    digest = write_digests(bundle)
    with pytest.raises(BundleError, match=f"m version 3: the digest is sha256 {digest}, expected 0000"):
        private_copy(bundle, "0" * 64, "m version 3").__enter__()
    (bundle / "a.txt").write_bytes(b"other")
    with pytest.raises(BundleError, match=r"^m version 3: 'a\.txt' is not what was signed off"):
        private_copy(bundle, digest, "m version 3").__enter__()
    shutil.rmtree(bundle)
    with pytest.raises(BundleError, match="no such bundle folder"):
        private_copy(bundle, digest).__enter__()
