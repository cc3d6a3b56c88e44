"""The main line as its users run it: `mlflow run`, `predict`, `promote`, a really started `mlflow models serve`.

The commands are those of README and docs/, with a smaller table and a training that is over at once.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from pipeline.runs.tags import ENVIRONMENT
from tests.conftest import ROOT
from tests.support.pages import followed, section
from tests.support.project import Project
from tests.support.servers import free_port, running

pytestmark = pytest.mark.mlflow

FOLLOWED = followed("tests/whole/test_end_to_end.py")


def told(*wanted: str) -> list[str]:
    """The one command in the pages that has these words."""
    found = [words for words in FOLLOWED if set(wanted) <= set(words)]
    assert len(found) == 1, (wanted, found)
    return found[0]


TOLD = {
    "train": told("data=mine.csv"),
    "predict": told("predict", "model=models:/mine-candidates@challenger"),
    "predict by the release": told("predict", "name=solubility"),
    "promote": told("promote", "version=1"),
    "serve": told("mlflow", "serve"),
    "ask": told("curl"),
    "serve in production": told("serving.app"),
    "promote the next": told("promote", "version=2"),
    "reject": told("reject"),
    "rollback": told("rollback"),
    "audit": told("steps.audit"),
    "evidence": told("steps.evidence"),
}
"""What the pages tell their readers to run, by what it is for."""


def serve(project, name, page):
    """Start a server by the command of the pages, for the model of this test and on a free port."""
    port = free_port()
    command = [word.replace("solubility", "mine").replace("5001", str(port)) for word in TOLD[name]]
    return running(command, project.folder, project.env, port, project.folder / f"{port}.log", page)


QUICK = ["-P", "max_epochs=2", "-P", "hidden_dim=16", "-P", "num_layers=2", "-P", "resamples=50"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    made = Project(tmp_path_factory.mktemp("graph line"))
    rows = list(csv.reader(open(ROOT / "data" / "solubility.csv", encoding="utf-8")))
    header, body = rows[0], rows[1:160]
    smiles, target = header.index("smiles"), header.index("logS")
    with open(made.folder / "mine.csv", "w", newline="") as file:
        writer = csv.writer(file, delimiter=";")  # as a German spreadsheet writes it
        writer.writerow(["SMILES", "pIC50", "note"])
        writer.writerows([row[smiles], row[target].replace(".", ","), "x"] for row in body)
        writer.writerow(["C1CC", "1,0", "broken ring"])
    made.first = made.call(*TOLD["train"], *QUICK)
    return made


def test_first_run_ends_with_the_next_commands(project):
    for word in (
        "mine-candidates version 1",
        "python -m steps.ui",
        "-e predict",
        "-e promote",
        "mlflow models serve",
        "curl",
    ):
        assert word in project.first
    assert "1 invalid_smiles" in project.first


def test_second_run_reuses_every_step(project):
    again = project.call(*TOLD["train"], *QUICK)
    for step in ("prepare", "train", "evaluate", "register"):
        assert f"{step}: reused" in again


def test_predict_keeps_rows_and_columns(project):
    (project.folder / "new.csv").write_text("id,smiles\n7,CCO\n8,nonsense\n9,c1ccccc1\n10,\n")
    project.call(*TOLD["predict"])
    rows = list(csv.DictReader(open(project.folder / "answers.csv")))
    assert [row["id"] for row in rows] == ["7", "8", "9", "10"]
    assert [row["error"] for row in rows] == ["", "invalid_smiles", "", "missing"]
    assert float(rows[0]["pIC50"]) != float(rows[2]["pIC50"])
    assert rows[1]["pIC50"] == ""


def test_files_without_a_header_lose_no_molecule(project):
    """A CSV whose first row is a molecule is refused with the way out, and a SMILES file needs none."""
    model = "model=models:/mine-candidates@challenger"
    (project.folder / "bare.csv").write_text("CCO,7\nc1ccccc1,8\nnonsense,9\n")
    asked = ["-e", "predict", "-P", "data=bare.csv", "-P", "out=bare-answers.csv", "-P", model]
    assert "header=false" in project.run(*asked, code=1)
    project.run(*asked, "-P", "header=false", "-P", "smiles=column1")
    rows = list(csv.DictReader(open(project.folder / "bare-answers.csv")))
    assert [row["column1"] for row in rows] == ["CCO", "c1ccccc1", "nonsense"]
    assert [row["column2"] for row in rows] == ["7", "8", "9"]
    assert [row["error"] for row in rows] == ["", "", "invalid_smiles"]
    (project.folder / "new.smi").write_text("CCO ethanol\nc1ccccc1 benzene, dry\n")
    project.run("-e", "predict", "-P", "data=new.smi", "-P", "out=smi-answers.csv", "-P", model)
    found = list(csv.DictReader(open(project.folder / "smi-answers.csv")))
    assert [row["pIC50"] for row in found] == [row["pIC50"] for row in rows[:2]]
    assert "benzene, dry" in found[1].values()


def test_a_candidate_is_not_asked_unless_it_is_named(project):
    """Nothing is released yet: a model's code runs with its author's intentions, so nobody asks one by accident."""
    text = project.run("-e", "predict", "-P", "data=new.csv", "-P", "name=mine", code=1)
    assert "no release of mine is live" in text
    assert "pass model=models:/mine-candidates@challenger" in text


def test_the_run_says_how_it_shared_the_machine(project):
    client = MlflowClient(project.env["MLFLOW_TRACKING_URI"])
    (run,) = client.search_runs(["0"], "tags.`graphline.step` = 'train'")
    facts = {
        name.removeprefix(ENVIRONMENT): value for name, value in run.data.tags.items() if name.startswith(ENVIRONMENT)
    }
    assert int(facts["threads"]) >= 1
    assert float(facts["load"]) >= 0
    assert facts["waiting"] in ("active", "passive")
    assert facts["torch"].startswith("2.")


def test_failed_and_unreasoned_releases_are_refused(project):
    text = project.run("-e", "promote", "-P", "version=1", code=1)
    assert "this needs a reason" in text
    text = project.run("-e", "promote", "-P", "version=99", "-P", "reason=try", code=1)
    assert "no version 99; it has versions 1" in text
    gate = project.folder / "gate.yaml"
    kept = gate.read_text()
    gate.write_text("regression:\n  rmse:\n    max: 0.000001\n")
    try:
        text = project.run("-e", "promote", "-P", "version=1", "-P", "reason=try", code=1)
        assert "its verdict is failed" in text
    finally:
        gate.write_text(kept)


def test_a_mistake_through_mlflow_is_one_line_of_ours(project):
    text = project.run("-P", "data=nowhere.csv", code=1)
    assert [line for line in text.splitlines() if line.startswith("error: ")] == [
        line for line in text.splitlines() if "nothing at" in line
    ]


@pytest.mark.parametrize(
    ("step", "words", "expected"),
    [
        ("prepare", ["--data=mine.csv"], "no target is named"),
        ("prepare", ["--data=mine.csv", "--target=pIC5"], "no column 'pIC5'"),
        ("main", ["--data=mine.csv", "--target=pIC50", "--hiden_dim=3"], "hidden_dim"),
        ("main", ["--data=mine.csv", "--target=pIC50", "--max_epochs=many"], "max_epochs"),
        ("main", ["--data=mine.csv", "--target=pIC50", "--trainer.devces=2"], "devces"),
        ("main", ["--data=mine.csv", "--target=pIC50", "--split=time"], "time_column"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(project, step, words, expected):
    lines = project.call("python", "-m", f"steps.{step}", *words, code=2).splitlines()
    assert expected in lines[-1]
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:]


@pytest.fixture(scope="module")
def served(project):
    """A released model behind `mlflow models serve`."""
    gate = project.folder / "gate.yaml"
    gate.write_text("regression:\n  rmse:\n    max: 100\n")  # two epochs on 128 molecules are no good model
    text = project.call(*TOLD["promote"])
    assert "record 1: approved candidate 1" in text
    assert "champion was nothing, is release 1, sha256" in text
    with serve(project, "serve", "/ping") as server:
        yield server


ROWS = ["CCO", "nonsense", "c1ccccc1O", None, ""]
CODES = [None, "invalid_smiles", None, "missing", "missing"]


def parquet(columns):
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["records", "split", "inputs", "csv", "parquet"])
def test_every_format_is_answered_row_by_row(served, form):
    body = {
        "records": {"dataframe_records": [{"smiles": smiles, "extra": 1} for smiles in ROWS]},
        "split": {"dataframe_split": {"columns": ["smiles"], "data": [[smiles] for smiles in ROWS]}},
        "inputs": {"inputs": {"smiles": ROWS}},
        "csv": "n,smiles\n" + "".join(f"{n},{smiles or ''}\n" for n, smiles in enumerate(ROWS)),
        "parquet": parquet({"smiles": ROWS}),
    }[form]
    kind = {"csv": "text/csv", "parquet": "application/vnd.apache.parquet"}.get(form, "application/json")
    reply = served.invoke(body.encode() if isinstance(body, str) else body, kind)
    assert reply.status == 200, reply.body
    answers = reply.json["predictions"]
    # MLflow itself turns a null among `inputs` into the text "None" before the model sees it.
    expected = [*CODES[:3], "invalid_smiles" if form == "inputs" else "missing", "missing"]
    assert [answer["error"] for answer in answers] == expected
    assert [answer["pIC50"] is None for answer in answers] == [code is not None for code in CODES]
    assert all("nonsense" not in (answer["error_detail"] or "") for answer in answers)


def test_what_is_unlike_the_data_is_told(served):
    smiles = ["CC(C)CC(=O)OC", "C" * 150, "CC[Po]CC", "CC(C)C*"]
    answers = served.invoke({"inputs": {"smiles": smiles}}).json["predictions"]
    assert [answer["error"] for answer in answers] == [None] * 4
    assert answers[0]["warning"] is None
    assert answers[1]["warning"].startswith("150 atoms, where training had ")
    assert "element Po was not in training" in answers[2]["warning"]
    assert "element of a kind that was not in training" in answers[3]["warning"]


def test_a_ring_that_would_end_the_server_is_one_rows_error(served):
    """Plain `mlflow models serve` has no worker to lose: the bundle itself refuses before RDKit sees the text."""
    ring = "C1" + "C" * 9_000 + "C1"
    answers = served.invoke({"inputs": {"smiles": [ring, "CCO"]}}).json["predictions"]
    assert [answer["error"] for answer in answers] == ["too_large", None]


def test_rest_equals_the_file(project, served):
    answered = served.invoke({"inputs": {"smiles": ["CCO"]}}).json["predictions"][0]["pIC50"]
    (project.folder / "new.csv").write_text("smiles\nCCO\n")
    project.call(*[word.replace("solubility", "mine") for word in TOLD["predict by the release"]])
    written = float(next(csv.DictReader(open(project.folder / "answers.csv")))["pIC50"])
    assert written == pytest.approx(answered, rel=1e-6)


def send(server):
    """Do to a server what README's curl command does."""
    curl = TOLD["ask"]
    assert [word for word in curl if "localhost" in word] == ["localhost:5001/invocations"]
    content_type = curl[curl.index("-H") + 1].removeprefix("Content-Type: ")
    return server.invoke(curl[curl.index("-d") + 1].encode(), content_type)


