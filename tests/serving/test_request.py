import dataclasses
import json
import math
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.answer import OUTPUTS, PREDICTION
from pipeline.errors import ROW_CODES, ConfigError, DataError, RowError
from pipeline.graph import unpack
from pipeline.samples.graph import kind as graph
from pipeline.samples.graph.columns import read_feature
from pipeline.samples.kinds import request_columns
from pipeline.samples.molecule import kind as molecule
from pipeline.samples.molecule.smiles import parse_smiles
from pipeline.schema import Column, Limits, Target
from pipeline.serveconfig import ServeConfig
from serving import request
from serving.request import Answers, read_request
from tests.support.schemas import GRAPHS, MOLECULES, toy_schema
from tests.support.small_models import graph_row


def read(rows, schema):
    """All pieces of a request as (row of each graph, sizes of the graphs, features, codes of the errors)."""
    pieces = list(read_request(pd.DataFrame(rows), schema, ServeConfig()))
    good = [int(row) for piece in pieces for row in piece.good]
    sizes = [int(n) for piece in pieces if piece.chunk for n in np.diff(piece.chunk.node_ptr)]
    features = [float(u) for piece in pieces if piece.chunk for u in piece.chunk.u[:, 0]]
    codes = {row: error.code for piece in pieces for row, error in piece.errors.items()}
    return good, sizes, features, codes


def test_molecules_good_and_bad():
    smiles = ["CCO", None, 5, "", "C1CC", "C", math.nan, "not a molecule", "C" * 40, True, ["C"]]
    schema = dataclasses.replace(MOLECULES, limits=Limits(max_nodes=30))
    good, sizes, features, codes = read({"smiles": smiles, "temperature": [1.5] * len(smiles)}, schema)
    assert (good, sizes, features) == ([0, 5], [3, 1], [1.5, 1.5])
    assert set(codes) == {1, 2, 3, 4, 6, 7, 8, 9, 10}
    assert codes[1] == codes[6] == "missing"
    assert codes[2] == codes[9] == codes[10] == "wrong_type"
    assert codes[4] == codes[7] == "invalid_smiles"
    assert codes[8] == "too_large"
    assert set(codes.values()) <= set(ROW_CODES)


def test_a_molecule_on_which_rdkit_breaks_is_an_error_of_its_row(monkeypatch):
    def parse(smiles, limits):
        if smiles == "CC":
            raise RuntimeError("Invariant Violation")
        return parse_smiles(smiles, limits)

    monkeypatch.setattr("pipeline.samples.molecule.featurize.parse_smiles", parse)
    good, sizes, _, codes = read({"smiles": ["C", "CC", "CCC"], "temperature": [1.0] * 3}, MOLECULES)
    assert (good, sizes, codes) == ([0, 2], [1, 3], {1: "invalid_smiles"})


def test_features_of_molecules_are_checked_row_by_row():
    values = [20, None, "20", math.inf, 10**400, True, np.float64(3)]
    good, _, features, codes = read({"smiles": ["C"] * 7, "temperature": pd.Series(values, dtype=object)}, MOLECULES)
    assert (good, features) == ([0, 6], [20, 3])
    assert codes == {1: "missing", 2: "wrong_type", 3: "not_finite", 4: "not_finite", 5: "wrong_type"}


def test_graphs_good_and_bad():
    row = graph_row(3, temperature=2.0)
    rows = [
        row,
        row | {"nodes": None},
        row | {"nodes": [1, 2]},
        row | {"edges": {"source": [0], "target": [7], "order": [1]}},
        row | {"edges": {"source": [0, 1], "target": [1], "order": [1, 1]}},
        row | {"temperature": None},
        row | {"temperature": "warm"},
        row | {"edges": {"source": [], "target": []}},
        row | {"nodes": json.dumps(row["nodes"]), "edges": json.dumps(row["edges"])},  # as a CSV cell holds it
        row | {"nodes": "{"},
        row | {"nodes": "[" * 100_000},
        row | {"nodes": '{"symbol": [' + "9" * 5000 + "]}"},
        row | {"nodes": "  "},
    ]
    good, sizes, features, codes = read(rows, GRAPHS)
    assert (good, sizes, features) == ([0, 7, 8], [3, 3, 3], [2.0, 2.0, 2.0])
    assert codes == {
        **{1: "missing", 2: "wrong_type", 3: "index_out_of_range", 4: "length_mismatch", 5: "missing"},
        **{6: "wrong_type", 9: "wrong_type", 10: "wrong_type", 11: "wrong_type", 12: "missing"},
    }


