"""Files of rows: every way a CSV, Parquet or SDF file comes, and every way it is broken."""

from __future__ import annotations

import gzip
import io
import math
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rdkit import Chem

from pipeline.errors import DataError
from pipeline.rows.table import (
    Table,
    count_rows_hint,
    file_digest,
    find_smiles_column,
    open_table,
    parse_numbers,
    read_rows,
)


def write(path: Path, text: str | bytes, encoding: str = "utf-8") -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def read(table: Table, columns: tuple[str, ...] = (), chunk_rows: int = 4096) -> tuple[dict[str, list], dict[int, str]]:
    """All values by column, and the codes of bad rows by row number."""
    columns = columns or table.columns
    values: dict[str, list] = {name: [] for name in columns}
    errors = {}
    expected = 1
    for rows in read_rows(table, columns, chunk_rows):
        assert rows.number.tolist() == list(range(expected, expected + len(rows.number)))
        assert len(rows.number) <= chunk_rows
        expected += len(rows.number)
        for name in columns:
            values[name].extend(rows.values[name])
        errors |= {int(rows.number[i]): error.code for i, error in rows.errors.items()}
    return values, errors


# --- CSV ------------------------------------------------------------------------------------------------------------


def test_values_are_text_and_empty_cells_are_none(tmp_path: Path) -> None:
    table = open_table(write(tmp_path / "a.csv", "smiles,y,note\nCCO,1.50,\nC, 2 ,  \n"))
    assert table == Table(tmp_path / "a.csv", "csv", ("smiles", "y", "note"))
    assert read(table) == ({"smiles": ["CCO", "C"], "y": ["1.50", " 2 "], "note": [None, None]}, {})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends(tmp_path: Path, encoding: str, end: str) -> None:
    text = end.join(["name,größe,µM", "Äthanol,1,2", "'CC',3,4", ""])
    table = open_table(write(tmp_path / "a.csv", text, encoding))
    assert table.columns == ("name", "größe", "µM")
    assert read(table) == ({"name": ["Äthanol", "'CC'"], "größe": ["1", "3"], "µM": ["2", "4"]}, {})


def test_latin_1_far_down_a_utf_8_file(tmp_path: Path) -> None:
    body = "name,y\n" + "plain,1\n" * 200_000
    table = open_table(write(tmp_path / "a.csv", body.encode() + "µM,2\n".encode("latin-1")))
    assert read(table, ("name",))[0]["name"][-1] == "µM"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.csv.gz"])
def test_separators(tmp_path: Path, separator: str, name: str) -> None:
    text = "\n".join(separator.join(row) for row in (["id", "smiles", "a b"], ["1", "C[C@H](N)O", "x"], ["2", "C", ""]))
    path = write(tmp_path / name, gzip.compress(text.encode()) if name.endswith("gz") else text)
    table = open_table(path)
    assert (table.separator, table.decimal) == (separator, ".")
    assert read(table)[0] == {"id": ["1", "2"], "smiles": ["C[C@H](N)O", "C"], "a b": ["x", None]}


@pytest.mark.parametrize(
    ("text", "separator", "decimal"),
    [
        ("smiles;y\nCC;1,5\nC;2\n", ";", ","),
        ("smiles\ty\tz\nCC\t-1,5e3\t7\n", "\t", ","),
        ("smiles;y\nCC;1.5\nC;2.5\n", ";", "."),
        ("smiles;y\nCC;>1,5\nC;2\n", ";", ","),
        ("smiles;names\nCC;a,b\nC;c,d\n", ";", "."),
        ('smiles,y\nCC,"1,5"\n', ",", "."),
        ("smiles\nCC\nC\n", ",", "."),
        ("a;b, c;d\n1;2;3\n", ";", "."),
    ],
)
def test_decimal_comma(tmp_path: Path, text: str, separator: str, decimal: str) -> None:
    table = open_table(write(tmp_path / "a.csv", text))
    assert (table.separator, table.decimal) == (separator, decimal)


def test_a_ragged_row_spoils_only_itself(tmp_path: Path) -> None:
    table = open_table(write(tmp_path / "a.csv", 'a,b\n1,2\n3\n4,5,6\n7,8,,\n"9"x,1\n10,11\n'))
    values, errors = read(table)
    assert values["a"] == ["1", "3", "4", "7", None, "10"]
    assert errors == {2: "length_mismatch", 3: "length_mismatch", 5: "length_mismatch"}


def test_quoted_separators_quotes_and_newlines(tmp_path: Path) -> None:
    table = open_table(write(tmp_path / "a.csv", 'a,b\n"x,y","say ""hi""\nyou"\n1,2\n'))
    assert read(table)[0] == {"a": ["x,y", "1"], "b": ['say "hi"\nyou', "2"]}


def test_blank_lines_between_rows_count_and_those_at_the_end_do_not(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "\nsmiles\nCC\n\n\nC\n\n\n")
    values, errors = read(open_table(path), chunk_rows=2)
    assert (values["smiles"], errors) == (["CC", None, None, "C"], {})


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
        ("a.smi", "C methane\n", "unknown kind"),
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


