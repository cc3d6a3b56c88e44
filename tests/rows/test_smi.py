"""SMILES files: a SMILES a line, and its name."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pipeline.rows.table import find_smiles_column, open_table, read_rows

TEXT = "CCO ethanol\nCCN\tethyl amine\n\nC[C@H](N)O |o1:1|  one of two\nCC\n\n\n"


@pytest.mark.parametrize("name", ["a.smi", "a.smi.gz"])
def test_smiles_and_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(TEXT.encode()) if name.endswith("gz") else TEXT.encode())
    table = open_table(path)
    assert find_smiles_column(table) == "smiles"
    found = list(read_rows(table, table.columns, chunk_rows=2))
    assert [list(rows.number) for rows in found] == [[1, 2], [3, 4], [5]]
    assert [value for rows in found for value in rows.values["smiles"]] == [
        "CCO",
        "CCN",
        None,
        "C[C@H](N)O |o1:1|",
        "CC",
    ]
    assert [value for rows in found for value in rows.values["name"]] == [
        "ethanol",
        "ethyl amine",
        None,
        "one of two",
        None,
    ]
