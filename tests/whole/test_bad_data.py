"""What users bring that is not a clean table: each has its outcome in tests/data/README.md, and none is a traceback."""

from __future__ import annotations

import contextlib
import csv
import gc
import io
import re
import sys
import warnings
from collections import Counter
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.errors import DataError, SplitError
from pipeline.samples.molecule.featurize import NODE_COLUMNS
from pipeline.schema import Column
from pipeline.serveconfig import ServeConfig
from pipeline.store.build import build_store, quarantine_path
from pipeline.store.store import Store
from serving.request import read_request
from steps import prepare
from steps.cli.command import run
from tests.data.make import ALCOHOLS, FILES, FOLDER, MOLECULES, graphs, table, write
from tests.support.schemas import MOLECULES as MOLECULE_SCHEMA
from tests.support.schemas import toy_schema, without_features

OUTCOMES = dict(re.findall(r"^\| `(.+?)` \| (.+?) \|$", (FOLDER.parent / "README.md").read_text(), re.MULTILINE))


def build(tmp_path, name, content, **options):
    """A store of one file (or folder) and the lines of its quarantine."""
    write_one(tmp_path / name, content)
    config = PrepareConfig(**{"data": str(tmp_path / name), "target": "y", "processes": 1} | options)
    folder = tmp_path / "stores" / "one"
    store = build_store(config, find_source(config, tmp_path, tmp_path), folder, "", lambda rows: None)
    with open(quarantine_path(folder), newline="", encoding="utf-8") as file:
        return store, list(csv.DictReader(file))


def write_one(path, content):
    if isinstance(content, dict):
        path.mkdir(exist_ok=True)
        for part, text in content.items():
            write_one(path / part, text)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.fixture
def step(tmp_path, monkeypatch):
    """Run `prepare` as its users do, but for the tracking server; returns exit code, output, error line, store."""
    built: list[Store] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prepare, "key_of", lambda *facts: "key")  # it reads the sources of the project
    monkeypatch.setattr("pipeline.runs.tracking.start_step", lambda *words, **more: contextlib.nullcontext(MagicMock()))
    monkeypatch.setattr(prepare, "log_data", lambda step, store, *rest: built.append(store))

    def call(capsys, *argv):
        monkeypatch.setattr(sys, "argv", ["prepare", *argv])
        thresholds, code = gc.get_threshold(), 0
        with warnings.catch_warnings():
            try:
                run(prepare.main)
            except SystemExit as end:
                code = end.code
            finally:
                gc.set_threshold(*thresholds)
        said = capsys.readouterr()
        return code, said.out, said.err.strip().splitlines(), built[-1] if built else None

    return call


def test_the_corpus_is_what_its_script_writes(tmp_path):
    write(tmp_path)
    for folder in (tmp_path, FOLDER):
        assert {path.name for path in folder.iterdir()} == set(FILES) == set(OUTCOMES)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (FOLDER / path.relative_to(tmp_path)).read_bytes(), path.name


@pytest.mark.parametrize("name", FILES)
def test_each_file_has_the_outcome_that_the_table_says(name, step, capsys):
    code, said, errors, store = step(capsys, f"--data={FOLDER / name}", "--target=y", "--processes=1", "--name=x")
    if OUTCOMES[name].startswith("refused: "):
        assert code == 2
        assert len(errors) == 1
        assert errors[0].startswith("error: ")
        assert OUTCOMES[name].removeprefix("refused: ") in errors[0]
        return
    assert code == 0, errors
    report = store.manifest["source"]
    counts = {code: int(count) for count, code in re.findall(r"(\d+) (\w+)", OUTCOMES[name])}
    found = Counter({"graphs": store.num_graphs, "merged": report["replicates"]["merged"]}) + Counter(
        report["quarantined"]
    )
    assert found == counts
    assert report["rows"] == sum(counts.values())
    assert ("name no graph" in said) == (name == "stray-rows")
    if name == "stray-rows":
        assert report["strays"] == {"nodes": 1, "edges": 2}


def test_stray_rows_end_the_step_where_bad_rows_do(tmp_path):
    with pytest.raises(DataError, match=r"rows of nodes and edges name no graph.*on_error=skip"):
        build(tmp_path, "strays", FILES["stray-rows"], on_error="fail")


MEGABYTES = "x" * 10_000_000


