from pipeline.cache import code_digest, imported_modules, sources, step_key
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
    root = project(tmp_path)
    key = step_key("work", {"a": 0.001}, ["up"], root)
    assert key == step_key("work", {"a": 1e-3}, ["up"], root)
    assert key != step_key("work", {"a": 0.002}, ["up"], root)
    assert key != step_key("work", {"a": 0.001}, ["down"], root)
    (root / "requirements.txt").write_text("numpy==2\n")
    assert key != step_key("work", {"a": 0.001}, ["up"], root)


def test_only_imported_code_counts(tmp_path):
    root = project(tmp_path)
    before = code_digest("steps.work", root)
    (root / "pipeline" / "other.py").write_text("y = 2\n")
    assert code_digest("steps.work", root) == before
    project(tmp_path, helper="x = 2\n")
    assert code_digest("steps.work", root) != before


def test_sources_of_prepare_hold_the_featurizer_and_not_the_trainer():
    names = {path.stem for path in sources("steps.prepare", ROOT)}
    assert {"prepare", "featurize", "store", "labels"} <= names
    assert not {"training", "network", "export"} & names


def test_imports_are_found_wherever_a_statement_may_stand(tmp_path):
    path = tmp_path / "module.py"
    path.write_text(
        "import a\ntry:\n    import b\nexcept ImportError:\n    import c\nelse:\n    import d\nfinally:\n    import e\n"
        "if a:\n    import f\nelse:\n    from g import h\n"
        "class K:\n    def m(self):\n        with a:\n"
        "            match b:\n                case 1:\n                    import i\n"
        "x = [lambda: a for _ in b] if a else 'import j'\n"
    )
    assert sorted(imported_modules(path)) == list("abcdefgi")
    assert imported_modules(path, top_level_only=True) == ["a"]
