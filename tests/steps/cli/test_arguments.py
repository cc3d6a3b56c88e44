"""Command lines: what is given reaches the dataclass, what is wrong is one line that names it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from pipeline.errors import ConfigError
from steps.cli.arguments import parse_dataclass


@dataclass(frozen=True)
class Settings:
    count: int = 1
    rate: float = 0.5
    mode: Literal["a", "b"] = "a"
    on: bool = True
    name: str | None = None

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError("count: expected\nat least 0")


@pytest.mark.parametrize(
    ("argv", "want"),
    [
        ([], Settings()),
        (["--count", "3", "--rate", "1e-3", "--mode", "b", "--on", "False", "--name", "x"],
         Settings(3, 1e-3, "b", False, "x")),
        (["--count=3", "--name=a=b"], Settings(3, name="a=b")),
        (["--rate", "2"], Settings(rate=2.0)),
        (["--name", "", "--count", "", "--config", ""], Settings()),
        (["--name", "-x"], Settings(name="-x")),
        (["--name", "123"], Settings(name="123")),
        (["--name", "a: [b"], Settings(name="a: [b")),
        (["--name", "#SMILES"], Settings(name="#SMILES")),
        (["--name", "null"], Settings(name="null")),
    ],
)  # fmt: skip
def test_what_is_given_arrives(argv, want):
    assert parse_dataclass(Settings, argv, prog="step") == want


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--count", "x"], "step: --count x: expected int."),
        (["--count", "1.5"], "step: --count 1.5: expected int."),
        (["--mode", "c"], "step: --mode c: expected one of a, b."),
        (["--on", "perhaps"], "step: --on perhaps: expected bool."),
        (["--coun", "3"], "step: --coun: there is no such parameter; did you mean --count?"),
        (["three"], "step: 'three' follows no flag; write --name value."),
        (["--count", "-1"], "step: count: expected at least 0"),
    ],
)
def test_what_is_wrong_is_one_line(argv, says):
    with pytest.raises(ConfigError) as caught:
        parse_dataclass(Settings, argv, prog="step")
    assert str(caught.value) == says


def test_a_path_below_home_is_expanded(monkeypatch):
    monkeypatch.setenv("HOME", "/home/ada")
    assert parse_dataclass(Settings, ["--name", "~/data.csv"], prog="p").name == "/home/ada/data.csv"
    assert parse_dataclass(Settings, ["--name=~/data.csv"], prog="p").name == "/home/ada/data.csv"
    assert parse_dataclass(Settings, ["--name", "~5"], prog="p").name == "~5"


def test_a_file_gives_settings_and_flags_win(tmp_path):
    path = tmp_path / "settings.yaml"
    path.write_text("count: 3\nname: file\n")
    assert parse_dataclass(Settings, ["--config", str(path), "--count", "4"], prog="step") == Settings(4, name="file")


@pytest.mark.parametrize(
    ("text", "says"), [("cuont: 3", "--cuont: there is no such parameter"), ("count: x", "--count x: expected int")]
)
def test_what_is_wrong_in_a_file_is_one_line(tmp_path, text, says):
    path = tmp_path / "settings.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        parse_dataclass(Settings, ["--config", str(path)], prog="step")


def test_config_can_be_printed(capsys):
    with pytest.raises(SystemExit) as ended:
        parse_dataclass(Settings, ["--count", "7", "--print_config"], prog="step")
    assert ended.value.code == 0
    assert "count: 7\nrate: 0.5\nmode: a" in capsys.readouterr().out