@pytest.mark.slow
def test_cells_of_ten_megabytes(tmp_path):
    content = table(
        f"CN,1,{MEGABYTES}", f'CCN,2,"{MEGABYTES}"', "C" * 10_000_000 + ",3,", header="smiles,y,n", more=",n"
    )
    store, left = build(tmp_path, "a.csv", content)
    assert store.num_graphs == 14
    assert [(line["row"], line["code"], len(line["value"])) for line in left] == [("15", "too_large", 1001)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("smiles,y\n" + f"CO,{'b' * 1001}\nCCO,c\n" * 2, "target 'y': a label is a text of more than 1000"),
        (f"smiles,y,{'b' * 1001}\nCO,1,2\n", "the name of column 3 is longer than 1000"),
        (
            table('CN,"' + "x" * 16_000_001),
            "row 13: a quote opens that never closes, or a cell has more than 16,000,000",
        ),
        (table("CN,1,2,\"'\n", 'C"'), "does not close in its cell|never closes"),
        ('"smiles,y\nCO,1\n', "header"),
    ],
    ids=["class", "column", "cell", "quote", "header"],
)
def test_cells_that_are_too_long_are_refused(tmp_path, content, said):
    with pytest.raises(DataError, match=said) as caught:
        build(tmp_path, "a.csv", content)
    assert len(str(caught.value)) < 1000


def test_a_category_is_no_novel(tmp_path):
    content = graphs("s,1", f"s,0,{'x' * 1001}")
    with pytest.raises(DataError, match="column 'w' holds a text of more than 1000 characters"):
        build(tmp_path, "tables", content, categorical="w")


@pytest.mark.parametrize("value", ["inf", "1e400", "1e39", "-1e39"])
def test_an_infinite_feature_never_reaches_the_store(tmp_path, value):
    store, left = build(tmp_path, "a.csv", table(f"CN,1,{value}", header="smiles,y,t", more=",20"), features="t")
    assert [line["code"] for line in left] == ["not_finite"]
    assert np.isfinite(store.tensors["graphs", "u"].numpy()).all()


def test_nested_parquet(tmp_path):
    columns = {"smiles": ALCOHOLS, "y": [n + 0.5 for n in range(12)], "list": [[1]] * 12, "struct": [{"a": 1}] * 12}
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, write_page_checksum=True)
    whole = file.getvalue()
    assert build(tmp_path, "a.parquet", whole)[0].num_graphs == 12
    for name in ("list", "struct"):
        with pytest.raises(DataError, match=f"column '{name}' is {name}<"):
            build(tmp_path, "a.parquet", whole, target=name)
    for broken in (whole[:-9], whole[: len(whole) // 2], whole[:40] + bytes([whole[40] ^ 1]) + whole[41:]):
        with pytest.raises(DataError, match=r"cannot be read|not a readable Parquet"):
            build(tmp_path, "a.parquet", broken)


def test_ids_of_fractions_are_the_same_in_every_batch(tmp_path, monkeypatch):
    """A fraction among the ids must not change how the whole ones in other batches are written."""
    monkeypatch.setattr("pipeline.samples.graph.tables.BATCH_ROWS", 4)
    ids = [*map(float, range(12)), 0.5]
    tables = {
        "graphs": {"graph_id": ids, "y": [n * 1.5 for n in range(13)]},
        "nodes": {"graph_id": ids, "node_id": [1.0] * 13, "w": [n + 0.5 for n in range(13)]},
        "edges": {"graph_id": list(range(12)), "source": ["1"] * 12, "target": [1] * 12},
    }
    (tmp_path / "tables").mkdir()
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), tmp_path / "tables" / f"{name}.parquet")
    store, left = build(tmp_path, "tables", {})
    assert (store.num_graphs, left, store.manifest["source"]["strays"]) == (13, [], {})


# --- what is served gets the same treatment ---------------------------------------------------------------------------


def served(columns, schema):
    """Codes by row, and the packed graphs of the others."""
    pieces = list(read_request(pd.DataFrame(columns), schema, ServeConfig()))
    errors = {row: error.code for piece in pieces for row, error in piece.errors.items()}
    return errors, [piece.chunk for piece in pieces if piece.chunk is not None]


def test_molecules_are_read_alike_in_training_and_in_serving(tmp_path):
    store, left = build(tmp_path, "a.csv", table(*(f"{s},{n}.25" for n, s in enumerate(MOLECULES.values()))))
    kept = store.ids(np.arange(store.num_graphs))
    errors, _ = served({"smiles": list(MOLECULES.values())}, without_features(MOLECULE_SCHEMA))
    assert Counter(errors.values()) == Counter(line["code"] for line in left)
    _, (chunk,) = served({"smiles": kept}, without_features(MOLECULE_SCHEMA))
    x = store.arrays.x
    np.testing.assert_array_equal(x.table[x.code].reshape(chunk.x.shape), chunk.x)
    assert chunk.num_graphs == store.num_graphs


