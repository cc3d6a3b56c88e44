"""Which kinds there are: by the name of a schema, and by what lies at a path."""

from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.samples import kinds
from pipeline.samples.kinds import find_kind, kind_of, request_columns
from tests.support.schemas import GRAPHS, MOLECULES

NAMES = sorted(place.parent.name for place in Path(kinds.__file__).parent.glob("*/kind.py"))


@pytest.mark.parametrize("name", NAMES)
def test_each_folder_is_a_kind_of_its_name(name):
    kind = kind_of(name)
    assert kind.name == name
    assert kind_of(name) is kind
    assert kind.nouns.samples == f"{kind.nouns.sample}s"


def test_a_foreign_kind_is_refused_with_what_to_do():
    with pytest.raises(StoreError, match="data of the kind 'volume' are not known here; use the graphline that made"):
        kind_of("volume")


def test_a_file_holds_molecules_and_a_folder_graphs(tmp_path):
    (tmp_path / "a.csv").write_text("smiles\nC\n")
    assert find_kind(tmp_path / "a.csv").name == "molecule"
    assert find_kind(tmp_path).name == "graph"


def test_columns_of_a_request():
    assert request_columns(MOLECULES) == ("smiles", "temperature")
    assert request_columns(GRAPHS) == ("nodes", "edges", "temperature")


def test_pages_say_what_is_counted():
    assert kind_of("molecule").nouns.counted == "atoms (without hydrogens)"
    assert kind_of("graph").nouns.counted == "nodes"
