"""A trained network, or several, as one ONNX file that tells what it is."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from pipeline.errors import ExportError
from pipeline.graph import Graph, GraphBatch, collate
from pipeline.machine import graphline_version
from pipeline.network.ensemble import Ensemble
from pipeline.network.forms.form import SMALL_EDGES, Form, in_form
from pipeline.network.network import GraphNetwork
from pipeline.samples.kinds import kind_of
from pipeline.schema import Column, Schema

OPSET = 20
DYNAMIC_AXES: dict[str, dict[int, str]] = {
    "x": {0: "num_nodes"},
    "x_float": {0: "num_nodes"},
    "edge_index": {1: "num_edges"},
    "edge_attr": {0: "num_edges"},
    "edge_float": {0: "num_edges"},
    "u": {0: "num_graphs"},
    "rev_edge_index": {0: "num_edges"},
    "batch": {0: "num_nodes"},
}
"""Per input: the axes whose length is free."""


def export_onnx(networks: Sequence[GraphNetwork], schema: Schema, path: str | Path, metadata: dict[str, str]) -> None:
    """Write the ensemble of the networks, its inverse transforms and probabilities included, as one ONNX file.

    The inputs are those fields of a `GraphBatch` that the network reads; the outputs are `prediction` (G, O) in
    original units, and `std` (G, O) when there are several networks. Of molecules it holds the networks in two forms
    (`pipeline.network.forms`), and answers one small molecule in the small one. The file's metadata holds the
    schema, the featurizer version, names and units of the targets, and the version of graphline.

    Args:
        networks: the trained members, at least one.
        metadata: further entries of the file's metadata.

    Raises:
        ExportError: if the exporter cannot express the network, or writes an operator that answers wrongly when
            several threads share it.
    """
    ensemble = Ensemble(networks, schema)
    if has_two_forms(schema):
        small, large = (build_program(ensemble, schema, form).model_proto for form in ("small", "large"))
        model = _choose(small, large)
    else:
        model = build_program(ensemble, schema).model_proto
    _drop_unread_inputs(model)
    _drop_local_paths(model)
    refuse_races(model)
    for key, value in (describe(schema) | metadata).items():
        model.metadata_props.add(key=key, value=value)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"export: the exporter wrote an invalid ONNX file ({_one_line(error)}).") from None
    Path(path).write_bytes(model.SerializeToString())


def has_two_forms(schema: Schema) -> bool:
    """Where nodes have few edges; many would be added up one by one in the large form."""
    return kind_of(schema.data_kind).few_edges


def build_program(ensemble: Ensemble, schema: Schema, form: Form = "only") -> torch.onnx.ONNXProgram:
    """Export an ensemble with the inputs of a `GraphBatch`, in memory.

    Args:
        form: of the network; the small one takes one graph.

    Raises:
        ExportError: if the exporter cannot express the networks.
    """
    rng = np.random.default_rng(0)
    # No two lengths are equal, and none is 0 or 1: the exporter takes equal lengths for one, and 0 and 1 for fixed.
    sizes = [(7, 9)] if form == "small" else [(5, 6), (7, 9), (4, 3)]
    batch = collate([random_graph(schema, n, m, rng) for n, m in sizes], directed=schema.directed)
    dims = {name: torch.export.Dim(name) for axes in DYNAMIC_AXES.values() for name in axes.values()}
    shapes = {name: {axis: dims[dim] for axis, dim in DYNAMIC_AXES[name].items()} for name in GraphBatch._fields}
    if form == "small":
        shapes["u"] = {}
    ensemble = ensemble.eval()
    with torch.no_grad(), _quiet(), in_form(form):
        try:
            program = torch.onnx.export(
                ensemble,
                tensors(batch),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                input_names=list(GraphBatch._fields),
                output_names=list(ensemble.outputs),
                dynamic_shapes=shapes,
                custom_translation_table=_translations(),
                verbose=False,
            )
        except Exception as error:  # the exporter's own errors, and whatever the network raises while it is traced
            raise ExportError(
                f"export: the network cannot be written as ONNX ({_one_line(error.__cause__ or error)}). "
                "Keep to tensor operations without Python branches on values; see docs/training.md, 'Your own network'."
            ) from None
    assert program is not None
    return program


def _choose(small: onnx.ModelProto, large: onnx.ModelProto) -> onnx.ModelProto:
    """A model of both forms, which answers as `form_for` says.

    Each has weights of its own, since ONNX Runtime prepares for its products only those that lie beside them: shared,
    one molecule took 12 % longer. Trees, megabytes that nothing multiplies, are there once.
    """
    shared = [one for one in large.graph.initializer if ".forest." in one.name]
    names = {one.name for one in shared}
    branches = {}
    for name, graph in (("then_branch", small.graph), ("else_branch", large.graph)):
        own = [one for one in graph.initializer if one.name not in names]
        branches[name] = onnx.helper.make_graph(list(graph.node), name, [], list(graph.output), own)
    limits = {"one": np.array(1), "small_edges": np.array(SMALL_EDGES)}
    shared += [onnx.numpy_helper.from_array(limit, name) for name, limit in limits.items()]
    nodes = [
        onnx.helper.make_node(kind, given, found, found[0], **options)
        for kind, given, found, options in (
            ("Shape", ["edge_index"], ["num_edges"], {"start": 1}),
            ("Shape", ["u"], ["num_graphs"], {"end": 1}),
            ("Clip", ["num_edges", "one", "small_edges"], ["some_edges"], {}),
            ("Equal", ["num_edges", "some_edges"], ["has_some_edges"], {}),
            ("Equal", ["num_graphs", "one"], ["is_one"], {}),
            ("And", ["has_some_edges", "is_one"], ["is_small"], {}),
            ("If", ["is_small"], [one.name for one in large.graph.output], branches),
        )
    ]
    return _with_graph(large, nodes, shared)


def form_of(model: onnx.ModelProto, form: Form) -> onnx.ModelProto:
    """One of the two forms of a model of `export_onnx`, as a model of its own; a model in its only form as it is."""
    branch = {"only": None, "small": "then_branch", "large": "else_branch"}[form]
    if branch is None:
        return model
    graph = next(one.g for one in model.graph.node[-1].attribute if one.name == branch)
    return _with_graph(model, graph.node, [*model.graph.initializer, *graph.initializer])


def _with_graph(
    model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], initializers: Iterable[onnx.TensorProto]
) -> onnx.ModelProto:
    """A copy of a model that computes its outputs from its inputs in another way."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for field in ("node", "initializer", "value_info"):
        copy.graph.ClearField(field)
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(initializers)
    return copy


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """How the exporter writes operations for which it has several ONNX operators, or none (`forms.operators`)."""
    from onnxscript import opset20 as op

    return {
        torch.ops.aten.index_select.default: lambda h, dim, index: op.Gather(h, index, axis=dim),
        torch.ops.aten.take.default: lambda h, index: op.Gather(h if len(h.shape) == 1 else op.Reshape(h, [-1]), index),
        torch.ops.graphline.members.default: lambda index, size: op.OneHot(
            index, size, op.Constant(value_floats=[0.0, 1.0]), axis=0
        ),
        torch.ops.graphline.distinct.default: lambda keys: op.Unique(keys)[1:3],
        torch.ops.graphline.ascend.default: lambda index: op.TopK(index, op.Shape(index), largest=0),
        torch.ops.graphline.quotients.default: lambda numbers, divisor: op.Div(numbers, divisor),
        torch.ops.graphline.positions.default: lambda mask: op.Squeeze(op.NonZero(mask), [0]),
    }


