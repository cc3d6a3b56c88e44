"""A process that holds a bundle: what it answers, and what is said when it does not."""

from __future__ import annotations

import os
import signal

import pytest

from pipeline.bundle.child import Child
from pipeline.errors import PipelineError
from tests.support.small_models import write_molecule_bundle

TABLE = {"smiles": ["CCO", "C1CC", None], "temperature": [0.5, 1.0, 1.0]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("child") / "bundle"
    write_molecule_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def child(bundle):  # to start one takes seconds
    with Child(bundle) as started:
        yield started


def test_a_table_is_answered_in_the_order_of_its_rows(child):
    assert child.columns[:1] == ("size",)
    reply = child.ask(TABLE)
    assert set(reply.answers) == set(child.columns)
    assert (reply.answers["size"], reply.answers["error"]) == ([3.5, None, None], [None, "invalid_smiles", "missing"])
    assert 0 < reply.seconds < 60
    assert reply.peak_memory_bytes > 1 << 20
    assert child.ask(TABLE).answers == reply.answers  # it goes on


def test_nothing_is_written_into_the_bundle(child, bundle):
    child.ask(TABLE)
    assert not [path for path in bundle.rglob("__pycache__") if path.is_dir()]  # an empty file keeps its place


def test_a_process_that_was_killed_says_so(bundle):
    with Child(bundle) as started:
        os.kill(started._process.pid, signal.SIGKILL)
        started._process.wait()
        with pytest.raises(PipelineError, match=r"was killed by signal 9 \(memory\?\)"):
            started.ask(TABLE)


def test_what_cannot_be_loaded_gives_its_reason_in_one_line(tmp_path):
    (tmp_path / "bundle").mkdir()
    with pytest.raises(PipelineError, match="the process that holds the bundle failed: ") as caught:
        Child(tmp_path / "bundle").__enter__()
    assert "\n" not in str(caught.value)
