"""The pages for people, taken apart: headings, sections, tables, shell blocks, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tests.conftest import ROOT

DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = [*DOCS, ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md", ROOT / "tests" / "data" / "README.md"]

_SHELL = re.compile(r"(?:<!-- (?P<mark>[^\n]+?) -->\n)?```(?:sh|bash|console)\n(?P<text>.*?)```", re.DOTALL)
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


class Block(NamedTuple):
    """A block of shell commands; `mark` is the comment directly before it, "" without one."""

    page: str
    mark: str
    text: str

    def commands(self) -> list[list[str]]:
        """Its commands as words, comments and a closing `&` left out."""
        lines = self.text.replace("\\\n", " ").splitlines()
        found = [[word for word in shlex.split(line, comments=True) if word != "&"] for line in lines]
        return [words for words in found if words]


def blocks() -> list[Block]:
    """All shell blocks of README, docs/ and CONTRIBUTING."""
    pages = [*DOCS, ROOT / "CONTRIBUTING.md"]
    return [
        Block(path.relative_to(ROOT).as_posix(), match["mark"] or "", match["text"])
        for path in pages
        for match in _SHELL.finditer(path.read_text(encoding="utf-8"))
    ]


def followed(test: str) -> list[list[str]]:
    """The commands that the pages say are run by a test, each once."""
    found = [words for block in blocks() if block.mark == f"run by {test}" for words in block.commands()]
    return [list(words) for words in dict.fromkeys(map(tuple, found))]


def section(path: Path, heading: str) -> str:
    """The text under a heading, up to the next one; the page must have it once."""
    text = path.read_text(encoding="utf-8")
    parts = re.split(rf"^#+ {re.escape(heading)}\n", text, flags=re.MULTILINE)
    assert len(parts) == 2, f"{path.name}: {len(parts) - 1} headings '{heading}'"
    return re.split(r"^#+ ", parts[1], flags=re.MULTILINE)[0]


def rows(text: str) -> dict[str, list[str]]:
    """Rows of the tables in a text whose first cell is one word of code: that word, and the cells behind it."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in lines if re.fullmatch(r"`[^`]+`", cells[0])}


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = _FENCED.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(path: Path) -> list[str]:
    """Where the links and pictures of a page lead, but for those to other hosts."""
    found = _LINK.findall(_FENCED.sub("", path.read_text(encoding="utf-8")))
    return [link for link in found if "://" not in link]
