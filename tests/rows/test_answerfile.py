import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import DataError
from pipeline.rows import answerfile
from pipeline.rows.answerfile import AnswerFile
from pipeline.rows.table import open_table, read_rows

COLUMNS = ("id", "answer", "error")


@pytest.fixture(params=["csv", "parquet"])
def out(request, tmp_path, monkeypatch):
    monkeypatch.setattr(answerfile, "SAVE_S", 0)
    return tmp_path / f"out.{request.param}"


def rows(start, stop):
    numbers = range(start, stop)
    return {
        "id": list(numbers),
        "answer": [n / 8 if n % 3 else None for n in numbers],
        "error": [None if n % 3 else f'a "bad", {n}\r' for n in numbers],
    }


def fill(file, sizes, stop=None):
    """Write chunks of these sizes behind what is there."""
    start = 0
    for size in sizes:
        if start >= file.rows:
            if start == stop:
                return
            file.write(rows(start, start + size), {"bad": sum(n % 3 == 0 for n in range(start, start + size))})
        start += size


def crash(out, sizes, stop, key="key"):
    """What a process leaves that is killed before row `stop`."""
    file = AnswerFile(out, COLUMNS, key, {})
    fill(file, sizes, stop)
    left = {path.name: path.read_bytes() for path in out.parent.glob(".*")}
    file._sink.close()
    file._held.release()
    for name, content in left.items():
        (out.parent / name).write_bytes(content)


def whole(out, sizes, key="key"):
    with AnswerFile(out, COLUMNS, key, {"by": "me"}) as file:
        fill(file, sizes)
    return file


def content(path):
    return path.read_bytes() if path.suffix == ".csv" else pd.read_parquet(path).to_dict("list")


def test_the_file_appears_when_it_is_whole(out):
    with AnswerFile(out, COLUMNS, "key", {"by": "me"}) as file:
        fill(file, [2, 3])
        assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert (file.rows, file.counts, file.resumed) == (5, {"bad": 2}, 0)


def test_a_killed_run_goes_on_behind_what_is_sure(out, tmp_path):
    expected = tmp_path / "expected" / out.name
    whole(expected, [2, 3, 1, 4])
    crash(out, [2, 3, 1, 4], stop=5)
    crash(out, [2, 3, 1, 4], stop=6)
    with next(tmp_path.glob(".*.part")).open("ab") as part:
        part.write(b"half a ro")  # written, but not in the journal
    file = whole(out, [2, 3, 1, 4])
    assert (file.resumed, file.rows, file.counts) == (6, 10, {"bad": 4})
    assert str(content(out)) == str(content(expected))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["expected", out.name]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.lists(st.integers(0, 8), max_size=4))
def test_no_row_is_lost_or_repeated_however_often_it_is_killed(out, sizes, kills):
    for kill in sorted(kills):
        crash(out, sizes, stop=sum(sizes[:kill]))
    whole(out, sizes)
    table = pd.read_csv(out) if out.suffix == ".csv" else pd.read_parquet(out)
    assert table.id.tolist() == list(range(sum(sizes)))


@pytest.mark.parametrize("harm", ["key", "journal", "part", "short"])
def test_what_does_not_fit_is_begun_anew(out, tmp_path, harm):
    crash(out, [2, 3, 1], stop=5)
    journal, part = next(tmp_path.glob(".*.journal")), next(tmp_path.glob(".*.part"))
    if harm == "journal":
        journal.write_text(journal.read_text()[:-9])
    if harm == "part":
        part.unlink()
    if harm == "short":
        os.truncate(part, json.loads(journal.read_text())["sink"]["size"] - 1)
    file = whole(out, [2, 3, 1], key="another" if harm == "key" else "key")
    assert (file.resumed, file.rows) == (0, 6)


def test_a_failure_keeps_what_is_sure_and_nothing_where_no_row_is(out, tmp_path):
    def fail(sizes):
        with AnswerFile(out, COLUMNS, "key", {}) as file:
            fill(file, sizes)
            raise RuntimeError

    for sizes in ([], [2, 3]):
        with pytest.raises(RuntimeError):
            fail(sizes)
        assert bool(list(tmp_path.iterdir())) == bool(sizes)
    assert whole(out, [2, 3, 1]).resumed == 5


