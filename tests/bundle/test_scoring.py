import csv
import dataclasses
import json

import pandas as pd
import pytest

from pipeline.bundle import scoring
from pipeline.bundle.scoring import score_file
from pipeline.digests import write_digests
from pipeline.errors import BundleError, DataError, PipelineError
from pipeline.samples.source import Options
from tests.support.schemas import MOLECULES, without_features
from tests.support.small_models import graph_row, write_graph_bundle, write_molecule_bundle


@pytest.fixture(scope="module")
def molecules(tmp_path_factory):
    folder = tmp_path_factory.mktemp("molecules") / "bundle"
    write_molecule_bundle(folder)
    return folder


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs") / "bundle"
    write_graph_bundle(folder)
    return folder


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.mlflow  # a process of its own: seconds
def test_a_csv_keeps_its_columns_and_order(molecules, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "CHUNK_ROWS", 2)
    data = tmp_path / "data.csv"
    data.write_text("name;SMILES;temperature;size\na;CCO;0,5;9\nb;bad;1;9\nc;;1;9\nd;CC;warm;9\ne;CCC;;9\nf;C;-1e0;9\n")
    report = score_file(molecules, data, tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv")
    assert list(rows[0]) == [
        *("name", "SMILES", "temperature", "size"),
        *("size_predicted", "error", "error_detail", "warning"),
    ]
    assert [row["name"] for row in rows] == list("abcdef")
    assert [row["size"] for row in rows] == ["9"] * 6
    assert [row["size_predicted"] for row in rows] == ["3.5", "", "", "", "", "0.0"]
    assert [row["error"] for row in rows] == ["", "invalid_smiles", "missing", "wrong_type", "missing", ""]
    assert (report.rows, report.answered, report.warnings) == (6, 2, 0)
    assert report.errors == {"missing": 2, "invalid_smiles": 1, "wrong_type": 1}
    assert report.columns["size"] == "size_predicted"
    json.dumps(dataclasses.asdict(report))


@pytest.mark.mlflow
@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("bare.csv", "CCO,0.5\nCC,1\n", Options(smiles="column1", header=False)),
        ("bare.csv", "0.5,CCO\n1,CC\n", Options(smiles="column2", header=False)),
    ],
)
def test_a_file_without_a_header_keeps_its_first_row(molecules, tmp_path, name, text, options):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match="temperature"):  # its columns have no names that the model knows
        score_file(molecules, tmp_path / name, tmp_path / "out.csv", options=options)


@pytest.mark.mlflow
def test_a_table_with_a_decimal_sign_a_column_is_answered_as_it_reads(molecules, tmp_path):
    (tmp_path / "a.csv").write_text("smiles;temperature;bits\nCCO;0.5;0,1\nCC;1.5;1,1\n")
    score_file(molecules, tmp_path / "a.csv", tmp_path / "out.csv")
    rows = read(tmp_path / "out.csv")
    assert [row["error"] for row in rows] == ["", ""]
    assert [row["bits"] for row in rows] == ["0,1", "1,1"]


