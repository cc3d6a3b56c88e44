"""Layers: by hand, against PyG's own with the same weights, and on graphs with nothing in them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.network.layers import DMPNN, GATv2Conv, GCNConv, GINConv, GINEConv, SAGEConv
from pipeline.network.registry import NETWORKS

H = 8


def bonds(num_nodes: int, num_bonds: int, seed: int = 0, loops: bool = False):
    """A random graph as (edge_index, rev_edge_index); bond k is the edges 2k and 2k + 1."""
    rng = np.random.default_rng(seed)
    ends = rng.integers(0, num_nodes, size=(num_bonds, 2))
    if not loops:
        ends = ends[ends[:, 0] != ends[:, 1]]
    edge_index = torch.from_numpy(np.stack([ends, ends[:, ::-1]], axis=1).reshape(-1, 2).T.copy())
    return edge_index, torch.arange(edge_index.shape[1]) ^ 1


# --- dmpnn ------------------------------------------------------------------------------------------------------


def test_dmpnn_follows_its_equations():
    torch.manual_seed(0)
    edge_index, reverse = bonds(6, 9)
    layer = DMPNN(H, num_layers=3, dropout=0.0)
    x, e = torch.randn(6, H), torch.randn(len(reverse), H)
    source, target = edge_index.tolist()
    edges = range(len(source))
    h_0 = [torch.relu(layer.w_i(x[source[k]]) + e[k]) for k in edges]
    h = h_0
    for w_m in layer.w_m:
        m = [sum((h[j] for j in edges if target[j] == source[k] and j != k ^ 1), torch.zeros(H)) for k in edges]
        h = [torch.relu(layer.w_i(x[source[k]]) + e[k] + w_m(m[k])) for k in edges]
    m = torch.stack([sum((h[j] for j in edges if target[j] == v), torch.zeros(H)) for v in range(6)])
    want = torch.relu(layer.w_o(torch.cat([x, m], dim=1)))
    torch.testing.assert_close(layer(x, edge_index, e, reverse), want)


def test_a_message_does_not_come_back_in_two_hops():
    # two nodes: all that node 0 hears of itself in two hops would have to turn back at node 1
    edge_index, reverse = torch.tensor([[0, 1], [1, 0]]), torch.tensor([1, 0])
    layer = DMPNN(H, num_layers=2, dropout=0.0)
    x = torch.randn(2, H, requires_grad=True)
    layer.w_o.weight.data[:, :H] = 0  # so that node 0 is heard through messages only
    layer(x, edge_index, torch.zeros(2, H), reverse)[0].sum().backward()
    assert x.grad[0].abs().max() == 0


# --- against PyG's own layers -----------------------------------------------------------------------------------


def take_weights(mine: nn.Linear, theirs: nn.Module) -> None:
    theirs.weight.data.copy_(mine.weight)
    if mine.bias is not None:
        theirs.bias.data.copy_(mine.bias)


def pyg_gine(layer):
    from torch_geometric.nn import GINEConv as Theirs

    theirs = Theirs(copy.deepcopy(layer.mlp), train_eps=True)
    theirs.nn.load_state_dict(layer.mlp.state_dict())  # PyG draws them anew
    theirs.eps.data.fill_(layer.eps.item())
    return lambda h, edge_index, e: theirs(h, edge_index, e)


def pyg_gin(layer):
    from torch_geometric.nn import GINConv as Theirs

    theirs = Theirs(copy.deepcopy(layer.mlp), train_eps=True)
    theirs.nn.load_state_dict(layer.mlp.state_dict())  # PyG draws them anew
    theirs.eps.data.fill_(layer.eps.item())
    return lambda h, edge_index, e: theirs(h, edge_index)


def pyg_gcn(layer):
    from torch_geometric.nn import GCNConv as Theirs

    theirs = Theirs(H, H)
    theirs.lin.weight.data.copy_(layer.linear.weight)
    theirs.bias.data.copy_(layer.linear.bias)
    return lambda h, edge_index, e: theirs(h, edge_index)


def pyg_sage(layer):
    from torch_geometric.nn import SAGEConv as Theirs

    theirs = Theirs(H, H)
    take_weights(layer.near, theirs.lin_l)
    take_weights(layer.self_, theirs.lin_r)
    return lambda h, edge_index, e: theirs(h, edge_index)


def pyg_gatv2(layer):
    from torch_geometric.nn import GATv2Conv as Theirs

    theirs = Theirs(H, H // layer.heads, heads=layer.heads, edge_dim=H, add_self_loops=False)
    take_weights(layer.w_s, theirs.lin_l)
    take_weights(layer.w_t, theirs.lin_r)
    take_weights(layer.w_e, theirs.lin_edge)
    theirs.att.data.copy_(layer.a[None])
    theirs.bias.data.copy_(layer.bias)
    return lambda h, edge_index, e: theirs(h, edge_index, e)


@pytest.mark.parametrize(
    ("layer", "theirs"),
    [(GINEConv, pyg_gine), (GINConv, pyg_gin), (GCNConv, pyg_gcn), (SAGEConv, pyg_sage), (GATv2Conv, pyg_gatv2)],
)
@pytest.mark.parametrize("num_bonds", [0, 1, 40])
def test_a_layer_answers_as_pyg(layer, theirs, num_bonds):
    torch.manual_seed(1)
    edge_index, reverse = bonds(9, num_bonds)  # node 8 may have no edge; several bonds may join two nodes
    mine = layer(H)
    for parameter in mine.parameters():
        parameter.data.normal_()
    h, e = torch.randn(9, H), torch.randn(len(reverse), H)
    read = (e,) if layer in (GINEConv, GATv2Conv) else ()
    torch.testing.assert_close(mine(h, edge_index, *read), theirs(mine)(h, edge_index, e), rtol=1e-4, atol=1e-4)


def test_a_self_loop_counts_as_an_edge_beside_gcns_own():
    layer = GCNConv(1)
    layer.linear.weight.data.fill_(1.0)
    layer.linear.bias.data.zero_()
    loop = torch.tensor([[0, 0], [0, 0]])  # one bond from node 0 to itself
    assert layer(torch.tensor([[6.0]]), loop).item() == pytest.approx(6.0)


# --- all of them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_take_graphs_without_edges_or_nodes(name):
    layers = NETWORKS[name].build(H, 2, 0.0)
    no_edges = torch.zeros((2, 0), dtype=torch.int64)
    given = {"edge_index": no_edges, "edges": torch.zeros(0, H), "rev_edge_index": no_edges[0]}
    for num_nodes in (0, 1, 3):
        values = given | {"nodes": torch.randn(num_nodes, H)}
        out = layers(*(values[field] for field in NETWORKS[name].reads))
        assert out.shape == (num_nodes, H)
        assert torch.isfinite(out).all()


def test_heads_divide_any_width():
    for width in (1, 6, 7, 8):
        layer = GATv2Conv(width)
        assert width % layer.heads == 0
        edge_index, reverse = bonds(4, 6)
        assert layer(torch.randn(4, width), edge_index, torch.randn(len(reverse), width)).shape == (4, width)
