"""What docs/promises.md states as equal bit for bit or within rounding, beside the tests of each station.

Same seed, same weights: test_training. Alone, in a batch, with threads: test_session, test_serving_model, test_export.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.samples.molecule import parts
from pipeline.samples.molecule.featurize import featurize_smiles
from pipeline.store.build import build_store
from tests.support.golden import LIMITS, MOLECULES, answers

ROWS = [f"{smiles},{n}.5" for n, smiles in enumerate([*MOLECULES, "OCC", "c1ccccc1", "C1=CC=CC=C1"])]


def build(folder, rows, **options):
    folder.mkdir()
    (folder / "a.csv").write_text("\n".join(["smiles,y", *rows, ""]))
    config = PrepareConfig(**{"data": str(folder / "a.csv"), "target": "y", "processes": 1} | options)
    return build_store(config, find_source(config, folder, folder), folder / "store", "", lambda rows: None)


def test_preparing_twice_gives_the_same_bytes(tmp_path):
    assert build(tmp_path / "a", ROWS).digest == build(tmp_path / "b", ROWS).digest


@pytest.mark.mlflow
def test_the_number_of_processes_does_not_matter(tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "CHUNK_ROWS", 16)  # several chunks of several units, so that there is something to share
    monkeypatch.setattr(parts, "UNIT_ROWS", 4)
    rows = [row for pair in zip(ROWS, ["C1CC,1", "CCO,x"] * len(ROWS), strict=False) for row in pair]
    options = {"split": "scaffold", "kind": "regression"}
    one, *others = (build(tmp_path / f"p{number}", rows, processes=number, **options) for number in (1, 2, 3))
    assert {one.digest} == {store.digest for store in others}
    left = [(tmp_path / f"p{number}" / "store.quarantine.csv").read_text() for number in (1, 2, 3)]
    assert left[0] == left[1] == left[2]
    assert len(left[0].splitlines()) == 1 + len(ROWS)


def test_the_order_of_rows_changes_no_label(tmp_path):
    """Neither do the keys: replicates find each other wherever they stand."""
    found = []
    for name, rows in (("a", ROWS), ("b", ROWS[::-1])):
        store = build(tmp_path / name, rows)
        assert store.manifest["source"]["replicates"]["merged"] == len(ROWS) - store.num_graphs
        found.append(sorted(store.tensors["graphs", "y"].numpy()[:, 0].tolist()))
    assert found[0] == found[1]


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    yield lambda number: torch.set_num_threads(number)
    torch.set_num_threads(before)


def test_torch_answers_within_rounding_whatever_the_threads(two_threads):
    chunk = featurize_smiles(MOLECULES * 20, LIMITS).chunk
    found = []
    for number in (1, 2):
        two_threads(number)
        found.append(answers(chunk))
        assert found[-1] == answers(chunk)  # bit for bit with as many threads
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-5)
