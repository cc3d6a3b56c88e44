"""MLproject and the steps' dataclasses say the same."""

import dataclasses
import re

import pytest
import yaml

from pipeline.dataset.config import PrepareConfig
from pipeline.evaluation.config import EvaluateConfig
from pipeline.runs.server import SERVER_OPTIONS, SERVER_SETTINGS
from pipeline.training.config import TrainConfig
from steps.audit import AuditConfig
from steps.board import BoardConfig
from steps.bundle import BundleConfig
from steps.cli.arguments import flat_names
from steps.cli.mainconfig import MainConfig
from steps.evidence import EvidenceConfig
from steps.grant import GrantConfig
from steps.predict import PredictConfig
from steps.promote import PromoteConfig
from steps.register import RegisterConfig
from steps.reject import RejectConfig
from steps.retire import RetireConfig
from steps.rollback import RollbackConfig
from steps.ui import UiConfig
from steps.verify import VerifyConfig
from tests.conftest import ROOT

CONFIGS = {
    "main": (PrepareConfig, TrainConfig, EvaluateConfig, MainConfig),
    "prepare": (PrepareConfig,),
    "train": (TrainConfig,),
    "evaluate": (EvaluateConfig,),
    "register": (RegisterConfig,),
    "predict": (PredictConfig,),
    "promote": (PromoteConfig,),
    "reject": (RejectConfig,),
    "rollback": (RollbackConfig,),
    "retire": (RetireConfig,),
    "audit": (AuditConfig,),
    "evidence": (EvidenceConfig,),
    "grant": (GrantConfig,),
    "verify": (VerifyConfig,),
    "board": (BoardConfig,),
    "bundle": (BundleConfig,),
    "ui": (UiConfig,),
}
PROJECT = yaml.safe_load((ROOT / "MLproject").read_text())


def real_defaults(config):
    """Fields whose default is a value: what MLproject must declare."""
    for field in dataclasses.fields(config):
        if field.name in flat_names(config) and field.default not in (None, "", dataclasses.MISSING):
            yield field.name, str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def test_each_step_is_an_entry_point():
    steps = {path.stem for path in (ROOT / "steps").glob("*.py")} - {"__init__"}
    assert steps == set(PROJECT["entry_points"]) == set(CONFIGS)


@pytest.mark.parametrize("entry", CONFIGS)
def test_parameters_are_the_dataclasses_defaults(entry):
    declared = PROJECT["entry_points"][entry].get("parameters", {})
    assert all(value["type"] == "string" for value in declared.values())
    expected = dict(pair for config in CONFIGS[entry] for pair in real_defaults(config))
    assert {name: value["default"] for name, value in declared.items()} == expected


@pytest.mark.parametrize("entry", CONFIGS)
def test_command_passes_every_declared_parameter(entry):
    point = PROJECT["entry_points"][entry]
    words = f"python -m steps.{entry}" + "".join(f" --{name} {{{name}}}" for name in point.get("parameters", {}))
    assert point["command"].split() == words.split()


def test_no_parameter_belongs_to_two_steps_of_main():
    names = [name for config in CONFIGS["main"] for name in flat_names(config)]
    assert len(names) == len(set(names))


def test_the_documented_server_is_one_without_assistant_jobs_and_gateway():
    """What `ui` starts and the tests attack is what an administrator reads."""
    pages = "".join(path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))))
    commands = re.findall(r"^mlflow server --app-name basic-auth (?:.*\\\n)*.*", pages, re.MULTILINE)
    assert (
        [command for command in commands if f'{SERVER_OPTIONS[0]} "{SERVER_OPTIONS[1]}"' in command] == commands != []
    )
    assert all(f"{name}={value}" in pages for name, value in SERVER_SETTINGS.items())
