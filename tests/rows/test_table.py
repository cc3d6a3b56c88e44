"""Files of rows: every way a CSV, Parquet or SDF file comes, and every way it is broken."""

from __future__ import annotations

import gzip
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import ConfigError, DataError
from pipeline.rows.table import (
    Table,
    count_rows_hint,
    file_digest,
    find_smiles_column,
    open_table,
    parse_numbers,
    read_rows,
)
from tests.support.tables import read, write


def test_values_are_text_and_empty_cells_are_none(tmp_path: Path) -> None:
    table = open_table(write(tmp_path / "a.csv", "smiles,y,note\nCCO,1.50,\nC, 2 ,  \n"))
    assert table == Table(tmp_path / "a.csv", "csv", ("smiles", "y", "note"))
    assert read(table) == ({"smiles": ["CCO", "C"], "y": ["1.50", " 2 "], "note": [None, None]}, {})


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "", "empty"),
        ("a.csv", "\n\n  \n", "empty"),
        ("a.csv", b"\xef\xbb\xbf", "empty"),
        ("a.csv", "smiles,y\n", "no rows"),
        ("a.csv", "smiles,y\n\n,\n", "no rows"),
        ("a.csv", "smiles,y,y\nC,1,2\n", "'y' stands twice"),
        ("a.csv", ",smiles,y\n0,C,1\n", "column 1 of 3 has no name"),
        ("a.csv", b"a,b\n\x00\x01\x02,1\n", "binary"),
        ("a.csv", b"PK\x03\x04rest", "Excel"),
        ("a.xlsx", b"PK\x03\x04rest", "Excel"),
        ("a.mol2", "C methane\n", "unknown kind"),
        ("a.smi", "\n", "empty"),
        ("a.csv", b"\xff\xfea\x00,\x00b\x00\n\x00\xd8", "not the text it seems"),
        ("a.parquet", b"not parquet", "not a readable Parquet"),
        ("a.parquet", b"PAR1 but no more", "not a readable Parquet"),
        ("a.sdf", "hello\n", "no SDF record"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:30], "damaged or cut off"),
        ("a.sdf.gz", gzip.compress(b"M  END\n$$$$\n" * 999, mtime=0)[:30], "damaged or cut off"),
    ],
)
def test_what_cannot_be_opened_says_so_in_one_line(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=said) as caught:
        read(open_table(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_paths_are_absolute_and_near_names_are_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "molecules.csv", "smiles,pIC50\nC,1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        DataError, match=r"molecule\.csv: there is no such file.*Did you mean 'molecules.csv'"
    ) as caught:
        open_table("molecule.csv")
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(DataError, match=r"no column 'pic50'; the columns are smiles, pIC50. Did you mean 'pIC50'"):
        next(read_rows(open_table("molecules.csv"), ["pic50"]))
    with pytest.raises(DataError, match="is a folder"):
        open_table(tmp_path)


def test_same_values_as_pandas_on_a_large_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"id": np.arange(5000), "y": rng.normal(size=5000), "s": rng.choice(["CC", "C#N", ""], 5000)})
    frame.to_csv(tmp_path / "a.csv.gz", index=False, sep=";", decimal=",")
    table = open_table(tmp_path / "a.csv.gz")
    values, _ = read(table, chunk_rows=777)
    numbers, bad = parse_numbers(np.array(values["y"], dtype=object), table.decimal_of("y"))
    assert not bad.any()
    np.testing.assert_array_equal(numbers, frame["y"])
    assert values["s"] == [value or None for value in frame["s"]]
    assert count_rows_hint(table) is None


def test_memory_does_not_grow_with_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("smiles,y\n" + "CCCCCCCC,1.5\n" * 60_000)
    table = open_table(path)
    tracemalloc.start()
    for _ in read_rows(table, table.columns, 1000):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert count_rows_hint(table) == pytest.approx(60_000, rel=0.01)


# --- finding the molecules, reading numbers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "row", "found"),
    [
        ("id,smiles", "1,CCO", "smiles"),
        ("SMILES,canonical_smiles", "CCO,CCO", "SMILES"),
        ("id,Canonical SMILES,x", "1,CCO,2", "Canonical SMILES"),
        ("id,my_smiles", "1,CCO", "my_smiles"),
        ("country,compound", "CN,c1ccccc1O", "compound"),
        ("structure,other", "CCCO,CCCN", "structure"),
    ],
)
def test_the_obvious_smiles_column(tmp_path: Path, header: str, row: str, found: str) -> None:
    assert find_smiles_column(open_table(write(tmp_path / "a.csv", f"{header}\n{row}\n")), None) == found


