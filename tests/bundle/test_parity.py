import dataclasses
import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline.bundle import parity
from pipeline.bundle.export import export_onnx
from pipeline.bundle.parity import BATCH_SIZES, ParityReport, ParityRow, cases, check_parity
from pipeline.errors import ExportError
from pipeline.network.config import NetworkConfig
from pipeline.network.forms.sums import NODE_SLOTS
from pipeline.network.network import build_network
from pipeline.network.registry import NETWORKS
from pipeline.network.scatter import max_to
from pipeline.schema import Target
from serving.session import Session
from tests.support.exported import (
    FORMS,
    GRAPHS,
    SCALE,
    SCHEMA,
    STATISTICS,
    all_sizes,
    alone_and_together,
    graph_of,
    networks,
    some_graphs,
)
from tests.support.schemas import toy_schema


@pytest.fixture
def no_second_export(exported, monkeypatch):
    monkeypatch.setattr(parity, "BATCH_SIZES", (1, 7, 32))
    monkeypatch.setattr(parity, "build_program", lambda ensemble, schema, form: exported.programs[form])


def test_parity_holds_on_every_case(exported):
    report = check_parity(exported.networks, exported.path, SCHEMA, some_graphs(), SCALE)
    assert report.passed, report.to_json()
    report.raise_if_failed()
    names = list(dict.fromkeys(row.case for row in report.rows))
    assert len(report.rows) == 6 * len(names)
    assert {(row.threads, row.run) for row in report.rows} == {(t, run) for t in (1, 2, 4) for run in (0, 1)}
    assert [row.num_graphs for row in report.rows[:30:6]] == list(BATCH_SIZES)
    assert json.loads(report.to_json())["passed"] is True


def test_the_cases_are_what_they_say():
    graphs = some_graphs()
    found = dict(cases(graphs, SCHEMA))
    sizes = {name: [one.num_nodes for one in members] for name, members in found.items()}
    assert sizes["one node"] == [1]
    assert all(one.num_edges == 0 for one in found["no edges at all"])
    assert 0 in sizes["empty graph in the middle"][1:-1]
    assert sizes["empty graph at the end"][-1] == 0
    assert sizes["only an empty graph"] == [0]
    for one in found["hubs"]:
        into = np.bincount(one.edge_index[1])
        assert into[0] > NODE_SLOTS
        assert (into[1:] == 1).all()  # no sum of sums: float32 would run out of digits
    assert sizes["ten times the usual size"][0] == 10 * np.median([one.num_nodes for one in (graphs * 2)[:32]])
    for one in found["negative maxima"]:
        assert len(np.unique(one.x)) <= 1
        assert (one.x_float <= 0).all()
    for shuffled, graph in zip(found["shuffled edges"], graphs, strict=False):
        ends = shuffled.edge_index
        assert np.array_equal(ends[:, ::2], ends[::-1, 1::2])  # e ^ 1 is still the reverse
        assert sorted(ends.T.tolist()) == sorted(graph.edge_index.T.tolist())
        assert np.array_equal(shuffled.edge_attr[::2], shuffled.edge_attr[1::2])


def swap_relu(model, graph):
    node = next(node for node in graph.node if node.op_type == "Relu")
    node.op_type = "Identity"
    return f"Identity '{node.name}'"


def change_weight(model, graph):
    """Change one number of the weights of a linear map."""
    weights = {one.name: one for one in (*model.graph.initializer, *graph.initializer)}
    node = next(node for node in graph.node if node.op_type in ("Gemm", "MatMul") and node.input[1] in weights)
    values = onnx.numpy_helper.to_array(weights[node.input[1]]).copy()
    values[0, 0] += 0.5
    graph.initializer.append(onnx.numpy_helper.from_array(values, "changed"))
    node.input[1] = "changed"
    return f"{node.op_type} '{node.name}'"


def zero_maxima(model, graph):
    """The classic: maxima start at zero, so that negative ones are lost."""
    node = next(
        node for node in graph.node if node.op_type == "ScatterElements" and any(a.s == b"max" for a in node.attribute)
    )
    start = next(one for one in graph.node if node.input[0] in one.output)
    graph.initializer.append(onnx.numpy_helper.from_array(np.zeros((), np.float32), "nought"))
    start.input[0] = "nought"
    return f"Expand '{start.name}'"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("harm", [swap_relu, change_weight])
def test_a_sabotaged_operator_is_named(exported, no_second_export, tmp_path, harm, form):
    named = []
    path = exported.sabotage(tmp_path, lambda *where: named.append(harm(*where)), [form])
    report = check_parity(exported.networks, path, SCHEMA, some_graphs(), SCALE)
    assert not report.passed
    assert named[0] in str(report.operator)
    with pytest.raises(ExportError) as caught:
        report.raise_if_failed()
    message = str(caught.value)
    assert named[0] in message
    assert f"'{report.worst.case}'" in message
    assert "\n" not in message


