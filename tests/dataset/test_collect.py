"""Rows become a store: what is kept, what is merged, what leaves, and what is refused in one line."""

import csv
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.collect import mix_keys
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source, model_name, per_target
from pipeline.dataset.split import TEST, TRAIN, VALIDATION
from pipeline.errors import ConfigError, DataError, PipelineError, SplitError
from pipeline.store.build import build_store, quarantine_path
from tests.conftest import ROOT

ALKANES = ["C" * n for n in range(1, 31)]


def build(tmp_path, header, rows, **options):
    """A store from a table written here; returns it with the lines of its quarantine."""
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "mine.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    config = PrepareConfig(data=str(path), **options)
    folder = tmp_path / "stores" / "one"
    store = build_store(config, find_source(config, tmp_path, tmp_path), folder, "digest", lambda rows: None)
    with open(quarantine_path(folder), newline="") as file:
        return store, list(csv.DictReader(file))


def labels(store):
    return dict(zip(store.ids(np.arange(store.num_graphs)), store.tensors["graphs", "y"].numpy()[:, 0], strict=True))


def test_bad_rows_are_quarantined_with_number_value_and_reason(tmp_path):
    rows = [[smiles, n] for n, smiles in enumerate(ALKANES)]
    rows[4] = ["C1CC", 4]
    rows[7] = ["", 7]
    rows[9] = ["CCO", ""]
    rows[11] = ["CCN", "tall"]
    store, left = build(tmp_path, ["smiles", "y"], rows, target="y")
    assert [(line["row"], line["value"], line["code"]) for line in left] == [
        ("5", "C1CC", "invalid_smiles"),
        ("8", "", "missing"),
        ("10", "CCO", "no_label"),
        ("12", "CCN", "invalid_label"),
    ]
    report = store.manifest["source"]
    assert report["rows"] == 30
    assert report["graphs"] == store.num_graphs == 26
    assert sum(report["quarantined"].values()) == 4


def test_on_error_fail_names_the_first_bad_row_and_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match=r"mine\.csv row 2: .*on_error=skip"):
        build(tmp_path, ["smiles", "y"], [["C", 1], ["C1CC", 2]], target="y", on_error="fail")
    assert not list((tmp_path / "stores").iterdir())


def test_replicates_become_their_median(tmp_path):
    rows = [[smiles, n] for n, smiles in enumerate(ALKANES)] + [["OCC", 1], ["CCO", 2], ["C(C)O", 9]]
    store, _ = build(tmp_path, ["smiles", "y"], rows, target="y")
    assert labels(store)["OCC"] == 2
    assert store.manifest["source"]["replicates"]["merged"] == 2


def test_another_temperature_is_no_replicate_but_the_same_side(tmp_path):
    rows = [[smiles, n + t, t] for n, smiles in enumerate(ALKANES) for t in (20, 60)]
    store, _ = build(tmp_path, ["smiles", "y", "t"], rows, target="y", features="t")
    assert store.num_graphs == 60
    sides = {}
    for side in (TRAIN, VALIDATION, TEST):
        for smiles in store.ids(store.indices(side)):
            sides.setdefault(smiles, set()).add(side)
    assert all(len(found) == 1 for found in sides.values())
    assert set(store.tensors["graphs", "u"].numpy()[:, 0]) == {20.0, 60.0}


def test_a_molecule_on_two_given_sides_leaves_training_with_its_label(tmp_path):
    rows = [[smiles, n, "test" if n > 24 else "train"] for n, smiles in enumerate(ALKANES)]
    rows += [["C" * 30, 1000, "train"]]
    store, _ = build(tmp_path, ["smiles", "y", "split"], rows, target="y", split="given")
    assert store.manifest["source"]["split"]["leaks"]["train"] == 1
    assert labels(store)["C" * 30] == 29  # not the median with the training row
    assert len(store.indices(TEST)) == 5


def test_unequal_class_labels_are_quarantined(tmp_path):
    rows = [[smiles, "yes" if n % 2 else "no"] for n, smiles in enumerate(ALKANES)] + [["C", "yes"]]
    store, left = build(tmp_path, ["smiles", "y"], rows, target="y")
    assert {line["code"] for line in left} == {"conflicting_labels"}
    assert {line["value"] for line in left} == {"C"}
    assert "C" not in labels(store)


def test_transform_p_trains_on_minus_log_molar(tmp_path):
    rows = [[smiles, 10 ** (n / 10)] for n, smiles in enumerate(ALKANES)]
    store, _ = build(tmp_path, ["smiles", "y"], rows, target="y", transform="p", unit="nM")
    assert labels(store)["C" * 11] == pytest.approx(9 - 1.0)


def test_missing_labels_of_one_target_are_fine(tmp_path):
    rows = [[smiles, n if n % 2 else "", -n] for n, smiles in enumerate(ALKANES)]
    store, left = build(tmp_path, ["smiles", "a", "b"], rows, target="a,b")
    assert store.num_graphs == 30
    assert not left
    assert np.isnan(store.tensors["graphs", "y"].numpy()[:, 0]).sum() == 15


