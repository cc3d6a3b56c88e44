"""The store gives back what was spooled, is never half there, and says which file is damaged."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dataset.split import TEST, TRAIN, VALIDATION
from pipeline.dataset.spool import Spool
from pipeline.errors import ShapeError, StoreError
from pipeline.graph import pack
from pipeline.store import survey
from pipeline.store.loader import gather
from pipeline.store.manifest import check_store, list_files, manifest_digest
from pipeline.store.store import open_store, write_store
from tests.support.graphs import assert_graphs_equal, graphs, make_graph
from tests.support.stores import SCHEMA, build, build_molecules


def some_graphs(count=7):
    return [make_graph(i % 4, [(0, i % 4 - 1)] * (i % 4 > 0), seed=i) for i in range(count)]


def tensor_files(store):
    return {name: entry for name, entry in store.manifest["files"].items() if name.startswith("tensors/")}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), directed=st.booleans())
def test_every_kept_graph_comes_back(tmp_path_factory, data, directed):
    many = data.draw(graphs(directed=directed))
    keep = data.draw(st.lists(st.booleans(), min_size=len(many), max_size=len(many)).filter(any))
    schema = dataclasses.replace(SCHEMA, directed=directed)
    folder = tmp_path_factory.mktemp("store") / "s"
    store = build(folder, many, schema=schema, keep=keep, chunk=data.draw(st.integers(1, 4)))
    kept = np.flatnonzero(keep)
    assert store.num_graphs == len(kept)
    for i, g in enumerate(kept):
        assert_graphs_equal(store.graph(i), many[g])
    assert store.ids(np.arange(len(kept))) == [f"graph {g}" for g in kept]
    assert store.rows.tolist() == (kept + 1).tolist()
    assert np.concatenate([store.indices(side) for side in (0, 1, 2)]).size == len(kept)
    assert store.manifest["num_edges"] == sum(many[g].num_edges for g in kept)


def test_too_many_distinct_rows_are_stored_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(survey, "MAX_TABLE_ROWS", 3)
    many = some_graphs()
    store = build(tmp_path / "s", many)
    assert "nodes/code" not in store.manifest["tensors"]
    for i, graph in enumerate(many):
        assert_graphs_equal(store.graph(i), graph)


def test_narrow_types_hold_large_graphs(tmp_path):
    chain = [(i, i + 1) for i in range(299)]
    store = build(tmp_path / "s", [make_graph(300, chain), make_graph(2, [(0, 1)])])
    assert store.manifest["tensors"]["edges/index"]["dtype"] == "int16"
    assert store.graph(0).edge_index.max() == 299
    assert store.graph(1).edge_index.tolist() == [[0, 1], [1, 0]]


def test_ids_sides_and_rows_by_hand(tmp_path):
    store = build(tmp_path / "s", some_graphs(5), keep=[True, False, True, True, True], split=[0, -1, 2, 1, 0], chunk=2)
    assert store.ids(np.array([3, 0, 1])) == ["graph 4", "graph 0", "graph 2"]
    assert [store.indices(side).tolist() for side in (TRAIN, VALIDATION, TEST)] == [[0, 3], [2], [1]]
    assert store.rows.tolist() == [1, 3, 4, 5]
    assert store.manifest["sides"] == {"train": 2, "validation": 1, "test": 1}
    assert store.manifest["source"] == {"file": "toy.csv"}
    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "s" / "rows.parquet").to_pylist()[1] == {"row": 3, "id": "graph 2", "split": "test"}
    for outside in (-1, 4):
        with pytest.raises(IndexError, match="4"):
            store.graph(outside)


def test_statistics_and_counts_are_of_the_training_side(tmp_path):
    many = [make_graph(4, [(0, 1), (2, 3)], seed=seed) for seed in range(9)]
    many[0].x_float[0] = np.nan
    many[0].y[1] = np.nan
    for graph in many:
        graph.y[2] = 0.1  # does not vary, and is no round number
        graph.u[1] = 1e6 + graph.u[1]
    store = build(tmp_path / "s", many)
    train = [many[g] for g in range(0, 9, 3)]
    for name, stacked in {
        "x_float": np.concatenate([g.x_float for g in train]),
        "edge_float": np.concatenate([g.edge_float[::2] for g in train]),
        "u": np.stack([g.u for g in train]),
        "y": np.stack([g.y for g in train])[:, :2],
    }.items():
        found = store.statistics[name]
        columns = stacked.shape[1]
        np.testing.assert_allclose(found["mean"][:columns], np.nanmean(stacked.astype(float), axis=0), rtol=1e-9)
        np.testing.assert_allclose(found["std"][:columns], np.nanstd(stacked.astype(float), axis=0), rtol=1e-6)
    assert store.statistics["y"]["std"][2] == 1.0
    symbols = np.concatenate([g.x[:, 0] for g in train])
    orders = np.concatenate([g.edge_attr[::2, 0] for g in train])
    assert store.schema.node_columns[0].train_counts == tuple(np.bincount(symbols, minlength=5)[1:])
    assert store.schema.edge_columns[0].train_counts == tuple(np.bincount(orders, minlength=3)[1:])
    assert store.schema.node_columns[1].train_counts == ()


def test_a_side_without_values_has_harmless_statistics(tmp_path):
    many = [make_graph(0, []), make_graph(1, [])]
    many[0].y[:] = np.nan
    store = build(tmp_path / "s", many, split=[TRAIN, TEST])
    assert store.statistics["x_float"] == {"mean": [0.0], "std": [1.0]}
    assert store.statistics["y"] == {"mean": [0.0] * 3, "std": [1.0] * 3}


def test_the_same_graphs_give_the_same_bytes_whatever_the_chunks(tmp_path):
    many = some_graphs(9)
    one, other = (build(tmp_path / f"s{chunk}", many, chunk=chunk) for chunk in (2, 5))
    assert tensor_files(one) == tensor_files(other)
    assert build(tmp_path / "again", many, chunk=2).digest == one.digest != other.digest  # rows.parquet has chunks


def test_a_molecule_takes_less_than_300_bytes(tmp_path):
    import csv

    with open(Path(__file__).parents[2] / "data" / "bbbp.csv", encoding="utf-8") as file:
        smiles = [row["smiles"] for row in csv.DictReader(file)][::4]
    store = build_molecules(tmp_path / "s", smiles)
    size_bytes = sum(path.stat().st_size for path in (tmp_path / "s").rglob("*") if path.is_file())
    atoms = store.manifest["num_nodes"] / len(smiles)
    assert size_bytes / len(smiles) * 22 / atoms < 150


def damage(folder, how):
    """Damage a store; the file that the error must name."""
    name = "tensors/nodes/x_float.memmap"
    path = folder / name
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-4])
    elif how == "grown":
        path.write_bytes(path.read_bytes() + b"\0")
    elif how == "swapped":  # with the same file of a store that is as large
        path.write_bytes(bytes(len(path.read_bytes())))
    elif how == "missing":
        path.unlink()
    elif how == "extra":
        name = "tensors/nodes/stale.memmap"
        (folder / name).write_bytes(b"1")
    elif how == "flipped":
        content = bytearray(path.read_bytes())
        content[1] ^= 1
        path.write_bytes(content)
    elif how == "flipped description":
        name = "tensors/nodes/meta.json"
        (folder / name).write_bytes((folder / name).read_bytes().replace(b"float32", b"float64"))
    elif how == "flipped rows":
        name = "rows.parquet"
        content = bytearray((folder / name).read_bytes())
        content[9] ^= 1
        (folder / name).write_bytes(content)
    elif how == "garbled manifest":
        name = "manifest.json"
        (folder / name).write_text("{")
    else:
        assert how == "changed manifest"
        name = "manifest.json"
        (folder / name).write_text((folder / name).read_text().replace('"toy.csv"', '"boy.csv"'))
    return name


@pytest.mark.parametrize(
    "how",
    [
        "truncated",
        "grown",
        "swapped",
        "missing",
        "extra",
        "flipped",
        "flipped rows",
        "flipped description",
        "garbled manifest",
        "changed manifest",
    ],
)
def test_damage_is_named_on_opening(tmp_path, how):
    build(tmp_path / "s", some_graphs())
    name = damage(tmp_path / "s", how)
    with pytest.raises(StoreError) as caught:
        open_store(tmp_path / "s")
    text = str(caught.value)
    assert name in text
    assert str(tmp_path / "s") in text
    assert "run prepare again" in text
    assert "\n" not in text


def test_bytes_are_read_at_first_use_and_when_asked(tmp_path, monkeypatch):
    """A disk that flips a bit leaves size, time and inode as they were."""
    build(tmp_path / "s", some_graphs())
    path = tmp_path / "s" / "tensors" / "nodes" / "x_float.memmap"
    os.utime(path, (1e9, 1e9))
    check_store(tmp_path / "s")
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    check_store(tmp_path / "s")  # was read before, and looks untouched
    with pytest.raises(StoreError, match="x_float"):
        check_store(tmp_path / "s", checksums=True)
    shutil.copytree(tmp_path / "s", tmp_path / "copy")  # a first use
    with pytest.raises(StoreError, match="x_float"):
        open_store(tmp_path / "copy")


def test_a_flipped_bit_that_no_check_saw_reads_no_foreign_memory(tmp_path):
    build(tmp_path / "s", some_graphs())
    path = tmp_path / "s" / "tensors" / "graphs" / "edge_ptr.memmap"
    stat = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x40
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(StoreError, match=r"edge_ptr.*run prepare again"):
        gather(open_store(tmp_path / "s"), np.array([0]))


def test_a_whole_store_in_the_place_of_another_has_another_digest(tmp_path):
    one = build(tmp_path / "one", some_graphs(5))
    other = build(tmp_path / "other", some_graphs(6))
    shutil.rmtree(tmp_path / "one")
    shutil.copytree(tmp_path / "other", tmp_path / "one")
    assert open_store(tmp_path / "one").digest == other.digest != one.digest


def as_nobody(ask):
    """What `ask` answers, in a process without root's right to write everywhere."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.getuid() == 0:
                os.setgid(65534)
                os.setuid(65534)
            answer = ask()
        except BaseException as error:
            answer = repr(error)
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with open(reader) as file:
        return json.load(file)


