"""The first page of the evidence of a release: all of it for people, without Python and without a network.

What it says of decisions is made by `verify`, which compares it with the records.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.report.html import Html, build_page, bullets, facts, html, paragraph, sections, table
from pipeline.review.history import History, Record
from pipeline.review.verify import HISTORY, decision_facts, history_rows, tell_decision
from pipeline.runs.tags import PREFIX


def build_index(history: History, record: Record, folder: Path) -> str:
    """Build the page.

    Args:
        record: the decision that made the release.
        folder: the unpacked evidence, without this page and the manifest.
    """
    verdict = _read(folder / "evidence" / "verdict.json")
    report = _read(folder / "evidence" / "report.json")
    origin = _read(folder / "evidence" / "provenance.json")
    title = f"{history.name} release {record.release}"
    outcome, _, headline = record.verdict.partition(": ")
    passed = "behind" if verdict.get("baseline_wins") else "passed"
    top = [
        Html(f'<p class="verdict {passed if outcome == "passed" else "failed"}" role="status">{html(headline)}</p>'),
        Html(f"<h1>Evidence: {html(title)}</h1>"),
        *map(paragraph, tell_decision(asdict(record))),
    ]
    parts = {
        "Decision": _decision(record),
        "Verdict": _verdict(verdict, folder),
        "History": _history(history),
        "Data": _data(report),
        "Runs and environment": _origin(origin, folder),
        "Files": _files(folder),
        "How to check": _checks(history),
    }
    return build_page(f"Evidence: {title}", [*top, sections(parts)])


def _decision(record: Record) -> list[Html]:
    return [facts(decision_facts(asdict(record)), f"Record {record.sequence} of the log")]


def _verdict(verdict: dict[str, Any], folder: Path) -> list[Html]:
    rows = [
        ("passed" if check["passed"] else "failed", check["name"], _dash(check["value"]), _dash(check["threshold"]))
        for check in verdict.get("checks", ())
    ]
    links = [("evidence/card/card.html", "Model card"), ("evidence/gate.yaml", "Thresholds (gate.yaml)")]
    return [
        table(["Outcome", "Check", "Value", "Threshold"], rows, "Checks")
        if rows
        else paragraph("There is no verdict."),
        bullets(_link(path, title) for path, title in links if (folder / path).is_file()),
    ]


def _history(history: History) -> list[Html]:
    rows = history_rows([entry.text for entry in history.entries])
    return [table(HISTORY, rows, "Every decision on this model"), paragraph(f"Head of the log: {history.head}")]


def _data(report: dict[str, Any]) -> list[Html]:
    flat = {key: value for key, value in report.items() if not isinstance(value, dict)}
    nested = {key: value for key, value in report.items() if isinstance(value, dict) and value}
    blocks = [facts(flat, "Data set")] if flat else [paragraph("There is no report on the data.")]
    return [*blocks, *(facts(value, key.replace("_", " ").capitalize()) for key, value in nested.items())]


def _origin(origin: dict[str, Any], folder: Path) -> list[Html]:
    blocks = []
    for step, run in origin.items():
        values = {"run": run["run"]} | run["parameters"]
        values |= {key.removeprefix(PREFIX): value for key, value in run["tags"].items()}
        blocks.append(facts(values, step.capitalize()))
    lock = folder / "evidence" / "environment.txt"
    if lock.is_file():
        blocks.append(bullets([_link("evidence/environment.txt", "Every installed package and its version")]))
    return blocks


def _files(folder: Path) -> list[Html]:
    paths = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [bullets(_link(path, path) for path in paths)]


def _checks(history: History) -> list[Html]:
    commands = {
        "python verify.py": "compares every file, the log and the bytes with their sha256; it needs only Python.",
        f"python verify.py --head {history.head}": "asks besides for a head of the log that you kept yourself.",
        "python verify.py --signers FILE": "checks the reviewers' SSH signatures against their public keys.",
        "python verify.py FOLDER": "compares a model that you have, for example the one that is served.",
    }
    return [bullets(Html(f"<code>{html(command)}</code> {html(what)}") for command, what in commands.items())]


def _dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _link(path: str, title: str) -> Html:
    return Html(f'<a href="{html(path)}">{html(title)}</a>')


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
