"""Networks that fit a test: their answers can be computed in the head, and no exporter is needed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd

from pipeline.bundle.build import build_bundle
from pipeline.digests import write_digests
from pipeline.graph import Graph
from pipeline.schema import Schema
from tests.support.schemas import GRAPHS, MOLECULES

_COUNT = """
<ir_version: 10, opset_import: ["" : 20]>
count (float[num_graphs, {u}] u, int64[num_nodes] batch) => (float[num_graphs, {o}] prediction{std_output})
<float[1, {o}] weight = {weight}, float[1, {o}] bias = {bias}, float[1, {o}] spread = {spread},
 float one = {{1}}, float zero = {{0}}, int64[1] last = {{1}}, int64[1] side = {{1}}>
{{
  sizes = Shape <start = 0, end = 1> (u)
  graphs = Concat <axis = 0> (sizes, side)
  zeros = Expand (zero, graphs)
  nodes = Shape (batch)
  rows = Concat <axis = 0> (nodes, side)
  ones = Expand (one, rows)
  index = Unsqueeze (batch, last)
  counted = ScatterElements <axis = 0, reduction = "add"> (zeros, index, ones)
  heat = ReduceSum <keepdims = 1> (u, last)
  total = Add (counted, heat)
  scaled = Mul (total, weight)
  prediction = Add (scaled, bias)
  {std_node}
}}
"""


def write_count_model(
    path: Path,
    schema: Schema,
    weight: Sequence[float] | None = None,
    bias: Sequence[float] | None = None,
    spread: Sequence[float] | None = None,
) -> Path:
    """Write a network that answers (nodes of the graph + sum of its features) · weight + bias; `std` is `spread`."""
    width = schema.output_dim
    text = _COUNT.format(
        u=len(schema.u_columns),
        o=width,
        weight=_numbers(weight or [1.0] + [0.0] * (width - 1)),
        bias=_numbers(bias or [0.0] * width),
        spread=_numbers(spread or [0.0] * width),
        std_output=f", float[num_graphs, {width}] std" if spread else "",
        std_node="flat = Sub (prediction, prediction)\n  std = Add (flat, spread)" if spread else "",
    )
    model = onnx.parser.parse_model(text)
    model.metadata_props.add(key="schema", value=schema.to_json())
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def write_graph_model(path: Path) -> Path:
    """For `GRAPHS`, an ensemble: size = nodes + temperature; active 0.25; colour green with 0.5."""
    return write_count_model(path, GRAPHS, [1, 0, 0, 0, 0], [0, 0.25, 0.2, 0.5, 0.3], [0.125, 0.0625, 0.01, 0.02, 0.03])


def write_graph_bundle(folder: Path) -> str:
    path = write_graph_model(folder.with_name(f"{folder.name}.onnx"))
    example = pd.DataFrame([graph_row(2, temperature=1.0), graph_row(3, temperature=2.0)])
    return build_bundle(folder, path, GRAPHS, example, {})


def write_molecule_bundle(folder: Path, schema: Schema = MOLECULES) -> str:
    """size = atoms + temperature; without graph features: atoms."""
    path = write_count_model(folder.with_name(f"{folder.name}.onnx"), schema)
    example = pd.DataFrame({"smiles": ["CCO", "c1ccccc1"]} | {c.name: [1.0, 2.0] for c in schema.graph_columns})
    return build_bundle(folder, path, schema, example, {})


def load(folder: Path, settings: dict[str, object] | None = None) -> Any:
    """The pyfunc of a bundle; the next one in this process brings its own code."""
    import mlflow.pyfunc

    path, modules = list(sys.path), set(sys.modules)
    model = mlflow.pyfunc.load_model(str(folder), model_config=settings)
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("code_model_"):
            del sys.modules[name]
    return model


def publish(
    folder: Path, name: str, weight: float, harm: Callable[[Path], object] = lambda bundle: None
) -> tuple[str, str]:
    """Register a bundle whose answers are atoms times `weight` and point `champion` at it: version and digest."""
    import mlflow

    made = folder / f"{name}-{weight}"
    write_count_model(folder / "model.onnx", MOLECULES, [float(weight)])
    build_bundle(made, folder / "model.onnx", MOLECULES, pd.DataFrame({"smiles": ["CCO"], "temperature": [1.0]}))
    harm(made)
    digest = write_digests(made)
    client = mlflow.MlflowClient()
    with mlflow.start_run() as run:
        mlflow.log_artifacts(str(made), "bundle")
    if not client.search_registered_models(f"name = '{name}'"):
        client.create_registered_model(name)
    source = f"{run.info.artifact_uri}/bundle"
    version = client.create_model_version(name, source, run.info.run_id, tags={"graphline.digest": digest})
    client.set_registered_model_alias(name, "champion", version.version)
    return str(version.version), digest


def graph_row(num_nodes: int, *, temperature: float = 0.0, symbol: str = "C") -> dict[str, object]:
    """A chain, as a request has it."""
    bonds = max(num_nodes - 1, 0)
    return {
        "nodes": {"symbol": [symbol] * num_nodes, "charge": [0.5] * num_nodes},
        "edges": {"source": list(range(bonds)), "target": list(range(1, bonds + 1)), "order": [1] * bonds},
        "temperature": temperature,
    }


def chain(num_nodes: int, schema: Schema = GRAPHS) -> Graph:
    """A chain of equal nodes."""
    bonds = np.arange(max(num_nodes - 1, 0), dtype=np.int32)
    ends = np.stack([np.stack([bonds, bonds + 1], 1), np.stack([bonds + 1, bonds], 1)]).reshape(2, -1)
    return Graph(
        x=np.ones((num_nodes, len(schema.node("categorical"))), np.int32),
        x_float=np.ones((num_nodes, len(schema.node("numeric"))), np.float32),
        edge_index=ends,
        edge_attr=np.ones((2 * len(bonds), len(schema.edge("categorical"))), np.int32),
        edge_float=np.ones((2 * len(bonds), len(schema.edge("numeric"))), np.float32),
        u=np.zeros(len(schema.graph_columns), np.float32),
        y=np.zeros(0, np.float32),
    )


def _numbers(values: Sequence[float]) -> str:
    return "{" + ", ".join(str(float(value)) for value in values) + "}"