def test_lists_may_be_numpy_arrays_as_parquet_gives_them():
    row = graph_row(3)
    arrays = {key: {name: np.array(v) for name, v in row[key].items()} for key in ("nodes", "edges")}
    assert read([row | arrays], GRAPHS)[:2] == ([0], [3])


def test_no_detail_repeats_what_the_client_sent():
    secret = "C1CCsecret"
    rows = pd.DataFrame({"smiles": [secret, "C"], "temperature": pd.Series([1.0, secret], dtype=object)})
    details = [
        error.detail for piece in read_request(rows, MOLECULES, ServeConfig()) for error in piece.errors.values()
    ]
    graph = graph_row(2) | {"temperature": secret, "nodes": secret}
    graphs = pd.DataFrame([graph, graph_row(2) | {"temperature": secret}])
    details += [
        error.detail for piece in read_request(graphs, GRAPHS, ServeConfig()) for error in piece.errors.values()
    ]
    assert len(details) == 4
    assert not any("secret" in detail for detail in details)


@pytest.mark.parametrize(("schema", "column"), [(MOLECULES, "temperature"), (GRAPHS, "edges")])
def test_a_missing_column_is_named(schema, column):
    rows = pd.DataFrame({name: [None] for name in request_columns(schema) if name != column} | {"more": [1]})
    with pytest.raises(DataError, match=column):
        list(read_request(rows, schema, ServeConfig()))


def test_a_request_without_rows_has_no_pieces():
    for schema in (MOLECULES, GRAPHS):
        assert (
            list(read_request(pd.DataFrame({name: [] for name in request_columns(schema)}), schema, ServeConfig()))
            == []
        )


def test_pieces_keep_the_order_of_rows(monkeypatch):
    monkeypatch.setattr(molecule, "MAX_CHARACTERS", 4)
    monkeypatch.setattr(graph, "MAX_NODES", 6)
    smiles = ["CCC", "bad", "C", "CC", None, "CCCCCC", "C"]
    good, sizes, features, codes = read({"smiles": smiles, "temperature": range(7)}, MOLECULES)
    assert (good, sizes, features) == ([0, 2, 3, 5, 6], [3, 1, 2, 6, 1], [0, 2, 3, 5, 6])
    assert set(codes) == {1, 4}
    rows = [graph_row(n, temperature=n) for n in (3, 1, 4, 1, 5)]
    rows[3]["nodes"] = None
    assert read(rows, GRAPHS) == ([0, 1, 2, 4], [3, 1, 4, 5], [3, 1, 4, 5], {3: "missing"})


def test_answers_of_every_kind_of_target():
    answers = Answers(GRAPHS, GRAPHS.answer_columns(OUTPUTS), 3)
    answers.add_errors({1: RowError("missing", "nothing there")})
    prediction = np.array([[-2.5, 0.1, 0.2, 0.5, 0.3], [7, 0.9, 0.6, 0.3, 0.1]], np.float32)
    std = np.array([[0.1, 0.2, 0.3, 0.4, 0.5], [0, 0, 0.25, 0, 0]], np.float32)
    answers.add(np.array([0, 2]), {"prediction": prediction, "std": std}, [None, "look out"])
    table = answers.table()
    assert set(table.dtypes) == {np.dtype(object)}
    first, bad, last = table.to_dict("records")
    assert first == {
        **{"size": -2.5, "size_std": 0.1, "active": 0.1, "active_std": 0.2, "colour": "green"},
        **{"colour=red": 0.2, "colour=green": 0.5, "colour=blue": 0.3, "colour_std": 0.4},
        **{"error": None, "error_detail": None, "warning": None},
    }
    assert {name: value for name, value in bad.items() if value is not None} == {
        "error": "missing",
        "error_detail": "nothing there",
    }
    assert (last["colour"], last["colour_std"], last["warning"]) == ("red", 0.25, "look out")
    assert type(first["size"]) is float
    json.dumps(table.to_dict("records"), allow_nan=False)


