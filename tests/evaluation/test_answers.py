"""Bundles that answer fewer columns, or more, than this code knows: an old champion beside a new candidate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from pipeline.bundle.build import build_bundle
from pipeline.bundle.scoring import score_file
from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import find_source
from pipeline.dataset.split import TEST
from pipeline.digests import write_digests
from pipeline.evaluation.answers import ask_bundle
from pipeline.evaluation.predictions import build_table, compare_table
from pipeline.store.build import build_store
from tests.support.small_models import write_count_model

pytestmark = pytest.mark.mlflow

EXAMPLE = pd.DataFrame({"smiles": ["CCO", "C"]})


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Chains; the label of each is its number of atoms."""
    folder = tmp_path_factory.mktemp("chains")
    (folder / "chains.csv").write_text("smiles,size\n" + "".join(f"{'C' * n},{n}\n" for n in range(1, 31)))
    config = PrepareConfig(data="chains.csv", target="size")
    return build_store(config, find_source(config, folder, folder), folder / "store", "", lambda rows: None)


@pytest.fixture(scope="module")
def bundles(store, tmp_path_factory):
    """An old champion, one too large by one half; a candidate that is an ensemble; and one of a later graphline."""
    folder = tmp_path_factory.mktemp("bundles")
    networks = {"champion": {"bias": [0.5]}, "candidate": {"spread": [0.25]}, "later": {"spread": [0.25]}}
    for name, weights in networks.items():
        path = write_count_model(folder / f"{name}.onnx", store.schema, **weights)
        build_bundle(folder / name, path, store.schema, EXAMPLE)
    answer_more(folder / "later")
    return folder


def answer_more(bundle):
    """Give a bundle columns that this code does not know, as a later entry of the table would."""
    import mlflow.models
    from mlflow.types.schema import ColSpec, Schema

    path = bundle / "code" / "pipeline" / "answer.py"
    text = path.read_text()
    lower = 'AnswerColumn(f"{target}_lower", "number", target, output=STD),'
    for before, more in (("ROW_COLUMNS = (", 'AnswerColumn("region", "text"),'), ("    return (\n", lower)):
        assert text.count(before) == 1
        text = text.replace(before, before + more)
    path.write_text(text)
    model = mlflow.models.Model.load(bundle)
    later = [ColSpec("double", "size_lower", required=False), ColSpec("string", "region", required=False)]
    model.signature.outputs = Schema([*later, *model.signature.outputs.inputs])
    model.save(bundle / "MLmodel")
    write_digests(bundle)


@pytest.mark.parametrize("candidate", ["candidate", "later"])
def test_an_old_champion_is_compared_with_a_candidate_that_answers_more(store, bundles, candidate):
    _, mine = ask_bundle(store, bundles / candidate)
    _, theirs = ask_bundle(store, bundles / "champion", partial=True)
    rows = store.indices(TEST)
    assert mine.values["size"].tolist() == store.arrays.y[rows, 0].tolist()
    assert mine.spread["size"].tolist() == [0.25] * len(rows)
    assert (theirs.spread, theirs.refused.any()) == ({}, False)
    who = {"model": mine.values, "champion": theirs.values}
    table = build_table(store.schema, rows, None, store.arrays.y[rows], who)
    pair = compare_table(store.schema, table, ({}, {}), resamples=10)["size"]["mae"]
    assert (pair.challenger.value, pair.champion.value) == (0.0, 0.5)


def test_predict_writes_columns_that_it_does_not_know(bundles, tmp_path):
    (tmp_path / "in.csv").write_text("smiles,region\nCC,here\nC(,there\nC,\n")
    report = score_file(bundles / "later", tmp_path / "in.csv", tmp_path / "out.csv")
    found = pd.read_csv(tmp_path / "out.csv")
    assert list(found) == [
        *("smiles", "region", "size_lower", "region_predicted", "size", "size_std", "error", "error_detail", "warning")
    ]
    assert found["size_lower"].tolist()[::2] == [0.25, 0.25]
    assert found["region_predicted"].isna().all()
    assert np.isnan(found["size_lower"][1])
    assert (report.rows, report.answered, report.errors) == (3, 2, {"invalid_smiles": 1})
