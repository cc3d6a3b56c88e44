"""Files of molecules: which options are theirs, how rows are asked, and when two are the same."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.errors import ConfigError, DataError
from pipeline.samples.molecule.descriptors import DESCRIPTOR_COLUMNS, FINGERPRINT_SIZE
from pipeline.samples.molecule.featurize import EDGE_COLUMNS, FEATURIZER_VERSION, NODE_COLUMNS
from pipeline.samples.molecule.kind import KIND
from pipeline.samples.source import Options
from pipeline.samples.workers import Workers
from tests.support.schemas import MOLECULES, toy_schema

SOURCE = KIND.source()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("name,my smiles,y\na,CCO,1\nb,C1CC,2\nc,c1ccccc1C,3\n")
    return path


def open_file(path, **options):
    return SOURCE.open(path, Options(**options), ("y",), Workers(1))


def test_what_the_kind_settles_of_a_schema(file):
    data = open_file(file)
    assert (data.id_column, data.columns, data.decimal_of("y")) == ("my smiles", ("name", "my smiles", "y"), ".")
    assert data.facts == {
        "node_columns": NODE_COLUMNS,
        "edge_columns": EDGE_COLUMNS,
        "descriptor_columns": (),
        "fingerprint_size": 0,
        "featurizer_version": FEATURIZER_VERSION,
    }
    assert KIND.mismatch(toy_schema(**data.facts)) is None
    forest = open_file(file, forest=True).facts
    assert (forest["descriptor_columns"], forest["fingerprint_size"]) == (DESCRIPTOR_COLUMNS, FINGERPRINT_SIZE)


@pytest.mark.parametrize("options", [{"directed": True}, {"numeric": ("y",)}, {"categorical": ("y",)}])
def test_options_of_graph_tables_are_refused(file, options):
    with pytest.raises(ConfigError, match="are for folders of graph tables; molecules fix their own"):
        open_file(file, **options)


def test_parts_hold_the_good_molecules_and_a_reason_for_each_other(file):
    data = open_file(file)
    (part,) = data.parts(("y",), toy_schema(**data.facts), False)
    assert (part.good.tolist(), {row: error.code for row, error in part.errors.items()}) == (
        [0, 2],
        {1: "invalid_smiles"},
    )
    assert part.piece.num_nodes.tolist() == [3, 7]
    assert (part.ids.tolist(), part.rows.values["y"].tolist()) == (["CCO", "C1CC", "c1ccccc1C"], ["1", "2", "3"])
    assert part.scaffold.shape == (0, 2)
    (asked,) = data.parts(("y",), toy_schema(**data.facts), True)
    assert asked.scaffold.shape == (2, 2)


def test_questions_take_the_column_that_holds_the_molecules(file, tmp_path):
    found = SOURCE.questions(file, toy_schema(), Options(), 2)
    assert [question.columns["smiles"] for question in found.questions] == [["CCO", "C1CC"], ["c1ccccc1C"]]
    with pytest.raises(DataError, match="is a folder, but this model takes molecules"):
        SOURCE.questions(tmp_path, MOLECULES, Options(), 2)


def test_molecules_are_one_without_stereo_and_spelling():
    groups = SOURCE.groups(["OCC", "CCO", "C[C@H](N)O", "C[C@@H](N)O", "CCN", "no molecule"])
    assert groups[0] == groups[1]
    assert groups[2] == groups[3]
    assert len(set(groups)) == 4
    assert groups[5] == "no molecule"


def test_names_have_pictures_and_clusters():
    assert SOURCE.draw("CCO").startswith("<?xml")
    assert SOURCE.draw("no") is None
    names = ["c1ccccc1C", "c1ccccc1CC", "CCO"]
    clusters = SOURCE.clusters(names, named=False)
    assert all(rows.shape == (3,) and rows.dtype == np.bool_ for _, rows in clusters)
    assert [True, True, False] in [rows.tolist() for _, rows in clusters]
    assert not any("c1" in title for title, _ in clusters)