def refuse_races(model: onnx.ModelProto) -> None:
    """Refuse operators that ONNX Runtime computes with a data race between threads.

    `ScatterND` with a reduction adds into one row from several threads without a lock: 0.1 to 10 % of the sums are
    wrong, and small batches do not show it.

    Raises:
        ExportError: naming the node.
    """
    for node in walk_nodes(model):
        if node.op_type == "ScatterND":
            reduction = next((a.s.decode() for a in node.attribute if a.name == "reduction"), "none")
            if reduction != "none":
                raise ExportError(
                    f"export: node '{node.name}' is ScatterND with reduction={reduction}, which is wrong with more "
                    "than one thread. Use scatter_add or scatter_reduce in the network instead of index_add or "
                    "index_put(accumulate=True)."
                )


def walk_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes of a model, those of branches, loops and functions too."""
    waiting: list[Any] = [model.graph, *model.functions]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting += [attribute.g] if attribute.HasField("g") else list(attribute.graphs)


def describe(schema: Schema) -> dict[str, str]:
    """What the file's metadata says about the data."""
    return {
        "schema": schema.to_json(),
        "featurizer_version": str(schema.featurizer_version or ""),
        "targets": json.dumps([target.name for target in schema.targets], ensure_ascii=False),
        "units": json.dumps({t.name: t.unit for t in schema.targets if t.unit}, ensure_ascii=False),
        "graphline_version": graphline_version(),
    }


