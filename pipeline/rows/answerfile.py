"""The file of answers, which grows over hours: after a kill the same command goes on behind the rows it holds.

.answers.csv.part       the rows so far, in order (for Parquet Arrow streams, since types are known only at the end)
.answers.csv.journal    whose answers they are, how many rows and bytes are sure, what was counted in them
answers.csv             appears when it is whole
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DataError
from pipeline.rows.parquet import ParquetWriter

SAVE_S = 1.0  # at most so much work is lost by a kill

_TO_QUOTE = re.compile(r'[",\r\n]')


class AnswerFile:
    """Writes rows to CSV or Parquet (by the name), in order; used as a context manager.

    When the block fails, what is sure stays for the next run of the same work; nothing stays where no row is.

    Args:
        key: names the work: the same key would write the same rows. What another key has left is thrown away.
        metadata: facts that stand in a Parquet file beside its schema.

    Attributes:
        rows: how many the file holds.
        counts: what the caller counts in them, such as the rows of an error code; saved with them.
        resumed: rows that were there from the beginning.

    Raises:
        DataError: if the file cannot be written, or another process is writing it.
    """

    def __init__(self, path: str | Path, columns: Sequence[str], key: str, metadata: Mapping[str, str]) -> None:
        self.path = Path(path).expanduser().absolute()
        if self.path.suffix.lower() not in (".csv", ".parquet"):
            raise DataError(f"{self.path}: answers are written as .csv or .parquet; name the file so.")
        if self.path.is_dir():
            raise DataError(f"{self.path}: is a folder; name a file in it.")
        self.columns = tuple(columns)
        self._key, self._metadata = key, metadata
        self._part, self._journal = (self.path.with_name(f".{self.path.name}.{end}") for end in ("part", "journal"))
        with _writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock()
            state = self._read_journal()
            kind = ParquetWriter if self.path.suffix.lower() == ".parquet" else _CsvSink
            self._sink: ParquetWriter | _CsvSink = kind(columns, self._part, state.get("sink"))
        self.rows = self.resumed = int(state.get("rows", 0))
        self.counts: Counter[str] = Counter(state.get("counts", {}))
        self._saved = time.monotonic()

    def write(self, values: Mapping[str, Sequence[object]], counts: Mapping[str, int]) -> None:
        """Append rows: for each column its values, all equally many; and add to the counts."""
        plain = {name: [_plain_value(value) for value in values[name]] for name in self.columns}
        with _writing(self.path):
            self._sink.write(plain)
            self.rows += len(plain[self.columns[0]])
            self.counts.update(counts)
            if time.monotonic() - self._saved >= SAVE_S:
                self._save()

    def _save(self) -> None:
        """The rows first, then the journal as a whole: whenever the process dies, they fit each other."""
        state = {"key": self._key, "rows": self.rows, "counts": self.counts, "sink": self._sink.save()}
        new = self._journal.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._journal)
        self._saved = time.monotonic()

    def _lock(self) -> None:
        from filelock import FileLock, Timeout

        self._held = FileLock(self._journal.with_suffix(".lock"), timeout=0, mode=0o600)
        try:
            self._held.acquire()  # a killed process holds it no more
        except Timeout:
            raise DataError(f"{self.path}: another process is writing these answers; wait for it.") from None

    def _read_journal(self) -> dict[str, Any]:
        """What an earlier run of the same work left, if all of it is there."""
        try:
            state: dict[str, Any] = json.loads(self._journal.read_text(encoding="utf-8"))
            if state["key"] == self._key and self._part.stat().st_size >= state["sink"]["size"]:
                return state
        except (OSError, ValueError, KeyError, TypeError):
            pass
        self._journal.unlink(missing_ok=True)
        return {}

    def __enter__(self) -> AnswerFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        try:
            if kind is None:
                with _writing(self.path):
                    self._finish()
            elif self.rows:
                with contextlib.suppress(OSError):  # of a full disk, say: the journal as it is stays true
                    self._save()
        finally:
            with contextlib.suppress(OSError):
                self._sink.close()
            if kind is None or not self.rows:
                self._remove()
            self._held.release()

    def _finish(self) -> None:
        done = self._part.with_suffix(".whole")
        self._sink.finish(done, self._metadata)
        done.replace(self.path)

    def _remove(self) -> None:
        for path in (self._journal, self._part, *(self._journal.with_suffix(end) for end in (".new", ".lock"))):
            path.unlink(missing_ok=True)


class _CsvSink:
    """The rows of a CSV file, which are the file."""

    def __init__(self, columns: Sequence[str], part: Path, state: Mapping[str, Any] | None = None) -> None:
        self._path = part
        self._file = part.open("r+b" if state else "wb")
        if state:
            self._file.truncate(state["size"])
            self._file.seek(0, os.SEEK_END)
        else:
            self._file.write(_csv_line(columns).encode())

    def write(self, values: Mapping[str, Sequence[object]]) -> None:
        lines = (_csv_line(row) for row in zip(*values.values(), strict=True))
        self._file.write("".join(lines).encode())

    def save(self) -> dict[str, Any]:
        self._file.flush()
        os.fsync(self._file.fileno())
        return {"size": self._file.tell()}

    def finish(self, target: Path, metadata: Mapping[str, str] | None = None) -> None:
        self._file.close()
        self._path.replace(target)

    def close(self) -> None:
        self._file.close()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong with a file that is written into one line that names it.

    Raises:
        DataError: if the disk refuses.
    """
    try:
        yield
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}).") from None


def _plain_value(value: object) -> object:
    """Make a plain Python value; NaN becomes None."""
    if isinstance(value, np.float32 | np.float16):
        value = float(str(value))  # 0.1, not 0.10000000149011612
    elif isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value


def _csv_line(cells: Iterable[object]) -> str:
    """Write one line of CSV. The csv module leaves a lone carriage return unquoted, which its reader then splits at."""
    texts = ["" if cell is None else str(cell) for cell in cells]
    quoted = ['"' + text.replace('"', '""') + '"' if _TO_QUOTE.search(text) else text for text in texts]
    return (",".join(quoted) or '""') + "\n"
