"""Check the evidence of a release with nothing but Python's standard library.

    python verify.py                    check this folder: every file, the log of decisions, the model's bytes
    python verify.py --head SHA256      and that the log is the one whose head was kept elsewhere
    python verify.py --signers FILE     and that reviewers signed: FILE lists their names and public SSH keys, as
                                        OpenSSH's ssh-keygen reads it, which is asked to check
    python verify.py BUNDLE             and that the model in that folder is the one that was decided on

It reads only, and asks no server. It ends with 0 when all is as it should be, else with 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

GENESIS = "0" * 64
"""What the first record has before it."""
NAMESPACE = "graphline"
"""What SSH signatures are for: one made for something else is none."""
MANIFEST, DIGESTS = "manifest.json", "digests.json"
BESIDE = "registered_model_meta"
"""What MLflow writes beside a model that is downloaded."""


def line_hash(text: str) -> str:
    """sha256 of a record's line."""
    return hashlib.sha256(text.encode()).hexdigest()


def chain_faults(lines: Sequence[str]) -> list[str]:
    """Say where a chain of records is broken.

    Args:
        lines: what stands at number 1, 2, …; empty where nothing does.
    """
    faults = []
    before = GENESIS
    for number, line in enumerate(lines, 1):
        fault = _line_fault(number, line, before, lines)
        if fault:
            faults.append(f"record {number}: {fault}")
        before = line_hash(line)
    return faults


def _line_fault(number: int, line: str, before: str, lines: Sequence[str]) -> str | None:
    try:
        record = json.loads(line)
        sequence, previous = int(record["sequence"]), str(record["previous"])
    except (ValueError, KeyError, TypeError):
        return "it is missing: it was deleted or overwritten, or never was a record"
    if sequence == number:
        return None if previous == before else "it does not follow the one before it: one of the two was changed"
    # A void record: its writer aimed at a number that somebody else got first.
    fits = 0 < sequence < number and previous == (line_hash(lines[sequence - 2]) if sequence > 1 else GENESIS)
    return None if fits else "it claims a place that was never free: it was changed or moved"


def signature_faults(entries: Sequence[tuple[str, str]], allowed_signers: str) -> list[str]:
    """Say which records lack a good signature of their reviewer.

    What stands before the first signed record is held by it, for its `previous` is part of what is signed; all after it
    must be signed.

    Args:
        entries: line and armoured signature of number 1, 2, …
        allowed_signers: file of names and public keys (ALLOWED SIGNERS of ssh-keygen).
    """
    faults = []
    first = True
    for number, (line, signature) in enumerate(entries, 1):
        try:
            record = json.loads(line)
            if int(record["sequence"]) != number:
                continue
            signer, reviewer, time = (str(record[key]) for key in ("signer", "reviewer", "time"))
        except (ValueError, KeyError, TypeError):
            continue  # void, or a fault of the chain
        if first and not signer:
            continue
        first = False
        fault = _signature_fault(line, signature, signer, reviewer, time, allowed_signers)
        if fault:
            faults.append(f"record {number}: {fault}")
    return ["no record is signed"] if first and entries else faults


