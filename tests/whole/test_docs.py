"""README and docs/ say what the code does: parameters, options, codes, rules, folders, links, commands."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from pipeline.errors import ROW_CODES
from pipeline.evaluation.gate import COSTS, RULE_KEYS
from pipeline.evaluation.metrics import metrics_of
from pipeline.machine import usable_cores, usable_memory
from pipeline.schema import TargetKind
from pipeline.serveconfig import ServeConfig
from serving.app import parse
from steps.cli.arguments import flat_names
from steps.cli.mainconfig import MainConfig
from steps.train import TrainArguments
from tests.conftest import PATIENCE_S, ROOT
from tests.support.pages import PAGES, anchors, blocks, followed, links, rows, section
from tests.whole.test_end_to_end import TOLD
from tests.whole.test_mlproject import CONFIGS

PAGE_OF = {
    "main": "promises",
    "prepare": "data",
    "train": "training",
    "evaluate": "judging",
    "register": "judging",
    "ui": "judging",
    "predict": "serving",
    "bundle": "serving",
    "grant": "server",
} | dict.fromkeys(("promote", "reject", "rollback", "retire", "audit", "evidence", "verify", "board"), "review")
BY_END_TO_END = "run by tests/whole/test_end_to_end.py"


def page(name: str) -> Path:
    return ROOT / "docs" / f"{name}.md"


def defaults(config: type) -> dict[str, object]:
    """Flags of a dataclass and their defaults."""
    names = flat_names(config)
    return {field.name: field.default for field in dataclasses.fields(config) if field.name in names}


def parameters(entry: str) -> dict[str, object]:
    if entry == "main":  # the others are those of its steps
        return defaults(MainConfig)
    found = defaults(CONFIGS[entry][0])
    if entry == "train":
        more = {field.name: field.default for field in dataclasses.fields(TrainArguments)}
        found |= {name: more[name] for name in ("prepare_run", "resume")}
    return found


def shown(value: object) -> str:
    if value is None or value == "":
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def test_readme_is_a_front_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_readme_names_every_entry_point():
    assert set(rows(section(ROOT / "README.md", "Entry points"))) == set(CONFIGS)


@pytest.mark.parametrize("entry", CONFIGS)
def test_parameters_and_defaults_of_a_step(entry):
    table = rows(section(page(PAGE_OF[entry]), f"Parameters of `{entry}`"))
    assert {name: cells[0] for name, cells in table.items()} == {
        name: shown(value) for name, value in parameters(entry).items()
    }


def test_row_codes():
    assert {code: cells[0] for code, cells in rows(section(page("data"), "Quarantine")).items()} == ROW_CODES


def test_grammar_of_the_gate():
    table = rows(section(page("judging"), "The gate"))
    kinds = get_args(TargetKind)
    for kind in kinds:
        assert re.findall(r"`(\w+)`", table[kind][0]) == [metric.name for metric in metrics_of(kind)]
    assert {name: cells[0] for name, cells in table.items() if name in COSTS} == COSTS
    assert set(table) == {*kinds, *RULE_KEYS, *COSTS}


def test_options_of_the_production_server():
    table = {name: cells[0] for name, cells in rows(section(page("serving"), "Serve in production")).items()}
    options = {f"--{name}": value for name, value in vars(parse(["--model", "models:/x@champion"])).items()}
    options |= {"--model": None, "--bundle": None}
    assert options.pop("--workers") == usable_cores()
    assert table.pop("--workers") == "usable cores"
    assert options.pop("--memory_mb") == usable_memory() / (1 << 20)
    assert table.pop("--memory_mb") == "usable memory"
    told = {name: text for name, text in table.items() if name.startswith("--")}
    assert told == {name: "–" if value is None else str(value) for name, value in options.items()}


def test_settings_of_a_bundle():
    table = {name: cells[0] for name, cells in rows(section(page("serving"), "The bundle")).items()}
    assert table == {name: str(value) for name, value in dataclasses.asdict(ServeConfig()).items()}


def test_the_map_is_the_folders():
    told = set(re.findall(r"^    ([a-z/]+)/ ", section(ROOT / "README.md", "Map"), re.MULTILINE))
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")]
    rooms = {path.name for path in folders if any(path.glob("*.py")) or any(path.glob("*.md"))}
    rooms |= {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert told == rooms


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path):
    for link in links(path):
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_a_command_that_is_not_run_here_says_why_or_where():
    for block in blocks():
        assert block.mark.startswith("not run: ") or block.mark in ("", BY_END_TO_END), block
        assert all((ROOT / name).exists() for name in re.findall(r"tests/[\w/]+\.py", block.mark)), block.mark


def test_end_to_end_takes_every_command_that_it_is_said_to_run():
    assert sorted(map(list, TOLD.values())) == sorted(followed("tests/whole/test_end_to_end.py"))


@pytest.mark.parametrize("text", [block.text for block in blocks() if not block.mark])
def test_every_other_command_runs(text):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", text],
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
