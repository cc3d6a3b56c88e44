"""Processes that share the rows of a file: order, errors, and that they end."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.samples.workers import Workers
from tests.conftest import ROOT

ALKANES = ["C" * n for n in range(1, 31)]


def threads(workers):
    """The others as a thread: a process takes seconds to start."""
    workers._pool = ThreadPoolExecutor(1)
    return workers


@settings(max_examples=30)
@given(st.lists(st.integers(0, 99), max_size=40), st.booleans(), st.integers(1, 9), st.integers(4, 9))
def test_what_is_made_comes_in_the_order_of_the_rows_whoever_makes_it(rows, shared, size, unit_rows):
    chunks = [(start, rows[start : start + size]) for start in range(0, len(rows), size)]
    with Workers(2 if shared else 1) as workers:
        made = list((threads(workers) if shared else workers).in_order(tuple, iter(chunks), unit_rows))
    assert [kept for kept, _ in made] == [kept for kept, _ in chunks]
    assert [sum(units, ()) for _, units in made] == [tuple(given) for _, given in chunks]
    assert all(len(unit) <= (unit_rows if shared else size) for _, units in made for unit in units)


def test_one_chunk_needs_no_other_process():
    with Workers(3) as workers:
        assert list(workers.in_order(sum, iter([("a", [1, 2, 3])]), 4)) == [("a", [6])]
        assert workers._pool is None


def test_chunks_are_read_only_as_far_as_they_are_soon_needed():
    read = []

    def chunks():
        for number in range(40):
            read.append(number)
            yield number, [number] * 4

    with threads(Workers(2)) as workers:
        for done, _ in workers.in_order(sum, chunks(), 4):
            assert len(read) - done <= 2 * (workers.others + 1) + 3


def test_an_error_of_any_unit_comes_out():
    with threads(Workers(2)) as workers, pytest.raises(ZeroDivisionError):
        list(workers.in_order(lambda rows: [1 // row for row in rows], iter([(0, [1, 1]), (1, [1, 0])]), 4))


def test_zero_processes_are_all_cores(monkeypatch):
    monkeypatch.setattr("pipeline.machine.usable_cores", lambda: 5)
    assert (Workers(0).others, Workers(3).others, Workers(1).others) == (4, 2, 0)


@pytest.mark.slow
def test_processes_end_with_one_that_is_killed(tmp_path):
    (tmp_path / "a.csv").write_text("smiles,y\n" + "".join(f"{smiles},{n}\n" for n, smiles in enumerate(ALKANES * 400)))
    code = (
        "import sys; from pathlib import Path; from pipeline.store.build import build_store\n"
        "from pipeline.dataset.config import PrepareConfig\n"
        "from pipeline.dataset.source import find_source\n"
        "config = PrepareConfig(data=sys.argv[1] + '/a.csv', target='y', processes=3)\n"
        "source = find_source(config, Path(sys.argv[1]), Path(sys.argv[1]))\n"
        "build_store(config, source, Path(sys.argv[1]) / 'store', '', lambda rows: print(rows, flush=True))"
    )
    step = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert step.stdout is not None
    assert step.stdout.readline()  # the others are at work
    others = psutil.Process(step.pid).children()
    assert len(others) >= 2
    step.kill()
    step.wait()
    step.stdout.close()
    assert not psutil.wait_procs(others, timeout=30)[1]
