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
    """
    try:
        if content_type == CSV:
            return _read_csv(body, columns)
        return _read_parquet(body) if content_type == PARQUET else read_json(parse_json(body))
    except RequestError:
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
        RequestError: if it is no Parquet, or too large: its own footer says to which size a small file unpacks.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(BytesIO(body))
    except Exception:  # pyarrow's errors, and what a damaged footer makes of them
        raise RequestError(400, "BAD_REQUEST", "the body is no Parquet file") from None
    footer = file.metadata
    size = sum(footer.row_group(k).total_byte_size for k in range(footer.num_row_groups))
    if footer.num_rows > Limits.parquet_rows or size > Limits.parquet_bytes:
        limits = f"{Limits.parquet_rows} rows or {Limits.parquet_bytes} bytes"
        raise RequestError(413, "BAD_REQUEST", f"the Parquet file unpacks to more than {limits}")
    try:
        return file.read().to_pandas()
    except (pa.ArrowException, OSError):
        raise RequestError(400, "BAD_REQUEST", "the body is a damaged Parquet file") from None


def _unread(content_type: str, columns: list[Column]) -> str:
    names = ", ".join(f"{one['name']} ({one['type']})" for one in columns)
    what = f"an object with exactly one of {', '.join(FORMS)}" if content_type == JSON else "a table"
    return f"the body cannot be read as {what} with the columns {names}; see /docs"