def test_what_breaks_while_reading(tmp_path: Path) -> None:
    unclosed = open_table(write(tmp_path / "a.csv", 'a,b\n1,2\n"3,4\n5,6\n'))
    with pytest.raises(DataError, match="row 2: a quote opens that never closes"):
        read(unclosed)
    endless = open_table(write(tmp_path / "b.csv", 'a,b\n1,2\n"3,4\n' + "5,6\n" * 60_000 + '"'))
    with pytest.raises(DataError, match="row 2: a quote opens that never closes"):
        read(endless)
    rng = np.random.default_rng(0)
    body = b"a,b\n" + b"".join(b"%d,%d\n" % (x, x) for x in rng.integers(0, 1 << 60, 100_000))
    cut = open_table(write(tmp_path / "c.csv.gz", gzip.compress(body, 1)[:-100_000]))
    with pytest.raises(DataError, match="damaged or cut off"):
        read(cut)


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
    numbers, bad = parse_numbers(np.array(values["y"], dtype=object), table.decimal)
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


# --- Parquet --------------------------------------------------------------------------------------------------------


def test_parquet_keeps_kinds_and_nested_columns_may_be_there(tmp_path: Path) -> None:
    columns = {
        "smiles": pa.array(["C", " ", None]),
        "count": pa.array([1, None, 3]),
        "y": pa.array([1.5, math.nan, None]),
        "flag": pa.array([True, None, False]),
        "day": pa.array([0, 1, None], pa.date32()),
        "kind": pa.array(["a", "b", None]).dictionary_encode(),
        "price": pa.array(["1.25", None, "2.00"]).cast(pa.decimal128(5, 2)),
        "bytes": pa.array([b"x", b"y", None]),
        "nested": pa.array([[1], [], None]),
        "a.b": pa.array([{"c": 1}, None, None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=2)
    table = open_table(tmp_path / "a.parquet")
    assert table.columns == tuple(columns)
    assert count_rows_hint(table) == 3
    assert read(table, table.columns[:8], chunk_rows=2)[0] == {
        "smiles": ["C", None, None],
        "count": [1, None, 3],
        "y": [1.5, None, None],
        "flag": [True, None, False],
        "day": ["1970-01-01", "1970-01-02", None],
        "kind": ["a", "b", None],
        "price": [1.25, None, 2.0],
        "bytes": ["x", "y", None],
    }
    for name in ("nested", "a.b"):
        with pytest.raises(DataError, match=f"column '{name}' is"):
            read(table, (name,))


def test_parquet_refusals(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no rows"):
        open_table(tmp_path / "a.parquet")
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="'a' stands twice"):
        open_table(tmp_path / "b.parquet")
    pq.write_table(pa.table({"a": [b"\xff\xfe"]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="cannot be read"):
        read(open_table(tmp_path / "c.parquet"))


# --- SDF ------------------------------------------------------------------------------------------------------------


def sdf_record(smiles: str, name: str, /, **fields: str) -> str:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles(smiles))
    body = "".join(f">  <{key}>  (1)\n{text}\n\n" for key, text in fields.items())
    return name + block[block.index("\n") :] + body + "$$$$\n"


@pytest.mark.parametrize("packed", [False, True])
def test_sdf_reads_what_rdkit_reads_and_skips_only_broken_records(tmp_path: Path, packed: bool) -> None:
    records = [
        sdf_record("CCO", "ethanol", SOL="1.5", note="a\nb"),
        "broken\n  x\n\n not a counts line\nM  END\n$$$$\n",
        sdf_record("C[N+](C)(C)C", "", SOL="2", extra="µ").replace("M  CHG  1   2   1\n", ""),
        sdf_record("N[C@@H](C)C(=O)O", "alanine", smiles="hidden"),
        sdf_record("C", "one").replace("$$$$\n", "") + sdf_record("CC", "two"),
        sdf_record("c1ccccc1", "benzene", SOL="").replace("$$$$\n", ""),
    ]
    text = "".join(records).encode()
    path = write(tmp_path / ("a.sdf.gz" if packed else "a.sdf"), gzip.compress(text) if packed else text)
    table = open_table(path)
    assert table.columns == ("smiles", "name", "SOL", "note", "extra")
    assert find_smiles_column(table, None) == "smiles"
    values, errors = read(table, chunk_rows=4)
    assert values["smiles"] == ["CCO", None, None, "C[C@H](N)C(=O)O", None, "c1ccccc1"]
    assert values["SOL"] == ["1.5", None, "2", None, None, None]
    assert values["note"] == ["a\nb", None, None, None, None, None]
    assert values["name"] == ["ethanol", "broken", None, "alanine", "one", "benzene"]
    assert errors == {2: "invalid_molecule", 3: "invalid_molecule", 5: "invalid_molecule"}
    reasons = next(rows.errors for rows in read_rows(table, ["smiles"]))
    assert "valence" in reasons[2].detail
    assert "$$$$" in reasons[4].detail
    assert read(table, ("SOL",))[1] == {}  # molecules are not made when they are not asked for
    good = [mol for mol in Chem.ForwardSDMolSupplier(io.BytesIO(text)) if mol is not None]
    assert [Chem.MolToSmiles(mol) for mol in good if mol.GetProp("_Name") != "one"] == [
        smiles for smiles in values["smiles"] if smiles
    ]


def test_an_sdf_record_without_end_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sdf", "M  END\n$$$$\n" + "x" * 80 + ("\n" + "y" * 100_000) * 170)
    with pytest.raises(DataError, match="row 2: the record has no end"):
        read(open_table(path))


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
