"""The data page and the card of a small store: the numbers are those of the data, and no row shows that must not."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from pipeline.bundle.cost import Cost
from pipeline.bundle.parity import ParityReport, ParityRow
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.dataset.split import TEST
from pipeline.evaluation.comparison import Comparison, Costs
from pipeline.evaluation.gate import Gate
from pipeline.evaluation.judge import Evaluation
from pipeline.evaluation.predictions import MODEL, VerdictBasis, build_table, judge_table
from pipeline.report import fill as pages
from pipeline.report.card import build_card
from pipeline.report.fill import count_rows, data_page, fill_card, source_facts, split_facts
from pipeline.report.markdown import build_markdown
from pipeline.scale import from_trained_scale
from pipeline.store.build import build_store
from pipeline.training.config import TrainConfig

ALCOHOLS = ["C" * n + end for n in range(4, 17) for end in ("O", "N", "S")]
NAMES = ("yes", "no", "2020-01-01")
CURVE = [{"epoch": float(e), "train/loss": 1 / e, "val/loss": 1.1 / e, "learning_rate": 1e-3} for e in (1, 2, 3)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """39 molecules and a broken one; a dose in mg/L and one of three names; some labels are missing."""
    folder = tmp_path_factory.mktemp("pages")
    rows = [
        [smiles, f"{10 ** (n / 20):.6g}", "" if n % 7 == 3 else NAMES[n % 3], 20 + n % 2]
        for n, smiles in enumerate(ALCOHOLS)
    ]
    rows.append(["C1CCCC", 1, "yes", 20])
    rows.append(["OCCCC", 3, "yes", 20])  # a replicate of CCCCO, at the same temperature
    with open(folder / "mine.csv", "w", newline="") as file:
        csv.writer(file).writerows([["smiles", "dose", "name", "t"], *rows])
    config = PrepareConfig(
        data=str(folder / "mine.csv"),
        target="dose,name",
        transform="dose:log10",
        unit="dose:mg/L",
        features="t",
        processes=1,
    )
    return build_store(config, find_source(config, folder, folder), folder / "store", "d" * 64, lambda rows: None)


@pytest.fixture(scope="module")
def shared(store):
    return card_of(store, share_rows=True)


@pytest.fixture(scope="module")
def undrawn(shared):
    """Figures are drawn once, with the card `shared`; they are what takes the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "data_figures", lambda store: shared.data_figures)
        patch.setattr(pages, "target_figures", lambda target, *answers: shared.figures[target.name])
        patch.setattr(pages, "learning_curve", lambda *curves: shared.training_figures["Learning curve"])
        yield


@pytest.fixture(scope="module")
def private(store, undrawn):
    return card_of(store, share_rows=False)


@pytest.fixture(scope="module")
def page(store, undrawn):
    return data_page(store)


def card_of(store, *, share_rows):
    schema, test = store.schema, store.indices(TEST)
    y = store.arrays.y[test]
    number = from_trained_scale(schema.targets[0], np.linspace(0, 1, len(test)))
    model = {"dose": number, "name": np.tile([0.5, 0.3, 0.2], (len(test), 1))}
    who = {MODEL: model, "mean": {"dose": number * 2}}
    table = build_table(schema, store.rows[test], store.ids(test) if share_rows else None, y, who)
    basis = VerdictBasis(schema, {}, 5, {})
    metrics, _, verdict = judge_table(basis, table, Gate({"regression": {"rmse": {"max": 9}}}))
    comparison = Comparison(Costs(Cost(2.0, 0.2, 150.0)))
    evaluation = Evaluation(
        basis, table, metrics, verdict, comparison, {"dose": {"bias": "+0.1"}}, "Forest: none here."
    )
    rows = [ParityRow("one graph", 1, 5, 8, 1, run, "prediction", 2e-7) for run in (0, 1)]
    member = {"num_parameters": 1234, "best_epoch": 3, "train_time_s": 1.5, "curve": CURVE}
    return fill_card(
        store,
        evaluation,
        created="2026-01-01 00:00 UTC",
        training={"config": TrainConfig(hidden_dim=77).to_dict(), "members": [member]},
        parity=ParityReport(tuple(rows)),
        digests={"bundle": "b" * 64},
        environment={"commit": "abc"},
    )


