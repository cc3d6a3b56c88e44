"""Requests that nobody should send, with the answers that are allowed: for `serving.app` and for plain serving.

An attack is sent as bytes on a connection of its own; `(name, data)` in `RAW`. `BODIES` are bodies of /invocations with
their content type and the statuses that `serving.app` may answer; a 200 must carry an error code in every row.
"""

from __future__ import annotations

import gzip
import json
from io import BytesIO
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import parquet

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"
MB = 1 << 20


class Body(NamedTuple):
    """A body, its content type (None: no header), and which statuses are right."""

    body: bytes
    content_type: str | None = JSON
    statuses: tuple[int, ...] = (400,)
    codes: tuple[str, ...] = ()  # of a 200: the error of every row


def records(*rows: Any) -> bytes:
    return json.dumps({"dataframe_records": list(rows)}).encode()


def molecule(smiles: Any, temperature: Any = 1.0) -> dict[str, Any]:
    return {"smiles": smiles, "temperature": temperature}


GOOD = records(molecule("CCO"))
SMILES = b'{"dataframe_records": [{"smiles": %s, "temperature": 1}]}'
NUMBER = b'{"dataframe_records": [{"smiles": "C", "temperature": %s}]}'

BODIES: dict[str, Body] = {
    "empty": Body(b""),
    "null": Body(b"null"),
    "list": Body(b"[1, 2]"),
    "number": Body(b"5"),
    "truncated": Body(GOOD[:-5]),
    "two documents": Body(GOOD + GOOD),
    "binary": Body(bytes(range(256)) * 100),
    "bad UTF-8": Body(GOOD.replace(b"CCO", b"\xc3\x28\xff")),
    "UTF-16": Body(GOOD.decode().encode("utf-16")),
    "byte order mark": Body(b"\xef\xbb\xbf" + GOOD, statuses=(200,), codes=(None,)),  # type: ignore[arg-type]
    "lone surrogate": Body(SMILES % b'"\\ud800"', statuses=(200, 400), codes=("invalid_smiles",)),
    "NUL": Body(SMILES % b'"C\\u0000C"', statuses=(200, 400), codes=("invalid_smiles",)),
    "NaN": Body(NUMBER % b"NaN"),
    "Infinity": Body(NUMBER % b"Infinity"),
    "minus Infinity": Body(NUMBER % b"-Infinity"),
    "1e400": Body(NUMBER % b"1e400"),
    "5,000 digits": Body(NUMBER % (b"9" * 5000)),
    "60 digits": Body(NUMBER % (b"9" * 60), statuses=(200, 400), codes=("not_finite",)),
    "depth 100,000": Body(SMILES % (b"[" * 100_000 + b"]" * 100_000)),
    "depth 100,000, open": Body(b'{"a":' * 100_000),
    "same key twice": Body(b'{"dataframe_records": [], "dataframe_records": []}'),
    "same column twice": Body(b'{"dataframe_records": [{"smiles": "C", "smiles": "CC", "temperature": 1}]}'),
    "two forms": Body(b'{"dataframe_records": [], "inputs": []}'),
    "no form": Body(b'{"rows": []}'),
    "text as records": Body(b'{"dataframe_records": "CCO"}'),
    "numbers as records": Body(b'{"dataframe_records": [1, 2]}'),
    "broken split": Body(b'{"dataframe_split": {"columns": ["smiles"], "data": [[1, 2, 3]]}}'),
    "split without data": Body(b'{"dataframe_split": {"columns": ["smiles"]}}', statuses=(200, 400)),
    "uneven inputs": Body(b'{"inputs": {"smiles": ["C"], "temperature": [1, 2]}}'),
    "params": Body(
        b'{"dataframe_records": [{"smiles": "C", "temperature": 1}], "params": {"a": 1}}', statuses=(200, 400)
    ),
    "text for a number": Body(NUMBER % b'"1"', statuses=(200,), codes=("wrong_type",)),
    "bool for a number": Body(NUMBER % b"true", statuses=(200,), codes=("wrong_type",)),
    "words for a number": Body(NUMBER % b'"one"', statuses=(200,), codes=("wrong_type",)),
    "object for a number": Body(NUMBER % b"{}", statuses=(200,), codes=("wrong_type",)),
    "number for a SMILES": Body(SMILES % b"5", statuses=(200, 400), codes=("wrong_type",)),
    "list for a SMILES": Body(SMILES % b'["C"]', statuses=(200, 400), codes=("wrong_type",)),
    "object for a SMILES": Body(SMILES % b'{"a": 1}', statuses=(200, 400), codes=("wrong_type",)),
    "100,000 atoms": Body(records(molecule("C" * 100_000)), statuses=(200,), codes=("too_large",)),
    "50 MB string": Body(SMILES % (b'"' + b"C" * (50 * MB) + b'"'), statuses=(413,)),
    "1,000,000 rows": Body(
        b'{"dataframe_records": [' + b",".join([b'{"smiles": "C", "temperature": 1}'] * 1_000_000) + b"]}",
        statuses=(413,),
    ),
    # Fewer than 10 MB: the bundle's own limit of rows answers, or the time budget of a slow machine.
    "1,000,000 short rows": Body(b"smiles,temperature\n" + b"C,1\n" * 1_000_000, CSV, (200, 400, 504)),
    "9 MB of quotes": Body(
        SMILES % (b'"' + b'\\"' * (9 * MB // 2) + b'"'), statuses=(200, 400, 504), codes=("too_large",)
    ),
    "9 MB of brackets": Body(b"[]," * (3 * MB)),
    "9 MB of empty objects": Body(b'{"dataframe_records": [' + b"{}," * (3 * MB - 20) + b"{}]}", statuses=(400, 504)),
    "no Content-Type": Body(GOOD, None, (415,)),
    "HTML": Body(GOOD, "text/html", (415,)),
    "another charset": Body(GOOD, "application/json; charset=utf-16", (415,)),
    "form": Body(b"smiles=C", "application/x-www-form-urlencoded", (415,)),
    "empty CSV": Body(b"", CSV),
    "CSV with NUL": Body(b"smiles,temperature\nC\x00C,1\n", CSV, (200, 400)),
    "CSV of bad UTF-8": Body(b"smiles,temperature\n\xff\xfe,1\n", CSV),
    "CSV with ragged rows": Body(b"smiles,temperature\nC,1,2,3,4\nC\n", CSV, (200, 400)),
    "CSV with an open quote": Body(b'smiles,temperature\n"C,1\n', CSV, (200, 400)),
    "CSV with text for a number": Body(b"smiles,temperature\nC,abc\n", CSV),
    "no Parquet": Body(b"PAR1" + bytes(100) + b"PAR1", PARQUET),
    "empty Parquet": Body(b"", PARQUET),
    "pickle": Body(b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.", PARQUET),
    "gzip": Body(gzip.compress(GOOD), JSON),
}


def packed(smiles: str, rows: int) -> bytes:
    """One text in many rows, which Parquet keeps once."""
    file = BytesIO()
    parquet.write_table(pa.table({"smiles": [smiles] * rows, "temperature": [1.0] * rows}), file, compression="zstd")
    return file.getvalue()


LATTICE = "C1CC1" + "".join(f"C%({k})" for k in range(10, 1000)) + "".join(f"C%({k})" for k in range(999, 9, -1))
COSTLY_ROWS = {
    "one ring of 9,000 atoms": Body(records(molecule(f"C1{'C' * 9_000}C1")), statuses=(200,), codes=("too_large",)),
    "1,000 fused squares": Body(records(molecule(LATTICE)), statuses=(200,), codes=("too_large",)),
}
COSTLY = {
    "one text in 20,000 rows of Parquet": Body(packed("C" * 100_000, 20_000), PARQUET, (413,)),
    "15,000 records with a name each": Body(records(*({f"k{k}": k} for k in range(15_000))), statuses=(413,)),
}
"""Small requests that took seconds and gigabytes, and, above, rows that did."""


def graph(**more: Any) -> bytes:
    row = {
        "nodes": {"symbol": ["C", "C"], "charge": [0.5, 0.5]},
        "edges": {"source": [0], "target": [1], "order": [1]},
        "temperature": 1.0,
    }
    return records(row | more)


def edge(source: Any, target: Any = 1) -> bytes:
    return graph(edges={"source": [source], "target": [target], "order": [1]})


def row_error(body: bytes, *codes: str) -> Body:
    return Body(body, statuses=(200,), codes=codes)


GRAPHS: dict[str, Body] = {
    "index -1": row_error(edge(-1), "index_out_of_range"),
    "index N": row_error(edge(2), "index_out_of_range"),
    "index 1e18": row_error(edge(10**18), "index_out_of_range"),
    "index of 30 digits": row_error(edge(10**30), "index_out_of_range", "wrong_type"),
    "index 0.5": row_error(edge(0.5), "wrong_type", "index_out_of_range"),
    "index 1e17": row_error(edge(1e17), "wrong_type", "index_out_of_range"),
    "index as text": row_error(edge("0"), "wrong_type"),
    "index as bool": row_error(edge(True), "wrong_type"),
    "index null": row_error(edge(None), "missing", "wrong_type"),
    "nested index": row_error(edge([0]), "wrong_type"),
    "nodes as text": row_error(graph(nodes="[[[["), "wrong_type"),
    "nodes as deep text": row_error(graph(nodes="[" * 100_000), "wrong_type"),
    "nodes as list": row_error(graph(nodes=[1]), "wrong_type"),
    "nodes as number": row_error(graph(nodes=5), "wrong_type"),
    "no nodes": row_error(graph(nodes=None), "missing"),
    "uneven columns": row_error(graph(nodes={"symbol": ["C"], "charge": [1, 2]}), "length_mismatch"),
    "text for a number": row_error(graph(nodes={"symbol": ["C", "C"], "charge": ["1", "2"]}), "wrong_type"),
    "bool for a number": row_error(graph(nodes={"symbol": ["C", "C"], "charge": [True, False]}), "wrong_type"),
    "1e308 for a number": row_error(graph(nodes={"symbol": ["C", "C"], "charge": [1e308, 1]}), "not_finite"),
    "feature as text": row_error(graph(temperature="1"), "wrong_type"),
    "feature missing": row_error(graph(temperature=None), "missing"),
    "100,000 nodes": row_error(graph(nodes={"symbol": ["C"] * 100_000, "charge": [0] * 100_000}), "too_large"),
    "depth 40": Body(graph(nodes=json.loads("[" * 40 + "]" * 40)), statuses=(400,)),
}

HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
RAW: dict[str, bytes] = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "nonsense": b"nonsense\r\n\r\n",
    "HTTP/9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "method of 10 kB": b"A" * 10_000 + b" /health HTTP/1.1\r\nHost: x\r\n\r\n",
    "path of 100 kB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "header of 100 kB": b"GET /health HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "10,000 headers": b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"X: 1\r\n" * 10_000 + b"\r\n",
    "two lengths": HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "negative length": HEAD + b"Content-Length: -5\r\n\r\n",
    "length of text": HEAD + b"Content-Length: five\r\n\r\n",
    "length of 1e30": HEAD + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "length and chunks": HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "broken chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nhello\r\n0\r\n\r\n",
    "unknown coding": HEAD + b"Transfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
    "bad path bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "null in path": b"GET /health\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "websocket": b"GET /health HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "proxy": b"GET http://example.org/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "connect": b"CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
}
"""What is no right HTTP; whatever is answered must be HTTP with JSON, and never a 5xx."""

HALF_BODY = HEAD + b"Content-Length: 1000\r\n\r\n{"
HALF_HEAD = b"POST /invocations HTTP/1.1\r\nHost: x\r\n"
