"""Does ONNX Runtime answer as torch does, on batches unlike the one that was exported?

The cases are those that have gone wrong in such exports: a batch size that was frozen, an order of edges that was
assumed, no edges at all, graphs without nodes, hubs, maxima below zero, sums that race between threads.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import fx

from pipeline.answer import PREDICTION
from pipeline.bundle.export import build_program, form_of, has_two_forms, random_graph, tensors
from pipeline.errors import ExportError
from pipeline.graph import Graph, GraphBatch, collate
from pipeline.network.ensemble import Ensemble
from pipeline.network.forms.form import form_for
from pipeline.network.network import GraphNetwork
from pipeline.scale import to_trained_scale
from pipeline.schema import Schema

TOLERANCE = 1e-5
THREADS = (1, 2, 4)
RUNS = 2
BATCH_SIZES = (1, 7, 32, 256, 1000)
LARGE = 10  # the large graph has ten times the usual number of nodes

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ParityRow:
    """One run of one case.

    Attributes:
        difference: largest difference of the case, relative to the training standard deviation of the output (1 for
            probabilities) or to the value itself where that is larger; infinite where one side is no number.
    """

    case: str
    num_graphs: int
    num_nodes: int
    num_edges: int
    threads: int
    run: int
    output: str  # the output that differs most
    difference: float


@dataclass(frozen=True)
class ParityReport:
    """All runs of all cases.

    Attributes:
        operator: where the answers part first, if some differ too much and it can be told.
    """

    rows: tuple[ParityRow, ...]
    operator: str | None = None
    tolerance: float = TOLERANCE

    @property
    def worst(self) -> ParityRow:
        return max(self.rows, key=lambda row: row.difference)

    @property
    def failed(self) -> tuple[ParityRow, ...]:
        return tuple(row for row in self.rows if not row.difference <= self.tolerance)

    @property
    def passed(self) -> bool:
        return not self.failed

    def raise_if_failed(self) -> None:
        """
        Raises:
            ExportError: naming the batch, and the operator where it was found.
        """
        if self.passed:
            return
        row = max(self.failed, key=lambda one: one.difference)
        if math.isinf(row.difference):
            how = f"'{row.output}' has no number, another shape, or no answer at all"
        else:
            how = f"'{row.output}' by {row.difference:.1e} of the target's spread, allowed {self.tolerance:.0e}"
        cases = sorted({one.case for one in self.failed})
        raise ExportError(
            f"parity: ONNX Runtime and torch differ on {len(cases)} of {len({one.case for one in self.rows})} batches, "
            f"most on '{row.case}' with {row.threads} thread(s): {how}. "
            + (f"They part at {self.operator}." if self.operator else "No single operator stands out.")
            + " The model is not registered."
        )

    def to_json(self) -> str:
        rows = [dataclasses.asdict(row) for row in self.rows]
        for row in rows:  # JSON has no infinity
            row["difference"] = row["difference"] if math.isfinite(row["difference"]) else None
        summary = {"passed": self.passed, "tolerance": self.tolerance, "operator": self.operator}
        return json.dumps(summary | {"rows": rows}, indent=1, ensure_ascii=False)


def check_parity(
    networks: Sequence[GraphNetwork],
    path: str | Path,
    schema: Schema,
    graphs: Sequence[Graph],
    scale: NDArray[np.floating],
) -> ParityReport:
    """Compare torch with ONNX Runtime on all cases, each with 1, 2 and 4 threads, twice.

    Transformed targets are compared on the trained scale.

    Args:
        path: the file that `export_onnx` wrote of these networks.
        graphs: real graphs, at least one; they are repeated where a case needs more.
        scale: (O,) standard deviation of each output on the trained scale; 1 for probabilities.

    Raises:
        ExportError: if ONNX Runtime cannot load the file.
    """
    assert graphs
    ensemble = Ensemble(networks, schema).eval()
    try:
        sessions = [_session(Path(path).read_bytes(), threads) for threads in THREADS]
    except Exception as error:  # onnxruntime's errors share no base class but this
        raise ExportError(f"parity: ONNX Runtime cannot load {path} ({str(error).splitlines()[0][:200]}).") from None
    rows: list[ParityRow] = []
    worst: tuple[float, GraphBatch] | None = None
    for case, members in cases(graphs, schema):
        batch = collate([one._replace(y=np.zeros(0, np.float32)) for one in members], directed=schema.directed)
        expected = _run_torch(ensemble, batch)
        for session, threads in zip(sessions, THREADS, strict=True):
            for run in range(RUNS):
                output, difference = _compare(expected, _try_onnx(session, batch), schema, np.asarray(scale))
                sizes = (len(members), len(batch.x), batch.edge_index.shape[1])
                rows.append(ParityRow(case, *sizes, threads, run, output, difference))
                if worst is None or difference > worst[0]:
                    worst = difference, batch
    report = ParityReport(tuple(rows))
    if report.passed or worst is None:
        return report
    return dataclasses.replace(report, operator=find_operator(ensemble, Path(path), schema, worst[1]))


def cases(graphs: Sequence[Graph], schema: Schema, seed: int = 0) -> Iterator[tuple[str, list[Graph]]]:
    """The batches of the gate, by name."""
    rng = np.random.default_rng(seed)
    for size in BATCH_SIZES:
        yield f"{size} graphs" if size > 1 else "1 graph", [graphs[i % len(graphs)] for i in range(size)]
    some = [graphs[i % len(graphs)] for i in range(32)]
    num_nodes = max(int(np.median([one.num_nodes for one in some])), 1)
    num_bonds = max(int(np.median([one.num_edges for one in some])) // (1 if schema.directed else 2), 1)
    empty, single = random_graph(schema, 0, 0, rng), random_graph(schema, 1, 0, rng)
    yield "shuffled edges", [_shuffle_edges(one, schema.directed, rng) for one in some]
    many = [graphs[i % len(graphs)] for i in range(BATCH_SIZES[-1])]  # a race shows in large sums
    yield "many graphs with shuffled edges", [_shuffle_edges(one, schema.directed, rng) for one in many]
    yield "hubs", [_star(schema, n, rng) for n in (17, 40, 24)]
    few = random_graph(schema, 24, 25, rng)  # more nodes than one sum of a readout takes at once
    for case, small in (("", few), (" with shuffled edges", _shuffle_edges(few, schema.directed, rng)),
                        (" and negative maxima", _equal_nodes(few)), (", a hub", _star(schema, 17, rng))):  # fmt: skip
        yield f"one small graph{case}", [small]
    yield "one node", [single]
    yield "no edges at all", [random_graph(schema, n, 0, rng) for n in (3, 1, 5)]
    yield "empty graph in the middle", [*some[:5], empty, *some[5:10]]
    yield "empty graph at the end", [*some[:5], empty]
    yield "only an empty graph", [empty]
    yield "ten times the usual size", [random_graph(schema, LARGE * num_nodes, LARGE * num_bonds, rng)]
    yield "unlike categories", [random_graph(schema, num_nodes, num_bonds, rng) for _ in range(32)]
    # With equal nodes some columns of a readout have no positive value in the whole graph.
    yield "negative maxima", [_equal_nodes(one) for one in some]


def find_operator(ensemble: Ensemble, path: Path, schema: Schema, batch: GraphBatch) -> str | None:
    """Find the operator of an ONNX file at which its values part from torch's.

    The exporter names a value after the torch operation that made it. The torch graph is run operation by operation,
    the ONNX file with all of its values as outputs, and values of one name are compared in the order of the file.

    Returns:
        type and name of the first operator with another value (after `or`: those without a counterpart in torch that
        feed it), or None if no value parts or the file cannot be run like this.
    """
    form = form_for(batch.num_graphs, batch.edge_index.shape[1]) if has_two_forms(schema) else "only"
    model = form_of(onnx.load_model_from_string(path.read_bytes()), form)
    named = {name: node for node in model.graph.node for name in node.output if name}
    finals = {one.name for one in model.graph.output}
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in named if name not in finals)
    try:
        expected = _run_fx(build_program(ensemble, schema, form), batch)
        found = _run_onnx(_session(model.SerializeToString(), 1), batch)
    except Exception:  # a graph that cannot be opened up is still reported, by its batch
        return None
    for name, node in named.items():
        if name in expected and not _agree(expected[name], found[name]):
            hidden = _without_counterpart(node, named, expected.keys() | finals)
            return " or ".join(f"{one.op_type} '{one.name}'" for one in [node, *hidden])
    return None


def _without_counterpart(
    node: onnx.NodeProto, named: dict[str, onnx.NodeProto], compared: set[str]
) -> list[onnx.NodeProto]:
    """Operators between this one and the compared values before it."""
    found: dict[str, onnx.NodeProto] = {}
    waiting = list(node.input)
    while waiting:
        name = waiting.pop()
        before = named.get(name)
        if before is not None and name not in compared and before.name not in found:
            found[before.name] = before
            waiting += before.input
    return list(found.values())


def _agree(expected: NDArray[np.generic], found: NDArray[np.generic]) -> bool:
    if expected.shape != found.shape:
        return False
    if not np.issubdtype(expected.dtype, np.floating):
        return np.array_equal(expected, found)
    size = float(np.max(np.abs(expected), initial=0.0, where=np.isfinite(expected)))
    return np.allclose(expected, found, rtol=TOLERANCE, atol=TOLERANCE * max(size, 1e-3), equal_nan=True)


class _Recorder(fx.Interpreter):
    """Runs a torch graph and keeps the value of each operation."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.values: dict[str, NDArray[np.generic]] = {}

    def run_node(self, n: fx.Node) -> object:
        if n.op == "call_function" and "assert" in str(n.target):
            return None  # the sizes of the exported example are no condition
        value = super().run_node(n)
        if isinstance(value, torch.Tensor):
            self.values[n.name] = value.detach().numpy()
        return value