GRAPH = toy_schema(data_kind="graph", node_columns=(Column("w", "numeric"),))


@pytest.mark.parametrize(
    ("nodes", "edges", "code"),
    [
        ([1.5], [(0, 0)], None),
        ([1.5, 2.5], [(0, 1), (0, 1), (1, 0)], None),
        ([1.5], [(0, 7)], "index_out_of_range"),
        ([], [], "missing"),
        ([float("inf")], [], "not_finite"),
        (["tall"], [], "wrong_type"),
    ],
)
def test_graphs_are_read_alike_in_training_and_in_serving(tmp_path, nodes, edges, code):
    source, target = [a for a, _ in edges], [b for _, b in edges]
    request = {"nodes": [{"w": nodes}], "edges": [{"source": source, "target": target}]}
    errors, chunks = served(request, GRAPH)
    assert errors == ({0: code} if code else {})
    text = " ".join(f"s,{i},{w}" for i, w in enumerate(nodes)), " ".join(f"s,{a},{b}" for a, b in edges)
    store, left = build(tmp_path, "tables", graphs("s,1", *text), numeric="w")
    assert [line["code"] for line in left] == ([code] if code else [])
    if not code:
        assert len(chunks[0].edge_attr) == 2 * len(edges)
        assert store.num_graphs == 13


@pytest.mark.slow
def test_a_molecule_of_two_thousand_atoms(tmp_path):
    large = ["C" * 2000, "c1ccccc1" * 333 + "CC", "N[C@@H](C)C(=O)" * 400]
    store, left = build(tmp_path, "a.csv", table(*(f"{smiles},7" for smiles in large)))
    assert (store.num_graphs, left) == (15, [])
    errors, (chunk,) = served({"smiles": large}, without_features(MOLECULE_SCHEMA))
    assert errors == {}
    assert np.diff(chunk.node_ptr).tolist() == [2000, 2000, 2000]
    assert chunk.x.shape[1] == len(NODE_COLUMNS)


@pytest.mark.parametrize("unit", ["C(", "C", "[13C@@H]("])
def test_texts_that_would_keep_rdkit_busy_for_minutes_are_refused_at_once(unit):
    errors, _ = served({"smiles": [unit * 40_000, "C" + "1" * 100_000]}, without_features(MOLECULE_SCHEMA))
    assert errors == {0: "too_large", 1: "invalid_smiles"}


# --- every row is somewhere -------------------------------------------------------------------------------------------

SMILES = st.sampled_from([*MOLECULES.values(), "", " ", "N/A", "C\x00C", '"', "C" * 40])
CELLS = st.one_of(
    st.sampled_from(["", "1", "2.5", "NA", "inf", "1e400", ">3", "1,234", "x", "1_0", "−2", "nan", "true"]),
    st.floats(allow_nan=True).map(str),
    st.text(st.characters(blacklist_categories=("Cs",)), max_size=6),
)
ROWS = st.lists(st.lists(st.one_of(SMILES, CELLS), min_size=1, max_size=4), max_size=12)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, given_split=st.booleans())
def test_every_row_is_kept_merged_quarantined_or_left_with_a_reason(tmp_path, rows, given_split):
    sides = ["train"] * 10 + ["test"] * 2
    good = [[smiles, f"{n}.5", side] for n, (smiles, side) in enumerate(zip(ALCOHOLS * 2, sides * 2, strict=True))]
    file = io.StringIO()
    csv.writer(file).writerows([["smiles", "y", "split"], *good, *rows])
    options = {"split": "given"} if given_split else {}
    try:
        store, left = build(tmp_path, "a.csv", file.getvalue(), kind="regression", max_nodes=30, **options)
    except (DataError, SplitError):
        return  # the table as a whole is refused
    report = store.manifest["source"]
    gone = report["replicates"]["merged"] + sum(report["quarantined"].values()) + sum(report["split"]["leaks"].values())
    assert report["rows"] == store.num_graphs + gone
    assert len(left) == sum(report["quarantined"].values()) + sum(report["labels_left"].values())
    trailing = next((i for i, row in enumerate(reversed(rows)) if "".join(row)), len(rows))
    assert len(good) + len(rows) - trailing <= report["rows"] <= len(good) + len(rows)
    assert np.isfinite(store.tensors["graphs", "y"].numpy()).all()
