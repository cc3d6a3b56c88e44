"""Graphs of a request: objects or JSON text in a cell, pieces that bound memory, an error for each bad row."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.samples.graph import kind as graph
from pipeline.samples.graph.kind import KIND
from pipeline.samples.kind import Ask
from tests.support.schemas import GRAPHS, RINGS
from tests.support.small_models import graph_row


def columns(rows):
    made = {name: np.empty(len(rows), dtype=object) for name in rows[0]}
    for k, row in enumerate(rows):
        for name, value in row.items():
            made[name][k] = value
    return made


def test_a_request_asks_for_anything_so_that_one_bad_value_fails_one_row():
    assert KIND.columns(GRAPHS) == (Ask("nodes", "any"), Ask("edges", "any"), Ask("temperature", "any"))


def test_json_text_in_a_cell_is_the_same_graph():
    row = graph_row(3, temperature=1.5)
    text = row | {name: json.dumps(row[name]) for name in ("nodes", "edges")}
    (read,) = KIND.read(columns([row, text]), GRAPHS)
    assert read.good.tolist() == [0, 1]
    for name in ("x", "x_float", "edge_attr"):
        first, second = np.split(getattr(read.chunk, name), 2)
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        *(("", "missing"), (" ", "missing"), (None, "missing"), ("{}", "missing")),
        *(("{", "wrong_type"), ("[" * 10_000, "wrong_type"), ("[1]", "wrong_type"), (7, "wrong_type")),
    ],
)
def test_a_cell_that_holds_no_table_is_an_error_of_its_row(cell, code):
    (read,) = KIND.read(columns([graph_row(2), graph_row(2) | {"nodes": cell}]), GRAPHS)
    assert (read.good.tolist(), {row: error.code for row, error in read.errors.items()}) == ([0], {1: code})


@settings(max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 20))
def test_pieces_together_are_the_request(sizes, budget):
    rows = [graph_row(n, temperature=n) if n else graph_row(1) | {"nodes": None} for n in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "MAX_NODES", budget)
        reads = list(KIND.read(columns(rows), GRAPHS))
    good = [int(row) for read in reads for row in read.good]
    assert good == [row for row, n in enumerate(sizes) if n]
    assert sorted(row for read in reads for row in read.errors) == [row for row, n in enumerate(sizes) if not n]
    chunks = [read.chunk for read in reads if read.chunk is not None]
    assert [int(n) for chunk in chunks for n in np.diff(chunk.node_ptr)] == [n for n in sizes if n]
    largest = max(sizes)
    assert all(len(chunk.x) + chunk.edge_index.shape[1] < budget + 3 * largest + 1 for chunk in chunks)


@pytest.mark.parametrize("schema", [GRAPHS, RINGS], ids=lambda schema: schema.name)
def test_every_model_answers_the_smallest_request(schema):
    smallest = {name: np.array(values, dtype=object) for name, values in KIND.smallest(schema).items()}
    assert set(smallest) == {ask.name for ask in KIND.columns(schema)}
    (read,) = KIND.read(smallest, schema)
    assert (read.good.tolist(), read.errors, np.diff(read.chunk.node_ptr).tolist()) == ([0], {}, [2])
    assert not read.chunk.x.any()  # all unknown
