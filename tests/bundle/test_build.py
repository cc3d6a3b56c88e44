import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import digests
from pipeline.bundle import build as bundle
from pipeline.errors import BundleError
from tests.conftest import ROOT
from tests.support.small_models import write_graph_bundle, write_molecule_bundle


@pytest.fixture
def folder(tmp_path):
    """A signed folder of three files."""
    folder = tmp_path / "bundle"
    (folder / "code").mkdir(parents=True)
    (folder / "MLmodel").write_text("flavors: {}\n")
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "code" / "model.py").write_text("")
    digests.write_digests(folder)
    return folder


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Real bundles: of molecules and of graphs, with their digests."""
    place = tmp_path_factory.mktemp("built")
    return {
        "molecules": (place / "molecules", write_molecule_bundle(place / "molecules")),
        "graphs": (place / "graphs", write_graph_bundle(place / "graphs")),
    }


def test_digests_list_every_file_but_themselves(folder):
    # as `sha256sum` says
    assert json.loads((folder / "digests.json").read_text()) == {
        "MLmodel": "7f8f4a879eefb3f9fed9c6af4077c9acb0db066b2906d6570c42913478686b0f",
        "code/model.py": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "model.onnx": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c",
    }


def test_verify_answers_the_digest_and_signing_again_changes_nothing(folder):
    digest = digests.verify(folder)
    assert len(digest) == 64
    assert digests.write_digests(folder) == digest


def test_only_what_mlflow_writes_at_the_top_is_not_signed(folder):
    digest = digests.verify(folder)
    (folder / "registered_model_meta").write_text("model_name: x")
    assert digests.verify(folder) == digest
    with digests.private_copy(folder, digest) as copy:
        assert not (copy / "registered_model_meta").exists()
    (folder / "registered_model_meta").rename(folder / "code" / "registered_model_meta")
    with pytest.raises(BundleError, match="code/registered_model_meta"):
        digests.verify(folder)


def change(folder):
    (folder / "model.onnx").write_bytes(b"weightz")


def remove(folder):
    (folder / "code" / "model.py").unlink()


def add(folder):
    (folder / "code" / "more.py").write_text("")


def add_compiled(folder):
    """Python runs it in place of code/model.py, whatever stands there."""
    (folder / "code" / "__pycache__").mkdir()
    (folder / "code" / "__pycache__" / "model.cpython-311.pyc").write_bytes(b"")


def add_beside_compiled(folder):
    (folder / "code" / "__pycache__").mkdir()
    (folder / "code" / "__pycache__" / "more.py").write_text("")


def link(folder):
    content = (folder / "model.onnx").rename(folder.parent / "model.onnx")
    (folder / "model.onnx").symlink_to(content)


def link_folder(folder):
    (folder / "more").symlink_to(folder.parent)


def add_pickle(folder):
    (folder / "python_model.PKL").write_bytes(b"")


def add_pipe(folder):
    os.mkfifo(folder / "pipe")


def unlist(folder):
    (folder / "digests.json").unlink()


def break_list(folder):
    (folder / "digests.json").write_text("[1]")


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (change, "model.onnx"),
        (remove, "code/model.py"),
        (add, "code/more.py"),
        (add_compiled, "code/__pycache__/model"),
        (add_beside_compiled, "code/__pycache__/more.py"),
        (link, "model.onnx"),
        (link_folder, "more"),
        (add_pickle, "python_model.PKL"),
        (add_pipe, "pipe"),
        (unlist, "digests.json"),
        (break_list, "digests.json"),
    ],
)
def test_verify_refuses_and_names_the_file(folder, harm, named):
    harm(folder)
    with pytest.raises(BundleError, match=named):
        digests.verify(folder)
    with pytest.raises(BundleError), digests.private_copy(folder):
        pass


@pytest.mark.parametrize("harm", [link, add_pickle, add_compiled])
def test_links_and_pickles_are_never_signed(folder, harm):
    harm(folder)
    with pytest.raises(BundleError):
        digests.write_digests(folder)


def test_a_private_copy_is_private_whole_and_gone_afterwards(folder):
    with digests.private_copy(folder, digests.verify(folder)) as copy:
        assert copy != folder
        assert copy.parent.stat().st_mode & 0o077 == 0
        change(folder)
        assert (copy / "model.onnx").read_bytes() == b"weights"
    assert not copy.exists()


def test_a_damaged_bundle_is_called_as_the_user_calls_it(folder):
    change(folder)
    refused = pytest.raises(BundleError, match=r"^models:/x/3: 'model\.onnx' is not what was signed off")
    with refused, digests.private_copy(folder, called="models:/x/3"):
        pass


def test_a_private_copy_of_another_bundle_is_refused(folder):
    with pytest.raises(BundleError, match="expected 00"), digests.private_copy(folder, "00"):
        pass


def test_no_folder(tmp_path):
    with pytest.raises(BundleError, match=str(tmp_path / "none")), digests.private_copy(tmp_path / "none"):
        pass


def test_a_bundle_holds_what_it_needs_and_no_more(built):
    def files(kind):
        folder = built[kind][0]
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}

    packages = ("serving", "pipeline", "pipeline/samples", "pipeline/samples/graph")
    common = {
        *(
            "MLmodel",
            "model.py",
            "digests.json",
            "example_answers.json",
            "artifacts/model.onnx",
            "artifacts/schema.json",
        ),
        *("requirements.txt", "conda.yaml", "python_env.yaml", "input_example.json", "serving_input_example.json"),
        *(f"code/serving/{name}.py" for name in ("__init__", "deadline", "domain", "request", "session", "sharing")),
        *(f"code/pipeline/{name}.py" for name in ("__init__", "answer", "errors", "graph", "machine", "telemetry")),
        *(
            "code/pipeline/scale.py",
            "code/pipeline/schema.py",
            "code/pipeline/serveconfig.py",
            "code/pipeline/samples/__init__.py",
        ),
        *(f"code/pipeline/samples/{name}.py" for name in ("kind", "kinds", "graph/__init__", "graph/columns")),
        *(f"{place}__pycache__" for place in ("", *(f"code/{package}/" for package in packages))),
    }
    assert files("graphs") == common | {"code/pipeline/samples/graph/kind.py"}
    assert files("molecules") == common | {
        f"code/pipeline/samples/molecule/{name}.py"
        for name in ("__init__", "kind", "descriptors", "featurize", "smiles", "atoms")
    } | {"code/pipeline/samples/molecule/__pycache__"}


def test_a_bundle_records_what_it_answers_to_its_example(built):
    answers = {kind: json.loads((folder / "example_answers.json").read_text()) for kind, (folder, _) in built.items()}
    assert [row["size"] for row in answers["molecules"]["predictions"]] == [4.0, 8.0]
    assert [row["size"] for row in answers["graphs"]["predictions"]] == [3.0, 5.0]


def test_a_bundle_is_signed_and_tells_no_local_path(built):
    for folder, digest in built.values():
        assert digests.verify(folder) == digest
        assert (folder / "code/pipeline/__init__.py").read_bytes() == b""
        text = "".join(path.read_text() for path in folder.iterdir() if path.is_file())
        assert str(ROOT) not in text
        assert str(folder.parent) not in text


def test_a_bundle_is_not_overwritten(built):
    with pytest.raises(BundleError, match="is there already"):
        write_molecule_bundle(built["molecules"][0])


def test_no_half_bundle_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "write_digests", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_molecule_bundle(tmp_path / "half")
    assert [path.name for path in tmp_path.iterdir()] == ["half.onnx"]


PREDICT = """
import json, sys
from pathlib import Path
import mlflow.pyfunc
import pandas as pd

