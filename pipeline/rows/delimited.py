"""Text tables: their encoding, separator and decimal sign, and their rows; one bad row does not spoil the file."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TextIO, cast

from pipeline.errors import DataError, RowError

SAMPLE_BYTES = 1 << 20  # enough for a header of thousands of columns
SAMPLE_ROWS = 500
MAX_CELL_CHARS = 16_000_000
MAX_NAME_CHARS = 1_000  # of a column, a category, a class: they travel in schemas and error lines
# A comma stands inside the cells of other files far more often than the others do: it comes last among equals.
SEPARATORS = ("\t", ";", "|", ",")

_COMMA_NUMBER = re.compile(r"\s*[<>≤≥=~]*\s*[-+]?\d+,\d+([eE][-+]?\d+)?\s*")
_POINT_NUMBER = re.compile(r"\s*[<>≤≥=~]*\s*[-+]?\d*\.\d+([eE][-+]?\d+)?\s*")

_FOREIGN = {
    b"pk\x03\x04": "an Excel or zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"bzh": "a bzip2 file",
    b"\xfd7zxz": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"arrow1": "an Arrow (Feather) file",
    b"%pdf": "a PDF file",
    b"<!doctype": "a web page",
    b"<html": "a web page",
    b"[{": "a JSON file",
    b'{"': "a JSON file",
}
"""First bytes, in small letters, of what is often taken for a table."""


class Dialect(NamedTuple):
    """How one text table is written."""

    columns: tuple[str, ...]
    separator: str
    commas: frozenset[str]  # the columns whose numbers have a decimal comma
    encoding: str
    header: bool = True  # the first row names the columns


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong with the bytes of a file into one line that names it.

    Raises:
        DataError: if the file cannot be opened, unpacked or decoded.
    """
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the compressed file is damaged or cut off ({error}); copy it again.") from None
    except UnicodeError as error:
        raise DataError(f"{path}: is not the text it seems ({error}); save it as UTF-8.") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or ' '.join(str(error).split())}).") from None


def open_bytes(path: Path) -> BinaryIO:
    """Open a file for reading, unpacked if it begins like gzip (whatever it is called)."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if packed else path.open("rb")


def foreign_kind(head: bytes) -> str | None:
    """What a file is by its first bytes, if it is no table that is read here."""
    return next((kind for mark, kind in _FOREIGN.items() if head.lower().startswith(mark)), None)


def open_text(path: Path, encoding: str) -> TextIO:
    """Open a text file; line ends stay as they are, as the csv module wants them.

    A byte that is not UTF-8 is read as Latin-1: the encoding is guessed from the first megabyte, and one
    "µ" far down must not end the reading.
    """
    errors = "strict"
    if encoding in ("utf-8", "utf-8-sig", "cp1252"):
        errors = "graphline-latin-1"
        codecs.register_error(errors, _as_latin_1)
    return io.TextIOWrapper(open_bytes(path), encoding=encoding, errors=errors, newline="")


def sniff_encoding(sample: bytes) -> str:
    """Name the encoding of a text by its first bytes: Unicode with or without mark, else Windows Latin."""
    for mark, name in ((codecs.BOM_UTF8, "utf-8-sig"), (b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32")):
        if sample.startswith(mark):
            return name
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = sample[::2].count(0), sample[1::2].count(0)  # digits and separators are ASCII in every table
    if max(even, odd) > max(len(sample) / 10, 10 * min(even, odd)):
        return "utf-16-le" if odd > even else "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=len(sample) < SAMPLE_BYTES)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def sniff(path: Path, header: bool = True) -> Dialect:
    """Find out how a text table is written; without a header its columns are `column1`, `column2`, ….

    Raises:
        DataError: if it is empty, binary, has a header only, or column names are blank, too long or stand twice.
    """
    with reading(path):
        with open_bytes(path) as file:
            sample = file.read(SAMPLE_BYTES)
        encoding = sniff_encoding(sample)
        cut = len(sample) == SAMPLE_BYTES
        decoder = codecs.getincrementaldecoder(encoding)("replace" if encoding in ("utf-8", "cp1252") else "strict")
        text = decoder.decode(sample, final=not cut)
    if not text.strip("\ufeff\r\n\t ,;|"):
        raise DataError(f"{path}: the file is empty; a header and at least one row are needed.")
    if text.count("\0") > len(text) / 20:  # a few of them spoil their cells only
        raise DataError(f"{path}: is a binary file; CSV, Parquet and SDF are read.")
    if text.startswith("sep="):
        raise DataError(f"{path}: begins with a line for Excel ('sep='); delete that line.")
    separator, rows = _separator(text, cut)
    if not header:
        columns = tuple(f"column{i + 1}" for i in range(len(rows[0])))
        return Dialect(columns, separator, _commas(columns, rows, separator), encoding, False)
    columns = check_columns(path, [name.strip() for name in rows[0]])
    if not cut and not any(cell.strip() for row in rows[1:] for cell in row):
        raise DataError(f"{path}: has a header ({_listed(columns)}) but no rows.")
    return Dialect(columns, separator, _commas(columns, rows[1:], separator), encoding)


def read_records(path: Path, dialect: Dialect) -> Iterator[tuple[list[str], RowError | None]]:
    """Read the data rows of a text table, one by one.

    A blank line between rows is a row of empty cells (a spreadsheet shows it so, and answers pasted beside
    it must line up); blank lines at the end are none.

    Yields:
        The cells, as many as there are columns, and the reason if the row has another number of them.

    Raises:
        DataError: if the file is damaged, a cell is too long, or a quote opens that does not close in its cell.
    """
    width = len(dialect.columns)
    number = blank = 0
    header = not dialect.header
    last = 0
    with reading(path), open_text(path, dialect.encoding) as file:
        reader = _reader(file, dialect.separator, strict=True)
        for cells, problem in _parse(reader):
            lines, last = reader.line_num - last, reader.line_num
            if not header:
                if problem is not None:
                    raise DataError(f"{path}: the header has a quote that does not close in its cell; mend it.")
                header = bool(cells)
            elif not cells and problem is None:
                blank += 1
            else:
                for _ in range(blank):
                    yield [""] * width, None
                number, blank = number + blank + 1, 0
                if problem is None and len(cells) == width:
                    yield cells, None
                else:
                    yield _fit(cells, width, _quote_error(path, number, lines, problem))


def check_columns(path: Path, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the names as they are if each is there and unique.

    Raises:
        DataError: otherwise; it names the column.
    """
    blank = [str(i) for i, name in enumerate(columns, 1) if not name]
    if blank:
        raise DataError(
            f"{path}: column {', '.join(blank[:5])} of {len(columns)} has no name in the header; name it or drop it "
            "(pandas: to_csv(..., index=False))."
        )
    if long := next((i for i, name in enumerate(columns, 1) if len(name) > MAX_NAME_CHARS), 0):
        raise DataError(f"{path}: the name of column {long} is longer than {MAX_NAME_CHARS} characters; shorten it.")
    twice = sorted({name for name in columns if columns.count(name) > 1}) if len(set(columns)) < len(columns) else []
    if twice:
        raise DataError(f"{path}: the column {_listed(twice)} stands twice in the header; rename or drop one.")
    return tuple(columns)