def test_a_frozen_batch_size_names_the_batches(exported, no_second_export, tmp_path):
    """Answers right for two graphs only: others fail or differ, and are named."""

    def freeze(model, graph):
        node = next(node for node in graph.node if node.op_type == "Shape" and node.input[0] == "u")
        graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], np.int64), "frozen"))
        for other in graph.node:
            other.input[:] = ["frozen" if name == node.output[0] else name for name in other.input]

    path = exported.sabotage(tmp_path, freeze, ["large"])
    report = check_parity(exported.networks, path, SCHEMA, some_graphs(), SCALE)
    failed = {row.case for row in report.failed}
    assert "7 graphs" in failed
    assert "1 graph" not in failed
    assert json.loads(report.to_json())["rows"][-1]["difference"] is None  # an infinite difference is no JSON


def test_the_report_names_the_batch_when_no_operator_is_found():
    rows = (ParityRow("1 graph", 1, 2, 2, 1, 0, "a", 1e-7), ParityRow("one node", 1, 1, 0, 2, 1, "a", 3e-4))
    with pytest.raises(ExportError, match=r"'one node' with 2 thread\(s\).*3.0e-04.*No single operator"):
        ParityReport(rows).raise_if_failed()


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("readout", ["mean", "sum", "max", "attention"])
def test_every_network_and_readout_passes_the_gate_with_equal_bits(network, readout, tmp_path):
    members = networks(1, network=network, readout=readout, hidden_dim=128)
    export_onnx(members, SCHEMA, tmp_path / "model.onnx", {})
    check_parity(members, tmp_path / "model.onnx", SCHEMA, some_graphs(), SCALE).raise_if_failed()
    np.testing.assert_array_equal(*alone_and_together(Session(tmp_path / "model.onnx"), all_sizes()))


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_passes_the_gate_in_its_only_form(network, tmp_path):
    members = networks(1, network=network, readout="attention")
    export_onnx(members, GRAPHS, tmp_path / "model.onnx", {})
    check_parity(members, tmp_path / "model.onnx", GRAPHS, some_graphs(), SCALE).raise_if_failed()


@pytest.mark.slow
def test_directed_graphs_and_a_real_bisection(tmp_path):
    schema = dataclasses.replace(GRAPHS, directed=True)
    torch.manual_seed(0)
    members = [build_network(NetworkConfig(network="gine", hidden_dim=8), schema, STATISTICS)]
    path = tmp_path / "model.onnx"
    export_onnx(members, schema, path, {})
    graphs = some_graphs(schema=schema)
    check_parity(members, path, schema, graphs, SCALE).raise_if_failed()
    model = onnx.load(path)
    named = swap_relu(model, model.graph)
    onnx.save(model, path)
    assert named in str(check_parity(members, path, schema, graphs, SCALE).operator)


class SignedMax(nn.Module):
    """A user's network whose node vectors are negative as often as not."""

    def __init__(self, hidden_dim):
        super().__init__()
        self.linear = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, x, edge_index, edge_attr, batch, num_graphs):
        return max_to(self.linear(x), batch, num_graphs)


@pytest.mark.slow
def test_lost_negative_maxima_are_found(tmp_path):
    members = networks(1, class_path="tests.bundle.test_parity.SignedMax")
    path = tmp_path / "model.onnx"
    export_onnx(members, SCHEMA, path, {})
    check_parity(members, path, SCHEMA, some_graphs(), SCALE).raise_if_failed()
    model = onnx.load(path)
    named = zero_maxima(model, graph_of(model, "large"))
    onnx.save(model, path)
    report = check_parity(members, path, SCHEMA, some_graphs(), SCALE)
    assert "negative maxima" in {row.case for row in report.failed}
    assert named in str(report.operator)


def test_members_that_lie_decades_apart_are_compared_by_what_they_spread():
    schema = toy_schema(Target("potency", "regression", unit="nM", transform="p"))
    # members 10^-2 and 10^10 nM: trained 11 and −1, mean 5, that is 10^4 nM; their spread is about 7 · 10^9
    expected = {"prediction": np.float32([[1e4]]), "std": np.float32([[7e9]])}
    rounded = {"prediction": np.float32([[1e4 * (1 + 1e-6)]]), "std": np.float32([[7e9 * (1 + 1e-6)]])}
    wrong = {"prediction": np.float32([[1e4]]), "std": np.float32([[7.1e9]])}
    assert parity._compare(expected, rounded, schema, np.ones(1))[1] < parity.TOLERANCE
    output, difference = parity._compare(expected, wrong, schema, np.ones(1))
    assert output == "potency (std)"
    assert difference == pytest.approx(0.1 / 7.1 / (5 * np.log(10)), rel=0.02)


def test_answers_beyond_float32_have_no_digit_to_compare():
    schema = toy_schema(Target("dose", "regression", transform="log10"))
    expected = {"prediction": np.float32([[1e-44], [np.inf]])}
    found = {"prediction": np.float32([[0.0], [3.4e38]])}
    assert parity._compare(expected, found, schema, np.ones(1))[1] < parity.TOLERANCE
