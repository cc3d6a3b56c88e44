"""A source whose columns and kinds are known, and options that do not fit it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.dataset.config import PrepareConfig
from pipeline.dataset.opened import Opened, open_source
from pipeline.dataset.source import find_source
from pipeline.errors import ConfigError, DataError
from pipeline.samples.molecule.descriptors import DESCRIPTOR_COLUMNS, FINGERPRINT_SIZE
from pipeline.samples.workers import Workers
from pipeline.schema import Limits


def opened(folder: Path, **options: Any) -> Opened:
    config = PrepareConfig(**options)
    with Workers(1) as workers:
        return open_source(config, find_source(config, folder, folder), workers)


@pytest.fixture
def molecules(tmp_path: Path) -> Path:
    rows = [f"{'C' * n},{n},{'yes' if n % 2 else 'no'},{7 + n}" for n in range(1, 9)]
    (tmp_path / "m.csv").write_text("\n".join(["smiles,y,b,pH", *rows]))
    return tmp_path


@pytest.fixture
def graphs(tmp_path: Path) -> Path:
    folder = tmp_path / "g"
    folder.mkdir()
    (folder / "graphs.csv").write_text("graph_id,y\na,1.5\nb,2.5\n")
    (folder / "nodes.csv").write_text("graph_id,node_id,kind,size\na,1,x,0.5\nb,1,z,1.5\nb,2,x,2\nlost,1,x,1\n")
    (folder / "edges.csv").write_text("graph_id,source,target\nb,1,2\n")
    return tmp_path


def test_the_schema_of_molecules(molecules: Path) -> None:
    found = opened(molecules, data="m.csv", target="y,b", features="pH", unit="y:nM", max_nodes=7)
    schema = found.schema
    assert [(target.name, target.kind, target.unit) for target in schema.targets] == [
        ("y", "regression", "nM"),
        ("b", "binary", None),
    ]
    assert schema.targets[1].classes == ("no", "yes")
    assert (schema.limits, [column.name for column in schema.graph_columns]) == (Limits(7, 100_000), ["pH"])
    assert (found.data.id_column, found.data.columns, found.side_column) == ("smiles", ("smiles", "y", "b", "pH"), None)
    (part,) = found.parts()
    assert part.ids.tolist() == ["C" * n for n in range(1, 9)]
    assert part.good.tolist() == [*range(7)]
    assert {row: error.code for row, error in part.errors.items()} == {7: "too_large"}


@pytest.mark.parametrize(
    ("options", "descriptors", "fingerprint"),
    [({}, 0, 0), ({"descriptors": True}, len(DESCRIPTOR_COLUMNS), 0),
     ({"forest": True}, len(DESCRIPTOR_COLUMNS), FINGERPRINT_SIZE)],
)  # fmt: skip
def test_a_forest_looks_at_descriptors_and_substructures(
    molecules: Path, options: dict[str, bool], descriptors: int, fingerprint: int
) -> None:
    schema = opened(molecules, data="m.csv", target="y", **options).schema
    assert (len(schema.descriptor_columns), schema.fingerprint_size) == (descriptors, fingerprint)


def test_the_schema_of_graphs(graphs: Path) -> None:
    found = opened(graphs, data="g", target="y")
    schema = found.schema
    assert [(column.name, column.kind, column.categories) for column in schema.node_columns] == [
        ("kind", "categorical", ("x", "z")),
        ("size", "numeric", ()),
    ]
    assert (schema.data_kind, schema.edge_columns, found.data.id_column) == ("graph", (), "graph_id")
    assert [count for count in found.data.strays.values() if count] == [1]
    (part,) = found.parts()
    np.testing.assert_array_equal(part.piece.num_nodes, [1, 2])


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"data": "g", "target": "y", "descriptors": True}, ConfigError, "descriptors=true is for molecules"),
        ({"data": "g", "target": "y", "forest": True}, ConfigError, "forest=true is for molecules"),
        ({"data": "g", "target": "y", "on_error": "fail"}, DataError, "name no graph of the table of graphs"),
        ({"data": "g", "target": "z"}, DataError, "z"),
        ({"data": "g"}, DataError, "no target is named"),
    ],
)
def test_options_that_do_not_fit_graphs(
    graphs: Path, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        opened(graphs, **options)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"target": "y", "directed": True}, ConfigError, "are for folders of graph tables"),
        ({"target": "y", "numeric": "pH"}, ConfigError, "are for folders of graph tables"),
        ({"target": "z"}, DataError, r"no column 'z'\. The columns are smiles, y, b, pH"),
        ({"target": "y", "features": "T"}, DataError, "no column 'T'"),
        ({"target": "y", "split": "fold"}, DataError, "split=fold needs a column 'fold'"),
        ({}, DataError, r"no target is named\. Pass target= .* smiles, y, b, pH"),
    ],
)
def test_options_that_do_not_fit_molecules(
    molecules: Path, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        opened(molecules, data="m.csv", **options)


def test_targets_that_do_not_vary_are_left_out_where_others_do(molecules: Path) -> None:
    rows = (molecules / "m.csv").read_text().splitlines()
    wide = [f"{row},{cells}" for row, cells in zip(rows, ["same,empty,one", *["5,,x"] * 8], strict=True)]
    (molecules / "w.csv").write_text("\n".join(wide))
    found = opened(molecules, data="w.csv", target="same,y,empty,one")
    assert [target.name for target in found.schema.targets] == ["y"]
    assert found.constant == ("same", "empty", "one")
    with pytest.raises(DataError, match="target 'same' does not vary: all 8 labels are equal"):
        opened(molecules, data="w.csv", target="same,empty")


@pytest.mark.parametrize(("column", "cells", "told"), [("Split", "train", "Split"), ("split", "left", None)])
def test_a_split_column_that_nobody_asked_for_is_told(
    molecules: Path, column: str, cells: str, told: str | None
) -> None:
    rows = (molecules / "m.csv").read_text().splitlines()
    (molecules / "s.csv").write_text("\n".join([f"{rows[0]},{column}", *(f"{row},{cells}" for row in rows[1:])]))
    assert opened(molecules, data="s.csv", target="y").unused_split == told


@pytest.mark.parametrize("unit", ["\u03bcM", "\u00b5M", "uM"])
def test_micromolar_may_be_written_with_either_letter(molecules: Path, unit: str) -> None:
    (target,) = opened(molecules, data="m.csv", target="y", unit=unit, transform="p").schema.targets
    assert target.affine == (-1.0, 6.0)
