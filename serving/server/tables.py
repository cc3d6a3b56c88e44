"""The body of a request as a table, its values as they came: the bundle checks the columns and, row by row, the values.

What is read here is what MLflow's scoring server reads; it would also turn text and booleans into numbers.
"""

from __future__ import annotations

from io import BytesIO, StringIO
from typing import TYPE_CHECKING, Any

from serving.server.inference import Column
from serving.server.json_guard import parse_json
from serving.server.limits import Limits
from serving.server.refusal import RequestError

if TYPE_CHECKING:
    import pandas as pd

JSON, CSV = "application/json", "text/csv"
PARQUET = "application/vnd.apache.parquet"

RECORDS, SPLIT, INSTANCES, INPUTS = FORMS = ("dataframe_records", "dataframe_split", "instances", "inputs")


def read_table(body: bytes, content_type: str, columns: list[Column]) -> pd.DataFrame:
    """Read a body of `/invocations`.

    Args:
        columns: that the model takes.

    Raises:
        RequestError: if it is no table.
        MemoryError: if this process may not take what it needs.
    """
    try:
        if content_type == CSV:
            return _read_csv(body, columns)
        return _read_parquet(body) if content_type == PARQUET else read_json(parse_json(body))
    except (RequestError, MemoryError):
        raise
    except Exception:  # whatever pandas makes of it; its reasons hold what the client sent
        raise RequestError(400, "BAD_REQUEST", _unread(content_type, columns)) from None


def read_json(asked: Any) -> pd.DataFrame:
    """Read the table of a JSON text in one of its four forms.

    Raises:
        Exception: pandas' own, or a ValueError, if it is none of them.
    """
    import pandas as pd

    forms = [form for form in FORMS if form in asked] if isinstance(asked, dict) else []
    if len(forms) != 1:
        raise ValueError
    form, rows = forms[0], asked[forms[0]]
    if form == SPLIT:
        if not isinstance(rows, dict) or "data" not in rows or not rows.keys() <= {"columns", "data", "index"}:
            raise ValueError
        return pd.DataFrame(rows["data"], rows.get("index"), rows.get("columns"), dtype=object)
    if form == INPUTS and isinstance(rows, dict):
        rows = {name: values if isinstance(values, list) else [values] for name, values in rows.items()}
    elif not isinstance(rows, list):
        raise ValueError
    elif all(isinstance(row, dict) for row in rows):
        _check_cells(len(rows) * len(set().union(*rows)))  # a name of its own in each record is a column of its own
    return pd.DataFrame(rows, dtype=object)


def _read_csv(body: bytes, columns: list[Column]) -> pd.DataFrame:
    import pandas as pd

    types = {column["name"]: float if column["type"] == "double" else object for column in columns}
    table = pd.read_csv(StringIO(body.decode()), dtype=types)
    if not isinstance(table.index, pd.RangeIndex):
        # pandas then takes the first column for row labels, and each other one for its neighbour.
        raise RequestError(400, "BAD_REQUEST", "a row has more cells than the header")
    return table


def _read_parquet(body: bytes) -> pd.DataFrame:
    """
    Raises:
        RequestError: if it is no Parquet, or unpacks to too much.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(BytesIO(body))
    except MemoryError:
        raise
    except Exception:  # pyarrow's errors, and what a damaged footer makes of them
        raise RequestError(400, "BAD_REQUEST", "the body is no Parquet file") from None
    footer = file.metadata
    groups = [footer.row_group(k) for k in range(footer.num_row_groups)]
    columns = [file.schema.column(k) for k in range(len(file.schema))]
    values = [sum(group.column(k).num_values for group in groups) for k in range(len(columns))]
    _check_cells(sum(values))
    fixed = sum(column.length * count for column, count in zip(columns, values, strict=True) if column.length > 0)
    _check_bytes(footer.num_rows, sum(group.total_byte_size for group in groups) + fixed)
    texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    try:
        # The footer tells the bytes of packed pages; a text that stands in many rows is there once. It stays so here.
        packed = parquet.ParquetFile(BytesIO(body), read_dictionary=texts).read()
        _check_bytes(len(packed), sum(_unpacked(chunk) for column in packed.columns for chunk in column.chunks))
        del packed
        return file.read().to_pandas()
    except MemoryError:  # also one of pyarrow's
        raise
    except (pa.ArrowException, OSError):
        raise RequestError(400, "BAD_REQUEST", "the body is a damaged Parquet file") from None


def _unpacked(values: Any) -> int:
    """Bytes of an Arrow array, of texts as if each stood by itself."""
    import pyarrow as pa
    from pyarrow import compute

    if pa.types.is_dictionary(values.type):
        lengths = compute.binary_length(values.dictionary.cast(pa.binary())).take(values.indices)
        return int(compute.sum(lengths).as_py() or 0)
    if pa.types.is_struct(values.type):
        return sum(_unpacked(field) for field in values.flatten())
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        return _unpacked(values.flatten())
    return int(values.nbytes)


def _check_cells(number: int) -> None:
    if number > Limits.table_cells:
        raise RequestError(413, "BAD_REQUEST", f"the table has more than {Limits.table_cells} cells")


def _check_bytes(rows: int, size: int) -> None:
    if rows > Limits.parquet_rows or size > Limits.parquet_bytes:
        limits = f"{Limits.parquet_rows} rows or {Limits.parquet_bytes} bytes"
        raise RequestError(413, "BAD_REQUEST", f"the Parquet file unpacks to more than {limits}")


def _unread(content_type: str, columns: list[Column]) -> str:
    names = ", ".join(f"{one['name']} ({one['type']})" for one in columns)
    what = f"an object with exactly one of {', '.join(FORMS)}" if content_type == JSON else "a table"
    return f"the body cannot be read as {what} with the columns {names}; see /docs"