folder = Path(sys.argv[1])
example = json.loads((folder / "serving_input_example.json").read_text())["dataframe_split"]
model = mlflow.pyfunc.load_model(str(folder))
answers = model.predict(pd.DataFrame(example["data"], columns=example["columns"])).to_dict("records")
foreign = {"torch", "lightning", "torch_geometric", "tensordict"} & set(sys.modules)
shipped = {name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).startswith(str(folder))}
print(json.dumps([answers, sorted(foreign), sorted(shipped), "rdkit" in sys.modules]))
"""


def predict_alone(python, folder, cwd):
    """Predict in a process that sees the bundle and installed packages, not the project."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    done = subprocess.run(
        [python, "-P", "-c", PREDICT, str(folder)], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.mlflow  # a process of its own: seconds
@pytest.mark.parametrize("kind", ["molecules", "graphs"])
def test_a_bundle_answers_alone_without_torch_and_pickle(built, kind, tmp_path):
    folder = built[kind][0]
    answers, foreign, shipped, rdkit = predict_alone(sys.executable, folder, tmp_path)
    assert [row["size"] for row in answers] == ([4.0, 8.0] if kind == "molecules" else [3.0, 5.0])
    assert foreign == []
    assert rdkit == (kind == "molecules")
    ours = {name for name in shipped if name.split(".")[0] in ("pipeline", "serving")}
    # Descriptors are imported where a model has some.
    files = set(bundle.shipped_files(kind.removesuffix("s"))) - {"pipeline/samples/molecule/descriptors.py"}
    assert ours == {name.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".") for name in files}
    assert list(tmp_path.iterdir()) == []  # and it leaves nothing where it runs
    digests.verify(folder)  # loading wrote no compiled code into it, though Python may


@pytest.mark.slow
def test_a_bundle_needs_only_its_own_requirements(built, tmp_path):
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    requirements = ROOT / "serving" / "requirements.txt"
    subprocess.run([python, "-m", "pip", "install", "-q", "-r", str(requirements)], check=True)
    (tmp_path / "empty").mkdir()
    for folder, _ in built.values():
        copy = shutil.copytree(folder, tmp_path / folder.name)
        answers, foreign, _, _ = predict_alone(str(python), copy, tmp_path / "empty")
        assert [row["error"] for row in answers] == [None, None]
        assert foreign == []


def test_requirements_are_pinned_as_in_the_project():
    def pins(path):
        lines = (line.split("#")[0].strip() for line in Path(path).read_text().splitlines())
        return {line for line in lines if line}

    assert all("==" in pin for pin in pins(ROOT / "serving/requirements.txt"))
    assert pins(ROOT / "serving/requirements.txt") <= pins(ROOT / "requirements.txt")


def test_the_signature_names_types(built):
    import mlflow.models

    molecules = mlflow.models.get_model_info(str(built["molecules"][0])).signature
    assert [(c.name, str(c.type)) for c in molecules.inputs] == [
        ("smiles", "DataType.string"),
        ("temperature", "DataType.double"),
    ]
    assert molecules.outputs.input_names() == ["size", "error", "error_detail", "warning"]
    graphs = mlflow.models.get_model_info(str(built["graphs"][0])).signature
    assert graphs.inputs.input_names() == ["nodes", "edges", "temperature"]
    assert "colour=green" in graphs.outputs.input_names()
