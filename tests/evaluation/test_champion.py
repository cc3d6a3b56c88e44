"""The champion as it is written down, and read from what earlier evaluations wrote."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.bundle.cost import Cost
from pipeline.evaluation.champion import Champion, champion_key
from pipeline.evaluation.comparison import Comparison, Costs
from pipeline.evaluation.predictions import VerdictBasis
from pipeline.schema import Schema, Target

SCHEMA = Schema("toy", "molecule", (Target("logS", "regression"),), (), ())
CHAMPION = Champion("3", "c" * 64, "toy", "run", Path("/bundle"), "cannot be compared: units")


def test_another_release_of_the_same_bytes_is_another_champion():
    assert champion_key(None) == "none"
    assert champion_key(Champion("3", "c")) == "3:c"
    assert champion_key(Champion("4", "c")) == "4:c"
    assert str(CHAMPION) == "champion version 3"


def test_a_verdict_keeps_version_and_refusal_as_it_always_did():
    text = VerdictBasis(SCHEMA, {}, 5, {"cost/model/ms_per_row": 1.0}, CHAMPION).to_json()
    assert json.loads(text)["rival"] == {"version": "3", "refusal": "cannot be compared: units"}
    assert VerdictBasis.from_json(text).champion == Champion("3", refusal="cannot be compared: units")


def test_what_earlier_evaluations_wrote_is_read():
    kept = {"schema": SCHEMA.to_json(), "thresholds": {"toxic": 0.4}, "resamples": 7, "costs": {}}
    alone = VerdictBasis.from_json(json.dumps(kept | {"rival": None}))
    assert (alone.champion, alone.thresholds, alone.champion_thresholds) == (None, {"toxic": 0.4}, {})
    beside = kept | {"rival": {"version": "2", "refusal": None}, "champion_thresholds": {"toxic": 0.6}}
    found = VerdictBasis.from_json(json.dumps(beside))
    assert (found.champion, found.champion_thresholds) == (Champion("2"), {"toxic": 0.6})


def test_a_comparison_names_version_and_digest_and_why_there_is_none():
    values = json.loads(Comparison(Costs(Cost(1.0, 0.1, 100.0)), CHAMPION).to_json())
    assert list(values)[:4] == ["version", "cost", "champion", "refusal"]
    assert values["champion"] == {"version": "3", "digest": "c" * 64}
    assert values["refusal"] == "cannot be compared: units"
