"""Samples of a store as a client would send them: the bundle reads them as the store holds them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.bundle.requests import build_example, build_requests
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.dataset.split import TEST
from pipeline.graph import unpack
from pipeline.serveconfig import ServeConfig
from pipeline.store.build import build_store
from serving.request import read_request
from tests.support.graphs import assert_graphs_equal


@pytest.fixture(scope="module")
def molecules(tmp_path_factory):
    """Alkanes with a feature; the first three are for testing."""
    folder = tmp_path_factory.mktemp("molecules")
    rows = [f"{'C' * n},{n},{n / 10},{'test' if n < 4 else 'train' if n < 12 else 'validation'}" for n in range(1, 15)]
    (folder / "m.csv").write_text("\n".join(["smiles,y,pH,split", *rows]))
    config = PrepareConfig(data="m.csv", target="y", features="pH", split="given", processes=1)
    return build_store(config, find_source(config, folder, folder), folder / "store", "d", lambda rows: None)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")
    (folder / "g").mkdir()
    names = [f"g{n}" for n in range(12)]
    side = ["test"] * 3 + ["train"] * 7 + ["validation"] * 2
    table = [f"{name},{n},{n / 4},{side[n]}" for n, name in enumerate(names)]
    (folder / "g" / "graphs.csv").write_text("\n".join(["graph_id,y,T,split", *table]))
    nodes = [f"{name},{k},{'ab'[k % 2]},{n + k / 2}" for n, name in enumerate(names) for k in range(n + 1)]
    (folder / "g" / "nodes.csv").write_text("\n".join(["graph_id,node_id,kind,load", *nodes]))
    edges = [f"{name},{k},{k + 1},{k % 2 + 1}" for n, name in enumerate(names) for k in range(n)]
    (folder / "g" / "edges.csv").write_text("\n".join(["graph_id,source,target,order", *edges]))
    config = PrepareConfig(data="g", target="y", features="T", split="given", categorical="order")
    return build_store(config, find_source(config, folder, folder), folder / "store", "d", lambda rows: None)


@pytest.mark.parametrize("name", ["molecules", "graphs"])
def test_a_request_is_read_as_the_store_holds_it(request, name):
    store = request.getfixturevalue(name)
    indices = store.indices(TEST)
    (piece,) = read_request(build_requests(store, indices), store.schema, ServeConfig())
    assert (piece.good.tolist(), piece.errors) == ([0, 1, 2], {})
    for g, i in enumerate(indices):
        stored = store.graph(int(i))
        assert_graphs_equal(unpack(piece.chunk, g), stored._replace(y=unpack(piece.chunk, g).y))


def test_a_cell_of_a_file_holds_nested_values_as_json(graphs):
    table = build_requests(graphs, np.array([1]))
    assert json.loads(table["edges"][0]) == {"source": [0], "target": [1], "order": [1]}
    assert list(table) == ["nodes", "edges", "T"]


def test_examples_of_molecules_are_nobodys_own_with_the_mean_feature(molecules):
    for share_rows in (True, False):
        table = build_example(molecules, share_rows)
        assert table["smiles"].tolist() == ["CCO", "c1ccccc1O"]
        assert table["pH"].tolist() == [pytest.approx(0.75)] * 2  # of the training side: 0.4 … 1.1


def test_examples_of_graphs_are_test_rows_only_where_rows_are_shared(graphs):
    shared, own = build_example(graphs, True), build_example(graphs, False)
    assert shared["T"].tolist() == [0.0, 0.25]
    assert [len(nodes["kind"]) for nodes in shared["nodes"]] == [1, 2]
    assert own["nodes"].tolist() == [{"kind": [None, None], "load": [None, None]}]
    (piece,) = read_request(own, graphs.schema, ServeConfig())
    assert piece.errors == {}