@pytest.mark.mlflow
def test_graph_tables_in_and_parquet_out(graphs, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    # 40 values of charge and 3 symbols, one of them new; the graph 'empty' has no nodes
    (folder / "graphs.csv").write_text("graph_id,temperature,note\ng2,1.5,x\nempty,0,y\ng1,0,z\n")
    (folder / "nodes.csv").write_text(
        "graph_id,node_id,symbol,charge\n" + "".join(f"g1,{n},C,{n}\n" for n in range(40)) + "g2,a,C,1\ng2,b,Xx,2\n"
    )
    (folder / "edges.csv").write_text("graph_id,source,target,order\ng2,a,b,1\ng1,0,1,2\n")
    report = score_file(graphs, folder, tmp_path / "out.parquet")
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table.graph_id.tolist() == ["g2", "empty", "g1"]
    assert table.note.tolist() == ["x", "y", "z"]
    assert table["size"].tolist()[::2] == [3.5, 40]
    assert table.error.notna().tolist() == [False, True, False]
    assert table.warning[0] == "symbol of a kind that was not in training"
    assert (report.rows, report.answered, report.warnings) == (3, 2, 1)


@pytest.mark.mlflow
def test_graphs_as_json_text_in_a_file(graphs, tmp_path):
    rows = [graph_row(2, temperature=1.0), graph_row(3)]
    table = pd.DataFrame(
        [{**row, "nodes": json.dumps(row["nodes"]), "edges": json.dumps(row["edges"])} for row in rows]
    )
    table.to_parquet(tmp_path / "in.parquet")
    report = score_file(graphs, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert [row["size"] for row in read(tmp_path / "out.csv")] == ["3.0", "3.0"]
    assert report.answered == 2


@pytest.mark.mlflow
def test_the_code_of_the_bundle_answers_not_that_of_the_project(tmp_path):
    folder = tmp_path / "bundle"
    write_molecule_bundle(folder, without_features(MOLECULES))
    code = folder / "code" / "serving" / "request.py"
    code.write_text(code.read_text().replace("return [float(str(value))", "return [1000 + float(str(value))"))
    digest = write_digests(folder)
    (tmp_path / "data.csv").write_text("smiles\nCCO\n")
    report = score_file(folder, tmp_path / "data.csv", tmp_path / "out.csv", expected=digest)
    assert read(tmp_path / "out.csv")[0]["size"] == "1003.0"
    assert report.digest == digest


def test_changed_bytes_are_not_run(molecules, tmp_path):
    import shutil

    folder = shutil.copytree(molecules, tmp_path / "bundle")
    (folder / "model.py").write_text("raise SystemExit(7)")
    (tmp_path / "data.csv").write_text("smiles,temperature\nC,1\n")
    with pytest.raises(BundleError, match=r"model\.py"):
        score_file(folder, tmp_path / "data.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.mlflow
def test_a_failing_child_is_one_line_and_leaves_nothing(molecules, tmp_path):
    import shutil

    folder = shutil.copytree(molecules, tmp_path / "bundle")
    (folder / "model.py").write_text("raise ValueError('no way\\nin')")
    write_digests(folder)
    (tmp_path / "data.csv").write_text("smiles,temperature\nC,1\n")
    with pytest.raises(PipelineError, match=r"no way") as caught:
        score_file(folder, tmp_path / "data.csv", tmp_path / "out.csv")
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "data.csv"]


@pytest.mark.mlflow
def test_a_child_that_dies_says_how(molecules, tmp_path):
    import shutil

    folder = shutil.copytree(molecules, tmp_path / "bundle")
    code = folder / "model.py"
    code.write_text(code.read_text().replace("answers = Answers", "os.kill(os.getpid(), 9)\n        answers = Answers"))
    write_digests(folder)
    (tmp_path / "data.csv").write_text("smiles,temperature\nC,1\n")
    with pytest.raises(PipelineError, match="signal 9"):
        score_file(folder, tmp_path / "data.csv", tmp_path / "out.csv")


def test_what_does_not_fit_the_model_is_said_before_it_is_loaded(molecules, graphs, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "Children", None)
    data = tmp_path / "data.csv"
    data.write_text("smiles,temp\nC,1\n")
    with pytest.raises(DataError, match="temperature"):
        score_file(molecules, data, tmp_path / "out.csv")
    with pytest.raises(DataError, match="nodes"):
        score_file(graphs, data, tmp_path / "out.csv")
    with pytest.raises(DataError, match="takes molecules"):
        score_file(molecules, tmp_path, tmp_path / "out.csv")
    with pytest.raises(DataError, match="replace the data"):
        score_file(molecules, data, data)
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "graphs.csv").write_text("graph_id,temperature\na,1\n")
    (folder / "nodes.csv").write_text("graph_id,node_id,symbol\na,1,C\n")
    (folder / "edges.csv").write_text("graph_id,source,target,order\n")
    with pytest.raises(DataError, match="charge"):
        score_file(graphs, folder, tmp_path / "out.csv")


def test_no_column_of_the_input_is_lost():
    names = scoring._free_names(["size", "error"], ["size", "size_predicted", "smiles"])
    assert names == {"size": "size_predicted_predicted", "error": "error"}