def test_the_class_is_called_from_the_threshold_up():
    """Of the number that the client reads: 0.3 is 0.3, though float32 holds a little more."""
    schema = toy_schema(Target("toxic", "binary", classes=("no", "yes"), threshold=0.3))
    answers = Answers(schema, schema.answer_columns([PREDICTION]), 4)
    answers.add_errors({3: RowError("missing", "nothing there")})
    answers.add(np.arange(3), {"prediction": np.array([[0.29], [0.3], [0.9]], np.float32)}, [None] * 3)
    assert answers.table()["toxic_call"].tolist() == ["no", "yes", "yes", None]
    assert answers.table()["toxic"].tolist() == [0.29, 0.3, 0.9, None]


def test_records_are_those_of_pandas_before_and_after_an_edit():
    answers = Answers(MOLECULES, MOLECULES.answer_columns([PREDICTION]), 3)
    answers.add_errors({1: RowError("missing", "The SMILES is empty.")})
    table = answers.table()
    for _ in range(2):
        assert table.to_dict(orient="records") == pd.DataFrame(table).to_dict(orient="records")
        assert table.to_dict("list") == pd.DataFrame(table).to_dict("list")
        table.loc[1, "error"], table["more"] = "invalid_smiles", [1.5, 2.5, 3.5]
    assert table.to_dict(orient="records")[1]["error"] == "invalid_smiles"
    assert type(table.head(2)) is type(pickle.loads(pickle.dumps(table))) is pd.DataFrame


def test_an_answer_that_is_no_number_is_an_error_of_its_row():
    answers = Answers(MOLECULES, MOLECULES.answer_columns([PREDICTION]), 3)
    prediction = np.array([[1], [np.inf], [np.nan]], np.float32)
    answers.add(np.arange(3), {"prediction": prediction}, ["rare"] * 3)
    table = answers.table()
    assert table["warning"].tolist() == ["rare", None, None]
    assert table["size"].tolist() == [1.0, None, None]
    assert table["error"].tolist() == [None, "not_finite", "not_finite"]


def test_answers_without_rows():
    columns = GRAPHS.answer_columns([PREDICTION])
    table = Answers(GRAPHS, columns, 0).table()
    assert table.to_dict("records") == []
    assert list(table.columns) == [column.name for column in columns]
    table.columns.name = "of this table only"
    assert Answers(GRAPHS, columns, 0).table().columns.name is None


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_short_floats_are_the_same_float32(value):
    (short,) = request._numbers(np.array([value], np.float32))
    assert np.float32(short) == np.float32(value)
    assert len(repr(short)) <= 24


@given(st.one_of(st.text(), st.booleans(), st.lists(st.integers()), st.dictionaries(st.text(), st.integers())))
def test_whatever_is_no_number_is_refused_as_a_feature(value):
    with pytest.raises(RowError) as caught:
        read_feature(value, Column("temperature", "numeric"))
    assert caught.value.code == "wrong_type"


@pytest.mark.parametrize(
    ("rows", "limits", "named"),
    [
        ([{"smiles": "C", "temperature": 1.0}] * 3, ServeConfig(max_rows=2), "max_rows=2"),
        ([{"smiles": "C" * 90, "temperature": 1.0}] * 2, ServeConfig(max_bytes=195), "max_bytes=195"),
    ],
)
def test_a_limit_of_the_request_is_named(rows, limits, named):
    with pytest.raises(DataError, match=named):
        read_request(pd.DataFrame(rows), MOLECULES, limits)
    assert list(read_request(pd.DataFrame(rows[:1]), MOLECULES, limits))


