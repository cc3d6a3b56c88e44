"""Batches of a store are PyG's batches of the same graphs, in an order that seed and epoch decide."""

from __future__ import annotations

import dataclasses
import itertools
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_geometric.loader import DataLoader

from pipeline.errors import ConfigError
from pipeline.graph import GraphBatch, collate
from pipeline.store import survey
from pipeline.store.loader import BatchLoader, gather
from tests.conftest import ROOT
from tests.support.graphs import assert_graphs_equal, make_graph, pyg_batch
from tests.support.stores import SCHEMA, build, build_molecules


def odd_graphs(*, directed=False):
    """Twenty graphs; the first, one in the middle and the last have no nodes, some have no bonds."""
    rng = np.random.default_rng(1)
    many = []
    for seed, num_nodes in enumerate([0, 1, 2, 3, 4, 5, 1, 7, 8, 0, 0, 1, 12, 3, 300, 5, 6, 7, 1, 0]):
        num_bonds = int(rng.integers(0, 2 * num_nodes)) if num_nodes > 1 else 0
        bonds = rng.integers(0, max(num_nodes, 1), (num_bonds, 2)).tolist()
        many.append(make_graph(num_nodes, bonds, seed=seed, directed=directed))
    return many


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return build(tmp_path_factory.mktemp("loader") / "s", odd_graphs())