def test_the_answer_is_the_one_that_readme_shows(served):
    reply = send(served)
    assert reply.status == 200
    shown = section(ROOT / "README.md", "Start").split("```json\n")[1].split("```")[0]
    expected = json.loads(shown.replace("logS", "pIC50"))["predictions"]
    answers = reply.json["predictions"]
    assert [list(answer) for answer in answers] == [list(answer) for answer in expected]
    for answer, wanted in zip(answers, expected, strict=True):
        assert (answer.pop("pIC50") is None) == (wanted.pop("pIC50") is None)
        assert answer == wanted


def test_the_production_server_answers_the_same(project, served):
    with serve(project, "serve in production", "/ready") as server:
        assert send(server).json == send(served).json


def test_a_missing_column_is_a_400_that_names_it(served):
    reply = served.invoke({"inputs": {"smile": ["CCO"]}})
    assert reply.status == 400
    assert "smiles" in reply.json["message"]


def test_decisions_are_final_and_can_be_undone_and_audited(project, served):
    import mlflow

    client = mlflow.MlflowClient(*[project.env["MLFLOW_TRACKING_URI"]] * 2)  # registry, too: others ran before
    evaluated = client.get_model_version("mine-candidates", "1").run_id
    assert "no earlier release" in project.run("-e", "rollback", "-P", "reason=undo", code=1)
    assert "A decision is final" in project.run("-e", "promote", "-P", "version=1", "-P", "reason=again", code=1)
    for _ in range(2):
        project.run("-e", "register", "-P", f"evaluate_run={evaluated}")
    project.call(*TOLD["promote the next"])
    project.call(*TOLD["reject"])
    assert "champion was release 2, is release 1" in project.call(*TOLD["rollback"])
    runs = len(client.search_runs([e.experiment_id for e in client.search_experiments()]))
    text = project.call(*TOLD["audit"][:-1], "2100-01-01")  # the page's moment lies before these releases
    assert "mine release 1 = candidate 1" in text
    assert "audit: chain, bytes and aliases are as decided" in text
    project.call(*TOLD["evidence"])
    assert runs == len(client.search_runs([e.experiment_id for e in client.search_experiments()]))
    shutil.unpack_archive(project.folder / "evidence.zip", project.folder)
    pack = project.folder / "mine-release-2"
    assert "All is as it was decided" in project.call("python", "-I", "-S", str(pack / "verify.py"))
    kept = {path.name for path in (pack / "evidence").iterdir()}
    assert {"card", "environment.txt", "report.json", "training.json", "provenance.json", "verdict.json"} <= kept
    client.set_registered_model_alias("mine", "champion", "2")
    try:
        assert "alias champion: it stands at release 2" in project.call("python", "-m", "steps.audit", code=2)
    finally:
        client.set_registered_model_alias("mine", "champion", "1")
    assert "audit: chain, bytes and aliases are as decided" in project.run("-e", "audit")


