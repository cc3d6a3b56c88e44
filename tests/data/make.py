"""Writes `tests/data/bad`: what users bring that is not a clean table. `python -m tests.data.make` after a change.

Every file or folder has its decided outcome in `tests/data/README.md`; `tests/whole/test_bad_data.py` holds it to that.
"""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

from rdkit import Chem

FOLDER = Path(__file__).parent / "bad"
ALCOHOLS = ["C" * n + "O" for n in range(1, 13)]
GRAPHS = range(12)


def table(*extra: str, header: str = "smiles,y", more: str = "") -> str:
    """Twelve good rows, then others. `more` ends each good row."""
    rows = [f"{smiles},{n}.5{more}" for n, smiles in enumerate(ALCOHOLS)]
    return "\n".join([header, *rows, *extra, ""])


def graphs(graphs: str = "", nodes: str = "", edges: str = "", *, reverse: bool = False) -> dict[str, bytes]:
    """Twelve good triangles and paths, then others."""
    step = -1 if reverse else 1
    rows = {
        "graphs": ["graph_id,y", *[f"g{i},{i}.5" for i in GRAPHS][::step], *graphs.split()],
        "nodes": [
            "graph_id,node_id,w",
            *[f"g{i},{j},{i}.{j}" for i in GRAPHS for j in range(3)][::step],
            *nodes.split(),
        ],
        "edges": [
            "graph_id,source,target",
            *[f"g{i},{j},{j + 1}" for i in GRAPHS for j in (0, 1)][::step],
            *edges.split(),
        ],
    }
    return {f"{name}.csv": ("\n".join(lines) + "\n").encode() for name, lines in rows.items()}


def record(smiles: str, y: object) -> str:
    return f"{Chem.MolToMolBlock(Chem.MolFromSmiles(smiles))}>  <y>\n{y}\n\n$$$$\n"


def packed(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), table())  # without the date of today
    return file.getvalue()


MOLECULES = {
    "salt": "CC(=O)[O-].[Na+]",
    "mixture": "CCO.c1ccccc1",
    "radical": "[CH3]",
    "isotope": "[13CH4]",
    "heavy water": "[2H]O[2H]",
    "stereo": "C[C@H](N)C(=O)O",
    "its mirror image": "C[C@@H](N)C(=O)O",
    "keto": "CC(C)=O",
    "its enol": "CC(O)=C",
    "explicit hydrogens": "[H]C([H])([H])C([H])([H])S[H]",
    "the same without": "CCS",
    "complex": "N->[Pt](<-N)(Cl)Cl",
    "ferrocene": "[CH-]1C=CC=C1.[CH-]1C=CC=C1.[Fe+2]",
    "Grignard": "C[Mg]Br",
    "single atom": "[He]",
    "proton": "[H+]",
    "any atom": "*C",
    "high charge": "[Fe+15]",
    "map numbers": "[CH3:1][NH2:2]",
    "valence": "C(C)(C)(C)(C)C",
    "aromaticity": "c1cccc1",
    "reaction": "CCO>>CC=O",
    "name": "aspirin",
    "cut in two": "CC CN",
    "InChI": "InChI=1S/CH4/h1H4",
    "not ASCII": "C\u200bC",
}
SDF = [record(smiles, f"{n}.5") for n, smiles in enumerate(ALCOHOLS)]
GOOD = table()
WORDS = ["n/a", "NaN", "null", "#N/A", "-nan"]  # for what is missing
NAMED = table(header="smiles,y,größe", more=",µ")

