"""Test rows that a champion has learned from: known again, and left out where enough remain."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.overlap import MIN_ROWS, leave_out, seen_rows
from pipeline.samples.kinds import kind_of


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