def _reader(lines: Iterable[str], separator: str, *, strict: bool) -> Any:
    csv.field_size_limit(MAX_CELL_CHARS)  # of the whole process; the default is 131,072
    return csv.reader(lines, delimiter=separator, strict=strict)


def _parse(reader: Iterator[list[str]]) -> Iterator[tuple[list[str], csv.Error | None]]:
    """Go on behind a line that the csv module cannot split."""
    while True:
        try:
            for cells in reader:
                yield cells, None
            return
        except csv.Error as problem:
            yield [], problem


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


def _separator(text: str, cut: bool) -> tuple[str, list[list[str]]]:
    """Choose the separator that gives the most columns which most rows agree on."""
    best, best_score = ",", (False, 0.0, 0)
    parsed: dict[str, list[list[str]]] = {}
    for separator in SEPARATORS:
        reader = _reader(io.StringIO(text, newline=""), separator, strict=False)
        rows: list[list[str]] = []
        with suppress(csv.Error):  # a cell beyond the module's limit; read_records says where
            rows.extend(itertools.islice((row for row in reader if row), SAMPLE_ROWS))
        if cut and 1 < len(rows) < SAMPLE_ROWS:
            rows.pop()
        parsed[separator] = rows or [[text[:80]]]
        width = len(parsed[separator][0])
        fit = sum(len(row) == width for row in rows) / max(len(rows), 1)
        score = (fit >= 0.8, fit if fit < 0.8 else 1.0, width)
        if width > 1 and score > best_score:
            best, best_score = separator, score
    return best, parsed[best]


def _commas(columns: Sequence[str], rows: list[list[str]], separator: str) -> frozenset[str]:
    """Columns with a decimal comma: by their own cells, by those of the whole file where these do not say."""
    if separator == ",":
        return frozenset()
    commas, points = (
        [sum(bool(form.fullmatch(row[i])) for row in rows if i < len(row)) for i in range(len(columns))]
        for form in (_COMMA_NUMBER, _POINT_NUMBER)
    )
    most = sum(commas) > sum(points)
    own = zip(columns, commas, points, strict=True)
    return frozenset(name for name, comma, point in own if comma > point or (comma == point and most))


def _quote_error(path: Path, number: int, lines: int, problem: csv.Error | None) -> RowError | None:
    """Say what is wrong with the quotes of a row, if anything is.

    Raises:
        DataError: if they may enclose other rows: nobody knows how many went into this one.
    """
    what = ""
    if "end of data" in str(problem):
        what = "a quote opens that never closes"
    elif "field limit" in str(problem):
        what = f"a quote opens that never closes, or a cell has more than {MAX_CELL_CHARS:,} characters"
    elif lines > 1:
        what = f"a quote opens that never closes in its row, which runs over {lines} lines and does not fit the header"
    if what:
        raise DataError(f"{path} row {number}: {what}; close it, or double the quotes inside a cell.") from None
    said = "a quoted cell goes on after its closing quote; double the quotes inside a cell"
    return RowError("length_mismatch", said) if problem else None


def _fit(cells: list[str], width: int, error: RowError | None) -> tuple[list[str], RowError | None]:
    """Give a row its width; empty cells too many at its end are no mistake."""
    if error is None and (len(cells) < width or any(cells[width:])):
        error = RowError("length_mismatch", f"the row has {len(cells)} cells, the header {width}")
    return (cells + [""] * width)[:width], error


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:12])
    return shown + (f" and {len(names) - 12} more" if len(names) > 12 else "")
