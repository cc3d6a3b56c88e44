"""What the review board shows, as HTML: the candidates, one of them beside the champion, the decisions.  Pure.

A reviewer reads from the top: is it better or worse than what is live, how sure is that, where is it worse.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Literal
from urllib.parse import urlencode

from pipeline.report.html import STYLE, Html, facts, figures, heading, html, paragraph, table

Standing = Literal["better", "worse", "unclear", "unknown"]
MARKS: dict[Standing, str] = {
    "better": "▲ better",
    "worse": "▼ worse",
    "unclear": "≈ no clear difference",
    "unknown": "–",
}
CLASSES: dict[Standing, str] = {"better": "passed", "worse": "failed", "unclear": "behind", "unknown": "neutral"}

BOARD_STYLE = """
&{width:100%;max-width:76rem}
a{text-decoration:underline}
ul{list-style:disc;padding-left:1.4rem}nav ul{list-style:none}
h1,h2,h3{font-weight:650}
.lead{font-size:1.08rem;max-width:56rem}
.neutral{color:var(--soft);background:var(--wash)}
.verdict.slim{font-size:1rem;padding:.6rem .9rem;margin:.5rem 0}
table.list td,table.list th{vertical-align:middle}
tr[aria-current]{background:#eef5fc}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}.unsure{color:var(--warn)}
.side{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,22rem),1fr));gap:1rem;align-items:start}
"""


@dataclass(frozen=True)
class Line:
    """A candidate in the list.

    Attributes:
        verdict: the words of `Verdict`, or missing.
        score: the metric that counts most, with its interval, for people.
        state: waiting, live, released before, rejected.
    """

    version: int
    registered: str
    author: str
    verdict: str
    score: str
    state: str


@dataclass(frozen=True)
class Listing:
    """One model and its candidates, newest first.

    Attributes:
        names: every model that has candidates.
        live: what the champion is, in a sentence.
        older: candidates that are not listed.
    """

    name: str
    names: Sequence[str]
    live: str
    lines: Sequence[Line]
    older: int = 0


@dataclass(frozen=True)
class Score:
    """A metric of the candidate beside the champion's, as text.

    Attributes:
        standing: of the candidate, by the interval of the difference.
    """

    metric: str
    candidate: str
    champion: str
    difference: str
    standing: Standing
    baseline: str


@dataclass(frozen=True)
class SliceLine:
    """A part of the test rows on which the candidate is worse, as text."""

    name: str
    rows: str
    metric: str
    candidate: str
    champion: str
    difference: str
    standing: Standing


@dataclass(frozen=True)
class Molecule:
    """A test row: label and answers, which one it is, and its drawing where there is one."""

    answers: str
    name: str
    svg: str | None = None


@dataclass(frozen=True)
class Sheet:
    """All that stands on the sheet of one candidate.

    Attributes:
        verdict_kind: passed, behind (a baseline is better), failed or missing; colour of the banner with `verdict`.
        standing: against the champion, with `summary` in a sentence or two.
        scores: target -> its metrics; `notes` say where the champion's come from.
        drawn: caption -> SVG.
        slices: where the candidate is worse; `slices_note`: how many were tried.
        worst, moved: target -> rows.
        checks: of the gate, (outcome, why).
        facts: name -> value: author, data, commit, digest, cost.
        decided: what was decided already, in a sentence; empty while the candidate waits.
    """

    title: str
    verdict_kind: str
    verdict: str
    standing: Standing
    summary: str
    scores: Mapping[str, Sequence[Score]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    drawn: Mapping[str, str] = field(default_factory=dict)
    slices: Sequence[SliceLine] = ()
    slices_note: str = ""
    worst: Mapping[str, Sequence[Molecule]] = field(default_factory=dict)
    moved: Mapping[str, Sequence[Molecule]] = field(default_factory=dict)
    checks: Sequence[tuple[str, str]] = ()
    facts: Mapping[str, object] = field(default_factory=dict)
    decided: str = ""


@dataclass(frozen=True)
class Past:
    """A decision, newest first in its table, as text."""

    number: int
    time: str
    what: str
    reviewer: str
    reason: str
    champion: str


def board_style() -> str:
    """The style sheet of all pages, for what stands inside an element of class `board` only."""
    nested = re.sub(r"(?<![\w.-])(:root|body)\{", "&{", STYLE)
    return f".board{{{nested}{BOARD_STYLE}}}"


def board(*blocks: Html) -> Html:
    """Give blocks the board's look."""
    return Html('<div class="board">\n' + "\n".join(block for block in blocks if block) + "\n</div>")


def build_listing(listing: Listing, who: str, chosen: int | None) -> Html:
    """The top of the page: who reviews, what is live, which candidates there are."""
    others = [name for name in listing.names if name != listing.name]
    blocks = [Html(f"<h1>Review board: {html(listing.name)}</h1>"), paragraph(f"You are {who}.", "soft")]
    if others:
        links = ", ".join(f'<a href="{_address(name)}">{html(name)}</a>' for name in others)
        blocks.append(Html(f'<p class="soft">Other models: {links}.</p>'))
    blocks += [paragraph(listing.live, "lead"), Html('<h2 id="candidates">Candidates</h2>')]
    if not listing.lines:
        return board(*blocks, paragraph("There is none yet: `mlflow run .` makes one."))
    blocks.append(_candidates(listing, chosen))
    if listing.older:
        blocks.append(paragraph(f"{listing.older} older ones are not listed; ?version= opens them.", "soft"))
    return board(*blocks)


