"""What an auditor's Python checks: the chain of records, the files, the bytes; without a tracking server."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.digests import DIGESTS, write_digests
from pipeline.review import verify
from pipeline.review.verify import (
    GENESIS,
    chain_faults,
    check_evidence,
    digests_faults,
    folder_faults,
    line_hash,
    read_records,
    signature_faults,
    tell_decision,
)
from tests.support.records import BLANK


def chain(length: int) -> list[str]:
    """Lines of records, each with the hash of the one before."""
    lines: list[str] = []
    for number in range(1, length + 1):
        before = line_hash(lines[-1]) if lines else GENESIS
        lines.append(replace(BLANK, sequence=number, previous=before).to_text())
    return lines


def test_a_hash_is_sha256_of_the_line() -> None:
    assert line_hash("abc") == hashlib.sha256(b"abc").hexdigest()
    assert line_hash("größe") == hashlib.sha256("größe".encode()).hexdigest()


@given(st.integers(0, 6))
def test_a_whole_chain_has_no_faults(length: int) -> None:
    assert chain_faults(chain(length)) == []


@given(st.integers(2, 5), st.data())
def test_whatever_is_changed_before_the_last_is_named(length: int, data: st.DataObject) -> None:
    lines = chain(length)
    number = data.draw(st.integers(1, length - 1))
    lines[number - 1] = lines[number - 1].replace('"reason":"2026"', '"reason":"other"')
    faults = chain_faults(lines)
    assert faults == [f"record {number + 1}: it does not follow the one before it: one of the two was changed"]


@pytest.mark.parametrize("line", ["", "nonsense", "[]", "{}", '{"sequence": "x", "previous": ""}'])
def test_what_is_no_record_is_missing(line: str) -> None:
    lines = [*chain(1), line]
    assert chain_faults(lines) == ["record 2: it is missing: it was deleted or overwritten, or never was a record"]


def test_a_void_record_of_a_writer_who_came_second_is_no_fault() -> None:
    one, two, three = chain(3)
    late = json.loads(two) | {"reason": "mine came second"}
    void = json.dumps(late, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    assert chain_faults([one, two, void]) == []
    assert "it claims a place that was never free" in chain_faults([one, two, void.replace(line_hash(one), GENESIS)])[0]
    assert "it claims a place that was never free" in chain_faults([one, three])[0]


def test_who_signs_once_must_sign_always() -> None:
    unsigned = [(line, "") for line in chain(2)]
    blank = [(replace(BLANK, sequence=1, signer="").to_text(), "")]
    assert signature_faults(blank, "none") == ["no record is signed"]
    assert signature_faults([], "none") == []
    signer = [(line, "") for line, _ in unsigned]  # `signer` is said, no signature is there
    assert signature_faults(signer, "none") == ["record 1: it is not signed", "record 2: it is not signed"]


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """An unpacked evidence file of one release."""
    folder = tmp_path / "pack"
    digests = {}
    for room in ("bundle", "evidence"):
        (folder / room).mkdir(parents=True)
        (folder / room / "a.txt").write_text(room)
        digests[room] = write_digests(folder / room)
    record = replace(BLANK, sequence=1, previous=GENESIS, digest=digests["bundle"], evidence=digests["evidence"])
    log = [{"number": 1, "record": record.to_text(), "signature": ""}]
    (folder / "records.json").write_text(json.dumps({"model": "m", "decided": 1, "log": log}))
    (folder / "verify.py").write_bytes(Path(verify.__file__).read_bytes())
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    listed = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files}
    (folder / verify.MANIFEST).write_text(json.dumps(listed))
    return folder


def test_whole_evidence_has_no_faults_and_tells_its_record(evidence: Path) -> None:
    assert check_evidence(evidence) == []
    log, decided = read_records(evidence)
    assert (len(log), decided["sequence"]) == (1, 1)
    assert check_evidence(evidence, head=line_hash(log[0][0]).upper()) == []
    assert check_evidence(evidence, model=evidence / "bundle") == []


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda f: (f / "bundle/a.txt").write_text("x"), ["a.txt: it was changed", "a.txt: it was changed"]),
        (lambda f: (f / "evidence/a.txt").unlink(), ["a.txt: it is missing", "a.txt: it is missing"]),
        (lambda f: (f / "more").touch(), ["more: it is not listed"]),
        (lambda f: (f / "bundle" / DIGESTS).write_text("{}"), ["it was changed", "its digest is not"]),
        (lambda f: (f / "bundle" / DIGESTS).unlink(), ["it is missing", "it cannot be read"]),
        (lambda f: (f / "records.json").write_text("{"), ["this is no whole evidence (JSONDecodeError"]),
        (lambda f: (f / verify.MANIFEST).unlink(), ["this is no whole evidence (FileNotFoundError"]),
    ],
)
def test_every_harm_is_named(evidence: Path, harm, says: list[str]) -> None:
    harm(evidence)
    faults = check_evidence(evidence)
    assert len(faults) == len(says)
    assert all(word in fault for word, fault in zip(says, faults, strict=True))


def test_a_head_that_was_kept_elsewhere_and_another_model_are_compared(evidence: Path, tmp_path: Path) -> None:
    assert check_evidence(evidence, head="0" * 64) == [f"records.json: no record has the hash {'0' * 64}"]
    other = tmp_path / "other"
    other.mkdir()
    write_digests(other)
    assert "its digest is not" in check_evidence(evidence, model=other)[0]


def test_links_and_compiled_code_are_foreign(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").touch()
    listed = {"a": hashlib.sha256(b"abc").hexdigest()}
    compiled = f"{tmp_path / '__pycache__' / 'a.pyc'}: it is not listed"
    assert folder_faults(tmp_path, listed, ("beside",)) == [compiled]
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert folder_faults(tmp_path, listed, ("beside",)) == [compiled, f"{tmp_path / 'b'}: it is no plain file"]


def test_a_model_with_what_mlflow_writes_beside_it_is_the_same(evidence: Path) -> None:
    digest = read_records(evidence)[1]["digest"]
    (evidence / "bundle" / "registered_model_meta").touch()
    assert digests_faults(evidence / "bundle", digest) == []


def test_it_needs_nothing_but_python(evidence: Path) -> None:
    command = [sys.executable, "-I", "-S", str(evidence / "verify.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("All is as it was decided. Log of 1, head ")
    (evidence / "bundle" / "a.txt").write_text("x")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout.startswith("WRONG  ")


def test_an_override_is_told() -> None:
    told = [tell_decision(json.loads(replace(BLANK, override=why).to_text())) for why in ("", "no other is left")]
    assert told[1] == [*told[0], "Released in spite of the verdict, because: no other is left"]