def test_a_column_that_stands_twice_is_named():
    table = pd.DataFrame([["C", "CC", 1.0]], columns=["smiles", "smiles", "temperature"])
    with pytest.raises(DataError, match="smiles"):
        read_request(table, MOLECULES, ServeConfig())


def test_bytes_are_those_of_nested_values():
    nested = {"a": ["CC", 5, None, {"b": [1.5, "x"] * 2}], "c": np.zeros(3, np.float32)}
    assert request._size([nested], 1000) == 2 + 8 + 8 + 2 * (8 + 1) + 12
    deep = []
    for _ in range(100_000):
        deep = [deep]
    assert request._size([deep, "x" * 100], 50) == 100


@pytest.mark.parametrize("wrong", [{"max_rows": 0}, {"max_bytes": "9"}, {"threads": -1}, {"wait_ms": math.nan}])
def test_settings_are_checked_when_a_bundle_is_loaded(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ServeConfig(**wrong)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
_JSON = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_NAMES = st.sampled_from(["symbol", "charge", "source", "target", "order"])
_TABLES = _JSON | st.dictionaries(_NAMES, st.lists(_SCALARS | st.integers(-1, 4), max_size=4), max_size=5)
_SMILES = _JSON | st.text("CNOcn1234()[]=#@+-/\\.%Hl:*", max_size=25)


def check_neighbours(rows, good, schema, named):
    """Whatever stands in `rows`: each has a code of the list or an answer, and the good row behind each its own."""
    mixed = [row for pair in rows for row in (pair, good)]
    seen = []
    for piece in read_request(pd.DataFrame(mixed), schema, ServeConfig()):
        assert {error.code for error in piece.errors.values()} <= set(ROW_CODES)
        seen += [*piece.errors, *piece.good.tolist()]
        for g, row in enumerate(piece.good.tolist()):
            graph = unpack(piece.chunk, g)
            assert not np.isinf(graph.x_float).any()
            assert np.isfinite(graph.u).all()
            assert graph.num_edges == 0 or 0 <= graph.edge_index.min() <= graph.edge_index.max() < graph.num_nodes
            if row % 2:
                assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(graph, named, strict=True))
    assert sorted(seen) == list(range(len(mixed)))
    assert set(range(1, len(mixed), 2)) <= set(seen)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.fixed_dictionaries({"smiles": _SMILES, "temperature": _JSON}), min_size=1, max_size=4))
def test_anything_may_stand_in_a_row_of_molecules(rows):
    good = {"smiles": "CCO", "temperature": 1.5}
    (piece,) = read_request(pd.DataFrame([good]), MOLECULES, ServeConfig())
    check_neighbours(rows, good, MOLECULES, unpack(piece.chunk, 0))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries({"nodes": _TABLES, "edges": _TABLES, "temperature": _JSON}),
        min_size=1,
        max_size=4,
    )
)
def test_anything_may_stand_in_a_row_of_graphs(rows):
    good = graph_row(3, temperature=1.5)
    (piece,) = read_request(pd.DataFrame([good]), GRAPHS, ServeConfig())
    check_neighbours(rows, good, GRAPHS, unpack(piece.chunk, 0))


@given(
    st.sampled_from(["source", "target"]), st.one_of(st.booleans(), st.text(), st.floats(), st.integers(), st.none())
)
def test_only_a_whole_number_in_range_names_a_node(end, value):
    row = graph_row(3)
    row["edges"][end] = [value, 0]
    whole = isinstance(value, int | float) and not isinstance(value, bool) and value in (0, 1, 2)
    (piece,) = read_request(pd.DataFrame([row]), GRAPHS, ServeConfig())
    assert (piece.chunk is not None) == whole
    wanted = {"index_out_of_range"} if isinstance(value, int) and not isinstance(value, bool) else {"wrong_type"}
    wanted |= {"missing"} if value is None else {"index_out_of_range"} if isinstance(value, float) else set()
    assert whole or piece.errors[0].code in wanted
