"""PyG data sets become graph tables and come back as the same graphs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch_geometric.data import Data
from torch_geometric.utils import sort_edge_index, to_undirected

from pipeline.errors import ConfigError, DataError
from pipeline.graph import unpack
from pipeline.samples.graph.pyg import write_graph_tables
from pipeline.samples.graph.tables import open_graph_tables, read_graph_chunks
from pipeline.schema import Limits


@pytest.fixture
def offer(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], str]:
    """Make `own_graphs:load` return (or do) something."""

    def put(load: Any) -> str:
        module = ModuleType("own_graphs")
        module.load = load if callable(load) else lambda: load  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "own_graphs", module)
        return "own_graphs:load"

    return put


def random_graphs(count: int, *, directed: bool = False) -> list[Data]:
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for i in range(count):
        size = int(torch.randint(2, 8, (1,), generator=generator))
        ends = torch.randint(0, size, (2, 6), generator=generator).unique(dim=1)
        kinds = torch.randint(0, 3, (ends.shape[1], 1), generator=generator)
        if not directed:
            ends, kinds = to_undirected(ends, kinds, reduce="min")
        x = torch.randn(size, 2, generator=generator)
        graphs.append(
            Data(x=x, edge_index=ends, edge_attr=kinds, y=torch.tensor([[i / 2, float("nan")]]), split="train")
        )
    return graphs


@pytest.mark.parametrize("directed", [False, True])
def test_graphs_come_back_the_same(tmp_path: Path, offer: Callable[[Any], str], directed: bool) -> None:
    wanted = random_graphs(20, directed=directed)
    folder = write_graph_tables(offer(iter(wanted)), tmp_path / "tables", directed=directed)
    assert folder == tmp_path / "tables"
    tables = open_graph_tables(folder, directed=directed)
    assert tables.columns == ("graph_id", "y0", "y1", "split")
    assert [(column.name, column.kind) for column in tables.node_columns] == [("x0", "numeric"), ("x1", "numeric")]
    assert tables.edge_columns[0].categories == ("0", "1", "2")
    (part,) = read_graph_chunks(tables, ("y0", "y1"), Limits())
    assert part.rows.values["y0"].tolist() == [i / 2 for i in range(20)]
    assert part.rows.values["y1"].tolist() == [None] * 20
    for g, data in enumerate(wanted):
        graph = unpack(part.chunk, g)
        np.testing.assert_array_equal(graph.x_float, data.x.numpy())
        ends, kinds = torch.from_numpy(graph.edge_index).long(), torch.from_numpy(graph.edge_attr) - 1
        if not directed:  # we keep a self loop as a pair of edges
            once = np.ones(len(kinds), dtype=bool)
            once[1::2] = graph.edge_index[0, 1::2] != graph.edge_index[1, 1::2]
            ends, kinds = ends[:, once], kinds[once]
        found = sort_edge_index(ends, kinds)
        expected = sort_edge_index(data.edge_index, data.edge_attr)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1].long(), expected[1])


def test_kinds_shapes_and_chunks(tmp_path: Path, offer: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.samples.graph.pyg.CHUNK_GRAPHS", 2)
    pair = torch.tensor([[0, 1], [1, 0]])
    graphs = [
        Data(x=torch.tensor([1, 2]), edge_index=torch.zeros((2, 0), dtype=torch.long), y=0),
        Data(x=torch.tensor([[3], [2]]), edge_index=pair, edge_attr=torch.tensor([0.5, 0.5]), y=torch.tensor(1)),
        Data(x=torch.tensor([1, 1]), edge_index=pair, edge_attr=torch.tensor([[1.5], [1.5]]), y=torch.tensor([0])),
    ]
    folder = write_graph_tables(offer(graphs), tmp_path / "tables")
    tables = open_graph_tables(folder)
    assert tables.columns == ("graph_id", "y")
    assert tables.node_columns[0].categories == ("1", "2", "3")
    assert tables.edge_columns[0].kind == "numeric"
    assert pq.read_table(folder / "edges.parquet").to_pydict() == {
        "graph_id": [2, 3],
        "source": [0, 0],
        "target": [1, 1],
        "e0": [0.5, 1.5],
    }


def failing() -> Any:
    yield random_graphs(1)[0]
    raise ValueError("two\nlines")


pair = torch.tensor([[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("load", "said"),
    [
        ([], "no graphs"),
        (failing, "the function failed .ValueError: two lines"),
        (7, "the function failed"),
        ([1], "graph 1 is a int"),
        (
            [Data(edge_index=pair, num_nodes=2), Data(x=torch.ones(2, 1), edge_index=pair)],
            "graph 2 has the fields x0 float",
        ),
        ([Data(x=torch.ones(2, 1), edge_index=pair[:, :1])], "both directions .* directed=true"),
        ([Data(x=torch.ones(2, 1), edge_index=pair, edge_attr=torch.tensor([1, 2]))], "both directions"),
        ([Data(x=torch.ones(2, 1, 1), edge_index=pair)], "x has the shape"),
        ([Data(x=torch.ones(2, 1), edge_index=pair, edge_attr=torch.ones(3, 1))], "edge_attr has the shape"),
        ([Data(x=torch.ones(2, 1))], "no graph has an edge"),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, offer: Callable[[Any], str], load: Any, said: str) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "old").touch()
    with pytest.raises(DataError, match=said) as caught:
        write_graph_tables(offer(load), tmp_path / "tables")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["tables", "old"]


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ("own_graphs", "module:function is wanted"),
        ("no_such_module_here:load", "cannot import no_such_module_here .ModuleNotFoundError"),
        ("json:load_graphs", "json has no function 'load_graphs'"),
    ],
)
def test_names_that_lead_nowhere(tmp_path: Path, dataset: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        write_graph_tables(dataset, tmp_path / "tables")
