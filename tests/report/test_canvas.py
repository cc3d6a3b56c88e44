"""The canvas: names as they are, many points thinned, and matplotlib's look put back."""

from xml.etree import ElementTree

import numpy as np

from pipeline.report.figures import (
    parity_plot,
    roc_plot,
    split_sizes,
)
from pipeline.schema import Target

HOSTILE = '<script>&"$x_{1}$'


NUMBER = Target(HOSTILE, "regression", unit="mol/L")


BINARY = Target("active", "binary", classes=("inactive", "active"))


RNG = np.random.default_rng(0)


Y = RNG.normal(size=80)


ANSWER = Y + 0.3 * RNG.normal(size=80)


def words(svg):
    """All text of a figure."""
    return " ".join(
        "".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if "text" in element.tag
    )


def test_names_are_shown_as_they_are():
    assert f"label, {HOSTILE} [mol/L]" in words(parity_plot(NUMBER, Y, ANSWER))


def test_many_points_are_thinned_and_that_is_said():
    y = np.linspace(0, 1, 20_000)
    svg = parity_plot(NUMBER, y, y)
    assert "1,500 of 20,000 rows" in words(svg)
    assert len(svg) < 400_000
    assert len(roc_plot(BINARY, (y > 0.5) * 1.0, {"model": RNG.random(20_000)})) < 100_000


def test_the_look_is_put_back():
    import matplotlib

    before = dict(matplotlib.rcParams)
    split_sizes({"train": 1})
    assert dict(matplotlib.rcParams) == before
