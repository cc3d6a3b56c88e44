"""Answers of an exported network: ONNX Runtime against the same network in PyG, eager, with equal weights.

    python -m bench.inference            # writes bench/results/inference.json
    python -m bench.inference --quick    # one network, few rounds, writes nothing

Ours goes through the session that serving uses, which cuts a request into batches that fit the cache.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import GINEConv, global_add_pool
from torch_geometric.utils import scatter

from bench.measure import ROOT, Claim, Result, compare_pairs, figure, time_pairs, use_threads, write_result
from pipeline.bundle.export import export_onnx, tensors
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.graph import GraphChunk, batch_of, pack, unpack
from pipeline.network.config import NetworkConfig
from pipeline.network.network import Encoder, GraphNetwork, build_network
from pipeline.store.build import build_store
from pipeline.store.store import Store
from serving.session import Session, micro_batches

SINGLES = 64


class Turn(NamedTuple):
    """What each side answers before the other side's turn: chunks, one by one."""

    what: str
    chunks: list[GraphChunk]
    in_one_batch: bool
    rounds: int
    goal: str = ""


class ColumnEmbeddings(nn.Module):
    """A table per column, summed, as in OGB's AtomEncoder."""

    def __init__(self, ours: Encoder) -> None:
        super().__init__()
        assert ours.table is not None
        rows = ours.table.detach()[ours.row_of_code].split(ours.sizes.tolist())
        self.tables = nn.ModuleList(nn.Embedding.from_pretrained(part.clone()) for part in rows)
        self.bias = nn.Parameter(ours.bias.detach().clone())

    def forward(self, codes: Tensor) -> Tensor:
        h = self.bias
        for k, table in enumerate(self.tables):
            h = h + table(codes[:, k])
        return h


class PygNetwork(nn.Module):
    """Our network with PyG's scatter, GINEConv and pooling; the weights are copied."""

    def __init__(self, ours: GraphNetwork) -> None:
        super().__init__()
        nodes, edges, messages, _, head = (one.module for one in ours.sequence.module)
        self.nodes, self.edges, self.messages, self.head = (
            ColumnEmbeddings(nodes),
            ColumnEmbeddings(edges),
            messages,
            head,
        )
        self.convs = nn.ModuleList()
        for conv in getattr(messages, "convs", ()):
            layer = GINEConv(nn.Sequential(nn.Linear(*conv.mlp[0].weight.T.shape), nn.ReLU(),
                                           nn.Linear(*conv.mlp[2].weight.T.shape)), train_eps=True)  # fmt: skip
            layer.load_state_dict({f"nn.{key}": value for key, value in conv.mlp.state_dict().items()}, strict=False)
            layer.eps.data.fill_(float(conv.eps))
            self.convs.append(layer)

    def forward(self, batch: tuple[Tensor, ...]) -> Tensor:
        codes, _, edge_index, edge_codes, _, u, reverse, graph = batch
        x, e = self.nodes(codes), self.edges(edge_codes)
        h = self._gine(x, edge_index, e) if len(self.convs) else self._dmpnn(x, edge_index, e, reverse)
        return self.head(global_add_pool(h, graph, len(u)), u)  # type: ignore[no-any-return]

    def _dmpnn(self, x: Tensor, edge_index: Tensor, e: Tensor, reverse: Tensor) -> Tensor:
        source, target = edge_index
        ours = self.messages
        h_0 = ours.w_i(x)[source] + e
        h = F.relu(h_0)
        for w_m in ours.w_m:
            total = scatter(h, target, dim=0, dim_size=len(x), reduce="sum")
            h = F.relu(h_0 + w_m(total[source] - h[reverse]))
        m = scatter(h, target, dim=0, dim_size=len(x), reduce="sum")
        return F.relu(ours.w_o(torch.cat([x, m], dim=1)))

    def _gine(self, h: Tensor, edge_index: Tensor, e: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.messages.norms, strict=True):
            h = h + F.relu(conv(norm(h), edge_index, e))
        return self.messages.last_norm(h)  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    use_threads(1)
    claims: list[Claim] = []
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        config = PrepareConfig(data="solubility")
        source = find_source(config, ROOT, Path(folder))
        store = build_store(config, source, Path(folder) / "store", "", lambda rows: rows)
        one, some, many = (some_molecules(store, size) for size in (1, 32, 1024))
        molecules = some_molecules(store, SINGLES)
        singles = [pack([unpack(molecules, g)]) for g in range(SINGLES)]
        turns = (
            Turn("1 molecule in one batch", singles, True, 40, "4×, aim 6×"),
            Turn("1 molecule", singles, False, 40),
            Turn("1 molecule in one batch, alternating", [one], True, 400),
            Turn("32 molecules", [some], False, 80, "1.6×, aim 2.2×"),
            Turn("1024 molecules", [many], False, 12, "1.2×, aim 2×"),
            Turn("1024 molecules in one batch", [many], True, 12),
        )
        for network in ("dmpnn",) if quick else ("gine", "dmpnn"):
            torch.manual_seed(0)
            ours = build_network(NetworkConfig(network=network), store.schema, store.statistics).eval()  # type: ignore[arg-type]
            path = Path(folder) / f"{network}.onnx"
            export_onnx([ours], store.schema, path, {})
            session, peer = Session(path), PygNetwork(ours).eval()
            for turn in turns:
                claim, difference = compare(network, session, peer, turn, 5 if quick else turn.rounds)
                worst = max(worst, difference)
                claims.append(claim)
        claims.append(compare_threads(Session(path, threads=2), session, many, 3 if quick else 12))
        shares, _ = profile(path, many)
        floor = [matmul_floor(session, many), operator_floor(session, path, one)]
    if quick:
        return
    nodes, edges = len(many.x), len(many.edge_attr)
    write_result(
        Result(
            "inference", "Answers in ONNX Runtime", "python -m bench.inference", claims,
            same=f"all answers agree with PyG's to {worst:.1e} of the largest; two threads give the bits of one.",
            floor=floor, profile=shares,
            notes=[
                f"Solubility: 1024 molecules are {nodes:,} atoms and {edges:,} directed bonds; untrained weights, "
                "width 128, 4 layers, sum readout.",
                "Ours takes arrays of a request and goes through the session of serving, its cutting into batches "
                "included, where not called 'in one batch'; PyG gets tensors that are ready, in one batch.",
                f"A turn of '1 molecule' is {SINGLES} different ones, answered one by one; of 'alternating' it is one "
                "answer, which finds the caches as the other side left them.",
            ],
        )
    )  # fmt: skip


