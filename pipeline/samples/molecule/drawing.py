"""A molecule as a picture."""

from __future__ import annotations

from typing import Any

from rdkit import Chem, rdBase
from rdkit.Chem.Draw import rdMolDraw2D

MAX_DRAWN_ATOMS = 150


def draw_molecule(smiles: str, size: tuple[int, int]) -> str | None:
    """Draw a molecule in pixels of width and height; None if RDKit cannot read it or it has more than 150 atoms."""
    with rdBase.BlockLogs():
        molecule = Chem.MolFromSmiles(smiles)
        if molecule is None or not 0 < molecule.GetNumAtoms() <= MAX_DRAWN_ATOMS:
            return None
        drawer = rdMolDraw2D.MolDraw2DSVG(*size)
        options: Any = drawer.drawOptions()
        options.clearBackground = False
        rdMolDraw2D.PrepareAndDrawMolecule(drawer, molecule)
        drawer.FinishDrawing()
    return str(drawer.GetDrawingText())
