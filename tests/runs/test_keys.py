"""Keys: everything that can change a result changes its step's key, and nothing else does."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest

from pipeline.dataset.config import PrepareConfig
from pipeline.evaluation.config import EvaluateConfig
from pipeline.imports import imported_modules, trace_imports
from pipeline.runs.keys import DISTRIBUTIONS, differences, package_versions, step_key
from pipeline.runs.tags import EDITED
from steps import evaluate, prepare, register, train
from tests.conftest import ROOT


def project(tmp_path, helper="x = 1\n"):
    for room in ("steps", "pipeline"):
        (tmp_path / room).mkdir(exist_ok=True)
    (tmp_path / "requirements.txt").write_text("numpy==1\n")
    (tmp_path / "steps" / "work.py").write_text("def main():\n    from pipeline import helper\n")
    (tmp_path / "pipeline" / "helper.py").write_text(helper)
    (tmp_path / "pipeline" / "other.py").write_text("y = 1\n")
    return tmp_path


def test_key_changes_with_each_thing_it_rests_on(tmp_path):
    root = project(tmp_path, helper="import numpy.linalg\n")

    def key(value=0.001, data="d"):
        return step_key("work", {"a": value}, {"data": data}, root)

    before = key()
    assert before == key(1e-3)
    assert before != key(0.002)
    assert before != key(data="e")
    (root / "requirements.txt").write_text("numpy==1\nflask==3\n")
    assert before == key()
    (root / "requirements.txt").write_text("numpy==2\n")
    assert before != key()


def test_only_imported_code_counts(tmp_path):
    root = project(tmp_path)
    before = step_key("work", {}, {}, root)
    assert list(before.facts["code"]) == ["pipeline/helper.py", "steps/work.py"]
    assert before.edited() == []
    (root / "pipeline" / "other.py").write_text("y = 2\n")
    assert step_key("work", {}, {}, root) == before
    project(tmp_path, helper="x = 2\n")
    now = step_key("work", {}, {}, root)
    assert now != before
    assert before.edited() == ["pipeline/helper.py"]
    assert differences(before.facts, now.facts) == ["pipeline/helper.py changed"]


def test_sources_of_prepare_hold_the_featurizer_and_not_the_trainer():
    names = {path.stem for path in trace_imports(["steps.prepare"], ROOT).files.values()}
    assert {"prepare", "featurize", "store", "labels"} <= names
    assert not {"train", "network", "export"} & names


def test_imports_are_found_wherever_a_statement_may_stand(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "import a\ntry:\n    import b\nexcept ImportError:\n    import c\nelse:\n    import d\nfinally:\n    import e\n"
        "if a:\n    import f\nelse:\n    from g import h\n"
        "class K:\n    def m(self):\n        with a:\n"
        "            match b:\n                case 1:\n                    import i\n"
        "if typing.TYPE_CHECKING:\n    import never\nelse:\n    import j\n"
        "x = [lambda: a for _ in b] if a else 'import k'\n"
    )
    assert sorted(imported_modules(path)) == ["a", "b", "c", "d", "e", "f", "g", "g.h", "i", "j"]
    assert imported_modules(path, top_level_only=True) == ["a"]


def test_own_modules_count_wherever_they_lie(tmp_path, monkeypatch):
    """The code of `model.class_path` and of callbacks: packages, relative imports, PYTHONPATH."""
    root, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    nets = root / "nets" / "deep"
    nets.mkdir(parents=True)
    (root / "nets" / "__init__.py").write_text("WIDTH = 3\n")
    (nets / "__init__.py").write_text("")
    (nets / "own.py").write_text("from . import layer\nfrom ..base import B\nimport elsewhere_tools, torch, json\n")
    (nets / "layer.py").write_text("")
    (root / "nets" / "base.py").write_text("")
    elsewhere.mkdir()
    (elsewhere / "elsewhere_tools.py").write_text("import numpy\n")
    monkeypatch.setattr(sys, "path", [str(elsewhere), *sys.path])
    found = trace_imports(["nets.deep.own"], root)
    assert list(found.files) == [
        "elsewhere_tools.py",
        "nets/__init__.py",
        "nets/base.py",
        "nets/deep/__init__.py",
        "nets/deep/layer.py",
        "nets/deep/own.py",
    ]
    assert found.packages == {"torch", "numpy"}


def test_packages_are_known_by_the_name_they_are_installed_under():
    """Every foreign import of the project leads to a pin, as the installed metadata has it."""
    imported = trace_imports([f"steps.{path.stem}" for path in (ROOT / "steps").glob("*.py")], ROOT).packages
    installed = metadata.packages_distributions()
    versions = package_versions(imported, ROOT)
    for name in imported:
        mine = DISTRIBUTIONS.get(name, name).lower().replace("_", "-")
        assert mine in {other.lower() for other in installed[name]}, name
        assert mine in versions, name
    assert {"scikit-learn", "scipy", "numpy"} <= set(versions)  # scipy is what scikit-learn needs
    assert not {"flask", "sympy"} & set(versions)


def test_another_version_than_the_pinned_one_is_told(tmp_path):
    here = metadata.version("numpy")
    (tmp_path / "requirements.txt").write_text(f"numpy=={here}\n")
    assert package_versions(["numpy"], tmp_path) == {"numpy": here}
    (tmp_path / "requirements.txt").write_text("numpy==1.0\n")
    assert package_versions(["numpy", "no_such_package"], tmp_path) == {"numpy": f"1.0, {here} is installed"}


def test_differences_are_said_in_words():
    before = {
        "inputs": {"data": "a"},
        "parameters": {"seed": 0, "target": "y"},
        "code": {"a.py": "1"},
        "packages": {"torch": "2"},
    }
    now = {"inputs": {"data": "b"}, "parameters": {"seed": 1, "target": "y"}, "code": {"b.py": "1"}, "packages": {}}
    assert differences(before, now) == ["data changed", "seed 0 → 1", "a.py is gone", "b.py is new", "torch 2 → none"]
    assert differences(now, now) == []


# --- the steps' own keys, over a copy of the project --------------------------------------------------------------


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copy")
    for room in ("steps", "pipeline", "serving"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "pyproject.toml", "gate.yaml"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "data" / "graphs-sample", folder / "mine")
    (folder / "nets.py").write_text("import torch\n")
    return folder


def keys(prepare_words=None, train_words=(), **evaluate_words):
    """Keys of the four steps in the working directory, as if each product were a function of its key."""
    config = PrepareConfig(**({"data": "mine", "target": "y"} | (prepare_words or {})))
    with prepare.located(config) as (source, digest):
        store = prepare.key_of(config, source, digest)
    training = train.key_of(train.parse(list(train_words)), f"store {store}", source.kind)
    inputs = {"store": f"store {store}", "training": f"training {training}"}
    evaluation = evaluate.key_of(EvaluateConfig(**evaluate_words), inputs, source.kind)
    return {
        "prepare": store,
        "train": training,
        "evaluate": evaluation,
        "register": register.key_of(f"bundle {evaluation}", source.name),
    }


def changed(before, now):
    return [step for step in before if before[step] != now[step]]


ALL = ["prepare", "train", "evaluate", "register"]


@pytest.mark.parametrize(
    ("file", "steps"),
    [
        ("mine/nodes.csv", ALL),
        ("mine/notes.txt", ALL),  # every file that a folder of graph tables holds
        ("pipeline/dataset/labels.py", ALL),  # of prepare; the others by what it makes
        ("pipeline/store/store.py", ALL),
        ("pipeline/network/layers.py", ALL[1:]),
        ("pipeline/bundle/parity.py", ALL[2:]),
        ("pipeline/bundle/answering.py", ALL[2:]),  # runs in a process of its own
        ("serving/session.py", ALL[2:]),  # is copied into the bundle
        ("serving/requirements.txt", ALL[2:]),
        ("gate.yaml", ALL[2:]),
        ("pipeline/runs/registry.py", ALL[2:]),  # evaluate looks for the champion
        ("steps/register.py", ALL[3:]),
        ("pipeline/bundle/export.py", ALL[2:]),
        ("pipeline/samples/graph/tables.py", ALL),
        ("pipeline/samples/molecule/featurize.py", []),  # of another kind of data than these
        ("pipeline/samples/kinds.py", []),  # says only which kinds there are
        ("steps/rollback.py", []),
        ("steps/main.py", []),
        ("nets.py", []),
    ],
)
def test_one_byte_stales_exactly_what_rests_on_it(copy, monkeypatch, file, steps):
    monkeypatch.chdir(copy)
    before = keys()
    path = copy / file
    kept = path.read_bytes() if path.exists() else None
    path.write_bytes((kept or b"") + (b"\n" if file.endswith(".csv") else b"# one\n"))
    try:
        assert changed(before, keys()) == steps
    finally:
        path.write_bytes(kept) if kept is not None else path.unlink()
    assert keys() == before


@pytest.mark.parametrize(
    ("pin", "steps"),
    [("numpy", ALL), ("pyarrow", ALL), ("lightning", ALL[1:]), ("onnxruntime", ALL[2:]), ("flask", []), ("sympy", [])],
)
def test_one_pin_stales_exactly_who_uses_it(copy, monkeypatch, pin, steps):
    monkeypatch.chdir(copy)
    before, path = keys(), copy / "requirements.txt"
    kept = path.read_text()
    lines = [f"{line}.1" if line.lower().startswith(f"{pin}==") else line for line in kept.splitlines()]
    assert lines != kept.splitlines()
    path.write_text("\n".join(lines))
    try:
        assert changed(before, keys()) == steps
    finally:
        path.write_text(kept)


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ({"train_words": ["--learning_rate=1e-3", "--dropout=0", "--weight_decay=.01"]}, []),  # the defaults, respelled
        ({"train_words": ["--learning_rate=0.002"]}, ALL[1:]),
        ({"train_words": ["--trainer.max_epochs=3"]}, ALL[1:]),
        ({"prepare_words": {"processes": 2}}, []),
        ({"prepare_words": {"target": " y ", "split": "random", "data": "./mine/"}}, []),
        ({"prepare_words": {"split_seed": 1}}, ALL),
        ({"prepare_words": {"kind": "regression"}}, ALL),
        ({"prepare_words": {"name": "other"}}, ALL),
        ({"resamples": 10}, ALL[2:]),
    ],
)
def test_one_parameter_stales_exactly_who_takes_it(copy, monkeypatch, words, steps):
    monkeypatch.chdir(copy)
    before = keys()
    assert changed(before, keys(**words)) == steps


def test_spelling_of_numbers_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    file = tmp_path / "c.yaml"
    file.write_text("learning_rate: 0.002\nweight_decay: 0\n")
    spelled = [
        ["--learning_rate=2e-3", "--weight_decay=0.0"],
        ["--learning_rate", "0.0020", "--weight_decay", "0"],
        [f"--config={file}"],
    ]
    assert len({train.key_of(train.parse(words), "d", "graph") for words in spelled}) == 1


def test_code_of_own_networks_and_callbacks_counts(copy, monkeypatch):
    monkeypatch.chdir(copy)
    config = dataclasses.replace(train.parse([]).config, class_path="nets.Own", init_args={"depth": 1})
    callbacks = [{"class_path": "nets.Callback", "init_args": {}}]
    for arguments in (
        train.TrainArguments(config),
        train.TrainArguments(train.parse([]).config, trainer={"callbacks": callbacks}),
    ):
        before = train.key_of(arguments, "d", "graph")
        (copy / "nets.py").write_text("import torch\nx = 2\n")
        assert differences(before.facts, train.key_of(arguments, "d", "graph").facts) == ["nets.py changed"]
        (copy / "nets.py").write_text("import torch\n")


def test_an_equal_training_on_other_test_graphs_is_judged_anew(monkeypatch):
    """A test label changes the store and not the weights."""
    monkeypatch.chdir(ROOT)
    config = EvaluateConfig()
    one, other = (evaluate.key_of(config, {"store": store, "training": "t"}, "graph") for store in "ab")
    assert one != other


def test_a_step_whose_code_is_edited_meanwhile_is_not_reused(copy, monkeypatch):
    from pipeline.runs.tracking import StepRun

    monkeypatch.chdir(copy)
    run = SimpleNamespace(info=SimpleNamespace(run_id="r", experiment_id="0"), data=SimpleNamespace(params={}))
    tags = {}
    step = StepRun.__new__(StepRun)
    monkeypatch.setattr(StepRun, "set_tags", lambda self, values: tags.update(values))
    monkeypatch.setattr(StepRun, "log_text", lambda *_: None)
    step.step, step.run_id, step.say = "register", run.info.run_id, print
    step.log_key(register.key_of("b", "n"))
    path = copy / "pipeline" / "runs" / "registry.py"
    kept = path.read_text()
    path.write_text(kept + "# later\n")
    try:
        step.finish("d")
    finally:
        path.write_text(kept)
    assert tags[EDITED] == "pipeline/runs/registry.py"