def test_two_processes_do_not_write_one_file(out):
    with AnswerFile(out, COLUMNS, "key", {}) as file:
        fill(file, [2])
        with pytest.raises(DataError, match="another process"):
            AnswerFile(out, COLUMNS, "key", {})


def test_a_full_disk_is_one_line_and_the_rows_stay(out, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    def fail():
        with AnswerFile(out, COLUMNS, "key", {}) as file:
            fill(file, [2, 3])
            monkeypatch.setattr(file._sink, "write", full)
            fill(file, [2, 3, 1])

    with pytest.raises(DataError, match="No space left"):
        fail()
    assert whole(out, [2, 3, 1]).resumed == 5


def test_parquet_says_who_answered(tmp_path):
    import pyarrow.parquet as pq

    whole(tmp_path / "out.parquet", [2])
    assert pq.read_schema(tmp_path / "out.parquet").metadata[b"by"] == b"me"


def test_other_names_are_refused(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name in ("out.txt", "folder.csv"):
        with pytest.raises(DataError, match=name):
            AnswerFile(tmp_path / name, COLUMNS, "key", {})


def test_values_are_written_plain(tmp_path):
    path = tmp_path / "new" / "a.csv"
    with AnswerFile(path, ("a", "b"), "key", {}) as file:
        file.write({"a": ["007", "1,5"], "b": np.array([0.1, np.nan], dtype=np.float32), "extra": [1, 2]}, {})
        assert not path.exists()
    assert path.read_bytes() == b'a,b\n007,0.1\n"1,5",\n'
    assert [file.name for file in path.parent.iterdir()] == ["a.csv"]


cell = st.text(st.characters(blacklist_categories=("Cs", "Cc")) | st.sampled_from('",;\t\n\r'), max_size=8)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=8))
def test_written_csv_reads_back_here_and_in_pandas(rows, tmp_path_factory):
    rows.append(("last", "2", "3"))
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    with AnswerFile(path, ("a", "b", "c"), "key", {}) as file:
        for row in rows:
            file.write({name: [value or None] for name, value in zip("abc", row, strict=True)}, {})
    table = open_table(path)
    chunks = list(read_rows(table, table.columns, 3))
    assert not any(chunk.errors for chunk in chunks)
    expected = [
        [value if value and not value.isspace() else None for value in column] for column in zip(*rows, strict=True)
    ]
    assert [[value for chunk in chunks for value in chunk.values[name]] for name in "abc"] == expected
    if not any("\r" in value for row in rows for value in row):  # pandas takes \r inside quotes for a line end
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        assert [tuple(row) for row in frame.to_numpy()] == rows


value = (
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=True) | st.text("ab ,", max_size=3)
)


@settings(max_examples=50, deadline=None)
@given(chunks=st.lists(st.lists(value, min_size=1, max_size=4), min_size=1, max_size=4))
def test_written_parquet_has_one_type_and_keeps_values(chunks, tmp_path_factory):
    path = tmp_path_factory.mktemp("pq") / "a.parquet"
    with AnswerFile(path, ("v",), "key", {}) as file:
        for chunk in chunks:
            file.write({"v": chunk}, {})
    table = pq.read_table(path)
    given_values = [None if v is None or v != v else v for chunk in chunks for v in chunk]
    kinds = {type(v) for v in given_values if v is not None}
    found = table.column("v").to_pylist()
    if (
        len(kinds) == 1
        and str not in kinds
        and all(not isinstance(v, int) or abs(v) < 2**63 for v in given_values if v)
    ):
        assert found == given_values
    elif table.schema.field("v").type == pa.float64():
        assert found == [None if v is None else float(v) for v in given_values]
    else:
        for text, v in zip(found, given_values, strict=True):  # a chunk of 0 and 0.5 has become fractions by then
            assert text == v or text in (str(v), str(float(v)))
