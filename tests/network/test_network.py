"""The network as a whole: what it must not see, and what it must not mind."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from pipeline.errors import ConfigError, TrainingError
from pipeline.graph import Graph, collate
from pipeline.network.config import NetworkConfig
from pipeline.network.forms.form import in_form
from pipeline.network.network import INPUTS, GraphFeatures, build_network, import_class
from pipeline.network.readouts import READOUTS
from pipeline.network.registry import NETWORKS
from pipeline.schema import Column
from tests.support.networks import GRAPHS, SCHEMA, STATISTICS, answer, fields, graph, network
from tests.support.schemas import toy_schema

OWN = "tests.examples.own_network.OwnNetwork"
CONFIGS = [
    *(NetworkConfig(network, 8, 2, list(READOUTS)[k % len(READOUTS)]) for k, network in enumerate(NETWORKS)),
    NetworkConfig(hidden_dim=8, class_path=OWN, init_args={"depth": 1}),
]
IDS = [*NETWORKS, "own"]


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_the_sequence_takes_a_tensordict_and_answers_as_the_network(config):
    built = network(config).eval()
    batch = TensorDict(fields(collate(GRAPHS, directed=False)), batch_size=[])
    with torch.no_grad():
        prediction = built(batch)
        torch.testing.assert_close(built.sequence(batch)["prediction"], prediction, rtol=1e-4, atol=1e-4)
        with in_form("plain"):
            assert torch.equal(built.sequence(batch)["prediction"], built(batch))


def test_inputs_are_those_of_a_batch():
    assert INPUTS == ("x", "x_float", "edge_index", "edge_attr", "edge_float", "u", "rev_edge_index", "batch")


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_one_graph_answers_alone_as_in_a_batch(config):
    net = network(config)
    together = answer(net, GRAPHS)
    assert together.shape == (6, 6)
    alone = torch.cat([answer(net, [one]) for one in GRAPHS])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_order_of_nodes_and_edges_does_not_matter(config):
    net, one, rng = network(config), graph(7, 12), np.random.default_rng(0)
    order, bond_order = rng.permutation(7), rng.permutation(12)
    place = np.argsort(order)
    edges = (2 * bond_order[:, None] + [1, 0]).ravel()  # bonds in another order, and each the other way round
    other = one._replace(
        x=one.x[order],
        x_float=one.x_float[order],
        edge_index=place[one.edge_index][:, edges],
        edge_attr=one.edge_attr[edges],
        edge_float=one.edge_float[edges],
    )
    torch.testing.assert_close(answer(net, [one]), answer(net, [other]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_edges_may_be_shuffled_with_their_reverses(config):
    net, batch = network(config), collate(GRAPHS)
    order = np.random.default_rng(1).permutation(batch.edge_index.shape[1])
    shuffled = batch._replace(
        edge_index=batch.edge_index[:, order],
        edge_attr=batch.edge_attr[order],
        edge_float=batch.edge_float[order],
        rev_edge_index=np.argsort(order)[batch.rev_edge_index[order]],
    )
    with torch.no_grad():
        here, there = net(fields(batch)), net(fields(shuffled))
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_every_weight_gets_a_gradient(config):
    # DDP refuses a network with weights that stay without one.
    net = network(config).train()
    net(fields(collate([graph(1, 0), graph(5, 6)]))).sum().backward()
    assert [name for name, parameter in net.named_parameters() if parameter.grad is None] == []


DIRECTED = dataclasses.replace(SCHEMA, directed=True)


@pytest.mark.parametrize("name", [name for name, spec in NETWORKS.items() if spec.refuse(DIRECTED) is None])
def test_directed_graphs(name):
    net = network(NetworkConfig(name, 8, 2), DIRECTED)
    one = graph(4, 3)
    flipped = one._replace(edge_index=one.edge_index[::-1])
    half = [g._replace(edge_index=g.edge_index[:, ::2], edge_attr=g.edge_attr[::2], edge_float=g.edge_float[::2])
            for g in (one, flipped)]  # fmt: skip
    here, there = (answer(net, [g], directed=True) for g in half)
    assert not torch.allclose(here, there)


def test_dmpnn_refuses_directed_graphs():
    with pytest.raises(ConfigError, match=r"network=dmpnn needs undirected graphs.*Pass network=gine\."):
        build_network(NetworkConfig("dmpnn"), DIRECTED, STATISTICS)


@pytest.mark.parametrize("missing", ["x_float", "edge_float", "u"])
def test_a_missing_number_is_the_mean(missing):
    one = graph(4, 5)
    mean = np.full_like(getattr(one, missing), STATISTICS[missing]["mean"][0])
    pair = [one._replace(**{missing: np.full_like(mean, np.nan)}), one._replace(**{missing: mean})]
    answers = answer(network(), pair)
    torch.testing.assert_close(answers[0], answers[1])
    assert not torch.allclose(answers[0], answer(network(), [one])[0])


@pytest.mark.parametrize("code", [2, 4, 1000, -1])
def test_rare_and_foreign_categories_are_unknown(code):
    one = graph(4, 5)
    pair = [one._replace(x=one.x * [0, 1] + [value, 0]) for value in (0, code)]
    answers = answer(network(), pair)
    torch.testing.assert_close(answers[0], answers[1])
    known = one._replace(x=one.x * [0, 1] + [3, 0])
    assert not torch.allclose(answers[0], answer(network(), [known])[0])


def test_dropout_takes_descriptors_and_never_a_users_own_feature():
    columns = tuple(Column(f"d{k}", "numeric") for k in range(50))
    schema = dataclasses.replace(SCHEMA, graph_columns=(Column("t", "numeric"),), descriptor_columns=columns)
    features = GraphFeatures(schema, {"u": {"mean": [0.0] * 51, "std": [1.0] * 51}}, 4, 0.5)
    features.mlp = torch.nn.Identity()
    u = torch.full((8, 51), 100.0)
    trained = features(u)
    assert (trained[:, 0] == 100).all()  # the user's own: whole, however far out
    assert sorted(trained[:, 1:].unique().tolist()) == [0.0, 8.0]  # at most four deviations, doubled where kept
    assert (features.eval()(u)[:, 1:] == 4).all()


def test_graphs_without_any_feature():
    schema = toy_schema(SCHEMA.targets[0], data_kind="graph")
    nothing = {"mean": [], "std": []}
    bare = [
        Graph(g.x[:, :0], g.x_float[:, :0], g.edge_index, g.edge_attr[:, :0], g.edge_float[:, :0], g.u[:0], g.y)
        for g in GRAPHS
    ]
    statistics = {"x_float": nothing, "edge_float": nothing, "u": nothing, "y": {"mean": [0.0], "std": [1.0]}}
    net = build_network(NetworkConfig(hidden_dim=8, readout="sum"), schema, statistics)
    out = answer(net, bare)
    assert out.shape == (6, 1)
    assert len(out.unique()) == 5  # the two empty graphs are alike, the others are told apart by their bonds


def test_regression_comes_out_on_the_trained_scale():
    net = network()
    net.head.mlp[-1].weight.data.zero_()
    net.head.mlp[-1].bias.data.copy_(torch.tensor([0.5, 2.0, 1.0, 2.0, 3.0, -1.0]))
    # size: 10 + 4 · 0.5; logits stay; potency: 6 − 1.5
    assert answer(net, GRAPHS[:1]).tolist() == [[12.0, 2.0, 1.0, 2.0, 3.0, 4.5]]


def test_class_weights_are_taken_off_the_logits():
    net = network()
    plain = answer(net, GRAPHS)
    net.head.class_weight.copy_(torch.tensor([1.0, 9.0, 1.0, 1.0, math.e, 1.0]))
    shift = torch.tensor([0.0, -math.log(9), 0.0, 0.0, -1.0, 0.0])
    weighted = answer(net, GRAPHS)
    torch.testing.assert_close(weighted, plain + shift)
    with torch.no_grad():
        inner = net.inner(fields(collate(GRAPHS, directed=False)))
    torch.testing.assert_close(inner[:, 1:5], plain[:, 1:5])
    torch.testing.assert_close(inner[:, 0], (plain[:, 0] - 10) / 4)


@pytest.mark.parametrize(
    ("path", "arguments", "says"),
    [
        ("nowhere.Network", {}, "nowhere"),
        ("torch.nn.Nothing", {}, "Nothing"),
        ("math.sqrt", {}, "expected a class of torch.nn.Module"),
        (OWN, {"width": 3}, "width"),
    ],
)
def test_an_own_network_that_cannot_be_built(path, arguments, says):
    with pytest.raises(ConfigError, match=says):
        build_network(NetworkConfig(class_path=path, init_args=arguments), SCHEMA, STATISTICS)


class WrongShape(torch.nn.Module):
    def __init__(self, hidden_dim: int) -> None:
        super().__init__()

    def forward(self, x, edge_index, edge_attr, batch, num_graphs):
        return x


def test_an_own_network_that_answers_wrongly():
    net = build_network(NetworkConfig(hidden_dim=8, class_path=f"{__name__}.WrongShape"), SCHEMA, STATISTICS)
    with pytest.raises(TrainingError, match=r"WrongShape: forward answered \(16, 8\), expected .* \(6, 8\)"):
        answer(net, GRAPHS)


def test_the_example_is_short_enough_to_copy():
    source = import_class(OWN).__module__.replace(".", "/") + ".py"
    from tests.conftest import ROOT

    assert len((ROOT / source).read_text().splitlines()) <= 20


@pytest.mark.slow
def test_the_example_survives_onnx(tmp_path):
    from pipeline.bundle.export import export_onnx
    from pipeline.bundle.parity import check_parity

    net = network(CONFIGS[-1]).eval()
    export_onnx([net], SCHEMA, tmp_path / "own.onnx", {})
    check_parity([net], tmp_path / "own.onnx", SCHEMA, GRAPHS[:3], scale=np.ones(6)).raise_if_failed()
