"""SDF files: every record as RDKit reads it, broken ones by themselves."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pytest
from rdkit import Chem

from pipeline.errors import DataError, RowError
from pipeline.rows import sdf
from pipeline.rows.table import (
    find_smiles_column,
    open_table,
    read_rows,
)
from tests.support.tables import read, write


def sdf_record(smiles: str, name: str, /, **fields: str) -> str:
    block = Chem.MolToMolBlock(Chem.MolFromSmiles(smiles))
    body = "".join(f">  <{key}>  (1)\n{text}\n\n" for key, text in fields.items())
    return name + block[block.index("\n") :] + body + "$$$$\n"


@pytest.mark.parametrize("packed", [False, True])
def test_sdf_reads_what_rdkit_reads_and_skips_only_broken_records(tmp_path: Path, packed: bool) -> None:
    records = [
        sdf_record("CCO", "ethanol", SOL="1.5", note="a\nb"),
        "broken\n  x\n\n not a counts line\nM  END\n$$$$\n",
        sdf_record("C[N+](C)(C)C", "", SOL="2", extra="µ").replace("M  CHG  1   2   1\n", ""),
        sdf_record("N[C@@H](C)C(=O)O", "alanine", smiles="hidden"),
        sdf_record("C", "one").replace("$$$$\n", "") + sdf_record("CC", "two"),
        sdf_record("c1ccccc1", "benzene", SOL="").replace("$$$$\n", ""),
    ]
    text = "".join(records).encode()
    path = write(tmp_path / ("a.sdf.gz" if packed else "a.sdf"), gzip.compress(text) if packed else text)
    table = open_table(path)
    assert table.columns == ("smiles", "name", "SOL", "note", "extra")
    assert find_smiles_column(table, None) == "smiles"
    values, errors = read(table, chunk_rows=4)
    assert values["smiles"] == ["CCO", None, None, "C[C@H](N)C(=O)O", None, "c1ccccc1"]
    assert values["SOL"] == ["1.5", None, "2", None, None, None]
    assert values["note"] == ["a\nb", None, None, None, None, None]
    assert values["name"] == ["ethanol", "broken", None, "alanine", "one", "benzene"]
    assert errors == {2: "invalid_molecule", 3: "invalid_molecule", 5: "invalid_molecule"}
    reasons = next(rows.errors for rows in read_rows(table, ["smiles"]))
    assert "valence" in reasons[2].detail
    assert "$$$$" in reasons[4].detail
    assert read(table, ("SOL",))[1] == {}  # molecules are not made when they are not asked for
    good = [mol for mol in Chem.ForwardSDMolSupplier(io.BytesIO(text)) if mol is not None]
    assert [Chem.MolToSmiles(mol) for mol in good if mol.GetProp("_Name") != "one"] == [
        smiles for smiles in values["smiles"] if smiles
    ]


def test_an_sdf_record_without_end_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sdf", "M  END\n$$$$\n" + "x" * 80 + ("\n" + "y" * 100_000) * 170)
    with pytest.raises(DataError, match="row 2: the record has no end"):
        read(open_table(path))


def test_fields_are_listed_as_they_come_and_may_have_several_lines(tmp_path: Path) -> None:
    first = sdf_record("CCO", "ethanol", SOL="1.5", note="a\n\nlost")
    path = write(tmp_path / "a.sdf", first + sdf_record("C", "methane", other="x"))
    assert sdf.scan_columns(path, "utf-8") == ("smiles", "name", "SOL", "note", "other")
    one, two = sdf.read_records(path, "utf-8")
    assert (one.name, one.num_blocks, one.fields["SOL"], one.fields["note"]) == ("ethanol", 1, "1.5", "a")
    assert (two.name, two.fields) == ("methane", {"other": "x"})
    assert sdf.record_smiles(two) == "C"


def test_a_record_that_is_no_molecule_says_why() -> None:
    with pytest.raises(RowError, match="incomplete or malformed"):
        sdf.record_smiles(sdf.Record("", {}, 1))
    block = Chem.MolToMolBlock(Chem.MolFromSmiles("C"))
    with pytest.raises(RowError, match="two mol blocks stand in one record") as caught:
        sdf.record_smiles(sdf.Record(block + block, {}, 2))
    assert caught.value.code == "invalid_molecule"


def test_a_last_record_without_its_end_is_read_and_blank_lines_behind_the_last_are_none(tmp_path: Path) -> None:
    whole = sdf_record("C", "one")
    open_end = write(tmp_path / "a.sdf", whole + sdf_record("CC", "two").replace("$$$$\n", ""))
    assert [record.name for record in sdf.read_records(open_end, "utf-8")] == ["one", "two"]
    blank = write(tmp_path / "b.sdf", whole + "\n  \n")
    assert [record.name for record in sdf.read_records(blank, "utf-8")] == ["one"]
