"""A file of rows: CSV, Parquet, SDF or SMILES, read in chunks.

    open_table -> Table -> read_rows -> Rows, Rows, ...

Values of CSV cells are text; an empty cell is None. Parquet keeps numbers and booleans; times become text.
"""

from __future__ import annotations

import difflib
import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.digests import file_sha256
from pipeline.errors import ConfigError, DataError, RowError
from pipeline.rows import delimited, parquet, sdf, smi
from pipeline.rows.number import read_number

MISSING_WORDS = frozenset(("", "na", "n/a", "#n/a", "#na", "<na>", "nan", "-nan", "null", "none"))
"""Texts, in small letters, that stand for a missing number."""

_TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".dat")
_SUFFIXES = {
    **{".parquet": "parquet", ".pq": "parquet", ".sdf": "sdf", ".sd": "sdf", ".smi": "smi"},
    **dict.fromkeys(_TEXT_SUFFIXES, "csv"),
}
_SMILES_NAMES = ("smiles", "canonicalsmiles", "isomericsmiles", "structure", "molecule", "mol")

Values = NDArray[np.object_]


@dataclass(frozen=True)
class Table:
    """A file whose kind, columns and way of writing are known; nothing else of it is in memory.

    Attributes:
        separator, commas, encoding: of a CSV file, `commas` names the columns with a decimal comma; `encoding` of the
            other texts too.
        header: of a CSV file: its first row names the columns; else they are `column1`, `column2`, ….
    """

    path: Path
    format: Literal["csv", "parquet", "sdf", "smi"]
    columns: tuple[str, ...]
    separator: str = ","
    commas: frozenset[str] = frozenset()
    encoding: str = "utf-8"
    header: bool = True

    def decimal_of(self, column: str) -> str:
        """The decimal sign of the numbers of a column."""
        return "," if column in self.commas else "."


class Rows(NamedTuple):
    """Some rows of a table, B of them.

    A row in `errors` keeps whatever of its values could be read.
    """

    number: NDArray[np.int64]  # (B,) as a person counts: 1 is the first data row (SDF: record)
    values: dict[str, Values]  # per asked column (B,), each value str, int, float, bool or None; never NaN
    errors: dict[int, RowError]  # position in this chunk -> why the whole row cannot be used


def open_table(path: str | Path, *, header: bool = True) -> Table:
    """Recognise a file of rows by its name and first bytes.

    Args:
        path: `.csv`, `.tsv`, `.txt`, `.sdf`, `.smi` (each also `.gz`) or `.parquet`.
        header: whether the first row of a CSV file names the columns.

    Raises:
        ConfigError: without a header, if the file is no CSV.
        DataError: if it is not there, damaged, empty, of another kind, or its column names are blank or doubled.
    """
    path = Path(path).expanduser().absolute()
    if path.is_dir():
        raise DataError(f"{path}: is a folder; a file of rows is wanted (.csv, .parquet or .sdf).")
    if not path.exists():
        raise DataError(f"{path}: there is no such file; check the name.{_near_file(path)}")
    with delimited.reading(path), delimited.open_bytes(path) as file:
        head = file.read(4096)
    kind = _SUFFIXES.get(Path(path.stem if path.suffix.lower() == ".gz" else path).suffix.lower())
    foreign = delimited.foreign_kind(head)
    if head.startswith(b"PAR1"):
        kind = "parquet"
    elif foreign or kind is None:
        what = f"{foreign}; unpack it or" if foreign else "of an unknown kind;"
        raise DataError(f"{path}: is {what} save it as .csv, .tsv, .parquet, .sdf or .smi.")
    if not header and kind != "csv":
        raise ConfigError(f"header=false is for CSV files; {path.name} is none, and needs no such word.")
    if kind == "parquet":
        return Table(path, "parquet", tuple(parquet.read_columns(path)))
    if kind == "sdf":
        found = delimited.sniff_encoding(head)
        encoding = found if found.startswith("utf") else "utf-8"  # Latin-1 is read byte by byte, wherever it stands
        return Table(path, "sdf", sdf.scan_columns(path, encoding), encoding=encoding)
    if kind == "smi":
        return _open_smi(path, delimited.sniff_encoding(head), head)
    return Table(path, "csv", *delimited.sniff(path, header))