@pytest.mark.parametrize(
    ("header", "row", "said"),
    [
        ("name,y", "aspirin,1", "no column looks like SMILES; the columns are name, y. Try: .* smiles=COLUMN"),
        ("smiles_a,smiles_b", "CCO,CCO", r"several columns look like SMILES \(smiles_a, smiles_b\)"),
        ("left,right", "CCO,CCN", "several columns look like SMILES .*smiles=left"),
    ],
)
def test_no_obvious_smiles_column(tmp_path: Path, header: str, row: str, said: str) -> None:
    table = open_table(write(tmp_path / "a.csv", f"{header}\n{row}\n"))
    with pytest.raises(DataError, match=said):
        find_smiles_column(table, None)
    assert find_smiles_column(table, header.split(",")[0]) == header.split(",")[0]


def test_a_header_that_is_a_molecule_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "CCO,1.5\nCCN,2.5\nCCC,3.5\n")
    with pytest.raises(DataError, match=r"names the column of the molecules 'CCO'.* header=false .*smiles=CCO"):
        find_smiles_column(open_table(path))
    assert find_smiles_column(open_table(path), "CCO") == "CCO"
    table = open_table(path, header=False)
    assert (table.columns, find_smiles_column(table)) == (("column1", "column2"), "column1")
    assert next(read_rows(table, ["column1"])).values["column1"].tolist() == ["CCO", "CCN", "CCC"]


def test_only_csv_can_lack_a_header(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"header=false is for CSV files; a\.smi is none"):
        open_table(write(tmp_path / "a.smi", "CCO\n"), header=False)


def test_parse_numbers() -> None:
    values = [
        "1.5",
        " -2e3 ",
        None,
        "NA",
        "nan",
        "1,5",
        "abc",
        True,
        7,
        2.5,
        "1_000",
        "−3",
        "inf",
        10**400,
        np.float32(1),
    ]
    numbers, bad = parse_numbers(np.array(values, dtype=object))
    nan = math.nan
    expected = [1.5, -2000, nan, nan, nan, nan, nan, nan, 7, 2.5, nan, -3, math.inf, nan, 1]
    np.testing.assert_array_equal(numbers, expected)
    assert np.flatnonzero(bad).tolist() == [5, 6, 7, 10, 13]
    numbers, bad = parse_numbers(np.array(["1,5", "1.234", "1.234,5", "2", ""], dtype=object), ",")
    np.testing.assert_array_equal(numbers, [1.5, nan, nan, 2, nan])
    assert bad.tolist() == [False, True, True, False, False]


@given(st.lists(st.floats(allow_nan=False) | st.none(), max_size=20))
def test_parse_numbers_is_exact(values: list[float | None]) -> None:
    texts = np.array([None if v is None else str(v) for v in values] + [None], dtype=object)
    numbers, bad = parse_numbers(texts)
    assert not bad.any()
    np.testing.assert_array_equal(numbers[:-1], [math.nan if v is None else v for v in values])


def test_digest_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    write(tmp_path / "d" / "a", "1")
    write(tmp_path / "d" / "sub" / "b", "2")
    assert file_digest(tmp_path / "d" / "a") == "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    before = file_digest(tmp_path / "d")
    (tmp_path / "d" / "sub" / "b").rename(tmp_path / "d" / "b")
    moved = file_digest(tmp_path / "d")
    write(tmp_path / "d" / "b", "3")
    assert len({before, moved, file_digest(tmp_path / "d")}) == 3
    with pytest.raises(DataError, match="cannot be read"):
        file_digest(tmp_path / "none")


def test_where_no_column_reads_as_molecules_but_its_name_does_the_way_out_is_told(tmp_path: Path) -> None:
    table = open_table(write(tmp_path / "a.csv", "CCO,7\nc1ccccc1,8\nnonsense,9\n"))
    with pytest.raises(DataError, match=r"no column looks like SMILES.*; or header=false, if it has no header$"):
        find_smiles_column(table)
    table = open_table(write(tmp_path / "b.csv", "name,y\nfoo,8\nnonsense,9\n"))
    with pytest.raises(DataError, match=r"no column looks like SMILES.*smiles=COLUMN$"):
        find_smiles_column(table)