def test_a_store_works_on_any_path_and_where_nothing_may_be_written(tmp_path):
    folder = tmp_path / "Daten und Übungen 数据" / "s"
    digest = build(folder, some_graphs()).digest
    for path in (folder.parent / "s.checked", folder.parent / "s.spool"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in [folder, folder.parent, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        for path in (tmp_path, *tmp_path.parents):
            if path.stat().st_mode & 0o5 != 0o5:
                path.chmod(0o755)
        assert as_nobody(lambda: open_store(folder).digest) == digest
        assert not (folder.parent / "s.checked").exists()
    finally:
        for path in [folder.parent, folder, *folder.rglob("*")]:
            path.chmod(0o755)


def test_a_folder_without_a_store_and_stores_of_other_versions_are_refused(tmp_path):
    with pytest.raises(StoreError, match="run prepare"):
        open_store(tmp_path / "nothing")
    build_molecules(tmp_path / "s", ["CCO", "CCN"])
    path = tmp_path / "s" / "manifest.json"
    whole = json.loads(path.read_text())

    def rewrite(**changes):
        manifest = whole | changes
        path.write_text(json.dumps(manifest | {"digest": manifest_digest(manifest)}))

    rewrite(store_version=99)
    with pytest.raises(StoreError, match=r"format 99.*update graphline, or delete.*run prepare again"):
        open_store(tmp_path / "s")
    rewrite(store_version=0)
    with pytest.raises(StoreError, match=r"format 0, this graphline reads format 1; delete.*run prepare again"):
        open_store(tmp_path / "s")
    rewrite(schema=whole["schema"] | {"featurizer_version": 99})
    with pytest.raises(StoreError, match=r"version 99.*run prepare again"):
        open_store(tmp_path / "s")
    rewrite(tensors=whole["tensors"] | {"graphs/y": {"dtype": "float64", "shape": [2, 1]}})
    with pytest.raises(StoreError, match="graphs/y"):
        open_store(tmp_path / "s")


@pytest.mark.parametrize("station", ["write_tensors", "write_rows", "write_manifest"])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_store_is_never_half_visible(tmp_path, monkeypatch, station, earlier):
    room = tmp_path / "stores"
    if earlier:
        before = build(room / "s", some_graphs(3)).digest
    from pipeline.store import store as module

    original = getattr(module, station)

    def breaks(*arguments):
        original(*arguments)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, station, breaks)
    with pytest.raises(StoreError, match="No space left on device"):
        build(room / "s", some_graphs())
    left = sorted(path.name for path in room.iterdir() if not path.name.endswith((".spool", ".checked")))
    assert left == (["s"] if earlier else [])
    if earlier:
        assert open_store(room / "s", checksums=True).digest == before


def test_a_store_that_is_written_again_keeps_nothing_of_the_old_one(tmp_path):
    old = build(tmp_path / "s", some_graphs(9))
    first = old.graph(0)
    new = build(tmp_path / "s", [make_graph(1, [], seed=8)])
    assert (new.num_graphs, old.num_graphs) == (1, 9)
    assert_graphs_equal(old.graph(0), first)  # whoever has the old one open goes on reading it
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "s.checked", "s.spool"]
    assert open_store(tmp_path / "s", checksums=True).digest == new.digest