def read_rows(table: Table, columns: Sequence[str], chunk_rows: int = 4096) -> Iterator[Rows]:
    """Read the asked columns, `chunk_rows` rows at a time; memory does not grow with the file.

    Raises:
        DataError: if a column is not there or is nested, or the file is damaged.
    """
    check_columns(table, columns)
    if table.format == "parquet":
        return _read_parquet(table, columns, chunk_rows)
    if table.format == "sdf":
        return _read_sdf(table, columns, chunk_rows)
    if table.format == "smi":
        return _read_smi(table, columns, chunk_rows)
    return _read_csv(table, columns, chunk_rows)


def check_columns(table: Table, columns: Sequence[str]) -> None:
    """Check that all columns are there.

    Raises:
        DataError: otherwise; it lists what is there.
    """
    for name in columns:
        if name not in table.columns:
            near = difflib.get_close_matches(name, table.columns, 1, 0.6)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise DataError(
                f"{table.path}: there is no column '{name}'; the columns are {_listed(table.columns)}.{hint}"
            )


def find_smiles_column(table: Table, asked: str | None = None) -> str:
    """Name the column that holds the molecules.

    That is the asked one; in SDF the one made from the mol blocks; in a SMILES file the first; else one with an obvious
    name; else the only one whose first values RDKit can read.

    Raises:
        DataError: if that leaves none or several, or its name is a molecule: the file has no header.
    """
    if asked:
        check_columns(table, [asked])
        return asked
    if table.format == "sdf":
        return sdf.SMILES_COLUMN
    if table.format == "smi":
        return smi.COLUMNS[0]
    plain = {name: "".join(filter(str.isalnum, name.lower())) for name in table.columns}
    for wanted in _SMILES_NAMES[:3]:
        found = [name for name in table.columns if plain[name] == wanted]
        if len(found) == 1:
            return found[0]
    found = [name for name in table.columns if "smiles" in plain[name]]
    if not found:
        found = _columns_that_parse(table)
        found = [name for name in found if plain[name] in _SMILES_NAMES] or found
    if len(found) == 1 and "smiles" not in plain[found[0]]:
        _refuse_molecule(table, found[0])
    if len(found) == 1:
        return found[0]
    what = f"several columns look like SMILES ({_listed(found)})" if found else "no column looks like SMILES"
    raise DataError(
        f"{table.path}: {what}; the columns are {_listed(table.columns)}. "
        f"Try: mlflow run . -P data={table.path} -P smiles={found[0] if found else 'COLUMN'}"
        f"{'' if found or not any(map(_is_molecule, table.columns)) else '; or header=false, if it has no header'}"
    )