def _run_fx(program: torch.onnx.ONNXProgram, batch: GraphBatch) -> dict[str, NDArray[np.generic]]:
    assert program.exported_program is not None
    module = program.exported_program.module(check_guards=False)
    assert isinstance(module, fx.GraphModule)
    recorder = _Recorder(module)
    with torch.no_grad():
        recorder.run(*tensors(batch))
    return recorder.values


def _run_torch(ensemble: Ensemble, batch: GraphBatch) -> Arrays:
    with torch.no_grad():
        answer = ensemble(*tensors(batch))
    outputs = answer if isinstance(answer, tuple) else (answer,)
    return dict(zip(ensemble.outputs, (one.numpy() for one in outputs), strict=True))


def _session(content: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _run_onnx(session: ort.InferenceSession, batch: GraphBatch) -> Arrays:
    feed = {one.name: np.ascontiguousarray(getattr(batch, one.name)) for one in session.get_inputs()}
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, feed), strict=True))


def _try_onnx(session: ort.InferenceSession, batch: GraphBatch) -> Arrays:
    """As `_run_onnx`; nothing where ONNX Runtime fails, which is a difference like any other."""
    try:
        return _run_onnx(session, batch)
    except Exception:  # onnxruntime's errors share no base class but this
        return {}


def _compare(expected: Arrays, found: Arrays, schema: Schema, scale: NDArray[np.floating]) -> tuple[str, float]:
    """The output that differs most, and by how much of its spread."""
    worst = (PREDICTION, 0.0)
    if {name: array.shape for name, array in expected.items()} != {name: array.shape for name, array in found.items()}:
        return PREDICTION, math.inf
    for target, columns in zip(schema.targets, schema.slices, strict=True):
        spread = scale[columns].astype(np.float64)
        for name in expected:
            a, b = (side[name][:, columns].astype(np.float64) for side in (expected, found))
            value = expected[PREDICTION][:, columns].astype(np.float64)
            size = np.maximum(np.abs(value), a)  # members that lie far apart spread by more than their mean
            unit = np.maximum(spread, size)
            if target.affine is not None:
                trained = to_trained_scale(target, value)
                unit = np.maximum(spread, np.abs(trained))
                if name == PREDICTION:
                    a, b = trained, to_trained_scale(target, b)
                else:  # a difference d on the trained scale is a factor 10^d, about 1 + d · ln 10
                    unit = size * np.maximum(1.0, unit * math.log(10))
            difference = _largest(a, b, unit)
            if difference > worst[1]:
                worst = (f"{target.name} ({name})", difference)
    return worst