def build_sheet(sheet: Sheet) -> Html:
    """One candidate: better or worse, how sure, where, and what it rests on."""
    ids = count(1)
    blocks = [
        Html(f'<h2 id="candidate">{html(sheet.title)}</h2>'),
        _banner(sheet.summary, CLASSES[sheet.standing]),
        _banner(sheet.verdict, sheet.verdict_kind),
    ]
    if sheet.decided:
        blocks.append(paragraph(sheet.decided, "lead"))
    blocks += [_scores(target, scores) for target, scores in sheet.scores.items()]
    blocks += [paragraph(note, "soft") for note in sheet.notes]
    if sheet.slices_note:
        blocks += [heading("Where it is worse"), paragraph(sheet.slices_note)]
        blocks += [_slices(sheet.slices)] if sheet.slices else []
    blocks += [figures(sheet.drawn.items(), ids)] if sheet.drawn else []
    for title, rows in (("Answers that moved most", sheet.moved), ("Largest errors", sheet.worst)):
        for target, molecules in rows.items():
            blocks += [heading(f"{title}: {target}"), _molecules(molecules, ids)]
    if sheet.checks:
        blocks += [heading("Checks of the gate"), table(["Outcome", "Why"], sheet.checks, "By the present gate.yaml")]
    blocks += [heading("What it rests on"), facts(sheet.facts, "Origin, bytes and cost")]
    return board(*blocks)


def build_past(decisions: Sequence[Past], head: str) -> Html:
    """The decisions so far, newest first."""
    blocks = [Html('<h2 id="decisions">Decisions so far</h2>')]
    if not decisions:
        return board(*blocks, paragraph("None yet."))
    rows = [(str(one.number), one.time, one.what, one.reviewer, one.reason, one.champion) for one in decisions]
    columns = ["No.", "Time (UTC)", "Decision", "Reviewer", "Reason", "Champion"]
    return board(*blocks, table(columns, rows, "Newest first"), paragraph(f"Head of the log: {head}", "soft"))


def build_outcome(text: str, kind: str, name: str = "", version: int = 0, reason: str = "") -> Html:
    """What a click led to.

    Args:
        kind: passed or failed.
        name, version: candidate to look at again; 0 for none.
        reason: what the reviewer had written, where it would be lost.
    """
    blocks = [Html(f'<p class="verdict {kind}" role="alert">{html(text)}</p>')]
    blocks += [paragraph(f"Your reason was: {reason}")] if reason else []
    if version:
        blocks.append(Html(f'<p><a href="{_address(name, version)}">Look at version {version} as it is now</a></p>'))
    return board(*blocks)


def with_interval(value: float, lo: float | None = None, hi: float | None = None, *, signed: bool = False) -> str:
    """Write a number, and its interval, with two digits of the interval's half: `0.549 [0.493, 0.602]`."""
    there = lo is not None and hi is not None
    half = (hi - lo) / 2 if lo is not None and hi is not None else abs(value) / 10
    digits = min(max(1 - math.floor(math.log10(half)), 0), 6) if half > 0 else 3
    sign = "+" if signed else ""
    texts = [minus(f"{number:{sign}.{digits}f}") for number in (value, lo, hi) if number is not None]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]" if there else texts[0]


def minus(text: str) -> str:
    """Give a number its minus sign."""
    return re.sub(r"^-(?=[\d.])", "−", text)


def _candidates(listing: Listing, chosen: int | None) -> Html:
    head = ["Candidate", "State", "Verdict", "Score on test", "Registered (UTC)", "By"]
    top = "".join(f'<th scope="col">{html(name)}</th>' for name in head)
    rows = []
    for line in listing.lines:
        here = ' aria-current="true"' if line.version == chosen else ""
        link = f'<a href="{_address(listing.name, line.version)}">version {line.version}</a>'
        kind = {"passed": "good", "failed": "bad"}.get(line.verdict, "unsure")
        rows.append(
            f'<tr{here}><th scope="row">{link}</th><td>{html(line.state)}</td>'
            f'<td class="{kind}">{html(line.verdict)}</td><td>{html(line.score)}</td>'
            f"<td>{html(line.registered)}</td><td>{html(line.author)}</td></tr>"
        )
    body = f"<thead><tr>{top}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return Html(
        '<div class="scroll" role="region" tabindex="0" aria-label="Candidates"><table class="list">'
        f"<caption>Choose one to review it</caption>{body}</table></div>"
    )


def _scores(target: str, scores: Sequence[Score]) -> Html:
    head = ["Metric", "Candidate", "Champion", "Difference", "Candidate is", "Best baseline"]
    rows = [
        (one.metric, one.candidate, one.champion, one.difference, _mark(one.standing), one.baseline) for one in scores
    ]
    return table(head, rows, f"{target}: test rows, 95 % bootstrap intervals in brackets")


def _slices(lines: Sequence[SliceLine]) -> Html:
    head = ["Part", "Rows", "Metric", "Candidate", "Champion", "Difference", "Candidate is"]
    rows = [
        (one.name, one.rows, one.metric, one.candidate, one.champion, one.difference, _mark(one.standing))
        for one in lines
    ]
    return table(head, rows, "Parts of the test rows, the clearest first; 95 % intervals in brackets")


def _molecules(molecules: Sequence[Molecule], ids: count[int]) -> Html:
    return figures([(f"{one.answers} ({one.name})", one.svg) for one in molecules], ids, small=True)


def _mark(standing: Standing) -> Html:
    kind = {"better": "good", "worse": "bad", "unclear": "unsure"}.get(standing, "")
    return Html(f'<span class="{kind}">{html(MARKS[standing])}</span>')


def _banner(text: str, kind: str) -> Html:
    return Html(f'<p class="verdict slim {kind}">{html(text)}</p>')


def _address(name: str, version: int | None = None) -> str:
    """The board's own page of a model, and of one candidate of it."""
    query = {"name": name} | ({"version": str(version)} if version else {})
    return html("?" + urlencode(query))
