"""Test rows that a champion has learned from: known again, and left out where enough remain."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline.evaluation.overlap import MIN_ROWS, find_overlap, leave_out, seen_rows
from pipeline.runs.tags import COMPLETE, DATA_DIGEST, KEY
from pipeline.samples.kinds import kind_of
from tests.support.schemas import MOLECULES


def test_molecules_are_known_again_without_stereo_and_spelling():
    learned = pd.DataFrame({"row": [1, 2], "id": ["OCC", "C[C@H](N)C(=O)O"]})
    seen = seen_rows(
        kind_of("molecule").source(), learned, np.array([8, 9, 1]), ["CCO", "C[C@@H](N)C(=O)O", "CCC"], same_data=False
    )
    assert seen.tolist() == [True, True, False]


def test_graphs_are_known_again_by_their_row_of_the_same_data_only():
    learned = pd.DataFrame({"row": [1, 2], "id": ["a", "b"]})
    assert seen_rows(kind_of("graph").source(), learned, np.array([2, 3]), ["a", "c"], same_data=True).tolist() == [
        True,
        False,
    ]
    assert seen_rows(kind_of("graph").source(), learned, np.array([2, 3]), ["a", "c"], same_data=False) is None


@pytest.mark.parametrize(
    ("unseen", "total", "left_out", "says"),
    [
        (MIN_ROWS, MIN_ROWS + 5, True, f"held 5 of the {MIN_ROWS + 5} test rows: they are left out"),
        (MIN_ROWS - 1, MIN_ROWS + 5, False, "which favours the champion"),
        (MIN_ROWS, MIN_ROWS, False, f"held 0 of the {MIN_ROWS} test rows."),
    ],
)
def test_seen_rows_are_left_out_where_enough_remain(unseen, total, left_out, says):
    found = leave_out(np.arange(total) >= unseen)
    assert found.left_out is left_out
    assert says in found.sentence


class Store:
    """What `find_overlap` asks of a store of three alkanes."""

    digest, schema, rows = "store", MOLECULES, np.array([1, 2, 3])
    manifest: ClassVar = {"source": {"digest": "data"}}

    def ids(self, indices):
        return [("C", "CC", "CCC")[i] for i in indices]


def prepared(tmp_path, learned, **tags):
    """A prepare run that kept its rows, and the sides of them."""
    client = MlflowClient()
    run = client.create_run("0", tags={COMPLETE: "other", KEY: "no such key", DATA_DIGEST: "data"} | tags)
    if learned is not None:
        table = pd.DataFrame(learned, columns=["row", "id", "split"])
        table.to_parquet(tmp_path / "rows.parquet")
        client.log_artifact(run.info.run_id, str(tmp_path / "rows.parquet"), "store")
    return client.get_run(run.info.run_id)


@pytest.mark.usefixtures("tracking")
def test_what_is_known_of_the_test_rows(tmp_path):
    test = np.array([0, 2])
    same = find_overlap(Store(), test, prepared(tmp_path, None, **{COMPLETE: "store"}))
    assert (same.seen.tolist(), same.left_out) == ([False, False], False)
    assert same.sentence == "The champion learned from the same split: none of the test rows."
    sides = [(1, "C", "test"), (2, "CCC", "train"), (3, "CC", "validation")]
    other = find_overlap(Store(), test, prepared(tmp_path, sides))
    assert other.seen.tolist() == [False, True]  # "C" stood on its test side, too
    assert "held 1 of the 2 test rows" in other.sentence


@pytest.mark.usefixtures("tracking")
def test_what_cannot_be_known_is_said(tmp_path):
    for run, reason in ((None, "its runs are gone"), (prepared(tmp_path, None), "its rows are not shared")):
        found = find_overlap(Store(), np.array([0]), run)
        assert (found.seen, found.left_out) == (None, False)
        assert f"is not known ({reason})" in found.sentence