def _signature_fault(
    line: str, signature: str, signer: str, reviewer: str, time: str, allowed_signers: str
) -> str | None:
    if not signer or not signature:
        return "it is not signed"
    moment = "".join(sign for sign in time[:19] if sign.isdigit()) + "Z"  # a key may be valid for a time only
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "signature"
        path.write_text(signature, encoding="utf-8")
        words = ["ssh-keygen", "-Y", "verify", "-n", NAMESPACE, "-f", allowed_signers, "-I", reviewer, "-s", str(path)]
        try:
            done = subprocess.run(
                [*words, "-O", f"verify-time={moment}"], input=line.encode(), capture_output=True, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"its signature cannot be checked ({error})"
    said = " ".join((done.stdout + done.stderr).decode(errors="replace").split())
    if done.returncode:
        return f"its signature is not one of {reviewer} over these bytes ({said[-120:]})"
    return None if signer in said.split() else f"its signature is of another key than {signer}"


def folder_faults(folder: Path, listed: dict[str, str], beside: Sequence[str]) -> list[str]:
    """Compare the files of a folder with their sha256.

    Args:
        listed: path below the folder, with forward slashes -> sha256.
        beside: files at its top that are not listed.
    """
    paths = [path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]
    names = {path.relative_to(folder).as_posix() for path in paths} - set(beside)
    faults = [f"{folder / name}: it is missing" for name in sorted(listed.keys() - names)]
    for name in sorted(names):
        if (folder / name).is_symlink() or not (folder / name).is_file():
            faults.append(f"{folder / name}: it is no plain file")
        elif name not in listed:
            faults.append(f"{folder / name}: it is not listed")
        elif hashlib.sha256((folder / name).read_bytes()).hexdigest() != listed[name]:
            faults.append(f"{folder / name}: it was changed")
    return faults


def digests_faults(folder: Path, expected: str) -> list[str]:
    """Compare a folder with its `digests.json`, and that with the digest that a record names."""
    try:
        content = (folder / DIGESTS).read_bytes()
        listed = json.loads(content)
    except (OSError, ValueError):
        return [f"{folder / DIGESTS}: it cannot be read"]
    if hashlib.sha256(content).hexdigest() != expected:
        return [f"{folder}: its digest is not {expected}, which the record names"]
    return folder_faults(folder, listed, (DIGESTS, BESIDE))


class _Page(HTMLParser):
    """What a person reads on index.html: the texts before the sections, of each section, and behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self._place, self._hidden = "top", True  # the head of the document is not read

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("body", "nav"):
            self._hidden = tag == "nav"
        elif tag == "section":
            self._place = str(dict(attrs).get("aria-labelledby"))
            if self._place in self.texts:
                self.texts[self._place].append("once more")
        elif tag in ("style", "script", "iframe", "object", "svg") and not self._hidden:
            self.texts.setdefault(self._place, []).append(f"<{tag}>")

    def handle_endtag(self, tag: str) -> None:
        if tag == "nav":
            self._hidden = False
        elif tag == "section":
            self._place = "end"

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        if text and not self._hidden:
            self.texts.setdefault(self._place, []).append(text)


def decision_facts(decided: dict[str, Any]) -> dict[str, str]:
    """The table of a decision on the page."""
    facts = {
        "What": decided["meaning"],
        "When (UTC)": decided["time"],
        "Reviewer": f"{decided['reviewer']} ({decided['identified']})",
        "Author of the candidate": decided["author"] or "not recorded",
        "Reason": decided["reason"],
        "Verdict at that time": decided["verdict"].partition(": ")[2],
        "Released in spite of the verdict because": decided["override"],
        "Candidate": f"{decided['model']}-candidates version {decided['candidate']}",
        "Champion before": _name_release(decided["champion_before"]),
        "Champion after": _name_release(decided["champion_after"]),
        "Bundle (sha256 of its digests.json)": decided["digest"],
        "Evidence (sha256 of its digests.json)": decided["evidence"],
        "Evaluate run": decided["evaluate_run"],
        "Code commit": decided["commit"],
        "Signed with": decided["signer"] or "not signed",
    }
    return {name: value for name, value in facts.items() if value}


HISTORY = ("Record", "Time (UTC)", "Action", "On", "Reviewer", "Reason", "Champion after", "sha256")


def history_rows(lines: Sequence[str]) -> list[tuple[str, ...]]:
    """The rows of the page under `HISTORY`: the decisions, without void records.

    Args:
        lines: of the log, whose chain is whole.
    """
    rows: list[tuple[str, ...]] = []
    for number, line in enumerate(lines, 1):
        record = json.loads(line)
        if record["sequence"] == number:
            on = f"release {record['release']}" if record["release"] else f"candidate {record['candidate']}"
            who, time = f"{record['reviewer']} ({record['identified']})", record["time"][:16].replace("T", " ")
            after, digest = _name_release(record["champion_after"]), line_hash(line)[:12]
            rows.append((str(number), time, record["action"], on, who, record["reason"], after, digest))
    return rows


def page_faults(page: str, lines: Sequence[str], decided: dict[str, Any]) -> list[str]:
    """Compare what the page for people says of decisions with the records."""
    parser = _Page()
    parser.feed(page)
    parser.close()
    title = f"Evidence: {decided['model']} release {decided['release']}"
    facts = [text for pair in decision_facts(decided).items() for text in pair]
    cells, head = [text for row in history_rows(lines) for text in row], f"Head of the log: {line_hash(lines[-1])}"
    wanted = {
        "top": [decided["verdict"].partition(": ")[2], title, *tell_decision(decided)],
        "decision": ["Decision", f"Record {decided['sequence']} of the log", *facts],
        "history": [
            "History",
            "Every decision on this model",
            *HISTORY,
            *cells,
            head,
        ],
        "end": [],
    }
    faults = []
    for place, texts in wanted.items():
        found = parser.texts.get(place, [])
        texts = [" ".join(text.split()) for text in texts if text.strip()]
        if found != texts:
            at = next((k for k, text in enumerate(found) if texts[k : k + 1] != [text]), len(found))
            said = repr(found[at][:100]) if at < len(found) else "nothing more"
            faults.append(f"index.html ({place}): it says {said}, which the records do not")
    return faults


def _name_release(number: int) -> str:
    return f"release {number}" if number else "nothing"


def check_evidence(folder: Path, model: Path | None = None, head: str = "", signers: str = "") -> list[str]:
    """Check the whole of an unpacked evidence file; returns what is wrong, a sentence each."""
    try:
        listed = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        log, decided = read_records(folder)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        return [f"{folder}: this is no whole evidence ({type(error).__name__}: {error})"]
    faults = folder_faults(folder, listed, (MANIFEST,))
    lines = [line for line, _ in log]
    faults += chain_faults(lines)
    if head and head.lower() not in map(line_hash, lines):
        faults.append(f"records.json: no record has the hash {head}")
    if signers:
        faults += signature_faults(log, signers)
    page = folder / "index.html"
    if not faults and page.is_file():  # it is read against whole records only
        faults += page_faults(page.read_text(encoding="utf-8"), lines, decided)
    faults += digests_faults(folder / "bundle", decided["digest"])
    faults += digests_faults(folder / "evidence", decided["evidence"])
    return faults + (digests_faults(model, decided["digest"]) if model else [])


def read_records(folder: Path) -> tuple[list[tuple[str, str]], dict[str, Any]]:
    """Read line and signature of every record, and the record that made the release."""
    file = json.loads((folder / "records.json").read_text(encoding="utf-8"))
    log = [(str(entry["record"]), str(entry["signature"])) for entry in file["log"]]
    return log, json.loads(log[file["decided"] - 1][0])


def tell_decision(decided: dict[str, Any]) -> list[str]:
    """Who decided, how that was known, and why: from the record, not from the page for people."""
    lines = [
        f"{decided['model']} release {decided['release']}, bundle sha256 {decided['digest']}",
        f"Decided by {decided['reviewer']} ({decided['identified']}) on {decided['time']}: {decided['reason']}",
    ]
    if decided["override"]:
        lines.append(f"Released in spite of the verdict, because: {decided['override']}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path, metavar="BUNDLE")
    parser.add_argument("--head", default="")
    parser.add_argument("--signers", default="", metavar="FILE")
    asked = parser.parse_args()
    folder = Path(__file__).resolve().parent
    faults = check_evidence(folder, asked.model, asked.head, asked.signers)
    for fault in faults:
        print(f"WRONG  {fault}")
    if not faults:
        log, decided = read_records(folder)
        print("\n".join(tell_decision(decided)))
        print(f"All is as it was decided. Log of {len(log)}, head {line_hash(log[-1][0])}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
