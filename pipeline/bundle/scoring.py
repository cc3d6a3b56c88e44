"""A file in, a file out: all rows of a table with the answers of a bundle, in the same order.

    rows ─► request ─► child process: the bundle, verified, with its own code only ─► answers ─► file

The bundle is copied to a private folder and verified there, and runs in processes of its own (bundle/child.py).
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline import digests
from pipeline.answer import ERROR, ERROR_DETAIL, WARNING
from pipeline.bundle.pool import Children
from pipeline.errors import DataError, RowError
from pipeline.graph import unpack
from pipeline.machine import usable_cores
from pipeline.rows.answerfile import AnswerFile
from pipeline.rows.table import (
    Table,
    check_columns,
    count_rows_hint,
    file_digest,
    find_smiles_column,
    open_table,
    parse_numbers,
    read_rows,
)
from pipeline.runs.tags import DIGEST, MODEL
from pipeline.samples.graph.columns import graph_columns
from pipeline.samples.graph.tables import SUFFIXES, GraphTables, open_graph_tables, read_graph_chunks
from pipeline.schema import Schema

CHUNK_ROWS = 2048
CHUNK_GRAPHS = 512
CHUNK_CELLS = 1_000_000  # of nodes and edges: as lists of Python values about 60 MB, which a few chunks may take

Objects = NDArray[np.object_]


@dataclass(frozen=True)
class ScoreReport:
    """What came of scoring a file.

    Attributes:
        rows: rows of the input, each of which is in the output.
        answered: rows with an answer.
        errors: number of rows by error code, the most frequent first.
        warnings: rows whose answer carries a warning.
        digest: sha256 of the bundle that answered.
        columns: name of each answer -> its column in the output; `<name>_predicted` where the input has that name.
        resumed: rows that an earlier run, which did not end, had answered.
    """

    rows: int
    answered: int
    errors: dict[str, int]
    warnings: int
    digest: str
    columns: dict[str, str]
    resumed: int = 0


class Request(NamedTuple):
    """Some rows of the input, B of them, and what is asked about them."""

    values: dict[str, Objects]  # all columns of the input (B,)
    asked: NDArray[np.int64]  # (K,) positions of the rows that the model is asked
    columns: dict[str, list[Any]]  # the request's columns (K,)
    errors: dict[int, RowError]  # position -> why the model is not asked

    @property
    def num_rows(self) -> int:
        return len(self.asked) + len(self.errors)


class Source(NamedTuple):
    """The input, opened; of its rows nothing is read yet."""

    columns: tuple[str, ...]
    files: tuple[Path, ...]
    total: int | None  # rows, about; None where that is not cheap to know
    requests: Iterator[Request]


def score_file(
    bundle: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    smiles: str | None = None,
    expected: str | None = None,
    model: str = "",
    processes: int = 0,
) -> ScoreReport:
    """Answer every row of a file or of a folder of graph tables.

    Memory does not grow with the number of rows (of a folder: 64 bytes a graph). When the run is killed, the same call
    goes on behind the rows that are sure; the file appears under its name when it is whole.

    Args:
        bundle: folder of the bundle.
        data: CSV, Parquet or SDF; a folder of graph tables; or, of graphs, a file whose columns `nodes` and `edges`
            hold JSON text.
        out: CSV or Parquet file, by its name: the columns of the input, then those of the answer.
        smiles: column of the molecules; recognised when there is one obvious column.
        expected: the digest that was signed off, if it is known.
        model: what the bundle is called, for the metadata of a Parquet file.
        processes: that answer at the same time; 0: one a usable core.

    Raises:
        BundleError: if the bundle's bytes are not what was signed off.
        DataError: if a file or a column cannot be used.
        PipelineError: if a child process fails, with its reason.
    """
    data = Path(data)
    if Path(out).absolute() == data.absolute():
        raise DataError(f"{data}: the answers would replace the data; choose another out=.")
    with digests.private_copy(bundle, expected, model) as folder:
        digest = digests.verify(folder)
        schema = Schema.from_json((folder / "artifacts" / "schema.json").read_text(encoding="utf-8"))
        source = _open(data, schema, smiles)
        key = _key(source, digest, smiles)
        metadata = {MODEL: model, DIGEST: digest}
        with Children(folder, processes or usable_cores()) as children:
            columns = _free_names(children.columns, source.columns)
            with AnswerFile(out, [*source.columns, *columns.values()], key, metadata) as file:
                _answer_all(source, children, file, columns)
        digests.verify(folder)  # loading may not have changed it either
    errors = Counter({name: count for name, count in file.counts.items() if name != "warnings"})
    answered = file.rows - errors.total()
    return ScoreReport(
        file.rows, answered, dict(errors.most_common()), file.counts["warnings"], digest, columns, file.resumed
    )


def _answer_all(source: Source, children: Children, file: AnswerFile, columns: Mapping[str, str]) -> None:
    """Answer the rows that the file does not hold yet."""
    requests = _behind(source.requests, file.rows)
    with _progress(source.total, file.rows) as progress:
        for request, answered in children.answer((request, request.columns) for request in requests):
            answers = _all_rows(request, answered)
            counts = Counter(code for code in answers[ERROR] if code is not None)
            counts["warnings"] = sum(text is not None for text in answers[WARNING])
            file.write({**request.values, **{columns[name]: answers[name] for name in columns}}, counts)  # type: ignore[dict-item, misc] # arrays are sequences
            progress.update(request.num_rows)


def _behind(requests: Iterator[Request], rows: int) -> Iterator[Request]:
    """The requests behind so many rows, which earlier requests of the same sizes made."""
    for request in requests:
        if rows <= 0:
            yield request
        rows -= request.num_rows


def _key(source: Source, digest: str, smiles: str | None) -> str:
    """Names the work: all that its rows depend on."""
    facts = [CHUNK_ROWS, CHUNK_GRAPHS, CHUNK_CELLS, digest, smiles, *map(file_digest, source.files)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _open(data: Path, schema: Schema, smiles: str | None) -> Source:
    features = [column.name for column in schema.graph_columns]
    if data.is_dir():
        if schema.data_kind == "molecule":
            raise DataError(
                f"{data.absolute()} is a folder, but this model takes molecules; pass a CSV, Parquet or SDF file."
            )
        for name, columns in (("nodes", schema.node_columns), ("edges", schema.edge_columns)):
            _check_names(data, name, [column.name for column in columns])
        tables = open_graph_tables(data, directed=schema.directed, **_kinds(schema))
        check_columns(tables.graphs, features)
        files = tuple(table.path for table in (tables.graphs, tables.nodes, tables.edges))
        return Source(tables.columns, files, tables.num_graphs, _graph_requests(tables, schema))
    table = open_table(data)
    if schema.data_kind == "molecule":
        sources = {"smiles": find_smiles_column(table, smiles)}
    else:
        sources = {"nodes": "nodes", "edges": "edges"}
    check_columns(table, [*sources.values(), *features])
    return Source(table.columns, (table.path,), count_rows_hint(table), _table_requests(table, schema, sources))


def _table_requests(table: Table, schema: Schema, sources: Mapping[str, str]) -> Iterator[Request]:
    for rows in read_rows(table, table.columns, CHUNK_ROWS):
        columns: dict[str, Any] = {name: rows.values[source] for name, source in sources.items()}
        numbers, errors = _features(rows.values, schema, table.decimal)
        errors |= rows.errors
        asked = np.array([row for row in range(len(rows.number)) if row not in errors], dtype=np.int64)
        yield Request(
            rows.values,
            asked,
            {name: [values[row] for row in asked] for name, values in (columns | numbers).items()},
            errors,
        )


def _graph_requests(tables: GraphTables, schema: Schema) -> Iterator[Request]:
    # The tables' own categories: the bundle reads them by their text and knows its own.
    own = Schema(schema.name, "graph", (), tables.node_columns, tables.edge_columns, directed=schema.directed)
    cells = tables.num_nodes * (1 + len(own.node_columns)) + tables.num_edges * (2 + len(own.edge_columns))
    size = max(1, min(CHUNK_GRAPHS, CHUNK_CELLS * tables.num_graphs // max(1, cells)))
    for rows, chunk, good, found, _ in read_graph_chunks(tables, tables.columns, schema.limits, size):
        numbers, errors = _features(rows.values, schema, tables.graphs.decimal)
        errors |= found
        kept = [(g, int(row)) for g, row in enumerate(good) if int(row) not in errors]
        columns: dict[str, list[Any]] = {"nodes": [], "edges": []}
        for g, _ in kept:
            nodes, edges = graph_columns(unpack(chunk, g), own)
            columns["nodes"].append(nodes)
            columns["edges"].append(edges)
        asked = [row for _, row in kept]
        columns |= {name: [values[row] for row in asked] for name, values in numbers.items()}
        yield Request(rows.values, np.array(asked, dtype=np.int64), columns, errors)


def _features(
    values: Mapping[str, Objects], schema: Schema, decimal: str
) -> tuple[dict[str, list[float | None]], dict[int, RowError]]:
    """The graph features as numbers, None where missing; the rows where one is no number."""
    columns: dict[str, list[float | None]] = {}
    errors: dict[int, RowError] = {}
    for column in schema.graph_columns:
        numbers, unreadable = parse_numbers(values[column.name], decimal)
        columns[column.name] = [None if np.isnan(number) else float(number) for number in numbers]
        for row in np.flatnonzero(unreadable):
            errors.setdefault(int(row), RowError("wrong_type", f"'{column.name}' is no number."))
        for row in np.flatnonzero(np.isinf(numbers)):
            errors.setdefault(int(row), RowError("not_finite", f"'{column.name}' is no finite number."))
    return columns, errors


def _all_rows(request: Request, answered: Mapping[str, list[Any]]) -> dict[str, Objects]:
    """The answer's columns for all rows of a request."""
    answers = {name: np.full(request.num_rows, None, dtype=object) for name in answered}
    for row, error in request.errors.items():
        answers[ERROR][row], answers[ERROR_DETAIL][row] = error.code, error.detail
    for name, values in answered.items():
        for row, value in zip(request.asked, values, strict=True):
            answers[name][row] = value
    return answers


