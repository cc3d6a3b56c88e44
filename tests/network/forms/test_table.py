"""Every form of a network answers, and learns, as the plain one: the layers as they are written."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from pipeline.bundle.export import random_graph, tensors
from pipeline.graph import collate
from pipeline.network.config import NetworkConfig
from pipeline.network.forms import dmpnn, gine, table
from pipeline.network.forms.equal_rows import Rows
from pipeline.network.forms.form import current_form, form_for, in_form
from pipeline.network.layers import DMPNN, GINEConv, Stack
from pipeline.network.network import INPUTS, build_network
from pipeline.network.readouts import READOUTS
from pipeline.network.registry import NETWORKS
from tests.network.forms.test_equal_rows import repeated
from tests.support.exported import SCHEMA, STATISTICS

H = 8
NUMBERS = SCHEMA
CATEGORIES = dataclasses.replace(SCHEMA, node_columns=SCHEMA.node_columns[:1])
NO_FEATURES = dataclasses.replace(SCHEMA, node_columns=(), edge_columns=())
# Several bonds between two nodes, and loops, are among them: the ends are drawn.
SIZES = [(5, 6), (1, 0), (0, 0), (3, 0), (1, 2), (9, 30), (7, 12), (7, 12), (2, 40), (0, 0)]


def build(name, schema, **config):
    nothing: dict[str, list[float]] = {"mean": [], "std": []}
    statistics = STATISTICS if schema is NUMBERS else STATISTICS | {"x_float": nothing}
    torch.manual_seed(0)
    net = build_network(NetworkConfig(name, H, 3, **config), schema, statistics).eval()
    for parameter in net.parameters():  # also the biases and ε, which start at zero
        if parameter.ndim < 2:
            parameter.data.normal_(0, 0.3)
    return net


def answer(net, graphs, form):
    batch = dict(zip(INPUTS, tensors(collate(graphs)), strict=True))
    with in_form(form), torch.no_grad():
        return net(batch)


def some_graphs(schema, sizes=SIZES):
    rng = np.random.default_rng(0)
    return [random_graph(schema, nodes, bonds, rng) for nodes, bonds in sizes]


def assert_equal(found, plain):
    torch.testing.assert_close(found, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("schema", [NUMBERS, CATEGORIES, NO_FEATURES], ids=["numbers", "categories", "none"])
@pytest.mark.parametrize("form", ["equal_rows", "only", "large"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_is_answered_as_in_the_plain_form(name, form, schema):
    for readout in READOUTS:
        net = build(name, schema, readout=readout)
        graphs = some_graphs(schema)
        assert_equal(answer(net, graphs, form), answer(net, graphs, "plain"))
    nothing = some_graphs(schema, [(0, 0)])
    assert_equal(answer(net, nothing, form), answer(net, nothing, "plain"))


@pytest.mark.parametrize("schema", [NUMBERS, CATEGORIES, NO_FEATURES], ids=["numbers", "categories", "none"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_small_graph_is_answered_as_in_the_plain_form(name, schema):
    graphs = [graph for graph in some_graphs(schema) if form_for(1, graph.num_edges) == "small"]
    assert len(graphs) == 6
    for readout in READOUTS:
        net = build(name, schema, readout=readout)
        for graph in graphs:
            assert_equal(answer(net, [graph], "small"), answer(net, [graph], "plain"))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_that_is_not_on_a_cpu_has_no_equal_rows(name):
    net = build(name, CATEGORIES).to("meta")
    batch = collate(some_graphs(CATEGORIES))
    assert net({field: one.to("meta") for field, one in zip(INPUTS, tensors(batch), strict=True)}).shape == (10, 6)


LAYERS = {
    "dmpnn": lambda: DMPNN(H, 4, 0.0),
    "one hop": lambda: DMPNN(H, 1, 0.0),
    "gine": lambda: Stack(GINEConv, H, 4, 0.0),
}


def inputs(layers, x, edge_index, e, rev_edge_index):
    return (x, edge_index, e) if isinstance(layers, Stack) else (x, edge_index, e, rev_edge_index)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", LAYERS)
def test_equal_rows_learn_as_every_row(name, seed):
    edge_index, reverse, x_row, e_row = repeated(5, seed)
    layers = LAYERS[name]()
    x, e = torch.randn(2, H), torch.randn(3, H)
    for parameter in layers.parameters():
        parameter.data.normal_(0, 0.5)
    found = []
    for form in ("equal_rows", "plain"):
        layers.zero_grad()
        vectors = [x.clone().requires_grad_(), e.clone().requires_grad_()]
        rows = Rows(vectors[0], x_row), Rows(vectors[1], e_row)
        with in_form(form):
            out = table.compute(layers, *inputs(layers, rows[0], edge_index, rows[1], reverse))
        (out * torch.arange(out.numel()).view_as(out).cos()).sum().backward()
        found.append([out.detach(), *(one.grad for one in (*vectors, *layers.parameters()))])
    for here, there in zip(*found, strict=True):
        assert_equal(here, there)


@pytest.mark.parametrize("name", LAYERS)
def test_equal_rows_train_in_mixed_precision(name):
    edge_index, reverse, x_row, e_row = repeated(5, 0)
    layers = LAYERS[name]()
    rows = Rows(torch.randn(2, H), x_row), Rows(torch.randn(3, H), e_row)
    with torch.autocast("cpu", torch.bfloat16):
        out = table.compute(layers, *inputs(layers, rows[0], edge_index, rows[1], reverse))
    out.float().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in layers.parameters())


def test_a_form_that_does_not_fit_leaves_the_plain_one():
    edge_index, reverse, x_row, e_row = repeated(5, 0)
    rows = Rows(torch.randn(2, H), x_row), Rows(torch.randn(3, H), e_row)
    layers = DMPNN(H, 2, 0.5)
    assert dmpnn.equal_rows(layers, rows[0], edge_index, rows[1], reverse) is None  # dropout tells equal rows apart
    assert dmpnn.equal_rows(layers.eval(), rows[0], edge_index, rows[1], reverse) is not None
    stack = Stack(GINEConv, H, 2, 0.0)
    assert gine.equal_rows(stack, rows[0], edge_index, rows[1]) is not None
    torch.manual_seed(1)
    found = table.compute(layers.train(), rows[0], edge_index, rows[1], reverse)
    torch.manual_seed(1)
    assert torch.equal(found, layers(rows[0].each(), edge_index, rows[1].each(), reverse))


def test_a_form_holds_inside_only():
    assert current_form() == "equal_rows"
    with in_form("small"):
        assert current_form() == "small"
    assert current_form() == "equal_rows"
