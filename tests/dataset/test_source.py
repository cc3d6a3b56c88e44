"""Which data a run reads: names of models, options by target, and what is nowhere."""

import json

import pytest

from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.source import Source, find_source, folder_name, names, split_columns
from pipeline.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, ()),
        ("", ()),
        ("a", ("a",)),
        (" a , b ,", ("a", "b")),
        ('"solubility, mg/L",b', ("solubility, mg/L", "b")),
        ("µ,größe", ("µ", "größe")),
    ],
)
def test_lists_of_columns(text, found):
    assert names(text) == found


def test_a_line_break_is_no_part_of_a_list():
    with pytest.raises(ConfigError, match="is no list of column names"):
        names("a\rb")


@pytest.mark.parametrize(
    ("split", "columns"),
    [
        ("random", (None, ())),
        ("scaffold", (None, ())),
        ("time", (None, ("day",))),
        ("given", ("split", ("split",))),
        ("fold", ("fold", ("fold",))),
    ],
)
def test_columns_of_the_split(tmp_path, split, columns):
    source = Source(tmp_path, "molecule", "m", ("y",), split=split)
    assert split_columns(source, PrepareConfig(time_column="day")) == columns


def test_a_recipe_gives_what_is_not_asked_for(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").touch()
    recipe = {"file": "mine.csv", "target": "y", "smiles": "structure", "split": "given", "licence": "CC0"}
    (tmp_path / "data" / "mine.json").write_text(json.dumps(recipe))
    found = find_source(PrepareConfig(data="mine"), tmp_path, tmp_path)
    assert (found.name, found.targets, found.smiles, found.split) == ("mine", ("y",), "structure", "given")
    assert (found.kind, found.recipe) == ("molecule", recipe)
    asked = PrepareConfig(data="mine", target="z", smiles="s", split="random", name="other")
    found = find_source(asked, tmp_path, tmp_path)
    assert (found.name, found.targets, found.smiles, found.split) == ("other", ("z",), "s", "random")


def test_a_folder_is_graphs_and_a_file_is_molecules(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "m.csv").touch()
    assert find_source(PrepareConfig(data="tables"), tmp_path, tmp_path).kind == "graph"
    assert find_source(PrepareConfig(data="m.csv"), tmp_path, tmp_path).kind == "molecule"
    assert folder_name("my.module:load") == "my-module-load"