def test_counts_of_rows_add_up(store):
    counts = count_rows(store.manifest["source"])
    assert counts == {
        "rows read": 41,
        "left out: invalid_smiles": 1,
        "merged replicates": 1,
        "graphs used": 39,
    }


def test_rows_without_a_side_and_leaks_are_counted():
    report = {
        "rows": 20,
        "graphs": 12,
        "quarantined": {"missing": 2},
        "replicates": {"merged": 0},
        "split": {"leaks": {"train": 3, "validation": 0}, "without_side": 3},
        "labels_left": {"censored": 4},
    }
    counts = count_rows(report)
    assert list(counts.items()) == [
        ("rows read", 20),
        ("left out: missing", 2),
        ("left train: stands on a later side too", 3),
        ("left out: no side", 3),
        ("graphs used", 12),
        ("labels left out: censored", 4),
    ]


def test_facts_name_the_file_and_the_split(store):
    report = store.manifest["source"]
    assert source_facts(report) == {
        "file": "mine.csv",
        "sha256": "d" * 64,
        "licence": "not stated (data of the user)",
    }
    basis = split_facts(report)
    assert (basis["method"], basis["seed"]) == ("random", 0)
    assert basis["train"] + basis["validation"] + basis["test"] == 39
    assert basis["graphs on two sides"] == 0
    assert any(name.startswith("noise floor of dose") for name in basis)


def test_data_page_has_a_figure_of_each_target_and_no_row(page):
    for caption in ("Labels: dose", "Labels: name", "Graph sizes", "Split sizes"):
        assert caption in page
    assert page.count("<svg") == 4
    assert "left out: invalid_smiles" in page
    assert not [smiles for smiles in [*ALCOHOLS, "C1CCCC"] if smiles in page]


def test_card_tells_what_was_trained_and_on_what(store, shared):
    assert shared.training["hidden_dim"] == 77
    assert shared.training["weights"] == 1234
    assert shared.training["best epoch"] == "3"
    assert "class_path" not in shared.training
    assert shared.scope.nodes == (5, 17)
    assert shared.scope.features == {"t": (20.0, 21.0)}
    low, high = shared.scope.labels["dose"]
    assert 0 <= low < high <= 1.91
    assert "2 comparisons" in shared.parity_summary
    assert [row["batch"] for row in shared.parity] == ["one graph"]
    assert set(shared.figures) == {"dose", "name"}


def test_worst_cases_are_drawn_and_named_when_rows_are_shared(store, shared):
    test = set(store.ids(store.indices(TEST)))
    number = {row: smiles for row, smiles in zip(store.rows, store.ids(np.arange(39)), strict=True)}
    for target, cases in shared.worst.items():
        assert cases, target
        for case in cases:
            assert case.name in test
            assert case.name == number[case.row]
            assert case.svg.startswith("<svg")
    assert {case.answer for case in shared.worst["name"]} == {store.schema.targets[1].classes[0]}
    assert {case.label for case in shared.worst["name"]} <= set(NAMES)
    card = build_card(shared)
    assert any(smiles in card for smiles in test)


def test_nothing_of_a_row_but_its_number_stands_on_a_card_that_must_not_share(page, private, shared):
    for target, cases in private.worst.items():
        assert [case.row for case in cases] == [case.row for case in shared.worst[target]]
        assert all(case.name is None and case.svg is None for case in cases)
    text = build_card(private) + build_markdown(private) + page
    assert not [smiles for smiles in [*ALCOHOLS, "C1CCCC"] if smiles in text]
    assert f"Row {private.worst['dose'][0].row}" in text
