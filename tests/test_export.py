import dataclasses
import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline import export, parity
from pipeline.ensemble import Ensemble
from pipeline.errors import ExportError
from pipeline.export import DYNAMIC_AXES, build_program, export_onnx, form_of, random_graph, refuse_races
from pipeline.graph import GraphBatch, collate
from pipeline.network import build_network
from pipeline.onnxforms import EDGE_SLOTS, NODE_SLOTS, SMALL_EDGES, form_for
from pipeline.parity import BATCH_SIZES, ParityReport, ParityRow, cases, check_parity
from pipeline.scatter import max_to
from pipeline.schema import Column, Schema, Target
from pipeline.trainconfig import NetworkConfig
from serving.session import Session

SCHEMA = Schema(
    name="toy",
    data_kind="molecule",
    targets=(
        Target("size", "regression", unit="m"),
        Target("potency", "regression", unit="nM", transform="p"),
        Target("active", "binary", classes=("no", "yes")),
        Target("colour", "multiclass", classes=("red", "green", "blue")),
    ),
    node_columns=(Column("symbol", "categorical", ("C", "N", "O")), Column("charge", "numeric")),
    edge_columns=(Column("order", "categorical", ("1", "2")),),
    graph_columns=(Column("temperature", "numeric"),),
)
GRAPHS = dataclasses.replace(SCHEMA, data_kind="graph")
FORMS = ("small", "large")
STATISTICS = {
    "x_float": {"mean": [0.5], "std": [2.0]},
    "edge_float": {"mean": [], "std": []},
    "u": {"mean": [0.0], "std": [1.0]},
    "y": {"mean": [1.0, 6.0, 0.0, 0.0], "std": [3.0, 2.0, 1.0, 1.0]},
}
SCALE = np.array([3.0, 2.0, 1, 1, 1, 1])


def networks(count, **config):
    torch.manual_seed(0)
    config = {"hidden_dim": 8, "num_layers": 1, "readout": "max"} | config
    return [build_network(NetworkConfig(**config), SCHEMA, STATISTICS) for _ in range(count)]


def some_graphs(count=20, schema=SCHEMA):
    rng = np.random.default_rng(0)
    return [random_graph(schema, int(n), int(n) + 1, rng) for n in rng.integers(1, 9, count)]


class Exported:
    """Two small networks, their ONNX file, and the torch graphs behind it: exporting takes seconds."""

    def __init__(self, folder, monkeypatch):
        self.programs = {}
        monkeypatch.setattr(export, "build_program", self._build)
        self.networks = networks(2)
        self.path = folder / "model.onnx"
        export_onnx(self.networks, SCHEMA, self.path, {"run": "17"})

    def _build(self, ensemble, schema, form):
        self.programs[form] = build_program(ensemble, schema, form)
        return self.programs[form]

    def sabotage(self, folder, harm, forms=FORMS):
        """A copy of the file after `harm(model, graph)` of the graph of each form."""
        model = onnx.load(self.path)
        for form in forms:
            harm(model, graph_of(model, form))
        onnx.save(model, folder / "sabotaged.onnx")
        return folder / "sabotaged.onnx"


def graph_of(model, form):
    """The graph of a form inside a model."""
    if form == "only":
        return model.graph
    choice = next(node for node in model.graph.node if node.op_type == "If")
    branch = {"small": "then_branch", "large": "else_branch"}[form]
    return next(one.g for one in choice.attribute if one.name == branch)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        made = Exported(tmp_path_factory.mktemp("export"), monkeypatch)
    return made  # the patch is gone: later exports make a program of their own


@pytest.fixture
def no_second_export(exported, monkeypatch):
    monkeypatch.setattr(parity, "BATCH_SIZES", (1, 7, 32))
    monkeypatch.setattr(parity, "build_program", lambda ensemble, schema, form: exported.programs[form])


def test_the_file_says_what_it_is(exported):
    metadata = Session(exported.path).metadata
    assert Schema.from_json(metadata["schema"]) == SCHEMA
    assert json.loads(metadata["targets"]) == ["size", "potency", "active", "colour"]
    assert json.loads(metadata["units"]) == {"size": "m", "potency": "nM"}
    assert metadata["featurizer_version"] == ""
    assert metadata["graphline_version"] == "0.1.0"
    assert metadata["run"] == "17"


