"""All results as one page: `python -m bench.report` writes bench/RESULTS.md and the table of accuracies in the README.

No figure in either is typed by hand.
"""

from __future__ import annotations

import json
from typing import Any

from bench.measure import RESULTS, ROOT
from pipeline.evaluation.metrics import METRICS

_INTRO = """# Measured

Ours and the peer are timed in turn (A B A B …) on the same data with the same number of threads, after a check that
both compute the same thing. A ratio is the median of the pairs, with the smallest and the largest behind it; above 1
ours is better. Made by `make bench` from `bench/results/*.json`; run it to get the figures of your machine.
"""

_BEGIN, _END = "<!-- made by python -m bench.report -->", "<!-- end -->"
_WHO = {
    "graphline": "graphline, one default network",
    "graphline+forest": "with `forest=true`",
    "chemprop": "chemprop 2.3.1, defaults",
    "forest": "forest on fingerprints and descriptors",
}


def main() -> None:
    pages = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    pages = [page for page in pages if "claims" in page]
    text = "\n".join([_INTRO, *_overview(pages), *(line for page in pages for line in _page(page))])
    path = ROOT / "bench" / "RESULTS.md"
    path.write_text(text.rstrip() + "\n", encoding="utf-8")
    print(f"wrote {path.relative_to(ROOT)}: {len(pages)} subjects")
    readme = ROOT / "README.md"
    readme.write_text(with_accuracies(readme.read_text(encoding="utf-8")), encoding="utf-8")


def with_accuracies(readme: str) -> str:
    """The README with its table of accuracies made anew from bench/results/accuracy-*.json."""
    head, rest = readme.split(_BEGIN)
    _, tail = rest.split(_END)
    return head + "\n".join([_BEGIN, *_accuracies(), _END]) + tail


def _accuracies() -> list[str]:
    head = ["data, split", "seeds", "metric", *_WHO.values(), "commit"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for path in sorted(RESULTS.glob("accuracy-*.json"), reverse=True):
        found = json.loads(path.read_text(encoding="utf-8"))
        if "summary" not in found:
            continue
        summary, metric = found["summary"], found["metric"]
        better = min if metric == "rmse" else max
        best = better(one["mean"] for one in summary.values())
        cells = [_accuracy(summary.get(who), best) for who in _WHO]
        _, data, split = path.stem.split("-", 2)
        ours = [row for row in found["rows"] if row["who"] in ("graphline", "graphline+forest")]
        commits = dict.fromkeys(row["commit"][:7] + row["commit"][12:].replace("+", " + ") for row in ours)
        cells = [f"`{data}`, {split}", _seeds(ours), METRICS[metric].label, *cells, ", ".join(commits)]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _seeds(rows: list[dict[str, Any]]) -> str:
    """Which seeds drew the runs, as the parameter is called."""
    drawn = {name: sorted({row[name] for row in rows}) for name in ("seed", "split_seed")}
    name = max(drawn, key=lambda one: len(drawn[one]))
    return f"`{name}=` {', '.join(map(str, drawn[name]))}"


def _accuracy(summary: dict[str, Any] | None, best: float) -> str:
    if summary is None:
        return "–"
    mean = f"{summary['mean']:.3f}"
    spread = f" ({summary['min']:.3f}–{summary['max']:.3f})" if summary["n"] > 1 else ""
    return (f"**{mean}**" if summary["mean"] == best else mean) + spread


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
