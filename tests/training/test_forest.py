"""Trees are fitted as scikit-learn fits them, and only to rows with a label."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.network.forest import Forest
from pipeline.training import forest as fitting
from pipeline.training.forest import fit_forest
from tests.support.forests import BINARY, CLASSES, NUMBER, scikit, table
from tests.support.schemas import toy_schema

NAN = float("nan")


@pytest.fixture(autouse=True)
def fewer_trees(monkeypatch):
    monkeypatch.setattr(fitting, "_TREES", 20)


def test_answers_are_scikit_learns():
    u, y = table()
    schema = toy_schema(NUMBER, BINARY, CLASSES)
    found = Forest(fit_forest(schema, u, y, 3), schema)(torch.from_numpy(u), torch.zeros(len(u), 6)).numpy()
    found *= [3, *[1.5] * 5]  # a third of a number is the trees', two thirds of a class
    models = [scikit(target, u, y[:, t], 3) for t, target in enumerate(schema.targets)]
    np.testing.assert_allclose(found[:, 0], models[0].predict(u), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found[:, 1], models[1].predict_proba(u)[:, 1], atol=1e-6)
    np.testing.assert_allclose(found[:, 2:5], models[2].predict_proba(u), atol=1e-6)
    assert not found[:, 5].any()  # a class that training never had


def test_rows_without_label_do_not_count_and_a_target_without_labels_has_no_trees():
    u, y = table()
    y[::3, 0] = NAN
    y[:, 1] = NAN
    schema = toy_schema(NUMBER, BINARY, CLASSES)
    others = torch.rand(len(u), 6)
    found = Forest(fit_forest(schema, u, y, 0), schema)(torch.from_numpy(u), others)
    there = ~np.isnan(y[:, 0])
    expected = scikit(NUMBER, u[there], y[there, 0], 0).predict(u)
    np.testing.assert_allclose(found[:, 0], expected / 3 + others[:, 0].numpy() * 2 / 3, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[:, 1], others[:, 1])


def test_a_missing_number_is_zero():
    u, y = table()
    schema = toy_schema(NUMBER)
    trees = fit_forest(schema, u, y[:, :1], 0)
    gone, zero = u.copy(), u.copy()
    gone[:, 1], zero[:, 1] = NAN, 0
    answer = [Forest(trees, schema)(torch.from_numpy(values), torch.zeros(len(u), 1)) for values in (gone, zero)]
    assert torch.equal(*answer)
    assert torch.isfinite(answer[0]).all()


def test_thresholds_between_two_floats_go_down():
    one = np.float32(1)
    above = np.float64(one) + 1e-12  # float32 values at most this are at most 1
    assert fitting._round_down(np.array([above, 1.0, np.float64(one) - 1e-12])).tolist() == [
        1.0, 1.0, np.nextafter(one, np.float32(0)),
    ]  # fmt: skip
