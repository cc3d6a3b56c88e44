"""A model with a log of decisions, and the evidence of its live release."""

from __future__ import annotations

import zipfile

import pytest

from pipeline.review.decision import REJECT, ROLLBACK
from pipeline.review.log import read_log
from steps import evidence as evidence_step
from tests.support.candidates import candidate, decide


@pytest.fixture(scope="module")
def log(tracking, tmp_path_factory):
    """A model with four decisions: released 1 and 2, rejected 3, back to 1."""
    folder = tmp_path_factory.mktemp("log")
    for content in ("one", "two", "three"):
        candidate(folder, "m", content)
    decide(folder, "m", version="1")
    decide(folder, "m", version="2", reason="better on <the> new plates")
    decide(folder, "m", REJECT, version="3")
    decide(folder, "m", ROLLBACK)
    return read_log("m")


@pytest.fixture(scope="module")
def packed(log, tmp_path_factory):
    """The evidence of release 2, unpacked."""
    folder = tmp_path_factory.mktemp("evidence")
    for name in ("first.zip", "second.zip"):
        evidence_step.main(["--version=2", f"--out={folder / name}"])
    assert (folder / "first.zip").read_bytes() == (folder / "second.zip").read_bytes()
    zipfile.ZipFile(folder / "first.zip").extractall(folder)
    return folder / "m-release-2"
