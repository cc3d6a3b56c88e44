"""Text tables: encodings, separators, decimal signs, quotes; a bad row spoils only itself."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.rows import delimited
from pipeline.rows.table import open_table, parse_numbers, read_rows
from tests.support.tables import read, write


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
    assert (table.separator, table.commas) == (separator, frozenset())
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
    assert (table.separator, table.decimal_of(table.columns[-1])) == (separator, decimal)


def test_each_column_has_a_decimal_sign_of_its_own(tmp_path: Path) -> None:
    text = "smiles;bits;y;z;note\nCC;0,1;7.5;1;\nC;1,1;8.25;2;x\nCCC;0,0;6.5;3,5;\n"
    table = open_table(write(tmp_path / "a.csv", text))
    assert [table.decimal_of(name) for name in ("bits", "y", "z")] == [",", ".", ","]
    bare = open_table(write(tmp_path / "b.csv", text.partition("\n")[2]), header=False)
    assert [bare.decimal_of(name) for name in ("column2", "column3")] == [",", "."]


def test_a_column_that_does_not_say_has_the_sign_of_the_file(tmp_path: Path) -> None:
    late = "smiles;y;z\n" + "CC;1,5;1\n" * 10
    table = open_table(write(tmp_path / "a.csv", late))
    assert table.decimal_of("z") == ","


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


# --- the parts, each by itself --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sample", "encoding"),
    [
        (b"\xef\xbb\xbfa,b", "utf-8-sig"),
        ("a,b\n1,2".encode("utf-16"), "utf-16"),
        ("a,b\n1,2".encode("utf-32"), "utf-32"),
        ("a,b\n1,2\n".encode("utf-16-le"), "utf-16-le"),
        ("a,b\n1,2\n".encode("utf-16-be"), "utf-16-be"),
        ("größe\n".encode(), "utf-8"),
        ("größe\n".encode("cp1252"), "cp1252"),
        (b"plain", "utf-8"),
    ],
)
def test_the_encoding_is_told_by_the_first_bytes(sample: bytes, encoding: str) -> None:
    assert delimited.sniff_encoding(sample) == encoding


def test_a_letter_that_the_sample_cuts_in_two_is_no_latin_1() -> None:
    sample = b"a" * (delimited.SAMPLE_BYTES - 1) + "ö".encode()[:1]
    assert delimited.sniff_encoding(sample) == "utf-8"
    assert delimited.sniff_encoding(sample[1:]) == "cp1252"  # the file ends there


@given(st.lists(st.lists(st.text('ab,;"\n 1', max_size=5), min_size=2, max_size=2), min_size=1, max_size=6))
def test_what_the_csv_module_writes_comes_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["one", "two"], *rows])
    dialect = delimited.Dialect(("one", "two"), ",", ".", "utf-8")
    assert [cells for cells, error in delimited.read_records(path, dialect) if error is None] == rows


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a", ""], "column 2 of 2 has no name"),
        (["a", "b", "a"], "the column 'a' stands twice"),
        (["x" * 1001], "the name of column 1 is longer than 1000 characters"),
    ],
)
def test_columns_must_be_named_and_unique(names: list[str], said: str) -> None:
    with pytest.raises(DataError, match=said):
        delimited.check_columns(Path("t.csv"), names)
    assert delimited.check_columns(Path("t.csv"), ["a", "b"]) == ("a", "b")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"PK\x03\x04", "an Excel or zip file"),
        (b"<!DOCTYPE html>", "a web page"),
        (b"%PDF-1.7", "a PDF file"),
        (b'{"a": 1}', "a JSON file"),
        (b"smiles,y", None),
        (b"", None),
    ],
)
def test_what_is_no_table_is_called_by_its_name(head: bytes, kind: str | None) -> None:
    assert delimited.foreign_kind(head) == kind


@pytest.mark.parametrize("name", ["a.csv", "a.gz", "nothing"])
def test_packed_bytes_are_unpacked_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    with delimited.open_bytes(write(tmp_path / name, gzip.compress(b"a,b\n"))) as file:
        assert file.read() == b"a,b\n"
    with delimited.open_bytes(write(tmp_path / name, b"a,b\n")) as file:
        assert file.read() == b"a,b\n"


def test_a_file_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: cannot be read \(No such file or directory\)"):
        delimited.sniff(tmp_path / "none.csv")


numbers = st.lists(st.floats(-1e3, 1e3).map(lambda one: f"{one:.3f}"), min_size=3, max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(numbers, st.permutations(["comma", "point", "whole"]))
def test_whatever_stands_beside_it_a_column_keeps_its_sign(tmp_path: Path, values: list[str], order: list[str]) -> None:
    written = {
        "comma": [value.replace(".", ",") for value in values],
        "point": values,
        "whole": [value.partition(".")[0] for value in values],
    }
    rows = zip(*(written[name] for name in order), strict=True)
    table = open_table(write(tmp_path / "a.csv", "\n".join([";".join(order), *map(";".join, rows)]) + "\n"))
    assert (table.decimal_of("comma"), table.decimal_of("point")) == (",", ".")
    read_back = {name: [float(value.replace(",", ".")) for value in column] for name, column in written.items()}
    (found,) = read_rows(table, order)
    for name in ("comma", "point"):
        parsed, bad = parse_numbers(found.values[name], table.decimal_of(name))
        assert not bad.any()
        assert parsed.tolist() == read_back[name]
