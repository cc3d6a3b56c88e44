"""prepare: what it says to people, and what its key covers."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import Source
from pipeline.schema import Target
from steps.prepare import describe, hints, key_of
from tests.conftest import ROOT
from tests.support.schemas import GRAPHS, toy_schema

SOURCE = Source(Path("data/mine.csv"), "molecule", "mine", ("y",))
REPORT: dict[str, Any] = {
    **{"rows": 12, "graphs": 10, "quarantined": {}, "labels_left": {}, "strays": {}, "bounds": 0, "built_in": {}},
    "split": {"method": "random", "sizes": {"train": 8, "validation": 1, "test": 1}, "leaks": {"train": 0}},
    "replicates": {"merged": 0, "targets": {}},
}


def said(schema: Any = None, **report: Any) -> str:
    return "\n".join(describe(SimpleNamespace(schema=schema or toy_schema()), REPORT | report))


def test_the_least_that_is_said():
    assert said() == (
        "target y is regression; set it with kind=\n12 rows → 10 graphs; split random: 8 train, 1 validation, 1 test"
    )


def test_targets_in_words():
    schema = toy_schema(
        Target("pIC50", "regression", unit="nM", transform="p"), Target("b", "binary", classes=("no", "yes"))
    )
    lines = said(schema).splitlines()
    assert lines[0] == "target pIC50 [nM] is regression, trained as −log10 of mol/L; set it with kind="
    assert lines[1] == "target b is binary: no, yes (positive: yes); set it with kind=, positive="


def test_a_potency_that_is_trained_as_it_is_gets_one_hint():
    schema = toy_schema(Target("IC50", "regression", unit="nM"), Target("Ki", "regression", unit="nM", transform="p"))
    y = np.array([[1.0, 9.0], [50_000.0, 4.0], [np.nan, np.nan]], dtype=np.float32)
    store = SimpleNamespace(schema=schema, arrays=SimpleNamespace(y=y))
    assert hints(store) == [
        "IC50 [nM] spans orders of magnitude: transform=p trains on −log10 of the molar value instead"
    ]


def test_labels_that_float32_cannot_hold_get_a_hint():
    schema = toy_schema(Target("code", "regression"), Target("y", "regression"))
    y = np.array([[16_777_218.0, 16_777_216.0], [1.0, np.nan]], dtype=np.float32)
    store = SimpleNamespace(schema=schema, arrays=SimpleNamespace(y=y))
    assert hints(store) == ["code has labels beyond 16,777,216: float32 keeps seven digits of them"]


def test_what_merging_does_is_said_of_the_kinds_that_there_are():
    merged = {"replicates": {"merged": 6, "targets": {}}}
    classes, number = Target("b", "binary", classes=("no", "yes")), Target("y", "regression")
    alone = said(toy_schema(classes), **merged)
    assert "6 replicate rows merged: into the class that their molecule has in each of them" in alone
    assert "median" not in alone
    both = said(toy_schema(number, classes), **merged)
    assert "merged: into their molecule's median, labels of classes into the class that their molecule has" in both
    assert "6 replicate rows merged: into their graph's" in said(replace(GRAPHS, targets=(number,)), **merged)


def test_columns_of_graphs_are_named_with_their_kind_and_how_to_set_it():
    text = said(GRAPHS)
    assert "node columns: symbol (categorical), charge (numeric); numeric=, categorical=" in text
    assert "edge columns: order (categorical)" in text


@pytest.mark.parametrize(
    ("report", "says"),
    [
        ({"quarantined": {"missing": 2, "no_label": 1}}, "rows left out: 2 missing, 1 no_label"),
        ({"labels_left": {"censored": 3}}, "labels left out: 3 censored"),
        ({"strays": {"nodes": 4}}, "4 rows of nodes name no graph of the table of graphs; they were left out"),
        ({"bounds": 5}, "5 labels are bounds and taken as their number (censored=bound)"),
        ({"replicates": {"merged": 6, "targets": {}}}, "6 replicate rows merged: into their molecule's median"),
        ({"constant": ["b", "c"]}, "left out, since their labels do not vary: b, c"),
        ({"unused_split": "split"}, "column 'split' names sides and is not used; pass split=given to split by it"),
        ({"id_column": "Molecule"}, "molecules are read from column 'Molecule'; set it with smiles="),
        (
            {"replicates": {"merged": 0, "targets": {"y": {"spread": 0.25}}}},
            "noise floor of y: replicates spread by 0.25 (pooled std)",
        ),
        (
            {"split": REPORT["split"] | {"leaks": {"train": 2, "validation": 0}}},
            "2 graphs of train stand on a later side too; they left train",
        ),
        ({"built_in": {"counts": {"salts": 3}}}, "made from the original: 3 salts"),
    ],
)
def test_whatever_left_is_said(report, says):
    assert says in said(**report).splitlines()


def test_how_fast_and_how_the_source_was_named_change_nothing(monkeypatch):
    monkeypatch.chdir(ROOT)
    key = key_of(PrepareConfig(data="mine.csv", target="y"), SOURCE, "digest")
    assert key == key_of(PrepareConfig(data="./mine.csv", target='"y"', processes=3), SOURCE, "digest")
    elsewhere = dataclasses.replace(SOURCE, path=Path("/elsewhere/mine.csv"))
    assert key == key_of(PrepareConfig(data="mine.csv", target="y"), elsewhere, "digest")
    others = [
        key_of(PrepareConfig(data="mine.csv", target="y", split_seed=1), SOURCE, "digest"),
        key_of(PrepareConfig(data="mine.csv", target="y"), SOURCE, "other"),
        key_of(PrepareConfig(data="mine.csv", target="y"), dataclasses.replace(SOURCE, split="scaffold"), "digest"),
        key_of(PrepareConfig(data="mine.csv", target="y"), dataclasses.replace(SOURCE, targets=("z",)), "digest"),
    ]
    assert len({key, *others}) == 5
