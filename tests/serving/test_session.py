from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BundleError
from pipeline.graph import GraphChunk, batch_of, collate, pack, unpack
from serving.session import Session, micro_batches
from tests.support.schemas import GRAPHS
from tests.support.small_models import chain, write_count_model, write_graph_model


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write_graph_model(tmp_path_factory.mktemp("session") / "model.onnx")


def empty_chunk(num_nodes, num_bonds):
    """Packed graphs of given sizes."""
    node_ptr = np.concatenate([[0], np.cumsum(num_nodes)]).astype(np.int64)
    edge_ptr = np.concatenate([[0], 2 * np.cumsum(num_bonds)]).astype(np.int64)
    n, e, g = node_ptr[-1], edge_ptr[-1], len(num_nodes)
    x = np.arange(n, dtype=np.int32)[:, None]
    attr = np.arange(e, dtype=np.int32)[:, None]
    u = np.arange(g, dtype=np.float32)[:, None]
    none = np.zeros((0, 0), np.float32)
    return GraphChunk(
        node_ptr, edge_ptr, x, none[:n], np.zeros((2, e), np.int32), attr, np.zeros((e, 0), np.float32), u, u
    )


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 9)), min_size=1, max_size=30), st.integers(1, 20))
def test_micro_batches_cover_all_graphs_in_order_within_the_budget(sizes, budget):
    chunk = empty_chunk(*zip(*sizes, strict=True))
    pieces = list(micro_batches(chunk, budget, budget))
    assert np.concatenate([piece.x for piece in pieces]).tolist() == chunk.x.tolist()
    assert np.concatenate([piece.edge_attr for piece in pieces]).tolist() == chunk.edge_attr.tolist()
    assert np.concatenate([piece.u for piece in pieces]).tolist() == chunk.u.tolist()
    for piece in pieces:
        assert piece.node_ptr[0] == piece.edge_ptr[0] == 0
        assert piece.num_graphs == 1 or (len(piece.x) <= budget and len(piece.edge_attr) <= budget)
        assert 1 <= piece.num_graphs <= max(budget, 1)


def test_one_oversized_graph_runs_alone():
    pieces = list(micro_batches(empty_chunk([2, 2, 50, 2, 2], [1, 1, 49, 1, 1]), 10, 10))
    assert [piece.num_graphs for piece in pieces] == [2, 1, 2]


def test_a_slice_holds_the_graphs_themselves():
    chunk = pack([chain(n) for n in (3, 1, 4, 2)])
    pieces = [unpack(piece, g) for piece in micro_batches(chunk, 4, 100) for g in range(piece.num_graphs)]
    for g, piece in enumerate(pieces):
        for found, wanted in zip(piece, unpack(chunk, g), strict=True):
            assert np.array_equal(found, wanted)


def test_answers_of_an_ensemble(path):
    session = Session(path)
    assert session.output_names == ("prediction", "std")
    assert session.input_names == ("u", "batch")  # the session feeds what the network takes, no more
    outputs = session.run(collate([chain(3), chain(0), chain(5)]))
    assert outputs["prediction"][:, 0].tolist() == [3, 0, 5]
    assert outputs["std"][:, 0].tolist() == [0.125] * 3


def test_the_budget_does_not_change_answers(path):
    session = Session(path)
    chunk = pack([chain(n) for n in (3, 1, 4, 1, 5, 0, 9, 2, 6, 0)])
    whole = session.run(batch_of(chunk))
    for budget in (1, 5, 12):
        parts = session.run_chunk(chunk, directed=False, max_nodes=budget, max_edges=budget)
        assert all(np.array_equal(parts[name], whole[name]) for name in whole)


def test_threads_do_not_change_answers(path):
    chunk = pack([chain(n) for n in (3, 1, 4, 1, 5, 0, 9, 2, 6, 0)])
    whole = Session(path).run(batch_of(chunk))
    parts = Session(path, threads=3).run_chunk(chunk, directed=False, max_nodes=5, max_edges=5)
    assert all(np.array_equal(parts[name], whole[name]) for name in whole)


@pytest.mark.parametrize("bad", [3, 4, 5])
def test_an_error_of_any_thread_comes_out(path, monkeypatch, bad):
    session = Session(path, threads=3)
    run = session.run
    monkeypatch.setattr(session, "run", lambda batch: run(batch) if len(batch.x) != bad else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.run_chunk(pack([chain(n) for n in (3, 4, 5)]), directed=False, max_nodes=5)


def test_a_chunk_within_the_budget_is_not_cut():
    chunk = empty_chunk([2, 3], [1, 2])
    assert [piece is chunk for piece in micro_batches(chunk, 5, 6)] == [True]


def test_many_threads_share_a_session(path):
    session = Session(path)

    def ask(size):
        return session.run(collate([chain(size), chain(size + 1)]))["prediction"][:, 0].tolist()

    with ThreadPoolExecutor(8) as pool:
        sizes = [n % 50 for n in range(400)]
        assert list(pool.map(ask, sizes)) == [[n, n + 1] for n in sizes]


def test_metadata_is_read(path):
    assert Session(path.read_bytes()).metadata["schema"] == GRAPHS.to_json()


def test_bytes_that_are_no_model():
    with pytest.raises(BundleError, match="cannot load"):
        Session(b"no model")


@pytest.mark.parametrize(("old", "new"), [("batch", "bunch"), ("prediction", "answer")])
def test_foreign_inputs_and_outputs_are_refused(tmp_path, old, new):
    model = onnx.load(write_count_model(tmp_path / "model.onnx", GRAPHS))
    for value in [*model.graph.input, *model.graph.output]:
        value.name = value.name.replace(old, new)
    for node in model.graph.node:
        node.input[:] = [name.replace(old, new) for name in node.input]
        node.output[:] = [name.replace(old, new) for name in node.output]
    with pytest.raises(BundleError, match=new):
        Session(model.SerializeToString())


def test_weights_in_a_second_file_are_not_read(tmp_path):
    model = onnx.load(write_count_model(tmp_path / "model.onnx", GRAPHS))
    for weights in model.graph.initializer:  # only raw bytes can move to a second file
        weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights), weights.name))
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    with pytest.raises(BundleError):
        Session(tmp_path / "split.onnx")