def parse_numbers(values: Values, decimal: str = ".") -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Read values as numbers; booleans are none.

    Args:
        values: (B,) as in `Rows`.
        decimal: the decimal sign of text, as for `read_number`.

    Returns:
        (B,) numbers, NaN where missing or unreadable, infinite where the text says so; (B,) which are unreadable.
    """
    parsed = [_number(value, decimal) for value in values]
    numbers = np.array([math.nan if number is None else number for number in parsed], dtype=np.float64)
    return numbers, np.array([number is None for number in parsed], dtype=bool)


def count_rows_hint(table: Table) -> int | None:
    """Guess the number of rows without reading them, for a progress bar; None where that is not cheap."""
    with delimited.reading(table.path):
        if table.format == "parquet":
            return parquet.count_rows(table.path)
        size = table.path.stat().st_size
        with table.path.open("rb") as file:
            sample = file.read(delimited.SAMPLE_BYTES)
    if sample.startswith(b"\x1f\x8b"):
        return None
    ends = sample.count(b"$$$$") if table.format == "sdf" else max(sample.count(b"\n"), sample.count(b"\r")) - 1
    return max(1, round(ends * size / max(len(sample), 1)))


def file_digest(path: str | Path) -> str:
    """Compute the sha256 of a file, or of a folder: over the sorted names and digests of all files in it."""
    path = Path(path)
    with delimited.reading(path):
        if not path.is_dir():
            return file_sha256(path)
        total = hashlib.sha256()
        files = {file.relative_to(path).as_posix(): file for file in path.rglob("*") if file.is_file()}
    for name in sorted(files):
        total.update(f"{name}\0{file_digest(files[name])}\n".encode())
    return total.hexdigest()


def _read_csv(table: Table, columns: Sequence[str], chunk_rows: int) -> Iterator[Rows]:
    dialect = delimited.Dialect(table.columns, table.separator, table.commas, table.encoding, table.header)
    index = {name: table.columns.index(name) for name in columns}
    records = delimited.read_records(table.path, dialect)
    first = 1
    while True:
        size, errors = 0, dict[int, RowError]()
        values: dict[str, list[object]] = {name: [] for name in columns}
        # Few rows at a time: they are gone before the garbage collector walks them, which would take as long again.
        while taken := list(itertools.islice(records, min(512, chunk_rows - size))):
            for name, i in index.items():
                values[name].extend([cells[i] if cells[i] and not cells[i].isspace() else None for cells, _ in taken])
            errors |= {size + i: error for i, (_, error) in enumerate(taken) if error is not None}
            size += len(taken)
        if not size:
            return
        numbers = np.arange(first, first + size, dtype=np.int64)
        yield Rows(numbers, {name: _objects(column) for name, column in values.items()}, errors)
        first += size


def _read_sdf(table: Table, columns: Sequence[str], chunk_rows: int) -> Iterator[Rows]:
    first, found = 1, sdf.read_records(table.path, table.encoding)
    while records := list(itertools.islice(found, chunk_rows)):
        errors: dict[int, RowError] = {}
        smiles: list[str | None] = [None] * len(records)
        for i, record in enumerate(records if sdf.SMILES_COLUMN in columns else ()):
            try:
                smiles[i] = sdf.record_smiles(record)
            except RowError as error:
                errors[i] = error
        fields = [{sdf.NAME_COLUMN: record.name} | record.fields for record in records]
        values = {
            name: _objects(smiles if name == sdf.SMILES_COLUMN else [field.get(name) or None for field in fields])
            for name in columns
        }
        yield Rows(np.arange(first, first + len(records), dtype=np.int64), values, errors)
        first += len(records)


def _open_smi(path: Path, encoding: str, head: bytes) -> Table:
    if not head.strip():
        raise DataError(f"{path}: the file is empty; at least one SMILES is needed.")
    return Table(path, "smi", smi.COLUMNS, encoding=encoding)


def _read_smi(table: Table, columns: Sequence[str], chunk_rows: int) -> Iterator[Rows]:
    first, found = 1, smi.read_records(table.path, table.encoding)
    while records := list(itertools.islice(found, chunk_rows)):
        values = {name: _objects([record[smi.COLUMNS.index(name)] for record in records]) for name in columns}
        yield Rows(np.arange(first, first + len(records), dtype=np.int64), values, {})
        first += len(records)


def _objects(values: Sequence[object]) -> Values:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _read_parquet(table: Table, columns: Sequence[str], chunk_rows: int) -> Iterator[Rows]:
    first = 1
    for arrays in parquet.read_batches(table.path, columns, chunk_rows):
        values = {name: _objects(parquet.plain_values(array)) for name, array in arrays.items()}
        size = max(map(len, values.values()), default=0)
        yield Rows(np.arange(first, first + size, dtype=np.int64), values, {})
        first += size


def _columns_that_parse(table: Table) -> list[str]:
    """Columns of text whose first values are nearly all SMILES, one of them of three atoms or more."""
    from rdkit import Chem, rdBase

    nested = parquet.read_columns(table.path) if table.format == "parquet" else {}
    readable = [name for name in table.columns if not nested.get(name)]
    rows = next(read_rows(table, readable, 100))
    found = []
    with rdBase.BlockLogs():
        for name in readable:
            texts = [value for value in rows.values[name] if isinstance(value, str)][:20]
            mols = [Chem.MolFromSmiles(text) if _number(text, ".") is None else None for text in texts]
            sizes = [mol.GetNumAtoms() for mol in mols if mol is not None]
            if sizes and len(sizes) >= 0.8 * len(texts) and max(sizes) >= 3:
                found.append(name)
    return found


def _refuse_molecule(table: Table, name: str) -> None:
    """A column whose values are molecules and whose name is one, too: the first row is data, not a header."""
    if table.header and _is_molecule(name):
        raise DataError(
            f"{table.path}: the header names the column of the molecules '{name}', which is a molecule itself. "
            f"Without a header pass header=false (the columns are then column1, column2, …); else smiles={name}."
        )


def _is_molecule(text: str) -> bool:
    from rdkit import Chem, rdBase

    with rdBase.BlockLogs():
        mol = Chem.MolFromSmiles(text)
    return mol is not None and mol.GetNumAtoms() > 0


def _number(value: object, decimal: str) -> float | None:
    """The number, NaN for missing, None for unreadable."""
    if value is None:
        return math.nan
    if isinstance(value, str):
        return math.nan if value.strip().lower() in MISSING_WORDS else read_number(value, decimal)
    try:
        return None if isinstance(value, bool | np.bool_) else float(value)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return None


def _near_file(path: Path) -> str:
    names = [file.name for file in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, 1, 0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
