"""Signatures of records: good, missing, of a stranger, over other bytes, out of time."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.review.signing import open_signer
from pipeline.review.verify import line_hash, signature_faults
from tests.support.records import BLANK

pytestmark = [
    pytest.mark.mlflow,
    pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed"),
]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ada", "bob"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", folder / name], check=True)
    return folder


def allow(keys: Path, *names: str, options: str = "") -> str:
    lines = [f"{name} {options} {(keys / f'{name}.pub').read_text()}" for name in names]
    (keys / "allowed").write_text("".join(lines))
    return str(keys / "allowed")


def log(keys: Path, *who: str | None) -> list[tuple[str, str]]:
    """A record each, signed by these; None for unsigned ones by ada."""
    entries: list[tuple[str, str]] = []
    for number, name in enumerate(who, 1):
        signer = open_signer(str(keys / name)) if name else None
        line = replace(
            BLANK,
            sequence=number,
            reviewer=name or "ada",
            signer=signer.fingerprint if signer else "",
            previous=line_hash(entries[-1][0]) if entries else "0" * 64,
        ).to_text()
        entries.append((line, signer.sign(line) if signer else ""))
    return entries


def test_signed_by_allowed_reviewers(keys):
    assert signature_faults(log(keys, "ada", "bob"), allow(keys, "ada", "bob")) == []
    assert signature_faults(log(keys, None, None, "ada"), allow(keys, "ada")) == []  # held by the signed one after them
    assert signature_faults([], allow(keys, "ada")) == []


def test_what_is_not_good(keys):
    good = log(keys, "ada", "bob")
    both = allow(keys, "ada", "bob")
    (first, mark), (second, other) = good
    assert signature_faults(log(keys, None, None), both) == ["no record is signed"]
    assert signature_faults(log(keys, "ada", None), both) == ["record 2: it is not signed"]
    assert signature_faults([(first, mark), (second, "")], both) == ["record 2: it is not signed"]
    assert "record 2: its signature is not one of bob" in signature_faults([(first, mark), (second, mark)], both)[0]
    changed = first.replace('"reason":"2026"', '"reason":"2027"')
    assert "record 1: its signature is not one of ada" in signature_faults([(changed, mark)], both)[0]
    assert "record 1: its signature is not one of ada" in signature_faults([(first, "nonsense")], both)[0]
    only_ada = signature_faults([(first, mark), (second, other)], allow(keys, "ada"))
    assert [fault.partition(":")[0] for fault in only_ada] == ["record 2"]


def test_a_reviewer_cannot_sign_in_anothers_name(keys):
    [(line, _)] = log(keys, "ada")
    bobs = open_signer(str(keys / "bob")).sign(line)
    assert "not one of ada" in signature_faults([(line, bobs)], allow(keys, "ada", "bob"))[0]


def test_a_key_is_good_at_the_time_of_the_record(keys):
    entries = log(keys, "ada")  # written on 2026-11-01
    assert signature_faults(entries, allow(keys, "ada", options='valid-before="20261201"')) == []
    assert signature_faults(entries, allow(keys, "ada", options='valid-before="20261001"')) != []


def test_a_signature_for_something_else_is_none(keys):
    [(line, _)] = log(keys, "ada")
    done = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-q", "-n", "git", "-f", keys / "ada"], input=line.encode(), capture_output=True
    )
    assert signature_faults([(line, done.stdout.decode())], allow(keys, "ada")) != []


def test_what_is_no_key_is_one_line(keys, tmp_path):
    assert open_signer(None) is None
    with pytest.raises(ConfigError, match=r"sign_key=nowhere: no file at /.*nowhere"):
        open_signer("nowhere")
    (tmp_path / "text").write_text("no key")
    with pytest.raises(ConfigError, match="ssh-keygen refuses") as caught:
        open_signer(str(tmp_path / "text"))
    assert "\n" not in str(caught.value)
