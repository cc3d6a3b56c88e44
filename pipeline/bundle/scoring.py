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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import digests
from pipeline.answer import ERROR, ERROR_DETAIL, WARNING
from pipeline.bundle.pool import Children
from pipeline.errors import DataError
from pipeline.machine import usable_cores
from pipeline.rows.answerfile import AnswerFile
from pipeline.rows.table import (
    file_digest,
)
from pipeline.runs.tags import DIGEST, MODEL
from pipeline.samples.kinds import kind_of
from pipeline.samples.source import Options, Question, Questions
from pipeline.schema import Schema

CHUNK_ROWS = 2048

Objects = NDArray[np.object_]
_AS_THEY_COME = Options()


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


def score_file(
    bundle: str | Path,
    data: str | Path,
    out: str | Path,
    *,
    options: Options = _AS_THEY_COME,
    expected: str | None = None,
    model: str = "",
    processes: int = 0,
) -> ScoreReport:
    """Answer every row of a file or of a folder of graph tables.

    Memory does not grow with the number of rows (of a folder: 64 bytes a graph). When the run is killed, the same call
    goes on behind the rows that are sure; the file appears under its name when it is whole.

    Args:
        bundle: folder of the bundle.
        data: CSV, Parquet, SDF or SMILES; a folder of graph tables; or, of graphs, a file whose columns `nodes` and
            `edges` hold JSON text.
        out: CSV or Parquet file, by its name: the columns of the input, then those of the answer.
        options: of which `smiles` and `header` say how a file is read.
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
        source = kind_of(schema.data_kind).source().questions(data, schema, options, CHUNK_ROWS)
        key = _key(source, digest, options)
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


def _answer_all(source: Questions, children: Children, file: AnswerFile, columns: Mapping[str, str]) -> None:
    """Answer the rows that the file does not hold yet."""
    questions = _behind(source.questions, file.rows)
    with _progress(source.total, file.rows) as progress:
        for question, answered in children.answer((question, question.columns) for question in questions):
            answers = _all_rows(question, answered)
            counts = Counter(code for code in answers[ERROR] if code is not None)
            counts["warnings"] = sum(text is not None for text in answers[WARNING])
            file.write({**question.values, **{columns[name]: answers[name] for name in columns}}, counts)  # type: ignore[dict-item, misc] # arrays are sequences
            progress.update(question.num_rows)


def _behind(questions: Iterator[Question], rows: int) -> Iterator[Question]:
    """The questions behind so many rows, which earlier questions of the same sizes asked."""
    for question in questions:
        if rows <= 0:
            yield question
        rows -= question.num_rows


def _key(source: Questions, digest: str, options: Options) -> str:
    """Names the work: all that its rows depend on."""
    facts = [CHUNK_ROWS, digest, options.smiles, options.header, *map(file_digest, source.files)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _all_rows(question: Question, answered: Mapping[str, list[Any]]) -> dict[str, Objects]:
    """The answer's columns for all rows of a question."""
    answers = {name: np.full(question.num_rows, None, dtype=object) for name in answered}
    for row, error in question.errors.items():
        answers[ERROR][row], answers[ERROR_DETAIL][row] = error.code, error.detail
    for name, values in answered.items():
        for row, value in zip(question.asked, values, strict=True):
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


def _progress(total: int | None, done: int) -> Any:
    """A bar on a terminal; in a log a line every half minute."""
    from tqdm import tqdm

    log = {} if sys.stderr.isatty() else {"mininterval": 30, "delay": 30, "bar_format": "{desc}: {r_bar}\n"}
    return tqdm(total=total, initial=done, desc="predict", unit=" rows", unit_scale=True, dynamic_ncols=True, **log)