FILES: dict[str, str | bytes | dict[str, bytes]] = {
    "utf-8.csv": NAMED,
    "utf-8-mark.csv": NAMED.encode("utf-8-sig"),
    "utf-16.csv": b"\xff\xfe" + NAMED.encode("utf-16-le"),
    "utf-16-no-mark.csv": NAMED.replace("größe", "имя").encode("utf-16-le"),
    "latin-1.csv": NAMED.encode("latin-1"),
    "semicolon.csv": NAMED.replace(".5", "|5").replace(",", ";").replace("|5", ",5"),
    "tab.tsv": NAMED.replace(",", "\t"),
    "pipe.txt": NAMED.replace(",", "|"),
    "quoted-newline.csv": table(header="smiles,y,note", more=',"a\nb, ""c"""'),
    "windows-ends.csv": GOOD.replace("\n", "\r\n"),
    "old-mac-ends.csv": GOOD.replace("\n", "\r"),
    "mixed-ends.csv": GOOD.replace("\n", "\r\n", 4),
    "double-ends.csv": GOOD.replace("\n", "\r\r\n"),
    "duplicate-column.csv": table(header="smiles,y,y", more=",1"),
    "blank-column.csv": table(header="smiles,y,", more=",1"),
    "index-column.csv": "".join(f"{n or ''},{line}\n" for n, line in enumerate(GOOD.splitlines())),
    "empty.csv": "",
    "blank-lines.csv": "\n \n\n",
    "header-only.csv": "smiles,y\n",
    "nul.csv": table("C\0C,1", "CN,1\0"),
    "binary.csv": b"\x7fELF" + bytes(200),
    "open-quote.csv": table('CN,"1', "CCN,2"),
    "swallowing-quote.csv": table('"CN,1', "CCN,2", '"CCCN",3'),
    "quote-inside.csv": table('"CN"x,1', "CCN,2"),
    "ragged.csv": table("CN", "CCN,1,2", "CCCN,3,,"),
    "excel-line.csv": "sep=,\n" + GOOD,
    "cut.csv.gz": gzip.compress(GOOD.encode(), mtime=0)[:-12],
    "workbook.xlsx": packed("xl/workbook.xml"),
    "packed.zip": packed("table.csv"),
    "page.csv": "<!DOCTYPE html>\n<html><body>Please log in</body></html>\n",
    "records.csv": '[{"smiles": "CO", "y": 1},\n {"smiles": "CCO", "y": 2}]\n',
    "folder.csv": {"part-0.csv": GOOD.encode()},
    "words.csv": table(*(f"{'C' * n}N,{word}" for n, word in enumerate(WORDS, 1)), "CF,high"),
    "infinite.csv": table(*(f"{'C' * n}N,{word}" for n, word in enumerate(["inf", "1e400"], 1))),
    "beyond-float32.csv": table("CN,1e39"),
    "one-thousand.csv": table('CN,"1,234"'),
    "thousands.csv": "smiles,y\n" + "".join(f'{smiles},"{n},234"\n' for n, smiles in enumerate(ALCOHOLS, 1)),
    "underscore.csv": table("CN,1_000"),
    "fractions-and-words.csv": table(*(f"{'C' * n}N,low" for n in range(1, 5))),
    "bounds.csv": table("CN,>10"),
    "molecules.csv": table(*(f"{smiles},{n}.25" for n, smiles in enumerate(MOLECULES.values()))),
    "broken-record.sdf": "".join([*SDF[:6], "x\n\n\nno counts\nM  END\n>  <y>\n1\n\n$$$$\n", *SDF[6:]]),
    "record-without-end.sdf": "".join([*SDF[:6], record("CN", 1).replace("$$$$\n", ""), *SDF[6:]]),
    "empty-record.sdf": "".join([*SDF[:6], "$$$$\n", *SDF[6:]]),
    "cut.sdf": "".join(SDF)[:-80],
    "utf-16.sdf": b"\xff\xfe" + "".join(SDF).encode("utf-16-le"),
    "self-loops": graphs("s,1", "s,0,1.5", "s,0,0"),
    "multi-edges": graphs("m,1", "m,0,1.5 m,1,2.5", "m,0,1 m,0,1 m,1,0"),
    "dangling-edge": graphs("d,1", "d,0,1.5", "d,0,7"),
    "stray-rows": graphs("", "z,0,1.5", "z,0,0 y,0,1"),
    "mixed-ids": graphs("1,1 01,2", "1,A,0.5 1,7,2.5 01,x-y,3.5", "1,A,7"),
    "unsorted": graphs(reverse=True),
    "no-nodes": graphs("n,1"),
    "same-node-twice": graphs("t,1", "t,0,1.5 t,0,2.5"),
    "same-graph-twice": graphs("g0,1"),
    "infinite-number": graphs("i,1", "i,0,1e400"),
    "word-for-number": graphs("w,1", "w,0,tall"),
}  # fmt: skip


def write(folder: Path) -> None:
    for name, content in FILES.items():
        for part, text in (content if isinstance(content, dict) else {"": content}).items():
            path = folder / name / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode() if isinstance(text, str) else text)


if __name__ == "__main__":
    write(FOLDER)
