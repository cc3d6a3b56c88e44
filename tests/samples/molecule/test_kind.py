"""Molecules of a request: spans that bound memory, an error for each bad row, and features that must fit."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.samples.kind import Ask
from pipeline.samples.molecule import kind as molecule
from pipeline.samples.molecule.descriptors import DESCRIPTOR_COLUMNS, FINGERPRINT_SIZE
from pipeline.samples.molecule.featurize import FEATURIZER_VERSION
from pipeline.samples.molecule.kind import KIND
from pipeline.schema import Column
from tests.support.schemas import MOLECULES, without_features


def columns(**values):
    return {name: np.array(column, dtype=object) for name, column in values.items()}


@given(st.lists(st.integers(0, 30), max_size=20), st.integers(1, 40))
def test_long_requests_are_read_in_spans(sizes, budget):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(molecule, "MAX_CHARACTERS", budget)
        spans = list(molecule._spans(sizes))
    assert [row for start, stop in spans for row in range(start, stop)] == list(range(len(sizes)))
    assert all(stop - start == 1 or sum(sizes[start:stop]) <= budget for start, stop in spans)


def test_many_short_rows_are_cut_too(monkeypatch):
    monkeypatch.setattr(molecule, "MAX_ROWS", 3)
    assert list(molecule._spans([1] * 7)) == [(0, 3), (3, 6), (6, 7)]


def test_a_request_asks_for_a_smiles_and_numbers_that_csv_can_say():
    assert KIND.columns(MOLECULES) == (Ask("smiles", "string"), Ask("temperature", "double"))
    assert KIND.columns(without_features(MOLECULES)) == (Ask("smiles", "string"),)


def test_rows_keep_their_numbers_over_spans(monkeypatch):
    monkeypatch.setattr(molecule, "MAX_CHARACTERS", 4)
    asked = columns(smiles=["CCC", "C1CC", "C", None, "CC", "CC"], temperature=[0, 1, 2, 3, None, 5])
    reads = list(KIND.read(asked, MOLECULES))
    assert len(reads) > 1
    assert np.concatenate([read.good for read in reads]).tolist() == [0, 2, 5]
    assert {row: error.code for read in reads for row, error in read.errors.items()} == {
        1: "invalid_smiles",
        3: "missing",
        4: "missing",
    }
    whole = [read.chunk for read in reads if read.chunk is not None]
    assert [int(n) for chunk in whole for n in np.diff(chunk.node_ptr)] == [3, 1, 2]
    assert np.concatenate([chunk.u for chunk in whole]).tolist() == [[0], [2], [5]]


def test_a_span_without_any_good_row_has_no_chunk():
    (read,) = KIND.read(columns(smiles=["", "X"], temperature=[1.0, 1.0]), MOLECULES)
    assert (read.chunk, read.good.tolist(), sorted(read.errors)) == (None, [], [0, 1])


def test_own_features_come_before_descriptors():
    schema = dataclasses.replace(MOLECULES, descriptor_columns=DESCRIPTOR_COLUMNS)
    (read,) = KIND.read(columns(smiles=["CCO"], temperature=[25.0]), schema)
    assert read.chunk.u.shape == (1, 1 + len(DESCRIPTOR_COLUMNS))
    assert read.chunk.u[0, 0] == 25.0
    names = [column.name for column in schema.u_columns]
    assert read.chunk.u[0, names.index("amw")] == pytest.approx(np.log1p(46.069), abs=1e-3)  # of ethanol


def test_every_model_answers_the_smallest_request():
    smallest = {name: np.array(values, dtype=object) for name, values in KIND.smallest(MOLECULES).items()}
    assert set(smallest) == {ask.name for ask in KIND.columns(MOLECULES)}
    (read,) = KIND.read(smallest, MOLECULES)
    assert (read.good.tolist(), read.errors) == ([0], {})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, None),
        ({"descriptor_columns": DESCRIPTOR_COLUMNS, "fingerprint_size": FINGERPRINT_SIZE}, None),
        ({"featurizer_version": FEATURIZER_VERSION - 1}, f"version {FEATURIZER_VERSION - 1}, this code makes version"),
        ({"descriptor_columns": DESCRIPTOR_COLUMNS[1:]}, "other descriptors than this RDKit computes"),
        ({"descriptor_columns": (Column("MolWt", "numeric"),)}, "other descriptors"),
        ({"fingerprint_size": FINGERPRINT_SIZE // 2}, "other descriptors"),
    ],
)
def test_another_featurizer_is_told(changes, says):
    found = KIND.mismatch(dataclasses.replace(MOLECULES, **changes))
    assert found == says if says is None else says in found
