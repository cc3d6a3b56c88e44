"""`score_file` in a process of its own: killed at random moments, and with more rows than memory should know of."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from tests.conftest import PATIENCE_S, ROOT
from tests.support.small_models import graph_row, write_graph_bundle, write_molecule_bundle

pytestmark = pytest.mark.slow

SCORE = """
import json, resource, sys
from pipeline.rows import answerfile
from pipeline.bundle import scoring
answerfile.SAVE_S = scoring.CHUNK_ROWS = 0
scoring.CHUNK_ROWS = 100
report = scoring.score_file(*sys.argv[1:4], processes=2, model="models:/toy/1")
print(json.dumps([report.rows, report.resumed, report.errors]))
"""
MEMORY = """
import resource, sys
from pipeline.bundle.scoring import score_file
score_file(*sys.argv[1:4], processes=2)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def start(code, *words):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def result(process):
    text, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    return json.loads(text)


def molecule_rows(count):
    smiles = ["CCO", "bad", "c1ccccc1", "CC(C)C", ""]
    return pd.DataFrame(
        {
            "id": range(count),
            "smiles": [smiles[n % 5] for n in range(count)],
            "temperature": [n / 8 for n in range(count)],
        }
    )


def write_tables(folder, count):
    folder.mkdir()
    rows = [graph_row(1 + n % 5) for n in range(count)]
    pd.DataFrame({"graph_id": range(count), "temperature": [n / 8 for n in range(count)]}).to_csv(
        folder / "graphs.csv", index=False
    )
    for name, ids in (("nodes", {"node_id": None}), ("edges", {})):
        pieces = []
        for n, row in enumerate(rows):
            piece = pd.DataFrame(row[name]).assign(graph_id=n)
            pieces.append(piece.assign(**{key: range(len(piece)) for key in ids}))
        pd.concat(pieces).to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.mark.parametrize("kind", ["csv", "parquet", "tables"])
def test_killed_at_random_moments_no_row_is_lost_or_repeated(kind, tmp_path):
    bundle, data = tmp_path / "bundle", tmp_path / "data.csv"
    if kind == "tables":
        write_graph_bundle(bundle)
        data = write_tables(tmp_path / "tables", 3_000)
    else:
        write_molecule_bundle(bundle)
        molecule_rows(20_000).to_csv(data, index=False)
    suffix = "csv" if kind == "tables" else kind
    expected, out = tmp_path / f"expected.{suffix}", tmp_path / f"out.{suffix}"
    whole = result(start(SCORE, bundle, data, expected))
    journal = tmp_path / f".out.{suffix}.journal"

    def rows_done():
        return json.loads(journal.read_text())["rows"] if journal.exists() else 0

    rng, progress = random.Random(0), [0]
    for pause_s in (rng.uniform(0, 0.3) for _ in range(4)):
        process = start(SCORE, bundle, data, out)
        while process.poll() is None and rows_done() == progress[-1]:
            time.sleep(0.002)
        time.sleep(pause_s)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        progress.append(rows_done())
    rows, resumed, errors = result(start(SCORE, bundle, data, out))
    assert progress == sorted(progress)
    assert resumed >= max(progress) > 0
    assert [rows, errors] == [whole[0], whole[2]]
    if suffix == "csv":
        assert out.read_bytes() == expected.read_bytes()
    else:
        pd.testing.assert_frame_equal(pd.read_parquet(out), pd.read_parquet(expected))
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_file(suffix, tmp_path):
    write_molecule_bundle(tmp_path / "bundle")
    peaks = []
    for count in (20_000, 200_000):
        molecule_rows(count).to_csv(tmp_path / "data.csv", index=False)
        process = start(MEMORY, tmp_path / "bundle", tmp_path / "data.csv", tmp_path / f"out.{suffix}")
        text, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0
        peaks.append([int(kilobytes) / 1024 for kilobytes in text.split()])
    (parent, child), (larger_parent, larger_child) = peaks
    assert larger_parent < parent + 40, peaks  # MB; ten times the rows
    assert larger_child < child + 40, peaks
