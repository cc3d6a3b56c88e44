"""SDF files: records, their data fields, and the SMILES of their mol blocks; a broken record spoils only itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pipeline.errors import DataError, RowError
from pipeline.rows.delimited import open_text, reading

MAX_RECORD_CHARS = 16_000_000
SMILES_COLUMN = "smiles"
NAME_COLUMN = "name"

_FIELD = re.compile(r">.*?<(.*)>")


class Record(NamedTuple):
    """One record: the text up to and with "M  END", the data fields, the number of mol blocks in it."""

    block: str
    fields: dict[str, str]
    num_blocks: int

    @property
    def name(self) -> str:
        """The first line, where programs write the name."""
        return self.block.partition("\n")[0].strip()


def scan_columns(path: Path, encoding: str) -> tuple[str, ...]:
    """List the columns: `smiles` (made from the mol block), `name` (first line), then the data fields as they come.

    A data field called `smiles` is hidden by the mol block; one called `name` hides the first line.

    Raises:
        DataError: if no record is there.
    """
    columns = dict.fromkeys((SMILES_COLUMN, NAME_COLUMN))
    blocks = 0
    with reading(path), open_text(path, encoding) as file:
        for line in file:
            if line.startswith(">") and (match := _FIELD.match(line)) and match[1].strip():
                columns[match[1].strip()] = None
            blocks += line.startswith(("M  END", "$$$$"))
    if not blocks:
        raise DataError(f"{path}: no SDF record is there (no line begins with 'M  END' or '$$$$').")
    return tuple(columns)


def read_records(path: Path, encoding: str) -> Iterator[Record]:
    """Read an SDF file record by record.

    Raises:
        DataError: if the file is damaged or a record never ends.
    """
    with reading(path), open_text(path, encoding) as file:
        lines: list[str] = []
        size = count = 0
        for line in file:
            if line.startswith("$$$$"):
                yield _record(lines)
                lines, size, count = [], 0, count + 1
                continue
            lines.append(line.rstrip("\r\n"))
            size += len(line)
            if size > MAX_RECORD_CHARS:
                raise DataError(f"{path} row {count + 1}: the record has no end ('$$$$') within 16 million characters.")
        if any(line.strip() for line in lines):  # the last '$$$$' is often forgotten
            yield _record(lines)


def record_smiles(record: Record) -> str:
    """Write the molecule of a record as SMILES.

    Raises:
        RowError: `invalid_molecule` with RDKit's reason.
    """
    from rdkit import Chem, rdBase

    if record.num_blocks > 1:
        raise RowError("invalid_molecule", "two mol blocks stand in one record; a line '$$$$' is missing between them")
    with rdBase.BlockLogs():
        try:
            mol = Chem.MolFromMolBlock(record.block)
            if mol is not None:
                return str(Chem.MolToSmiles(mol))
            loose = Chem.MolFromMolBlock(record.block, sanitize=False)
            problems = Chem.DetectChemistryProblems(loose) if loose is not None else ()
        except (ValueError, RuntimeError):  # RDKit's own preconditions
            problems = ()
    reason = problems[0].Message() if problems else "the mol block is incomplete or malformed"
    raise RowError("invalid_molecule", " ".join(reason.split()))


def _record(lines: list[str]) -> Record:
    ends = [i for i, line in enumerate(lines) if line.startswith("M  END")]
    end = ends[0] + 1 if ends else next((i for i, line in enumerate(lines) if line.startswith(">")), len(lines))
    fields: dict[str, str] = {}
    name, value = "", []  # type: str, list[str]
    for line in [*lines[end:], ""]:
        if name and line.strip():
            value.append(line)
        elif name:
            fields[name], name = "\n".join(value).strip(), ""
        elif match := _FIELD.match(line):
            name, value = match[1].strip(), []
    return Record("\n".join(lines[:end]), fields, len(ends))
