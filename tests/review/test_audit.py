"""Audit: every change of log, bytes or aliases is found, and nothing is written."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline import digests
from pipeline.errors import ConfigError, RegistryError
from pipeline.review.audit import audit
from pipeline.review.decision import APPROVE, REJECT, ROLLBACK
from pipeline.review.history import Record
from pipeline.review.log import log_of, read_log
from pipeline.review.review import drop_unnamed
from pipeline.review.verify import line_hash
from pipeline.runs.tags import RECORD
from steps import audit as audit_step
from steps import evidence as evidence_step
from tests.support.candidates import place_of, rewound

pytestmark = pytest.mark.mlflow


def write(number: int, record: Record) -> None:
    MlflowClient().set_model_version_tag("m-decisions", str(number), RECORD, record.to_text())


def edit_the_first(log):
    write(1, replace(log.records[0], reason="another reason"))


def edit_the_last(log):
    write(4, replace(log.records[3], reviewer="mallory"))


def delete_one(log):
    MlflowClient().delete_model_version("m-decisions", "3")


def delete_the_last(log):
    MlflowClient().delete_model_version("m-decisions", "4")


def swap_two(log):
    write(2, log.records[2])
    write(3, log.records[1])


def write_the_log_anew(log):
    """Somebody who may write it all forges a reviewer and rebuilds every hash after it."""
    previous = log.records[0].previous
    for record in log.records:
        record = replace(record, reviewer="mallory", previous=previous)
        write(record.sequence, record)
        previous = line_hash(record.to_text())


def append_a_forgery(log):
    """A record of a client that asked nobody: a failed verdict, and a candidate that was decided already."""
    forged = replace(log.records[0], sequence=5, previous=log.head, verdict="failed: x", champion_before=1)
    MlflowClient().create_model_version("m-decisions", "models:/m/1", tags={RECORD: forged.to_text()})


def release_by_hand(log):
    MlflowClient().create_model_version("m", "models:/m-candidates/3")


def point(alias: str, release: str | None) -> None:
    if release:
        MlflowClient().set_registered_model_alias("m", alias, release)
    else:
        MlflowClient().delete_registered_model_alias("m", alias)


TAMPERED: list[tuple[Callable, str]] = [
    (edit_the_first, "record 2: it does not follow the one before it"),
    (edit_the_last, "m: its tags name record 4 with hash"),
    (delete_one, "record 3: it is missing"),
    (delete_the_last, "m: its tags name record 4 with hash"),
    (swap_two, "record 2: it claims a place that was never free"),
    (write_the_log_anew, "release 1: its tags name record 1 with hash"),
    (append_a_forgery, "record 5: candidate 1 was decided before, in record 1"),
    (append_a_forgery, "record 5: it was released without a passed verdict and without an override"),
    (release_by_hand, "release 3: no record names it"),
    (lambda _: point("champion", "2"), "alias champion: it stands at release 2"),
    (lambda _: point("champion", None), "alias champion: it stands at release 0"),
    (lambda _: point("previous", "2"), "alias previous: it stands at release 2"),
    (lambda _: MlflowClient().delete_model_version("m", "2"), "release 2 (record 2): the version is gone"),
    (
        lambda _: MlflowClient().set_model_version_tag("m", "2", "graphline.digest", "f" * 64),
        "release 2 (record 2): its run or its digest tag is not what the record says",
    ),
]


@pytest.mark.parametrize(("tamper", "found"), TAMPERED, ids=lambda value: getattr(value, "__name__", value)[:40])
def test_what_was_changed_is_found(tracking, log, tamper, found):
    with rewound(tracking):
        tamper(log)
        assert any(found in finding for finding in audit("m").findings)


def test_bytes_that_a_record_names_are_never_swept_away(tracking, log):
    with rewound(tracking):
        MlflowClient().delete_model_version("m", "2")
        release_by_hand(log)
        assert drop_unnamed(log) == []
        run = MlflowClient().get_run(log.records[1].release_run)
        assert run.info.lifecycle_stage == "active"


def test_an_untouched_log_has_no_findings(log):
    report = audit("m", head=log.head)
    assert (report.findings, report.notes) == ((), ())
    assert audit("m", head=line_hash(log.entries[0].text)).findings == ()  # kept when the log was shorter
    assert "no record has this hash" in audit("m", head="0" * 64).findings[0]


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("bundle/artifacts/model.onnx", r"release 2 \(record 2\): its bundle is not what was decided on .*model\.onnx"),
        ("evidence/card/card.html", r"release 2 \(record 2\): its evidence is not what was decided on .*card\.html"),
    ],
)
@pytest.mark.parametrize("signed_anew", [False, True])
def test_a_changed_byte_is_found(log, place, found, signed_anew):
    root = place_of(MlflowClient().get_run(log.records[1].release_run).info.artifact_uri)
    folder = root / place.split("/")[0]
    kept = {path: path.read_bytes() for path in (root / place, folder / "digests.json")}
    (root / place).write_bytes(kept[root / place][:-1] + b"!")
    if signed_anew:
        digests.write_digests(folder)
        found = r"has digest [0-9a-f]{64}, the record says"
    try:
        assert any(re.search(found, finding) for finding in audit("m").findings)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)


@pytest.mark.parametrize("place", ["bundle/code/__pycache__/m.cpython-311.pyc", "bundle/more.txt", "evidence/more.txt"])
def test_a_file_that_no_digest_covers_is_found(log, place):
    """Python runs what lies in `__pycache__` in place of the sources that are signed."""
    added = place_of(MlflowClient().get_run(log.records[1].release_run).info.artifact_uri) / place
    added.parent.mkdir(parents=True, exist_ok=True)
    added.write_bytes(b"x")
    try:
        kind, name = place.split("/", 1)
        start = f"release 2 (record 2): its {kind} is not what was decided on"
        assert [finding for finding in audit("m").findings if finding.startswith(start) and f"'{name}'" in finding]
    finally:
        added.unlink()
        if added.parent.name == "__pycache__":
            added.parent.rmdir()


def contents(tracking: str) -> list[str]:
    with sqlite3.connect(tracking.removeprefix("sqlite:///")) as database:
        return list(database.iterdump())


def test_the_step_says_what_was_live_and_writes_nothing(tracking, log, capsys, monkeypatch, tmp_path):
    before = contents(tracking)
    audit_step.main([])
    said = capsys.readouterr().out
    assert f"audit: m, log of 4, head {log.head}" in said
    assert "record 3: rejected candidate 3" in said
    audit_step.main(["--name=m", f"--head={log.head}", f"--at={log.records[1].time}"])
    said = capsys.readouterr().out
    assert f"m release 2 = candidate 2, sha256 {log.records[1].digest} was live, since record 2: approved" in said
    assert "better on <the> new plates" in said
    audit_step.main(["--at=2000-01-01"])
    assert "2000-01-01T00:00Z: nothing was live; nothing was decided before" in capsys.readouterr().out
    evidence_step.main([f"--out={tmp_path / 'e.zip'}"])
    assert contents(tracking) == before


def test_findings_end_the_step_with_exit_code_2(tracking, log, capsys):
    with rewound(tracking):
        edit_the_first(log)
        MlflowClient().set_model_version_tag("m", "1", "graphline.head", line_hash(read_log("m").entries[0].text))
        with pytest.raises(RegistryError, match="m: 1 finding; the first: record 2: it does not") as caught:
            audit_step.main([])
    assert caught.value.exit_code == 2
    assert "FINDING: record 2" in capsys.readouterr().out
    with pytest.raises(RegistryError, match="nobody: nothing was ever decided on it"):
        audit("nobody")
    with pytest.raises(ConfigError, match="at=noon: expected a time"):
        audit_step.main(["--at=noon"])


# --- evidence ------------------------------------------------------------------------------------------------------


def verify(folder: Path, *words: str) -> tuple[int, str]:
    """Run verify.py as an auditor would: no site packages, another working directory."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(folder / "verify.py"), *words], capture_output=True, text=True, cwd="/"
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize("place", ["code/__pycache__/m.cpython-311.pyc", "code/registered_model_meta"])
def test_what_no_digest_covers_is_foreign_to_a_served_model_and_to_the_evidence(packed, tmp_path, place):
    copy = Path(shutil.copytree(packed, tmp_path / "copy"))
    added = copy / "bundle" / place
    added.parent.mkdir(parents=True, exist_ok=True)
    added.write_bytes(b"x")
    for code, said in (verify(packed, str(copy / "bundle")), verify(copy)):
        assert code == 1
        assert f"bundle/{place}: it is not listed" in said


def test_log_names(log):
    assert log_of("m") == "m-decisions"
    assert [record.action for record in log.records] == [APPROVE, APPROVE, REJECT, ROLLBACK]