def test_foreign_folders_and_misfits_are_refused(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.txt").write_text("years of work")
    with pytest.raises(StoreError, match="not a store"):
        build(tmp_path / "precious", some_graphs())
    assert (tmp_path / "precious" / "thesis.txt").exists()
    with pytest.raises(StoreError, match="no graph is left"):
        build(tmp_path / "s", some_graphs(2), keep=[False, False])
    with pytest.raises(ShapeError, match="y has 3 rows for 2"):
        build(tmp_path / "s", some_graphs(2), y=np.zeros((3, 3), np.float32))
    with pytest.raises(ShapeError, match="no side"):
        build(tmp_path / "s", some_graphs(2), split=[0, -1])
    with pytest.raises(ShapeError, match="reverse"):
        build(tmp_path / "s", [make_graph(2, [(0, 1), (1, 1)], directed=True)])
    with pytest.raises(ShapeError, match=r"'symbol'.*beyond"):
        build(tmp_path / "s", [make_graph(2, [])._replace(x=np.full((2, 2), 5, np.int32))], split=[0])
    assert not (tmp_path / "s").exists()


def test_pickling_goes_by_path(tmp_path):
    store = build(tmp_path / "s", some_graphs(50))
    store.graph(3)
    data = pickle.dumps(store)
    assert len(data) < 400
    again = pickle.loads(data)
    assert again.digest == store.digest
    assert_graphs_equal(again.graph(3), store.graph(3))


def test_an_opened_store_cannot_be_changed(tmp_path):
    store = build(tmp_path / "s", some_graphs())
    with pytest.raises(RuntimeError, match="lock"):
        store.tensors["graphs", "extra"] = torch.zeros(3)
    with pytest.raises(ValueError, match="read-only"):
        store.arrays.y[0] = 1
    # What gets round both reaches a private copy of the page, seen by this process alone, and never the file.
    before = {path: path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()}
    for key in ("graphs", "y"), ("edges", "index"), ("nodes", "x_float"):
        store.tensors[key].zero_().add_(7)
    assert (store.tensors["graphs", "y"] == 7).all()
    assert {path: path.read_bytes() for path in before} == before
    assert not (open_store(tmp_path / "s", checksums=True).arrays.y[0] == 7).any()


def test_memory_of_writing_is_a_base_and_few_bytes_a_graph(tmp_path):
    chunk = pack([make_graph(2, [(0, 1)], seed=seed) for seed in range(1000)])

    def peak(num_chunks):
        spool = Spool(tmp_path / "spool")
        for _ in range(num_chunks):
            spool.append(chunk, ["name"] * 1000)
        size = 1000 * num_chunks
        keep, split, row = np.ones(size, bool), np.zeros(size, np.int8), np.arange(size)
        y = np.zeros((size, 3), np.float32)
        tracemalloc.start()
        write_store(tmp_path / "s", spool, schema=SCHEMA, keep=keep, y=y, split=split, row=row, source={})
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(1)
    assert (peak(12) - peak(2)) / 10_000 < 8  # beside the arrays that the caller holds


def test_files_listed_are_all_there_is(tmp_path):
    store = build(tmp_path / "s", some_graphs())
    assert sorted(store.manifest["files"]) == list_files(tmp_path / "s")
    assert "rows.parquet" in store.manifest["files"]
