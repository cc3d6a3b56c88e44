"""Pieces of a page: escaped text, pictures that only draw, colours that can be read."""

import pytest

from pipeline.errors import ShapeError
from pipeline.report.html import STYLE, inline_svg
from tests.support.cards import HOSTILE, Page
from tests.support.schemas import toy_schema


@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        ("#4a5158", "#ffffff"),
        ("#0b6b3a", "#eef8f1"),
        ("#a4262c", "#fdf1f1"),
        ("#7a4b00", "#fff8ec"),
        ("#0b4f8a", "#ffffff"),
    ],
)
def test_contrast(ink, paper):
    """WCAG 2.2, 1.4.3: at least 4.5."""
    assert ink in STYLE

    def luminance(color):
        parts = [int(color[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        r, g, b = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    assert (luminance(paper) + 0.05) / (luminance(ink) + 0.05) >= 4.5


def test_pictures_keep_only_drawing():
    bad = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1" onload="x()">'
        '<script>x()</script><style>@import "x"</style>'
        '<foreignObject><p/></foreignObject><image href="http://x/y.png"/><a href="http://x"><path d="M 0 0"/></a>'
        '<!-- c --><path onclick="x()" style="fill: url(http://x)" d="M 0 0"/><use href="http://x#y"/></svg>'
    )
    assert inline_svg(bad, "f1-", "<a>") == (
        '<svg viewBox="0 0 1 1" role="img" aria-label="&lt;a&gt;">'
        '<path style="fill: none" d="M 0 0"></path><use></use></svg>'
    )


@pytest.mark.parametrize("text", ["", "<p/>", "<svg>", "no"])
def test_what_is_no_picture_is_refused(text):
    with pytest.raises(ShapeError, match="SVG document"):
        inline_svg(text, "f", "label")


def test_pictures_of_matplotlib_and_rdkit_fit():
    from pipeline.report.figures import draw_sample, split_sizes

    for svg in (split_sizes({HOSTILE: 3}), draw_sample(toy_schema(), "c1ccccc1O")):
        page = Page(inline_svg(svg, "f1-", "label"))
        assert "path" in page.tags
