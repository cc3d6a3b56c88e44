"""What stands on the board: numbers, what is worse first, and nothing hostile."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from pipeline.report.html import Html
from pipeline.review.board import page
from pipeline.review.board.page import Line, Listing, Molecule, Past, Score, Sheet, SliceLine, with_interval


@pytest.mark.parametrize(
    ("value", "lo", "hi", "text"),
    [
        (0.54891, 0.4931, 0.60211, "0.549 [0.493, 0.602]"),
        (1234.56, 1100.2, 1391.0, "1235 [1100, 1391]"),
        (0.000012, 0.000010, 0.000014, "0.000012 [0.000010, 0.000014]"),
        (-0.0384, -0.0611, -0.0122, "−0.038 [−0.061, −0.012]"),
        (0.5, 0.5, 0.5, "0.500 [0.500, 0.500]"),
        (0.5871234, None, None, "0.587"),
        (0.0, None, None, "0.000"),
        (15.3, None, None, "15.3"),
    ],
)
def test_numbers_are_rounded_to_what_the_interval_tells(value, lo, hi, text):
    assert with_interval(value, lo, hi) == text


def test_a_difference_has_its_sign():
    assert with_interval(0.0384, -0.01, 0.08, signed=True) == "+0.038 [−0.010, +0.080]"


EVIL = "<script>alert(1)</script>"


def every_page() -> str:
    """All that can stand on the board, every text of it hostile."""
    score = Score(EVIL, EVIL, EVIL, EVIL, "worse", EVIL)
    sheet = Sheet(
        EVIL,
        "failed",
        EVIL,
        "worse",
        EVIL,
        scores={EVIL: [score]},
        notes=[EVIL],
        drawn={EVIL: "<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'><script>1</script></svg>"},
        slices=[SliceLine(EVIL, EVIL, EVIL, EVIL, EVIL, EVIL, "unclear")],
        slices_note=EVIL,
        worst={EVIL: [Molecule(EVIL, EVIL)]},
        moved={EVIL: [Molecule(EVIL, EVIL)]},
        checks=[(EVIL, EVIL)],
        facts={EVIL: EVIL},
        decided=EVIL,
    )
    listing = Listing(EVIL, (EVIL, '"other"'), EVIL, [Line(1, EVIL, EVIL, EVIL, EVIL, EVIL)], older=2)
    return "".join(
        [
            page.build_listing(listing, EVIL, 1),
            page.build_sheet(sheet),
            page.build_past([Past(1, EVIL, EVIL, EVIL, EVIL, EVIL)], EVIL),
            page.build_outcome(EVIL, "failed", '"&', 3, EVIL),
        ]
    )


class Checker(HTMLParser):
    """Every element that is opened is closed, in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.links, self.seen = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.seen.add(tag)
        self.links += [value for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed_escaped_and_names_no_outside_address():
    checked = Checker(every_page())
    assert checked.open == []
    assert "script" not in checked.seen
    assert checked.links
    assert all(link.startswith(("?", "#")) for link in checked.links)


def test_what_is_worse_is_said_before_the_numbers():
    sheet = Sheet("Version 3 of toy", "passed", "Passed.", "worse", "Worse than the champion", scores={"logS": []})
    text = page.build_sheet(sheet)
    assert text.index("Worse than the champion") < text.index("Passed.") < text.index("<table")
    assert 'class="verdict slim failed">Worse' in text


def test_the_list_colours_a_verdict_as_the_page_does():
    """Behind a baseline is amber on both, not green in the list."""
    line = Line(3, "2026-11-01 12:00", "eve", "passed, but a baseline is better", "RMSE 0.5", "waiting")
    text = page.build_listing(Listing("toy", ["toy"], "Nothing is live.", [line]), "ada", 3)
    assert '<td class="unsure">passed, but a baseline is better</td>' in text


def test_the_chosen_candidate_is_marked_and_its_link_names_it():
    lines = [Line(k, "2026-11-01 12:00", "eve", "passed", "RMSE 0.5", "waiting") for k in (3, 2)]
    text = page.build_listing(Listing("a b&c", ("a b&c",), "Nothing is live.", lines), "ada", 2)
    assert text.count('aria-current="true"') == 1
    assert text.index("version=3") < text.index('aria-current="true"') < text.index("version=2")
    assert 'href="?name=a+b%26c&amp;version=2"' in text


def test_the_style_touches_the_board_only():
    style = page.board_style()
    assert style.startswith(".board{")
    assert style.count("{") == style.count("}")
    assert "body{" not in style
    assert isinstance(page.board(Html("<p></p>")), Html)