def some_molecules(store: Store, size: int) -> GraphChunk:
    """So many molecules, drawn at random; a single one is of median size."""
    ids = np.random.default_rng(0).permutation(store.num_graphs)
    graphs = [store.graph(int(i))._replace(y=np.zeros(0, np.float32)) for i in ids[: max(size, 501)]]
    if size == 1:
        graphs = sorted(graphs, key=lambda graph: graph.num_nodes)[250:]
    return pack(graphs[:size])


def compare(network: str, session: Session, peer: PygNetwork, turn: Turn, rounds: int) -> tuple[Claim, float]:
    """Time both, per chunk; returns the largest difference of their answers, too."""
    batches = [batch_of(chunk) for chunk in turn.chunks]
    inputs = [tensors(batch) for batch in batches]

    def run_peer() -> list[Tensor]:
        with torch.no_grad():
            return [peer(one) for one in inputs]

    def run_ours() -> list[Any]:
        if turn.in_one_batch:
            return [session.run(batch)["prediction"] for batch in batches]
        return [session.run_chunk(chunk, directed=False)["prediction"] for chunk in turn.chunks]

    expected = torch.cat(run_peer()).numpy()
    difference = float(np.abs(np.concatenate(run_ours()) - expected).max() / np.abs(expected).max())
    assert difference < 1e-5, f"{network}: answers differ by {difference}"
    ms = [[1e3 * s / len(batches) for s in side] for side in time_pairs(run_ours, run_peer, rounds)]
    goal = turn.goal if network == "dmpnn" else ""
    return compare_pairs(f"{network}, {turn.what}", "PyG eager", *ms, unit="ms", goal=goal), difference


def compare_threads(two: Session, one: Session, chunk: GraphChunk, rounds: int) -> Claim:
    def run(session: Session) -> Callable[[], Any]:
        return lambda: session.run_chunk(chunk, directed=False)["prediction"]

    assert np.array_equal(run(two)(), run(one)())
    ms = [[1e3 * s for s in side] for side in time_pairs(run(two), run(one), rounds)]
    return compare_pairs(
        "dmpnn, 1024 molecules", "itself on one thread", *ms, unit="ms", threads=2, goal="1.7×, aim 1.9×"
    )


