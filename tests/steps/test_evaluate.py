"""evaluate: what its key covers, and the example that a user can send."""

from __future__ import annotations

import json

import pandas as pd

from pipeline.evaluation.config import EvaluateConfig
from steps.evaluate import key_of, request_text
from tests.conftest import ROOT


def test_another_champion_is_another_evaluation(monkeypatch):
    monkeypatch.chdir(ROOT)
    inputs = {"store": "stored", "training": "trained"}
    keys = [key_of(EvaluateConfig(), inputs | {"champion": one}, "graph") for one in ("none", "1:aa", "2:aa", "1:aa")]
    assert len(set(keys)) == 3
    assert keys[1] == keys[3]


def test_a_long_example_is_sent_from_its_file(tmp_path):
    short = pd.DataFrame({"smiles": ["CCO", "C"]})
    assert json.loads(request_text(short, tmp_path)) == {"dataframe_records": [{"smiles": "CCO"}]}
    large = pd.DataFrame({"nodes": [{"symbol": ["C"] * 3000}]})
    assert request_text(large, tmp_path) == f"@{tmp_path / 'serving_input_example.json'}"