@pytest.mark.parametrize(
    ("header", "rows", "options", "error", "words"),
    [
        (["smiles", "y"], [["C", 1]], {"target": "z"}, DataError, "no column 'z'. The columns are smiles, y"),
        (["smiles", "y"], [["C", 1]], {}, DataError, "target= with one or several of the columns smiles, y"),
        (["smiles", "y"], [], {"target": "y"}, DataError, "mine.csv"),
        (["smiles", "y"], [[s, 1] for s in ALKANES], {"target": "y"}, DataError, "y"),
        (["a", "b", "y"], [["x", "z", 1]], {"target": "y"}, DataError, "smiles="),
        (["smiles", "y"], [["C", 1], ["CC", 2]], {"target": "y"}, SplitError, "split"),
        (["smiles", "y"], [["C", 1], ["CC", 2]], {"target": "y", "directed": True}, ConfigError, "graph tables"),
        (["smiles", "error"], [[s, n] for n, s in enumerate(ALKANES)], {"target": "error"}, ConfigError, "error"),
    ],
)
def test_what_cannot_work_is_one_line(tmp_path, header, rows, options, error, words):
    with pytest.raises(error) as caught:
        build(tmp_path, header, rows, **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "stores").glob("*")) if (tmp_path / "stores").exists() else True


def test_nothing_at_the_path_names_the_path_and_the_built_in_sets(tmp_path):
    with pytest.raises(PipelineError, match=r"nothing at .*nowhere\.csv"):
        find_source(PrepareConfig(data="nowhere.csv"), ROOT, tmp_path)


def test_split_time_needs_its_column():
    with pytest.raises(ConfigError, match="time_column"):
        PrepareConfig(split="time")


def test_time_split_puts_the_newest_into_test(tmp_path):
    rows = [[smiles, n, f"2020-01-{n + 1:02d}"] for n, smiles in enumerate(ALKANES)]
    store, _ = build(tmp_path, ["smiles", "y", "day"], rows, target="y", split="time", time_column="day")
    assert set(store.ids(store.indices(TEST))) == {"C" * 28, "C" * 29, "C" * 30}


@pytest.mark.parametrize("step", [1, -1])
def test_the_time_of_a_replicate_is_its_earliest_in_any_order_of_rows(tmp_path, step):
    rows = [[smiles, n, 1990 + n] for n, smiles in enumerate(ALKANES)]
    rows += [[smiles, n, 2030] for n, smiles in enumerate(ALKANES[:4])]
    store, _ = build(tmp_path, ["smiles", "y", "year"], rows[::step], target="y", split="time", time_column="year")
    assert set(store.ids(store.indices(TEST))) == {"C" * 28, "C" * 29, "C" * 30}


@pytest.mark.parametrize(("file", "name"), [("screen.v2.csv", "screen.v2"), ("a.csv.gz", "a"), ("b.sdf", "b")])
def test_a_model_is_named_as_its_file(tmp_path, file, name):
    (tmp_path / file).touch()
    assert find_source(PrepareConfig(data=file), tmp_path, tmp_path).name == name


def test_bounds_that_are_kept_are_counted(tmp_path):
    rows = [[smiles, f">{n + 1}" if n < 3 else n + 1] for n, smiles in enumerate(ALKANES)]
    store, left = build(tmp_path, ["smiles", "y"], rows, target="y", censored="bound")
    assert (store.num_graphs, left, store.manifest["source"]["bounds"]) == (30, [], 3)
    store, left = build(tmp_path / "drop", ["smiles", "y"], rows, target="y")
    assert (store.num_graphs, len(left), store.manifest["source"]["bounds"]) == (27, 3, 0)


def test_a_class_label_lost_to_contradiction_is_counted_though_its_row_stays(tmp_path):
    rows = [[smiles, n, n % 2] for n, smiles in enumerate(ALKANES)] + [["CCO", 5, 0], ["OCC", 7, 1]]
    store, left = build(tmp_path, ["smiles", "y", "active"], rows, target="y,active")
    assert labels(store)["CCO"] == 6
    report = store.manifest["source"]
    assert report["quarantined"] == {}
    assert report["labels_left"] == {"conflicting_labels": 2}
    assert [(line["row"], line["code"]) for line in left] == [
        ("31", "conflicting_labels"),
        ("32", "conflicting_labels"),
    ]


def test_a_file_without_a_usable_row_says_why_the_first_one_is_not(tmp_path):
    with pytest.raises(DataError, match=r"no usable row \(30 no_split\); row 1: column 'who' does not say train"):
        build(tmp_path, ["smiles", "y", "who"], [[s, n, "me"] for n, s in enumerate(ALKANES)], target="y", split="who")


def test_a_misspelt_split_names_the_methods(tmp_path):
    with pytest.raises(DataError, match="split=scafold needs a column 'scafold'; pass split=random, scaffold, time"):
        build(tmp_path, ["smiles", "y"], [[s, n] for n, s in enumerate(ALKANES)], target="y", split="scafold")


