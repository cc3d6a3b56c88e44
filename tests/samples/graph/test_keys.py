"""Keys of graphs: blind to the order of nodes and edges, and to nothing else."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from pipeline.graph import Graph, GraphChunk, pack
from pipeline.samples.graph.keys import graph_keys


def graph_of(net: nx.Graph, seed: int | None = None, **node_numbers: float) -> Graph:
    """A Graph of a networkx graph with its attributes `kind`; nodes, edges and ends shuffled by `seed`."""
    rng = np.random.default_rng(seed)
    order = list(net.nodes)
    rows = [(a, b, data.get("kind", 0)) for a, b, data in net.edges(data=True)]
    if seed is not None:
        order = [order[i] for i in rng.permutation(len(order))]
        rows = [rows[i] for i in rng.permutation(len(rows))]
        if not net.is_directed():
            rows = [(b, a, kind) if rng.random() < 0.5 else (a, b, kind) for a, b, kind in rows]
    place = {node: i for i, node in enumerate(order)}
    ends = np.array([(place[a], place[b]) for a, b, _ in rows], dtype=np.int32).reshape(-1, 2)
    kinds = np.array([[kind] for _, _, kind in rows], dtype=np.int32).reshape(-1, 1)
    if not net.is_directed():
        ends, kinds = np.stack([ends, ends[:, ::-1]], axis=1).reshape(-1, 2), np.repeat(kinds, 2, axis=0)
    x = np.array([[net.nodes[node].get("kind", 0)] for node in order], dtype=np.int32)
    x_float = np.array([[net.nodes[node].get("number", 0.0)] for node in order], dtype=np.float32)
    none = np.zeros((len(ends), 0), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32)
    return Graph(x, x_float, ends.T, kinds, *none)


def count_keys(graphs: list[Graph]) -> int:
    return len(np.unique(graph_keys(pack(graphs)), axis=0))


def circulant(step: int) -> nx.Graph:
    return nx.circulant_graph(41, [1, step])


SHAPES = {
    "one node": nx.empty_graph(1),
    "no edges": nx.empty_graph(6),
    "path": nx.path_graph(50),
    "star": nx.star_graph(60),
    "hexagon": nx.cycle_graph(6),
    "two triangles": nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)),
    "Petersen": nx.petersen_graph(),
    "tree": nx.balanced_tree(2, 4),
    "grid": nx.grid_2d_graph(6, 6),
    "clique": nx.complete_graph(8),
    "skip 2": circulant(2),
    "skip 3": circulant(3),
    "loops": nx.Graph([(0, 0), (0, 1), (1, 2), (2, 2)]),
    "directed path": nx.path_graph(5, create_using=nx.DiGraph),
    "directed cycle": nx.cycle_graph(5, create_using=nx.DiGraph),
}


@pytest.mark.parametrize("name", SHAPES)
def test_order_does_not_matter(name: str) -> None:
    assert count_keys([graph_of(SHAPES[name], seed) for seed in range(12)]) == 1


def test_different_graphs_have_different_keys() -> None:
    assert count_keys([graph_of(net) for net in SHAPES.values()]) == len(SHAPES)


def test_every_graph_of_up_to_seven_nodes() -> None:
    atlas = [net for net in nx.graph_atlas_g() if len(net)]
    assert count_keys([graph_of(net, seed) for seed in (0, 1) for net in atlas]) == len(atlas) == 1252


def test_features_matter_wherever_they_are() -> None:
    graphs = []
    for attribute, value in (("kind", 1), ("number", 0.5), ("number", float("nan"))):
        for node in (0, 1):
            net = nx.path_graph(4)
            net.nodes[node][attribute] = value
            graphs.append(graph_of(net))
    net = nx.path_graph(4)
    graphs.append(graph_of(net))
    net.edges[1, 2]["kind"] = 1
    graphs.append(graph_of(net))
    assert count_keys(graphs) == len(graphs)
    negative_zero = graph_of(nx.path_graph(4))
    negative_zero.x_float[:] = -0.0
    assert count_keys([graph_of(nx.path_graph(4)), negative_zero]) == 1


def test_a_key_does_not_depend_on_the_graphs_beside_it() -> None:
    graphs = [graph_of(net) for net in SHAPES.values()]
    alone = np.concatenate([graph_keys(pack([graph])) for graph in graphs])
    np.testing.assert_array_equal(graph_keys(pack(graphs)), alone)
    np.testing.assert_array_equal(graph_keys(pack(graphs[::-1])), alone[::-1])


def test_no_graphs() -> None:
    empty = pack([graph_of(SHAPES["path"])])
    none = GraphChunk(empty.node_ptr[:1], empty.edge_ptr[:1], *(field[:0] for field in empty[2:]))
    none = none._replace(edge_index=np.zeros((2, 0), np.int32))
    assert graph_keys(none).shape == (0, 2)
