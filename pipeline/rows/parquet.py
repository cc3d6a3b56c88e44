"""Parquet files: their columns, their rows as plain values, and a writer that learns the types as it goes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from pipeline.rows.delimited import check_columns, reading

GROUP_ROWS = 65_536


def read_columns(path: Path) -> dict[str, bool]:
    """List the columns, and whether each is nested (lists, structs), which cannot be read.

    Raises:
        DataError: if the file is damaged, has no rows, or column names are blank or doubled.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with reading(path), pq.ParquetFile(path) as file:
            fields, num_rows = list(file.schema_arrow), file.metadata.num_rows
    except pa.ArrowException as error:
        raise DataError(f"{path}: is not a readable Parquet file ({_one_line(error)}).") from None
    check_columns(path, [field.name for field in fields])
    if not num_rows:
        raise DataError(f"{path}: has columns but no rows.")
    return {field.name: pa.types.is_nested(field.type) for field in fields}


def count_rows(path: Path) -> int:
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def read_batches(path: Path, columns: Sequence[str], chunk_rows: int) -> Iterator[dict[str, Any]]:
    """Read the asked columns as Arrow arrays of at most `chunk_rows` rows.

    They are text, numbers or booleans: dictionaries are decoded, times become ISO text, decimals floats, bytes text.

    Raises:
        DataError: if the file is damaged or a column is nested.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    row = 1
    try:
        with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            for name in columns:
                kind = file.schema_arrow.field(name).type
                if pa.types.is_nested(kind):
                    raise DataError(f"{path}: column '{name}' is {kind}; text, numbers and booleans are read.")
            for batch in file.iter_batches(chunk_rows, columns=list(dict.fromkeys(columns))):
                yield {name: _plain_array(batch.column(name)) for name in columns}
                row += batch.num_rows
    except pa.ArrowException as error:
        raise DataError(f"{path}: cannot be read from row {row} on ({_one_line(error)}).") from None


def plain_values(array: Any) -> list[object]:
    """Take str, int, float, bool and None out of such an array; NaN and blank text become None."""
    import pyarrow as pa

    values: list[object] = array.to_pylist()
    if pa.types.is_floating(array.type):
        return [None if value is None or value != value else value for value in values]
    return [None if isinstance(value, str) and not value.strip() else value for value in values]


class ParquetWriter:
    """Write columns of Python values chunk by chunk; a column's type is known only when the last one came.

    Chunks wait in `staging`, each with the types of its own values; `finish` reads them once and writes the file:
    whole numbers and fractions together become fractions, any other mixture text.

    Args:
        state: what `save` returned about this staging file, to go on behind it; empty to begin.
    """

    def __init__(self, columns: Sequence[str], staging: Path, state: Mapping[str, Any] | None = None) -> None:
        import pyarrow as pa

        self._path = staging
        self._file = staging.open("r+b" if state else "wb")
        self._types: dict[str, Any] = dict.fromkeys(columns, pa.null())
        self._chunks = 0
        if state:
            self._file.truncate(state["size"])
            self._file.seek(0, os.SEEK_END)
            self._types = {name: pa.type_for_alias(kind) for name, kind in state["types"].items()}
            self._chunks = state["chunks"]

    def write(self, values: Mapping[str, Sequence[object]]) -> None:
        import pyarrow as pa

        arrays = {name: _array(values[name]) for name in self._types}
        for name, array in arrays.items():
            self._types[name] = _joined(self._types[name], array.type)
        batch = pa.record_batch(arrays)
        with pa.ipc.new_stream(self._file, batch.schema) as stream:
            stream.write_batch(batch)
        self._chunks += 1

    def save(self) -> dict[str, Any]:
        """Make sure of what is written so far, and describe it."""
        self._file.flush()
        os.fsync(self._file.fileno())
        types = {name: str(kind) for name, kind in self._types.items()}
        return {"size": self._file.tell(), "types": types, "chunks": self._chunks}

    def finish(self, target: Path, metadata: Mapping[str, str] | None = None) -> None:
        """Write the Parquet file, `metadata` beside its schema."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._file.close()
        types = {name: pa.string() if pa.types.is_null(kind) else kind for name, kind in self._types.items()}
        schema = pa.schema(types, metadata=dict(metadata or {}))
        with pq.ParquetWriter(target, schema) as writer:
            for group in self._groups():
                columns = [_cast_chunks(group, name, kind) for name, kind in types.items()]
                writer.write_table(pa.Table.from_arrays(columns, schema=schema))

    def _groups(self) -> Iterator[list[Any]]:
        """The chunks, together as many rows as a row group should have: a reader keeps facts of each group."""
        import pyarrow as pa

        group: list[Any] = []
        with pa.OSFile(str(self._path)) as source:
            for _ in range(self._chunks):
                with pa.ipc.open_stream(source) as stream:
                    group.extend(stream)
                if sum(batch.num_rows for batch in group) >= GROUP_ROWS:
                    yield group
                    group = []
        if group:
            yield group

    def close(self) -> None:
        self._file.close()


def _plain_array(column: Any) -> Any:
    """Cast an Arrow column to text, a number or boolean: no dictionary, time, decimal or bytes is left."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        return column.cast(pa.float64())
    simple = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string)
    return column if any(is_kind(column.type) for is_kind in simple) else column.cast(pa.string())


def _array(values: Sequence[object]) -> Any:
    """An Arrow column of one of the types null, bool, int64, float64, string."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {int}:
        kinds = {int} if all(-(2**63) <= value < 2**63 for value in values if value is not None) else {str}  # type: ignore[operator]
        return pa.array(values if kinds == {int} else _texts(values), pa.int64() if kinds == {int} else pa.string())
    if kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())  # type: ignore[arg-type]
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    return pa.array(_texts(values), pa.string())


def _texts(values: Sequence[object]) -> list[str | None]:
    return [None if value is None else str(value) for value in values]


def _joined(a: Any, b: Any) -> Any:
    import pyarrow as pa

    if a == b or pa.types.is_null(b):
        return a
    if pa.types.is_null(a):
        return b
    return pa.float64() if {a, b} == {pa.int64(), pa.float64()} else pa.string()


def _cast_chunks(group: Sequence[Any], name: str, kind: Any) -> Any:
    import pyarrow as pa

    return pa.chunked_array([_cast(batch.column(name), kind) for batch in group], kind)


def _cast(column: Any, kind: Any) -> Any:
    """Cast by way of Python values where text is wanted: Arrow would write `true` and `1` where Python has `True`."""
    import pyarrow as pa

    if column.type == kind:
        return column
    return pa.array(_texts(column.to_pylist()), kind) if kind == pa.string() else column.cast(kind, safe=False)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
