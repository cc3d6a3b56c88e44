"""Golden answers: what this code, RDKit, ONNX Runtime and torch made of some molecules when the file was written.

`python -m tests.support.golden` writes `tests/data/golden.json` anew, on purpose: look at the difference before
committing it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.graph import GraphChunk, unpack
from pipeline.samples.molecule.featurize import EDGE_COLUMNS, FEATURIZER_VERSION, NODE_COLUMNS, featurize_smiles
from pipeline.samples.molecule.smiles import molecule_keys, parse_smiles, scaffold_key
from pipeline.schema import Limits
from tests.data.make import MOLECULES as ODD

GOLDEN = Path(__file__).parents[1] / "data" / "golden.json"
LIMITS = Limits()
WIDTH = 32
STEPS = 3
MOLECULES = [
    "O",
    "C",
    "CCO",
    "CC(=O)Oc1ccccc1C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
    "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O",
    "F/C=C/F",
    "F/C=C\\F",
    "C1CC1C1CCC1C1CCCC1",
    "C12C3C4C1C5C2C3C45",
    "C1C2CC3CC1CC(C2)C3",
    "c1ccc2c(c1)[nH]c1ccccc12",
    "CN1CCC[C@H]1c1cccnc1",
    "FS(F)(F)(F)(F)F",
    "O=S(=O)(O)c1ccccc1",
    "CN(=O)=O",
    "[O-][Cl+3]([O-])([O-])[O-]",
    "OB(O)c1ccccc1",
    "C[Si](C)(C)C",
    "C=C=C",
    "c1cc[n+]([O-])cc1",
    "N#Cc1ccccc1",
    "O=C1C=CC(=O)C=C1",
    "CC(C)(C)c1ccc(O)cc1",
    "Clc1ccc(Cl)c(Cl)c1",
    "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O",
    "CSCC[C@H](N)C(=O)O",
    "C1CCCCCCCCC1",
    "Brc1ccccc1I",
    "O=P(O)(O)O",
    "C[N+](C)(C)CC([O-])=O",
    "c1ccc(cc1)-c1ccccc1",
    "C#CC#C",
    "CCCCCCCCCCCCCCCC(=O)O",
    "N[C@@H](Cc1c[nH]c2ccccc12)C(=O)O",
    *(
        smiles
        for name, smiles in ODD.items()
        if name not in ("valence", "aromaticity", "reaction", "name", "cut in two", "InChI", "not ASCII")
    ),
]


def digest(*arrays: Any) -> str:
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
    return total.hexdigest()[:16]


def answers(chunk: GraphChunk) -> list[float]:
    """Answers of a message-passing network whose weights are written out below, in float32 by torch.

    No generator of random numbers: its numbers are not promised from one version of torch to the next.
    """
    sizes = [[column.num_codes for column in columns] for columns in (NODE_COLUMNS, EDGE_COLUMNS)]
    nodes, edges = (
        sum(
            (_weights(width, k + 10 * room)[torch.tensor(codes[:, k]).long()] for k, width in enumerate(widths)),
            torch.zeros(len(codes), WIDTH),
        )
        for room, (codes, widths) in enumerate(zip((chunk.x, chunk.edge_attr), sizes, strict=True))
    )
    graph = torch.repeat_interleave(torch.arange(chunk.num_graphs), torch.tensor(np.diff(chunk.node_ptr)))
    first = np.repeat(chunk.node_ptr[:-1], np.diff(chunk.edge_ptr))
    source, target = torch.tensor(chunk.edge_index + first).long()
    for step in range(STEPS):
        message = torch.relu(nodes.index_select(0, source) + edges) @ _weights(WIDTH, 20 + step)
        nodes = torch.tanh(nodes + torch.zeros_like(nodes).index_add_(0, target, message))
    pooled = torch.zeros(chunk.num_graphs, WIDTH).index_add_(0, graph, nodes)
    return (pooled @ _weights(WIDTH, 30)[:, 0]).tolist()


def _weights(rows: int, seed: int) -> torch.Tensor:
    place = torch.arange(rows * WIDTH, dtype=torch.float64).reshape(rows, WIDTH)
    return (torch.sin(place * 1.7 + seed) / WIDTH**0.5).float()


def compute() -> dict[str, Any]:
    found = featurize_smiles(MOLECULES, LIMITS, descriptors=True)
    assert not found.errors, found.errors
    rows = {}
    for g, (smiles, answer) in enumerate(zip(MOLECULES, answers(found.chunk), strict=True)):
        graph, mol = unpack(found.chunk, g), parse_smiles(smiles, LIMITS)
        identity, group = molecule_keys(mol)
        rows[smiles] = {
            "features": digest(graph.x, graph.edge_index, graph.edge_attr),
            "identity": identity,
            "group": group,
            "scaffold": scaffold_key(mol),
            "answer": float(f"{answer:.6g}"),
            "descriptors": [None if np.isnan(value) else float(f"{value:.6g}") for value in graph.u.tolist()],
        }
    return {"featurizer_version": FEATURIZER_VERSION, "molecules": rows}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(compute(), indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