def matmul_floor(session: Session, chunk: GraphChunk) -> str:
    """What the matrix products over bonds and atoms cost at the rate of one large product."""
    a, b = torch.randn(2048, 128), torch.randn(128, 128)
    seconds, ours = time_pairs(lambda: a @ b, lambda: session.run_chunk(chunk, directed=False), 12)
    rate = 2 * a.numel() * 128 / float(np.median(seconds))
    needed = 2 * 128 * 128 * (3 * len(chunk.edge_attr) + len(chunk.x)) / rate
    whole = float(np.median(ours))
    figure("matrix product 2048 × 128 × 128", [rate / 1e9], "Gflop/s")
    return (
        f"one core multiplies matrices at {rate / 1e9:.0f} Gflop/s; at that rate the products of dmpnn over bonds and "
        f"atoms of 1024 molecules take {1e3 * needed:.0f} ms, ours takes {1e3 * whole:.0f} ms in all "
        f"({whole / needed:.1f} times the floor)."
    )


def operator_floor(session: Session, path: Path, chunk: GraphChunk) -> str:
    """What one molecule costs beside the products of the weights: operators that have hardly anything to do."""
    batch = batch_of(chunk)
    alone, whole = (
        1e6 * float(np.median(s)) for s in time_pairs(products_alone(chunk), lambda: session.run(batch), 400)
    )
    operators = profile(path, chunk)[1]
    return (
        f"dmpnn, 1 molecule, both in turn: the products of its weights alone take {alone:.0f} µs; what is left of "
        f"{whole:.0f} µs goes to {operators} operators, {(whole - alone) / operators:.1f} µs each, most of them on a "
        "dozen numbers."
    )


def products_alone(chunk: GraphChunk) -> Callable[[], Any]:
    """ONNX Runtime multiplying as often as dmpnn does, and doing nothing else: no way of writing it goes below.

    Three hops over the bonds, one product over the atoms, two over the graph.
    """
    rows = {"bonds": (len(chunk.edge_attr), 3), "atoms": (len(chunk.x), 1), "graphs": (chunk.num_graphs, 2)}
    rng = np.random.default_rng(0)
    nodes, weights = [], []
    for name, (_, times) in rows.items():
        for k in range(times):
            weights.append(numpy_helper.from_array(rng.normal(0, 0.1, (128, 128)).astype(np.float32), f"w_{name}_{k}"))
            nodes.append(helper.make_node("MatMul", [f"{name}_{k}", f"w_{name}_{k}"], [f"{name}_{k + 1}"]))
    inputs, outputs = (
        [helper.make_tensor_value_info(f"{name}_{end * times}", TensorProto.FLOAT, [size, 128])
         for name, (size, times) in rows.items()]
        for end in (0, 1)
    )  # fmt: skip
    graph = helper.make_graph(nodes, "products", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {f"{name}_0": rng.normal(size=(size, 128)).astype(np.float32) for name, (size, _) in rows.items()}
    return lambda: session.run(None, feed)


def profile(path: Path, chunk: GraphChunk) -> tuple[dict[str, float], int]:
    """Share of each kind of operator in the time of all, as ONNX Runtime's profiler sees it, and how many run."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.enable_profiling = True
    options.profile_file_prefix = str(path.with_suffix(""))
    session = ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    feeds = [batch_of(piece) for piece in micro_batches(chunk)]
    for batch in [*feeds, *feeds]:
        session.run(None, {one.name: getattr(batch, one.name) for one in session.get_inputs()})
    spent: Counter[str] = Counter()
    number = 0
    for event in json.loads(Path(session.end_profiling()).read_text()):
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            kind = event["args"]["op_name"]
            if kind == "If":  # the operators of its branch are counted themselves
                continue
            spent[{"FusedGemm": "Gemm"}.get(kind, kind)] += event["dur"]
            number += 1
    total = sum(spent.values())
    shares = {kind: time_us / total for kind, time_us in spent.most_common(7)}
    return shares | {"other": 1 - sum(shares.values())}, number // (2 * len(feeds))


if __name__ == "__main__":
    main()
