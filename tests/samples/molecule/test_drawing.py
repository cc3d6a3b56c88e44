"""Pictures of molecules: an SVG of the size asked, or none."""

from xml.etree import ElementTree

import pytest

from pipeline.samples.molecule.drawing import MAX_DRAWN_ATOMS, draw_molecule


@pytest.mark.parametrize("size", [(260, 180), (100, 50)])
def test_a_picture_has_the_size_asked_and_a_stroke_for_each_bond(size):
    root = ElementTree.fromstring(draw_molecule("CC=O", size))
    assert (root.get("width"), root.get("height")) == tuple(f"{side}px" for side in size)
    classes = [element.get("class", "") for element in root.iter()]
    assert {name.split()[0] for name in classes if name.startswith("bond")} == {"bond-0", "bond-1"}


def test_it_has_no_background_and_says_nothing_to_the_log(capfd):
    assert "<rect" not in draw_molecule("C", (10, 10))
    assert draw_molecule("C1CC", (10, 10)) is None
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("smiles", ["", "no", "C1CC", "C" * (MAX_DRAWN_ATOMS + 1)])
def test_what_cannot_be_drawn_has_no_picture(smiles):
    assert draw_molecule(smiles, (260, 180)) is None


def test_the_largest_is_drawn():
    assert draw_molecule("C" * MAX_DRAWN_ATOMS, (260, 180)) is not None
