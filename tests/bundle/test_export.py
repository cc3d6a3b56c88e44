import json

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from pipeline.bundle import export
from pipeline.bundle.export import DYNAMIC_AXES, build_program, export_onnx, form_of, random_graph, refuse_races
from pipeline.errors import ExportError
from pipeline.graph import GraphBatch, collate
from pipeline.network.ensemble import Ensemble
from pipeline.network.forms.form import SMALL_EDGES, form_for
from pipeline.network.forms.sums import EDGE_SLOTS
from pipeline.schema import Schema
from serving.session import Session
from tests.support.exported import FORMS, GRAPHS, SCHEMA, all_sizes, alone_and_together, networks, some_graphs


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
    assert set(GraphBatch._fields) - axes.keys() == {"edge_float"}  # edges of this schema have no numbers
    assert axes == {name: free for name, free in DYNAMIC_AXES.items() if name in axes}
    assert [one.name for one in model.graph.output] == ["prediction", "std"]


def test_an_answer_has_the_alone_and_together_alone_and_in_company(exported):
    graphs = all_sizes()
    assert max(np.bincount(graph.edge_index[1]).max(initial=0) for graph in graphs) > EDGE_SLOTS
    np.testing.assert_array_equal(*alone_and_together(Session(exported.path), graphs))


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

    outputs = ("prediction",)

    def forward(self, x, x_float, edge_index, edge_attr, edge_float, u, rev_edge_index, batch):
        return u if bool(x_float.sum() > 0) else -u


def test_what_cannot_be_exported_is_one_line(capfd):
    with pytest.raises(ExportError, match="cannot be written as ONNX") as caught:
        build_program(Stubborn(), SCHEMA)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


class IndexAdd(nn.Module):
    """Sums with index_add, as a user's own network may."""

    outputs = ("prediction",)

    def forward(self, x, x_float, edge_index, edge_attr, edge_float, u, rev_edge_index, batch):
        return torch.zeros(u.shape[0], 1).index_add(0, batch, x_float)


@pytest.mark.slow
def test_index_add_is_refused_with_advice(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "Ensemble", lambda networks, schema: IndexAdd())
    with pytest.raises(ExportError, match="scatter_add"):
        export_onnx([], SCHEMA, tmp_path / "model.onnx", {})
    assert not (tmp_path / "model.onnx").exists()


def test_random_graphs_keep_the_contract():
    rng = np.random.default_rng(0)
    graph = random_graph(SCHEMA, 5, 7, rng)
    assert np.array_equal(graph.edge_index[:, ::2], graph.edge_index[::-1, 1::2])
    assert graph.edge_index.shape == (2, 14)
    assert graph.x.max() <= 3
    assert random_graph(SCHEMA, 0, 3, rng).num_edges == 0
