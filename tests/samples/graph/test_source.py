"""Folders of graph tables: which options are theirs, and rows of a file as a client would send them."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import ConfigError, DataError
from pipeline.graph import unpack
from pipeline.samples.graph import source as module
from pipeline.samples.graph.kind import KIND
from pipeline.samples.source import Options
from pipeline.samples.workers import Workers
from pipeline.schema import Column
from tests.support.graphs import assert_graphs_equal
from tests.support.schemas import GRAPHS
from tests.support.small_models import chain

SOURCE = KIND.source()
TABLES = {
    "graphs.csv": "graph_id,temperature,y\na,1.5,1\nb,2.5,2\nc,,3\nd,4.5,4\n",
    "nodes.csv": "graph_id,node_id,symbol,charge\na,1,C,0.5\na,2,O,0.25\nb,1,N,1\nc,1,C,1\nd,1,C,oh\n",
    "edges.csv": "graph_id,source,target,order\na,1,2,1\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in TABLES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def open_folder(folder, **options):
    return SOURCE.open(folder, Options(**options), ("y",), Workers(1))


def test_what_the_kind_settles_of_a_schema(folder):
    data = open_folder(folder, categorical=("order",), numeric=("charge",))
    assert data.facts == {
        "node_columns": (Column("symbol", "categorical", ("C", "N", "O")), Column("charge", "numeric")),
        "edge_columns": (Column("order", "categorical", ("1",)),),
        "directed": False,
    }
    assert (data.id_column, data.columns) == ("graph_id", ("graph_id", "temperature", "y"))


@pytest.mark.parametrize("options", [{"descriptors": True}, {"forest": True}])
def test_options_of_molecules_are_refused(folder, options):
    with pytest.raises(ConfigError, match=f"{next(iter(options))}=true is for molecules"):
        open_folder(folder, **options)


@pytest.mark.parametrize("directed", [False, True])
def test_parts_hold_the_good_graphs_and_a_reason_for_each_other(folder, directed):
    data = open_folder(folder, directed=directed, numeric=("charge",))
    schema = dataclasses.replace(GRAPHS, **data.facts)
    (part,) = data.parts(("y",), schema, True)
    assert (part.good.tolist(), list(part.errors)) == ([0, 1, 2], [3])
    assert (part.piece.num_nodes.tolist(), part.piece.num_edges.tolist()) == ([2, 1, 1], [1, 0, 0])
    assert part.ids.tolist() == ["a", "b", "c", "d"]
    assert part.scaffold.shape == (0, 2)  # graphs have none, asked or not


@pytest.mark.parametrize("chunk_cells", [1, 1_000_000])
def test_a_folder_is_asked_as_a_client_would_ask(folder, monkeypatch, chunk_cells):
    monkeypatch.setattr(module, "CHUNK_CELLS", chunk_cells)
    found = SOURCE.questions(folder, GRAPHS, None, 4096)
    assert (found.total, [path.name for path in found.files]) == (4, ["graphs.csv", "nodes.csv", "edges.csv"])
    questions = list(found.questions)
    assert len(questions) == (4 if chunk_cells == 1 else 1)
    asked = {
        name: [value for question in questions for value in question.columns[name]]
        for name in ("nodes", "edges", "temperature")
    }
    assert asked == {
        "nodes": [{"symbol": ["C", "O"], "charge": [0.5, 0.25]}, {"symbol": ["N"], "charge": [1.0]}],
        "edges": [{"source": [0], "target": [1], "order": [1]}, {"source": [], "target": [], "order": []}],
        "temperature": [1.5, 2.5],
    }
    ids = [question.values["graph_id"][row] for question in questions for row in sorted(question.errors)]
    assert ids == ["c", "d"]
    assert [error.code for question in questions for error in question.errors.values()] == ["missing", "wrong_type"]


@pytest.mark.parametrize("table", ["nodes", "edges"])
def test_a_folder_that_lacks_a_column_of_the_model_is_refused(folder, table):
    own = getattr(GRAPHS, f"{table.removesuffix('s')}_columns")
    schema = dataclasses.replace(GRAPHS, **{f"{table.removesuffix('s')}_columns": (*own, Column("spin", "numeric"))})
    with pytest.raises(DataError, match=rf"{table}\.csv: there is no column \['spin'\], which the model needs"):
        SOURCE.questions(folder, schema, None, 4096)


def test_stored_graphs_come_back_from_what_a_client_would_send():
    many = [chain(3)._replace(u=np.float32([0])), chain(1)]
    stored = SimpleNamespace(schema=GRAPHS, graph=lambda i: many[i])
    columns = SOURCE.requests(stored, np.array([0, 1])) | {"temperature": [0.0, 0.0]}
    (read,) = KIND.read(columns, GRAPHS)
    assert np.diff(read.chunk.node_ptr).tolist() == [3, 1]
    for g, graph in enumerate(many):
        again = unpack(read.chunk, g)
        assert again.num_nodes == graph.num_nodes
        pairs = [sorted(map(tuple, one.edge_index.T.tolist())) for one in (again, graph)]
        assert pairs[0] == pairs[1]
    assert_graphs_equal(unpack(read.chunk, 1), many[1]._replace(y=unpack(read.chunk, 1).y))


def test_rows_of_a_file_may_hold_graphs_as_json(tmp_path):
    (tmp_path / "g.csv").write_text('nodes,edges,temperature\n"{""symbol"": [""C""]}",{},3\n')
    (question,) = SOURCE.questions(tmp_path / "g.csv", GRAPHS, None, 10).questions
    assert question.columns == {"nodes": ['{"symbol": ["C"]}'], "edges": ["{}"], "temperature": [3.0]}


def test_graphs_have_no_names_that_tell():
    assert (SOURCE.groups(["a"]), SOURCE.clusters(["a"], named=True), SOURCE.draw("a")) == (None, [], None)
    assert SOURCE.example(GRAPHS) is None