def test_the_champion_is_the_opponent_until_it_moves(project, served):
    import mlflow

    words = [*TOLD["train"], *QUICK]
    text = project.call(*words)
    assert "train: reused" in text
    assert "evaluate: reused" not in text
    assert "The champion learned from the same split: none of the test rows." in text
    client = mlflow.MlflowClient(*[project.env["MLFLOW_TRACKING_URI"]] * 2)  # registry, too: others ran before
    live = client.get_model_version_by_alias("mine", "champion")
    found = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()],
        f"tags.`graphline.champion_digest` = '{live.tags['graphline.digest']}'",
    )
    assert [run.data.tags["graphline.champion"] for run in found] == [str(live.version)]
    comparison = json.loads(Path(client.download_artifacts(found[0].info.run_id, "comparison.json")).read_text())
    assert {tuple(one["difference"]) for one in comparison["metrics"]} == {(0.0, 0.0, 0.0)}  # it met itself
    assert "evaluate: reused" in project.call(*words)


def test_a_changed_byte_is_never_released(project, served):
    import mlflow

    client = mlflow.MlflowClient(*[project.env["MLFLOW_TRACKING_URI"]] * 2)  # registry, too: others ran before
    version = client.get_model_version("mine-candidates", "1")
    folder = Path(version.source.removeprefix("file://"))
    target = next(folder.rglob("model.onnx"))
    kept = target.read_bytes()
    target.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    try:
        evaluated = version.run_id
        project.run("-e", "register", "-P", f"evaluate_run={evaluated}")
        text = project.run("-e", "promote", "-P", "reason=tampered", "-P", "champion=1", code=1)
        assert "model.onnx" in text
    finally:
        target.write_bytes(kept)
