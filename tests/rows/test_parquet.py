"""Parquet files: what is read as what, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError
from pipeline.rows import parquet
from pipeline.rows.table import (
    count_rows_hint,
    open_table,
)
from tests.support.tables import read


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


# --- the writer -----------------------------------------------------------------------------------------------------


def written(tmp_path: Path, *chunks: dict[str, list[object]]) -> pa.Table:
    writer = parquet.ParquetWriter(list(chunks[0]), tmp_path / "staging")
    for chunk in chunks:
        writer.write(chunk)
    writer.finish(tmp_path / "out.parquet", {"by": "a test"})
    return pq.read_table(tmp_path / "out.parquet")


@pytest.mark.parametrize(
    ("first", "second", "kind", "values"),
    [
        ([1, None], [2], pa.int64(), [1, None, 2]),
        ([1], [2.5], pa.float64(), [1.0, 2.5]),
        ([None], [None], pa.string(), [None, None]),
        ([True], [False], pa.bool_(), [True, False]),
        ([1], ["x"], pa.string(), ["1", "x"]),
        ([2**70], [1], pa.string(), [str(2**70), "1"]),
        ([], ["x"], pa.string(), ["x"]),
    ],
)
def test_the_type_of_a_column_is_known_when_its_last_value_came(
    tmp_path: Path, first: list[object], second: list[object], kind: pa.DataType, values: list[object]
) -> None:
    table = written(tmp_path, {"a": first}, {"a": second})
    assert table.schema.field("a").type == kind
    assert table.column("a").to_pylist() == values
    assert table.schema.metadata[b"by"] == b"a test"


def test_writing_goes_on_behind_what_was_saved(tmp_path: Path) -> None:
    writer = parquet.ParquetWriter(["a"], tmp_path / "staging")
    writer.write({"a": [1, 2]})
    state = writer.save()
    writer.write({"a": ["lost"]})
    writer.close()
    again = parquet.ParquetWriter(["a"], tmp_path / "staging", state)
    again.write({"a": [3.5]})
    again.finish(tmp_path / "out.parquet")
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column("a").to_pylist() == [1.0, 2.0, 3.5]


def test_small_chunks_become_few_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 10)
    written(tmp_path, *({"a": list(range(k, k + 4))} for k in range(0, 40, 4)))
    file = pq.ParquetFile(tmp_path / "out.parquet")
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [12, 12, 12, 4]
    assert parquet.count_rows(tmp_path / "out.parquet") == 40
    assert file.read().column("a").to_pylist() == list(range(40))


def test_batches_hold_at_most_the_asked_rows_and_the_asked_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": range(10), "b": range(10), "c": [[1]] * 10}), tmp_path / "a.parquet")
    assert parquet.read_columns(tmp_path / "a.parquet") == {"a": False, "b": False, "c": True}
    batches = list(parquet.read_batches(tmp_path / "a.parquet", ["b", "b"], 4))
    assert [len(batch["b"]) for batch in batches] == [4, 4, 2]
    assert [set(batch) for batch in batches] == [{"b"}] * 3


def test_a_flipped_byte_inside_a_page_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": np.arange(1000)}), path, write_page_checksum=True, use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[2000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="CRC checksum verification failed"):
        list(parquet.read_batches(path, ["a"], 100))
