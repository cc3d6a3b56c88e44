"""The evidence of a release: whole, readable offline, and it verifies itself."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline import digests
from pipeline.errors import ConfigError, RegistryError
from steps import evidence as evidence_step
from tests.support.candidates import place_of

pytestmark = pytest.mark.mlflow


def verify(folder: Path, *words: str) -> tuple[int, str]:
    """Run verify.py as an auditor would: no site packages, another working directory."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(folder / "verify.py"), *words], capture_output=True, text=True, cwd="/"
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_evidence_holds_all_and_verifies_itself(packed, log):
    names = {path.relative_to(packed).as_posix() for path in packed.rglob("*") if path.is_file()}
    assert {
        *("index.html", "records.json", "manifest.json", "verify.py"),
        *("bundle/digests.json", "bundle/artifacts/model.onnx", "bundle/requirements.txt"),
        *("evidence/card/card.html", "evidence/verdict.json", "evidence/gate.yaml", "evidence/provenance.json"),
    } <= names
    code, said = verify(packed)
    assert (code, said.splitlines()) == (
        0,
        [
            f"m release 2, bundle sha256 {log.records[1].digest}",
            f"Decided by ada (tracking server login) on {log.records[1].time}: better on <the> new plates",
            f"All is as it was decided. Log of 4, head {log.head}",
        ],
    )
    assert verify(packed, "--head", log.head)[0] == 0
    code, said = verify(packed, "--head", "1" * 64)
    assert (code, said) == (1, f"WRONG  records.json: no record has the hash {'1' * 64}\n")


@pytest.mark.parametrize(
    "place", ["index.html", "verify.py", "records.json", "evidence/card/card.html", "bundle/artifacts/model.onnx"]
)
def test_a_flipped_byte_in_the_evidence_is_found(packed, place, tmp_path):
    copy = Path(shutil.copytree(packed, tmp_path / "copy"))
    content = bytearray((copy / place).read_bytes())
    where = content.index(b"better on") if place == "records.json" else len(content) - 3 if place != "verify.py" else 4
    content[where] ^= 1
    (copy / place).write_bytes(content)
    code, said = verify(copy)
    assert code == 1
    assert f"{place}: it was changed" in said
    assert ("record 3: it does not follow" in said) is (place == "records.json")


def test_evidence_with_a_new_manifest_still_hangs_on_the_records(packed, tmp_path):
    """Who changes a byte and the manifest too is caught by the digest that the record names."""
    copy = Path(shutil.copytree(packed, tmp_path / "copy"))
    (copy / "bundle" / "MLmodel").write_text("evil")
    digests.write_digests(copy / "bundle")
    listed = json.loads((copy / "manifest.json").read_text())
    for name in ("bundle/MLmodel", "bundle/digests.json"):
        listed[name] = hashlib.sha256((copy / name).read_bytes()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(listed))
    code, said = verify(copy)
    assert code == 1
    assert "bundle: its digest is not" in said


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("<td>ada (tracking server login)</td>", "<td>eve (tracking server login)</td>", "decision"),
        ("ada (tracking server login)</td>", "ada (in person)</td>", "decision"),
        ("Decided by ada", "Decided by eve", "top"),
        ("</h1>", "</h1><p>Approved by the whole board.</p>", "top"),
        ("</main>", "<p>Signed: eve</p></main>", "end"),
        (">reject<", ">approve<", "history"),
        ("Head of the log: ", "Head of the log: f", "history"),
        ('id="decision">Decision</h2>', 'id="decision">Decision</h2><p>On behalf of eve.</p>', "decision"),
    ],
)
def test_a_page_that_says_otherwise_than_the_records_is_found(packed, log, old, new, place, tmp_path):
    """Though its sha256 in the manifest is right, and the head of the log was kept elsewhere."""
    copy = Path(shutil.copytree(packed, tmp_path / "copy"))
    page = (copy / "index.html").read_text(encoding="utf-8")
    assert old in page
    (copy / "index.html").write_text(page.replace(old, new, 1), encoding="utf-8")
    listed = json.loads((copy / "manifest.json").read_text())
    listed["index.html"] = hashlib.sha256((copy / "index.html").read_bytes()).hexdigest()
    (copy / "manifest.json").write_text(json.dumps(listed))
    code, said = verify(copy, "--head", log.head)
    assert code == 1
    assert said.startswith(f"WRONG  index.html ({place}): it says ")
    assert said.endswith(", which the records do not\n")


def test_missing_and_foreign_files_are_found(packed, tmp_path):
    copy = Path(shutil.copytree(packed, tmp_path / "copy"))
    (copy / "evidence" / "gate.yaml").rename(copy / "evidence" / "gate2.yaml")
    said = verify(copy)[1]
    assert "evidence/gate.yaml: it is missing" in said
    assert "evidence/gate2.yaml: it is not listed" in said
    (copy / "manifest.json").unlink()
    assert "this is no whole evidence" in verify(copy)[1]


def test_a_served_model_is_compared_with_the_evidence(packed, tmp_path):
    served = Path(shutil.copytree(packed / "bundle", tmp_path / "served"))
    (served / "registered_model_meta").write_text("model_name: m\n")
    assert verify(packed, str(served))[0] == 0
    (served / "artifacts" / "model.onnx").write_text("evil")
    code, said = verify(packed, str(served))
    assert code == 1
    assert "model.onnx: it was changed" in said


def test_evidence_of_changed_bytes_is_refused(log, tmp_path):
    root = place_of(MlflowClient().get_run(log.records[1].release_run).info.artifact_uri)
    kept = (root / "bundle" / "MLmodel").read_bytes()
    (root / "bundle" / "MLmodel").write_bytes(b"evil")
    try:
        with pytest.raises(RegistryError, match=r"m release 2: bundle/MLmodel: it was changed\."):
            evidence_step.main(["--version=2", f"--out={tmp_path / 'e.zip'}"])
    finally:
        (root / "bundle" / "MLmodel").write_bytes(kept)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match=r"out=e\.pdf: expected the name of a \.zip file"):
        evidence_step.main(["--out=e.pdf"])