def random_graph(schema: Schema, num_nodes: int, num_bonds: int, rng: np.random.Generator) -> Graph:
    """A graph of a given size with random features that the schema allows; labels are of width 0.

    Args:
        num_bonds: undirected bonds, or directed edges of a directed schema. Without nodes there are none.
    """
    num_bonds = num_bonds if num_nodes else 0
    ends = rng.integers(0, max(num_nodes, 1), (2, num_bonds), dtype=np.int32)
    attr = _random_codes(schema.edge("categorical"), num_bonds, rng)
    numbers = _random_numbers(schema.edge("numeric"), num_bonds, rng)
    if not schema.directed:  # bond k is the edges 2k and 2k + 1
        ends = np.stack([ends, ends[::-1]], axis=2).reshape(2, 2 * num_bonds)
        attr, numbers = np.repeat(attr, 2, axis=0), np.repeat(numbers, 2, axis=0)
    return Graph(
        x=_random_codes(schema.node("categorical"), num_nodes, rng),
        x_float=_random_numbers(schema.node("numeric"), num_nodes, rng),
        edge_index=ends,
        edge_attr=attr,
        edge_float=numbers,
        u=_random_numbers(schema.u_columns, 1, rng)[0],
        y=np.zeros(0, dtype=np.float32),
    )


def tensors(batch: GraphBatch) -> tuple[torch.Tensor, ...]:
    """The batch as the network takes it (copies where numpy's memory is not contiguous)."""
    return tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in batch)


def _random_codes(columns: Sequence[Column], length: int, rng: np.random.Generator) -> NDArray[np.int32]:
    codes = np.empty((length, len(columns)), dtype=np.int32)
    for k, column in enumerate(columns):
        codes[:, k] = rng.integers(0, column.num_codes, length)
    return codes


def _random_numbers(columns: Sequence[Column], length: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.standard_normal((length, len(columns)), dtype=np.float32)


def _drop_unread_inputs(model: onnx.ModelProto) -> None:
    """Molecules without numbers of their own have none: to hand over nothing took 1 µs an input."""
    read = {name for node in walk_nodes(model) for name in node.input}
    inputs = [one for one in model.graph.input if one.name in read]
    model.graph.ClearField("input")
    model.graph.input.extend(inputs)


def _drop_local_paths(model: onnx.ModelProto) -> None:
    """Remove the stack traces that the exporter notes at each node: they hold paths of this machine."""
    for node in walk_nodes(model):
        kept = [entry for entry in node.metadata_props if entry.key == "namespace"]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
        node.ClearField("doc_string")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns about its own parts and logs packages that are not needed; its errors still come through."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        # It prints the graph, too, when it cannot go on.
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _one_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
