"""SMILES files (`.smi`): a SMILES a line, behind a blank its name; no header."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.rows.delimited import open_text, reading

COLUMNS = ("smiles", "name")


def read_records(path: Path, encoding: str) -> Iterator[tuple[str | None, str | None]]:
    """Read SMILES and name of each line, None where there is none; blank lines at the end are no rows.

    Raises:
        DataError: if the file is damaged.
    """
    blank = 0
    with reading(path), open_text(path, encoding) as file:
        for line in file:
            found = _take_apart(line.strip())
            if found == (None, None):
                blank += 1
                continue
            yield from [(None, None)] * blank
            blank = 0
            yield found


def _take_apart(line: str) -> tuple[str | None, str | None]:
    smiles, _, rest = line.replace("\t", " ").partition(" ")
    rest = rest.strip()
    if rest.startswith("|"):  # an extension in bars belongs to the SMILES
        extension, _, rest = rest[1:].partition("|")
        smiles = f"{smiles} |{extension}|"
    return smiles or None, rest.strip() or None
