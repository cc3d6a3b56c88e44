"""Files of rows that a test writes, and everything that is read from them."""

from __future__ import annotations

from pathlib import Path

from pipeline.rows.table import Table, read_rows


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
