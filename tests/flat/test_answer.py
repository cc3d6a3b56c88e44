"""One table says what a bundle may answer, and who reads answers takes what it knows by name."""

from __future__ import annotations

import dataclasses

import pytest

from pipeline.answer import OUTPUTS, PREDICTION, STD
from pipeline.errors import ConfigError
from pipeline.samples.kinds import request_columns
from pipeline.schema import Schema, Target
from tests.support.schemas import toy_schema
from tests.support.small_models import GRAPHS, MOLECULES


def names(schema: Schema, *outputs: str) -> list[str]:
    return [column.name for column in schema.answer_columns(outputs)]


def test_columns_of_request_and_answer():
    assert request_columns(MOLECULES) == ("smiles", "temperature")
    assert request_columns(GRAPHS) == ("nodes", "edges", "temperature")
    assert names(MOLECULES, PREDICTION) == ["size", "error", "error_detail", "warning"]
    assert names(GRAPHS, PREDICTION, STD) == [
        *("size", "size_std", "active", "active_std"),
        *("colour", "colour=red", "colour=green", "colour=blue", "colour_std"),
        *("error", "error_detail", "warning"),
    ]


def test_the_table_says_what_a_column_holds_and_whose_it_is():
    table = {column.name: column for column in GRAPHS.answer_columns(OUTPUTS)}
    assert {name for name, one in table.items() if one.holds == "text"} == {"colour", "error_detail", "warning"}
    assert [name for name, one in table.items() if one.holds == "code"] == ["error"]
    assert [name for name, one in table.items() if one.output == STD] == ["size_std", "active_std", "colour_std"]
    assert (table["colour=red"].target, table["colour=red"].label) == ("colour", "red")
    assert {one.target for one in table.values()} == {"size", "active", "colour", None}


def test_a_binary_target_is_called_where_the_bundle_knows_a_threshold():
    """Bundles of before know none: they answer as before, and their schema reads as before."""
    toxic = Target("toxic", "binary", classes=("no", "yes"))
    before, now = (toy_schema(dataclasses.replace(toxic, threshold=one)) for one in (None, 0.25))
    assert names(before, PREDICTION) == ["toxic", "error", "error_detail", "warning"]
    assert names(now, PREDICTION) == ["toxic", "toxic_call", "error", "error_detail", "warning"]
    assert "threshold" not in before.to_json()
    assert Schema.from_json(now.to_json()) == now
    with pytest.raises(ConfigError, match="toxic_call"):
        toy_schema(toxic, Target("toxic_call", "regression"))


def test_an_output_that_has_no_column_changes_nothing():
    assert names(MOLECULES, PREDICTION, "vector") == names(MOLECULES, PREDICTION)


@pytest.mark.parametrize("column", [one.name for one in MOLECULES.answer_columns(OUTPUTS)])
def test_no_target_may_take_a_column_of_the_answer(column):
    """Not even one that this bundle leaves out: the next one may answer it."""
    with pytest.raises(ConfigError, match=f"'?{column}'?"):
        dataclasses.replace(MOLECULES, targets=(*MOLECULES.targets, Target(column, "regression")))
