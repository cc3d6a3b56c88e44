"""Evidence: what a decision rests on, kept beside the released bytes, and packed for an auditor.

In the file, and below `evidence/` of a release's run (author and author's runs may change, this copy may not):

    index.html     all of it for people: who decided what and why, verdict, data, environment, how to check
    records.json   the whole log, line by line as it was hashed and signed
    verify.py      checks everything; needs Python, nothing else          manifest.json   sha256 of every file
    bundle/        the released bytes
    evidence/      card/card.html, verdict.json (thresholds), gate.yaml, predictions.json, parity.json,
                   report.json (data: source, licence, counts), provenance.json (runs, settings, commit),
                   environment.txt (every installed package)
"""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from pipeline import digests
from pipeline.errors import RegistryError
from pipeline.evaluation.gate import GATE_FILE
from pipeline.evaluation.verdict import Verdict
from pipeline.review import verify
from pipeline.review.evidence_page import build_index
from pipeline.review.history import History, Record
from pipeline.runs.registry import CHAMPION, fetch_bundle, find_version
from pipeline.runs.tags import PREFIX, PREPARE_RUN, TRAIN_RUN
from pipeline.runs.tracking import fetch_files

KEPT = {
    "evaluate": ("card", "parity.json", "comparison.json"),
    "train": ("environment.txt", "training/training.json"),
    "prepare": ("data/report.json",),
}
"""Per step: artifacts of its run that are copied to the release."""


def keep_evidence(run: Run | None, logged: Path, verdict: Verdict | None, gate: Path, folder: Path) -> Path:
    """Gather in `folder` what a release is decided on, with `digests.json` over it.

    Args:
        run: the evaluate run; None when the candidate has none and is released by an override.
        logged: folder of the tables that the verdict was judged from: these, not what stands in the run by now.
        verdict: as judged for this decision.
        gate: the thresholds it was held against.
    """
    if logged.is_dir():
        shutil.copytree(logged, folder)
    else:
        folder.mkdir()
    shutil.copyfile(gate, folder / GATE_FILE)
    if verdict:
        (folder / "verdict.json").write_text(verdict.to_json(), encoding="utf-8")
    runs = _runs_behind(run) if run else {}
    for step, one in runs.items():
        for artifact in KEPT[step]:
            _fetch(one, artifact, folder)
    origin = {step: _origin(one) for step, one in runs.items()}
    (folder / "provenance.json").write_text(json.dumps(origin, indent=1, sort_keys=True), encoding="utf-8")
    digests.write_digests(folder)
    return folder


def pack_evidence(history: History, release: int, out: Path) -> str:
    """Write the evidence of a release to a zip file: the same facts give the same bytes.

    Returns:
        sha256 of its manifest.

    Raises:
        RegistryError: if no record names the release.
        BundleError: if its bytes are not those that were decided on.
    """
    record = history.approval_of(release)
    if record is None:
        there = ", ".join(str(r.release) for r in history.records if history.approval_of(r.release) is r) or "none"
        raise RegistryError(f"{history.name}: the log knows no release {release}; it has {there}.")
    with tempfile.TemporaryDirectory(prefix="evidence-") as temporary:
        folder = Path(temporary) / "pack"
        folder.mkdir()
        version = find_version(history.name, str(release), CHAMPION)
        got = fetch_bundle(version, Path(temporary) / "fetched")
        digests.copy_listed(got, folder / "bundle")
        fetch_evidence(record, folder)
        faults = verify.digests_faults(folder / "bundle", record.digest)
        faults += verify.digests_faults(folder / "evidence", record.evidence)
        if faults:
            first = faults[0].replace(f"{folder}/", "")
            raise RegistryError(f"{history.name} release {release}: {first}. See `mlflow run . -e audit`.")
        shutil.copyfile(Path(verify.__file__), folder / "verify.py")
        log = [{"number": e.number, "record": e.text, "signature": e.signature} for e in history.entries]
        _write_json(folder / "records.json", {"model": history.name, "decided": record.sequence, "log": log})
        (folder / "index.html").write_text(build_index(history, record, folder), encoding="utf-8")
        files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        _write_json(folder / verify.MANIFEST, digests.list_sha256(folder, files))
        _zip(folder, out, f"{history.name}-release-{release}")
        return digests.file_sha256(folder / verify.MANIFEST)


def fetch_evidence(record: Record, folder: Path) -> Path:
    """Download what is kept beside the bytes of a release.

    Raises:
        RegistryError: if it is gone.
    """
    try:
        run = MlflowClient().get_run(record.release_run)
    except MlflowException:
        raise RegistryError(f"run {record.release_run}: it is gone, and the evidence with it.") from None
    return fetch_files(run, ["evidence"], folder) / "evidence"


def _runs_behind(run: Run) -> dict[str, Run]:
    """The runs that a candidate comes from, as far as they can be read."""
    runs = {"evaluate": run}
    for step, tag in (("train", TRAIN_RUN), ("prepare", PREPARE_RUN)):
        try:
            runs[step] = MlflowClient().get_run(run.data.tags.get(tag, ""))
        except MlflowException:
            continue  # provenance.json then lacks it
    return runs


def _origin(run: Run) -> dict[str, Any]:
    tags = {key: value for key, value in run.data.tags.items() if key.startswith((PREFIX, "mlflow.user"))}
    return {
        "run": run.info.run_id,
        "tags": tags,
        "parameters": dict(run.data.params),
        "metrics": dict(run.data.metrics),
    }


def _fetch(run: Run, artifact: str, folder: Path) -> None:
    """Download an artifact that may be missing: an older run, or another way to evaluate."""
    parent, _, name = artifact.rpartition("/")
    if artifact in {file.path for file in MlflowClient().list_artifacts(run.info.run_id, parent or None)}:
        with tempfile.TemporaryDirectory() as temporary:
            shutil.move(fetch_files(run, [artifact], Path(temporary)) / artifact, folder / name)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")


def _zip(folder: Path, out: Path, top: str) -> None:
    """Pack in order of names, without times, rights or compression, which differ from machine to machine."""
    out.parent.mkdir(parents=True, exist_ok=True)
    stage = out.with_name(f".{out.name}.part")
    with zipfile.ZipFile(stage, "w", zipfile.ZIP_STORED) as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{top}/{path.relative_to(folder).as_posix()}", (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o100644 << 16
            file.writestr(entry, path.read_bytes())
    stage.replace(out)