def _largest(a: NDArray[np.float64], b: NDArray[np.float64], unit: NDArray[np.float64]) -> float:
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b) / unit)
    return float(np.max(np.nan_to_num(difference, nan=math.inf, posinf=math.inf), initial=0.0))


def _shuffle_edges(graph: Graph, directed: bool, rng: np.random.Generator) -> Graph:
    """The same graph with its bonds in another order and some the other way round."""
    if directed:
        order = rng.permutation(graph.num_edges)
    else:
        bonds = rng.permutation(graph.num_edges // 2)
        turned = rng.integers(0, 2, len(bonds))
        order = np.stack([2 * bonds + turned, 2 * bonds + 1 - turned], axis=1).reshape(-1)
    return graph._replace(
        edge_index=graph.edge_index[:, order],
        edge_attr=graph.edge_attr[order],
        edge_float=graph.edge_float[order],
    )


def _star(schema: Schema, num_leaves: int, rng: np.random.Generator) -> Graph:
    """One node bonded to all others.

    Hubs bonded to hubs would multiply their sums layer by layer, to answers of a thousand spreads in which float32 has
    no digit left below one spread.
    """
    graph = random_graph(schema, num_leaves + 1, num_leaves, rng)
    ends = np.stack([np.arange(1, num_leaves + 1), np.zeros(num_leaves)]).astype(np.int32)
    if not schema.directed:
        ends = np.stack([ends, ends[::-1]], axis=2).reshape(2, -1)
    return graph._replace(edge_index=ends)


def _equal_nodes(graph: Graph) -> Graph:
    first = np.zeros(graph.num_nodes, dtype=np.int64)
    return graph._replace(x=graph.x[first], x_float=-np.abs(graph.x_float[first]))
