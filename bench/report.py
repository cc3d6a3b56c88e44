"""All results as one page: `python -m bench.report` writes bench/RESULTS.md. No figure in it is typed by hand."""

from __future__ import annotations

import json
from typing import Any

from bench.measure import RESULTS, ROOT

_INTRO = """# Measured

Ours and the peer are timed in turn (A B A B …) on the same data with the same number of threads, after a check that
both compute the same thing. A ratio is the median of the pairs, with the smallest and the largest behind it; above 1
ours is better. Made by `make bench` from `bench/results/*.json`; run it to get the figures of your machine.
"""


def main() -> None:
    pages = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    pages = [page for page in pages if "claims" in page]
    text = "\n".join([_INTRO, *_overview(pages), *(line for page in pages for line in _page(page))])
    path = ROOT / "bench" / "RESULTS.md"
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}: {len(pages)} subjects")


def _overview(pages: list[dict[str, Any]]) -> list[str]:
    rows = [f"| [{page['title']}](#{_anchor(page['title'])}) | {page['date']} | {page['commit']} |" for page in pages]
    return ["| subject | measured | commit |", "|---|---|---|", *rows, ""]


def _page(page: dict[str, Any]) -> list[str]:
    machine = page["machine"]
    lines = [f"## {page['title']}", ""]
    lines += [f"`{page['command']}` · {machine['processor']}, {machine['cores']} cores · commit {page['commit']}", ""]
    lines += ["| what | ours | peer | ratio | threads | goal |", "|---|---|---|---|---|---|"]
    lines += [_row(claim) for claim in page["claims"]]
    lines += ["", f"Same: {page['same']}", ""]
    lines += [f"- Floor: {sentence}" for sentence in page["floor"]]
    lines += [f"- {sentence}" for sentence in page["notes"]]
    if page["profile"]:
        parts = ", ".join(f"{part} {share:.0%}" for part, share in page["profile"].items())
        lines += [f"- Where our time goes: {parts}."]
    return [*lines, ""]


def _row(claim: dict[str, Any]) -> str:
    unit, peer, ratio = claim["unit"], claim["peer"], claim["ratio"]
    cells = [
        claim["what"],
        f"{_number(claim['ours']['median'])} {unit}",
        f"{claim['against']}: {_number(peer['median'])} {unit}" if peer else "–",
        f"**{ratio['median']:.2f}×** ({ratio['min']:.2f}–{ratio['max']:.2f})" if ratio else "–",
        str(claim["threads"]),
        claim["goal"] or "–",
    ]
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _anchor(title: str) -> str:
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -")
    return kept.replace(" ", "-")


if __name__ == "__main__":
    main()
