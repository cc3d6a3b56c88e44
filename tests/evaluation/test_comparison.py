"""A challenger beside the champion: what cannot be compared, and what clients must change."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.evaluation.comparison import request_changes, why_incomparable
from pipeline.schema import Column, Target
from tests.support.schemas import GRAPHS, MOLECULES, toy_schema, without_features

NUMBER = Target("logS", "regression", unit="mol/L")
BINARY = Target("toxic", "binary", classes=("no", "yes"))
COLOURS = Target("colour", "multiclass", classes=("red", "green", "blue"))


@pytest.mark.parametrize(
    ("champion", "challenger", "says"),
    [
        (toy_schema(NUMBER), toy_schema(BINARY), "it answers logS, this model toxic"),
        (toy_schema(NUMBER), toy_schema(NUMBER, BINARY), "it answers logS, this model logS, toxic"),
        (
            toy_schema(NUMBER),
            toy_schema(dataclasses.replace(NUMBER, unit="g/L")),
            "'logS' is in mol/L there, in g/L here",
        ),
        (
            toy_schema(dataclasses.replace(NUMBER, unit=None)),
            toy_schema(NUMBER),
            "in no stated unit there, in mol/L here",
        ),
        (
            toy_schema(dataclasses.replace(BINARY, name="logS")),
            toy_schema(NUMBER),
            "'logS' is binary there, regression here",
        ),
        (
            toy_schema(dataclasses.replace(BINARY, classes=("yes", "no"))),
            toy_schema(BINARY),
            "'toxic' has the classes yes, no there, no, yes here",
        ),
        (
            toy_schema(NUMBER, graph_columns=(Column("pH", "numeric"),)),
            toy_schema(NUMBER),
            "the graph column pH, which",
        ),
        (dataclasses.replace(GRAPHS, targets=(NUMBER,)), toy_schema(NUMBER), "it takes graphs, this model molecules"),
        (GRAPHS, dataclasses.replace(GRAPHS, directed=True), "its edges are undirected"),
        (GRAPHS, dataclasses.replace(GRAPHS, node_columns=GRAPHS.node_columns[:1]), "the node column charge, which"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_models_are_refused_with_a_word(champion, challenger, says):
    found = why_incomparable(champion, challenger, "champion version 3")
    assert found.startswith("cannot be compared with champion version 3: ")
    assert says in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("champion", "challenger"),
    [
        (toy_schema(NUMBER, BINARY), toy_schema(BINARY, NUMBER)),
        (toy_schema(COLOURS), toy_schema(dataclasses.replace(COLOURS, classes=("blue", "red", "green")))),
        (toy_schema(NUMBER), toy_schema(dataclasses.replace(NUMBER, transform="log10"))),  # answers are in mol/L anyway
        (without_features(MOLECULES), MOLECULES),
        (GRAPHS, GRAPHS),
    ],
)
def test_order_scale_and_further_inputs_do_not_matter(champion, challenger):
    assert why_incomparable(champion, challenger, "it") is None


def test_what_clients_must_change_is_said():
    assert request_changes(MOLECULES, MOLECULES) == []
    assert "must now have temperature" in request_changes(without_features(MOLECULES), MOLECULES)[0]
    assert request_changes(MOLECULES, without_features(MOLECULES)) == ["temperature of a request is no longer read."]