def test_quotes_keep_a_column_name_with_a_comma(tmp_path):
    rows = [[smiles, n] for n, smiles in enumerate(ALKANES)]
    store, _ = build(tmp_path, ["smiles", "solubility, mg/L"], rows, target='"solubility, mg/L"')
    assert [target.name for target in store.schema.targets] == ["solubility, mg/L"]


def test_per_target_options():
    assert per_target("description", "a:in cells, at 37 °C,b:none", ("a", "b")) == {
        "a": "in cells, at 37 °C",
        "b": "none",
    }
    assert per_target("unit", "a:b:nM", ("a:b",)) == {"a:b": "nM"}
    assert per_target("unit", "nM", ("a", "b")) == {"a": "nM", "b": "nM"}
    assert per_target("unit", "a:nM", ("a", "b")) == {"a": "nM", "b": None}
    with pytest.raises(ConfigError, match="'c' is no target"):
        per_target("unit", "a:nM,c:M", ("a", "b"))


def test_model_names_fit_the_registry():
    assert model_name("my set (v2)") == "my-set-v2"
    with pytest.raises(ConfigError):
        model_name("x-candidates")


def test_graph_tables_become_a_store(tmp_path):
    config = PrepareConfig(data="graphs-sample")
    source = find_source(config, ROOT, tmp_path)
    store = build_store(config, source, tmp_path / "stores" / "g", "", lambda rows: None)
    assert store.num_graphs == 80
    assert [len(store.indices(side)) for side in (TRAIN, VALIDATION, TEST)] == [64, 8, 8]


@pytest.mark.parametrize("name", ["solubility", "bbbp"])
def test_built_in_sets_have_their_shipped_sizes(tmp_path, name):
    config = PrepareConfig(data=name)
    store = build_store(config, find_source(config, ROOT, tmp_path), tmp_path / "s" / "g", "", lambda rows: None)
    if name == "solubility":
        assert len(store.indices(TEST)) == 257
        assert store.manifest["source"]["split"]["leaks"]["train"] == 4
    else:
        assert store.num_graphs == 3907


def test_graph_features_join_the_identity():
    keys = np.array([[1, 2], [1, 2], [1, 2], [3, 4]], dtype=np.uint64)
    u = np.float32([[0.0, 7.0], [-0.0, 7.0], [0.5, 7.0], [0.0, 7.0]])
    mixed = mix_keys(keys, u)
    assert (mixed[0] == mixed[1]).all()  # −0 is 0
    assert len(np.unique(mixed, axis=0)) == 3
    np.testing.assert_array_equal(keys[:, 0], [1, 1, 1, 3])  # the caller's stay
    np.testing.assert_array_equal(mix_keys(keys, u[:, :0]), keys)


def test_targets_that_do_not_vary_in_training_leave_together(tmp_path):
    side = ["train"] * 8 + ["validation"] * 2 + ["test"] * 3
    rows = [["C" * n, n, int(n == 12), 7 if n > 11 else "", side[n - 1]] for n in range(1, 14)]
    header = ["smiles", "y", "flat", "late", "split"]
    store, _ = build(tmp_path, header, rows, target="y,flat,late", split="given")
    assert [target.name for target in store.schema.targets] == ["y"]
    report = store.manifest["source"]
    assert report["constant"] == ["late", "flat"]  # one value in all the data; two, but one of them in training
    assert report["split"]["sizes"] == {"train": 8, "validation": 2, "test": 3}
    with pytest.raises(SplitError, match=r"no target varies in training \(flat\)"):
        build(tmp_path / "flat", header, rows, target="flat", split="given")


def test_an_empty_side_is_told_with_what_left_and_the_quarantine_stays(tmp_path):
    rows = [["C", 1], ["CC", 2], *([f"InChI=1S/{n}", n] for n in range(19))]
    says = r"side is empty.* Rows had left before: 19 invalid_smiles; they are listed in (\S+)\."
    with pytest.raises(SplitError, match=says) as caught:
        build(tmp_path, ["smiles", "y"], rows, target="y")
    listed = Path(str(caught.value).split(" listed in ")[1].rstrip("."))
    assert listed.read_text().count("invalid_smiles") == 19


@pytest.mark.parametrize(
    ("form", "dates"), [("%d/%m/%Y", ["31/01/2020", "01/02/2020"]), ("%b %Y", ["Jan 2020", "Feb 2020"])]
)
def test_dates_may_be_written_as_the_user_says(tmp_path, form, dates):
    rows = [["C" * n, n, dates[n > 10]] for n in range(1, 14)]
    asked = {"target": "y", "split": "time", "time_column": "when"}
    store, _ = build(tmp_path, ["smiles", "y", "when"], rows, time_format=form, **asked)
    assert {len(name) for name in store.ids(store.indices(TEST))} <= {11, 12, 13}
    with pytest.raises(DataError, match=r"column 'when' holds no number or ISO date \(see time_format=\)"):
        build(tmp_path / "other", ["smiles", "y", "when"], rows, on_error="fail", **asked)