def assert_is_batch(found, many, *, directed=False):
    """Equal to our own collate and to PyG's Batch."""
    for name, values in collate(many, directed=directed)._asdict().items():
        np.testing.assert_array_equal(found[name].numpy(), values, err_msg=name)
        assert found[name].dtype == torch.from_numpy(values).dtype
        assert found[name].is_contiguous()
    theirs = pyg_batch(many)
    for name in ("x", "x_float", "edge_index", "edge_attr", "edge_float", "u", "batch", "y"):
        torch.testing.assert_close(found[name], theirs[name], rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(ids=st.lists(st.integers(0, 19), min_size=1, max_size=25))
def test_gather_is_pyg_batch(store, ids):
    many = odd_graphs()
    found = gather(store, np.array(ids))
    assert set(found.keys()) == {*GraphBatch._fields, "y"}
    assert found.batch_size == torch.Size([])
    assert_is_batch(found, [many[i] for i in ids])


def test_gather_of_directed_graphs(tmp_path):
    schema = dataclasses.replace(SCHEMA, directed=True)
    many = odd_graphs(directed=True)
    found = gather(build(tmp_path / "s", many, schema=schema), np.arange(20)[::-1].copy())
    assert_is_batch(found, many[::-1], directed=True)
    assert (found["rev_edge_index"] == -1).all()


def test_gather_of_no_graphs_and_of_graphs_that_are_not_there(store):
    empty = gather(store, np.array([], dtype=np.int64))
    assert [empty[name].shape for name in ("x", "edge_index", "u", "y")] == [(0, 2), (2, 0), (0, 2), (0, 3)]
    for outside in (-1, 20):
        with pytest.raises(IndexError, match="20"):
            gather(store, np.array([outside]))


def test_writing_into_a_batch_leaves_the_store_alone(store):
    batch = gather(store, np.array([3]))
    for name in GraphBatch._fields:
        batch[name].zero_()
    assert_is_batch(gather(store, np.array([3])), [odd_graphs()[3]])


@settings(max_examples=30, deadline=None)
@given(ids=st.lists(st.integers(0, 19), min_size=1, max_size=40), batch_size=st.integers(1, 15), seed=st.integers(0, 9))
def test_batches_of_a_loader_are_pyg_batches(store, ids, batch_size, seed):
    many = odd_graphs()
    loader = BatchLoader(store, np.array(ids), batch_size, True, seed)
    batches = list(loader)
    assert len(batches) == len(loader)
    for found, wanted in zip(batches, epoch_ids(loader, 0), strict=True):
        assert_is_batch(found, [many[i] for i in wanted])


def test_batches_read_together_share_no_element(store):
    batches = BatchLoader(store, np.arange(20).repeat(2), 4, False, 0)
    for batch in batches:
        for values in batch.values():
            values.zero_()
    for batch in (seen := list(batches))[1:]:
        for values in batch.values():
            values.zero_()
    assert_is_batch(seen[0], [odd_graphs()[i] for i in (0, 0, 1, 1)])


@pytest.mark.parametrize("directed", [False, True])
def test_graphs_without_categories_or_without_numbers(tmp_path, directed):
    for widths in ((0, 1, 0, 1, 0, 3), (2, 0, 2, 0, 0, 3)):
        kinds = {"categorical": widths[0] > 0, "numeric": widths[1] > 0}
        columns = {
            name: tuple(c for c in getattr(SCHEMA, name) if kinds[c.kind]) for name in ("node_columns", "edge_columns")
        }
        schema = dataclasses.replace(SCHEMA, **columns, graph_columns=(), directed=directed)
        many = [make_graph(n, [(0, n - 1)] * n, seed=n, widths=widths, directed=directed) for n in (2, 0, 1, 3)]
        store = build(tmp_path / f"s{widths[0]}", many, schema=schema)
        for batch, ids in zip(BatchLoader(store, np.arange(4), 2, False, 0), ([0, 1], [2, 3]), strict=True):
            assert_is_batch(batch, [many[i] for i in ids], directed=directed)
        assert_graphs_equal(store.graph(3), many[3])


@pytest.mark.parametrize("directed", [False, True])
def test_rows_too_many_for_a_table(tmp_path, monkeypatch, directed):
    monkeypatch.setattr(survey, "MAX_TABLE_ROWS", 1)
    many = odd_graphs(directed=directed)
    store = build(tmp_path / "s", many, schema=dataclasses.replace(SCHEMA, directed=directed))
    assert store.arrays.x.code is None
    assert store.arrays.edge_attr.code is None
    assert_is_batch(gather(store, np.arange(20)), many, directed=directed)
    assert_graphs_equal(store.graph(14), many[14])


def test_a_store_without_bonds(tmp_path):
    many = [make_graph(n, [], seed=n) for n in (1, 0, 2)]
    store = build(tmp_path / "s", many)
    assert_is_batch(gather(store, np.array([2, 1, 0])), many[::-1])


def test_a_loader_of_graphs_that_are_not_there(store):
    with pytest.raises(IndexError, match="20"):
        next(iter(BatchLoader(store, np.array([3, 20]), 1, False, 0)))


def epoch_ids(loader, epoch):
    loader.set_epoch(epoch)
    return [ids.tolist() for ids in loader.sampler]


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 40), batch_size=st.integers(1, 50), seed=st.integers(0, 3), epoch=st.integers(0, 3))
def test_an_epoch_takes_each_graph_once(size, batch_size, seed, epoch):
    indices = np.arange(size) * 3
    loader = BatchLoader(None, indices, batch_size, True, seed)
    batches = epoch_ids(loader, epoch)
    assert sorted(itertools.chain(*batches)) == indices.tolist()
    assert len(batches) == len(loader) == -(-size // batch_size)
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_the_order_is_a_function_of_seed_and_epoch_alone():
    def make(seed=5):
        return BatchLoader(None, np.arange(50), 8, True, seed)

    loader = make()
    first, second = epoch_ids(loader, 0), epoch_ids(loader, 1)
    assert first != second
    assert epoch_ids(loader, 0) == first  # and back again
    np.random.seed(99)
    torch.manual_seed(99)
    assert epoch_ids(make(), 1) == second  # resumed in epoch 1
    assert epoch_ids(make(seed=6), 0) != first
    plain = BatchLoader(None, np.array([4, 2, 9]), 2, False, 5)
    assert epoch_ids(plain, 0) == epoch_ids(plain, 7) == [[4, 2], [9]]


@pytest.mark.parametrize("size", [1, 3, 16, 17, 30, 33])
@pytest.mark.parametrize("world_size", [2, 4])
def test_devices_share_an_epoch_evenly(size, world_size):
    loaders = [
        BatchLoader(None, np.arange(size), 4, True, 0, rank=rank, world_size=world_size) for rank in range(world_size)
    ]
    shares = [epoch_ids(loader, 2) for loader in loaders]
    assert len({tuple(len(batch) for batch in share) for share in shares}) == 1  # or they would wait for each other
    taken = sorted(itertools.chain(*(batch for share in shares for batch in share)))
    assert set(taken) == set(range(size))
    assert len(taken) - size < world_size


def test_a_loader_of_nothing_is_refused(store):
    with pytest.raises(ConfigError, match="side of the split"):
        BatchLoader(store, np.array([], dtype=np.int64), 4, True, 0)
    with pytest.raises(ConfigError, match="batch_size=0"):
        BatchLoader(store, np.arange(3), 0, True, 0)


def test_lightning_gives_each_epoch_its_order(store):
    from lightning.pytorch import LightningModule, Trainer

    seen = []

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def training_step(self, batch):
            seen.append(batch["y"][:, 0].tolist())
            return (self.weight * batch["x_float"].sum()).sum()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters())

    trainer = Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = BatchLoader(store, np.arange(20), 10, True, 0)
    trainer.fit(Module(), loader)
    expected = [store.arrays.y[ids, 0].tolist() for epoch in (0, 1) for ids in epoch_ids(loader, epoch)]
    assert seen == expected


@pytest.mark.slow
def test_batches_come_eight_times_as_fast_as_from_pygs_loader(tmp_path):
    import csv

    with open(ROOT / "data" / "bbbp.csv", encoding="utf-8") as file:
        store = build_molecules(tmp_path / "s", [row["smiles"] for row in csv.DictReader(file)][:2000])
    everything = [pyg_batch([store.graph(i)]).get_example(0) for i in range(store.num_graphs)]

    def cpu_time(loader):
        times = []
        for _ in range(4):
            start = time.process_time()
            assert sum(len(batch["y"]) for batch in loader) == store.num_graphs
            times.append(time.process_time() - start)
        return min(times)

    for batch_size in (64, 256):
        ours = BatchLoader(store, np.arange(store.num_graphs), batch_size, True, 0)
        assert cpu_time(DataLoader(everything, batch_size=batch_size, shuffle=True)) > 8 * cpu_time(ours)