def _free_names(answers: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
    """Name the answers' columns so that no column of the input is lost."""
    names: dict[str, str] = {}
    for answer in answers:
        name = answer
        while name in taken or name in names.values():
            name += "_predicted"
        names[answer] = name
    return names


def _kinds(schema: Schema) -> dict[str, list[str]]:
    """The kinds of columns, for the reader of graph tables, which would infer them from these rows."""
    kinds: dict[str, set[str]] = {}
    for column in (*schema.node_columns, *schema.edge_columns):
        kinds.setdefault(column.name, set()).add(column.kind)
    # A name that nodes and edges use for different kinds cannot be asked for; its kinds are inferred.
    return {kind: [name for name, found in kinds.items() if found == {kind}] for kind in ("numeric", "categorical")}


def _check_names(folder: Path, name: str, wanted: Sequence[str]) -> None:
    """
    Raises:
        DataError: if the table of nodes or of edges lacks a column that the model needs.
    """
    path = next((path for suffix in SUFFIXES if (path := folder / f"{name}{suffix}").exists()), None)
    if path is None:
        return  # the reader says what a folder of graph tables needs
    table = open_table(path)
    if missing := [column for column in wanted if column not in table.columns]:
        raise DataError(
            f"{table.path}: there is no column {missing}, which the model needs; it has {list(table.columns)}."
        )


def _progress(total: int | None, done: int) -> Any:
    """A bar on a terminal; in a log a line every half minute."""
    from tqdm import tqdm

    log = {} if sys.stderr.isatty() else {"mininterval": 30, "delay": 30, "bar_format": "{desc}: {r_bar}\n"}
    return tqdm(total=total, initial=done, desc="predict", unit=" rows", unit_scale=True, dynamic_ncols=True, **log)