def test_inputs_outputs_and_free_axes(exported):
    model = onnx.load(exported.path)
    assert [one.version for one in model.opset_import if one.domain == ""] == [20]
    axes = {
        one.name: {k: dim.dim_param for k, dim in enumerate(one.type.tensor_type.shape.dim) if dim.dim_param}
        for one in model.graph.input
    }
    assert tuple(axes) == GraphBatch._fields
    assert axes == DYNAMIC_AXES
    assert [one.name for one in model.graph.output] == ["prediction", "std"]


def all_sizes():
    """Graphs without loops, of up to `SMALL_EDGES` edges and a few more, among them hubs and nodes without an edge."""
    rng = np.random.default_rng(0)
    sizes = [(n, m) for n in (2, 5, 13, NODE_SLOTS + 1, 40) for m in (0, 1, n, SMALL_EDGES // 2, SMALL_EDGES // 2 + 1)]
    graphs = [random_graph(SCHEMA, n, m, rng) for n, m in sizes]
    for graph in graphs:
        source, target = graph.edge_index
        target[source == target] = (source[source == target] + 1) % graph.num_nodes
        graph.edge_index[:, 1::2] = graph.edge_index[::-1, ::2]
    return graphs


def same_bits(session, graphs):
    """Each graph alone, in the small form where it is small, and all of them together."""
    together = session.run(collate(graphs))["prediction"]
    alone = np.concatenate([session.run(collate([graph]))["prediction"] for graph in graphs])
    np.testing.assert_array_equal(alone, together)


def test_an_answer_has_the_same_bits_alone_and_in_company(exported):
    graphs = all_sizes()
    assert max(np.bincount(graph.edge_index[1]).max(initial=0) for graph in graphs) > EDGE_SLOTS
    same_bits(Session(exported.path), graphs)


@pytest.mark.parametrize("form", FORMS)
def test_one_small_graph_is_answered_in_the_small_form(exported, tmp_path, form):
    def spoil(model, graph):
        [node for node in graph.node if node.op_type == "Relu"][-1].op_type = "Identity"

    spoilt = Session(exported.sabotage(tmp_path, spoil, [form]))
    rng = np.random.default_rng(0)
    for sizes, answers_in in (
        ([SMALL_EDGES // 2], "small"),
        ([SMALL_EDGES // 2 + 1], "large"),
        ([4, 4], "large"),
        ([0], "large"),
    ):
        batch = collate([random_graph(SCHEMA, 9, num_bonds, rng) for num_bonds in sizes])
        found, expected = (session.run(batch)["prediction"] for session in (spoilt, Session(exported.path)))
        assert np.array_equal(found, expected) == (form != answers_in)
        assert form_for(len(sizes), batch.edge_index.shape[1]) == answers_in


def test_other_graphs_have_one_form(tmp_path):
    export_onnx(networks(1), GRAPHS, tmp_path / "model.onnx", {})
    model = onnx.load(tmp_path / "model.onnx")
    assert not any(node.op_type == "If" for node in model.graph.node)
    assert form_of(model, "only") is model


def test_the_file_holds_no_local_path_and_no_second_file(exported):
    assert b".py" not in exported.path.read_bytes()
    assert not any(one.external_data for one in onnx.load(exported.path, load_external_data=False).graph.initializer)
    assert [path.name for path in exported.path.parent.iterdir()] == ["model.onnx"]


def test_onnx_answers_as_torch_in_original_units(exported):
    batch = collate(some_graphs())
    found = Session(exported.path).run(batch)
    with torch.no_grad():
        prediction, std = Ensemble(exported.networks, SCHEMA).eval()(*export.tensors(batch))
    assert np.allclose(found["prediction"], prediction, rtol=1e-5, atol=1e-6)
    assert np.allclose(found["std"], std, rtol=1e-4, atol=1e-6)
    assert np.allclose(found["prediction"][:, 3:].sum(axis=1), 1, atol=1e-6)


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


def test_sums_that_race_are_refused():
    text = """
    <ir_version: 10, opset_import: ["" : 20]>
    sums (float[4, 2] zeros, int64[n, 1] index, float[n, 2] rows) => (float[4, 2] total)
    {{ [racy] total = ScatterND {attribute} (zeros, index, rows) }}
    """
    refuse_races(onnx.parser.parse_model(text.format(attribute="")))
    refuse_races(onnx.parser.parse_model(text.format(attribute='<reduction = "none">')))
    with pytest.raises(ExportError, match=r"racy.*ScatterND.*scatter_add"):
        refuse_races(onnx.parser.parse_model(text.format(attribute='<reduction = "add">')))


def test_races_are_found_inside_branches():
    inner = onnx.helper.make_node("ScatterND", ["a", "b", "c"], ["d"], name="hidden", reduction="max")
    branch = onnx.helper.make_graph([inner], "then", [], [])
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("If", ["x"], ["y"], then_branch=branch, else_branch=branch)], "g", [], []
        )
    )
    with pytest.raises(ExportError, match="hidden"):
        refuse_races(model)


class Stubborn(nn.Module):
    """Branches on a value, which no exporter can follow."""

    def forward(self, x, x_float, edge_index, edge_attr, edge_float, u, rev_edge_index, batch):
        return u if bool(x_float.sum() > 0) else -u


def test_what_cannot_be_exported_is_one_line(capfd):
    with pytest.raises(ExportError, match="cannot be written as ONNX") as caught:
        build_program(Stubborn(), SCHEMA)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


class IndexAdd(nn.Module):
    """Sums with index_add, as a user's own network may."""

    def forward(self, x, x_float, edge_index, edge_attr, edge_float, u, rev_edge_index, batch):
        return torch.zeros(u.shape[0], 1).index_add(0, batch, x_float)


@pytest.mark.slow
def test_index_add_is_refused_with_advice(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "Ensemble", lambda networks, schema: IndexAdd())
    with pytest.raises(ExportError, match="scatter_add"):
        export_onnx([], SCHEMA, tmp_path / "model.onnx", {})
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize("network", ["dmpnn", "gine", "gin", "gcn", "sage", "gatv2"])
@pytest.mark.parametrize("readout", ["mean", "sum", "max", "attention"])
def test_every_network_and_readout_passes_the_gate_with_equal_bits(network, readout, tmp_path):
    members = networks(1, network=network, readout=readout, hidden_dim=128)
    export_onnx(members, SCHEMA, tmp_path / "model.onnx", {})
    check_parity(members, tmp_path / "model.onnx", SCHEMA, some_graphs(), SCALE).raise_if_failed()
    same_bits(Session(tmp_path / "model.onnx"), all_sizes())


@pytest.mark.slow
@pytest.mark.parametrize("network", ["dmpnn", "gine", "gin", "gcn", "sage", "gatv2"])
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
    members = networks(1, class_path="tests.test_export.SignedMax")
    path = tmp_path / "model.onnx"
    export_onnx(members, SCHEMA, path, {})
    check_parity(members, path, SCHEMA, some_graphs(), SCALE).raise_if_failed()
    model = onnx.load(path)
    named = zero_maxima(model, graph_of(model, "large"))
    onnx.save(model, path)
    report = check_parity(members, path, SCHEMA, some_graphs(), SCALE)
    assert "negative maxima" in {row.case for row in report.failed}
    assert named in str(report.operator)


def test_random_graphs_keep_the_contract():
    rng = np.random.default_rng(0)
    graph = random_graph(SCHEMA, 5, 7, rng)
    assert np.array_equal(graph.edge_index[:, ::2], graph.edge_index[::-1, 1::2])
    assert graph.edge_index.shape == (2, 14)
    assert graph.x.max() <= 3
    assert random_graph(SCHEMA, 0, 3, rng).num_edges == 0


def test_members_that_lie_decades_apart_are_compared_by_what_they_spread():
    schema = Schema("toy", "graph", (Target("potency", "regression", unit="nM", transform="p"),), (), ())
    # members 10^-2 and 10^10 nM: trained 11 and −1, mean 5, that is 10^4 nM; their spread is about 7 · 10^9
    expected = {"prediction": np.float32([[1e4]]), "std": np.float32([[7e9]])}
    rounded = {"prediction": np.float32([[1e4 * (1 + 1e-6)]]), "std": np.float32([[7e9 * (1 + 1e-6)]])}
    wrong = {"prediction": np.float32([[1e4]]), "std": np.float32([[7.1e9]])}
    assert parity._compare(expected, rounded, schema, np.ones(1))[1] < parity.TOLERANCE
    output, difference = parity._compare(expected, wrong, schema, np.ones(1))
    assert output == "potency (std)"
    assert difference == pytest.approx(0.1 / 7.1 / (5 * np.log(10)), rel=0.02)


def test_answers_beyond_float32_have_no_digit_to_compare():
    schema = Schema("toy", "graph", (Target("dose", "regression", transform="log10"),), (), ())
    expected = {"prediction": np.float32([[1e-44], [np.inf]])}
    found = {"prediction": np.float32([[0.0], [3.4e38]])}
    assert parity._compare(expected, found, schema, np.ones(1))[1] < parity.TOLERANCE
