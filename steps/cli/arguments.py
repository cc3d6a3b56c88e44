"""Command lines of all steps: flags from a dataclass, and one clear line for a wrong one.

`mlflow run` hands over every parameter as text, unset ones as empty text, so an empty value means "not given".
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import jsonargparse

from pipeline.errors import ConfigError, PipelineError

T = TypeVar("T")

_UNION = re.compile(
    r"Does not validate .*?Subtypes: \[(?P<types>.*?)\] Errors: (?P<errors>.*) "
    r"Given value type: .*Given value: (?P<value>.*)"
)
_NESTED = re.compile(r"NestedArg\(key='(.*)', val='(.*)'\)")
_EMPTY_REASONS = ("Expected a <", "Expected a typing", "Not a valid")


class Parser(jsonargparse.ArgumentParser):  # type: ignore[misc]
    """A parser without abbreviations that raises `ConfigError` where others print a page and exit."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.texts: set[str] = set()  # flags that take text or nothing

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:  # one of those that jsonargparse makes itself, to try a type
            super().error(message, ex)
        known = [option for action in self._actions for option in action.option_strings]
        raise ConfigError(f"{self.prog}: {explain(message, known)}") from None

    def add_dataclass(self, cls: type) -> None:
        """Add a flag for each field of a dataclass, but for those kept under a dotted name."""
        self.texts |= {field.name for field in dataclasses.fields(cls) if field.type == "str | None"}
        dotted = {field.name for field in dataclasses.fields(cls)} - set(flat_names(cls))
        self.add_class_arguments(cls, skip=dotted)

    def parse_given(self, argv: Sequence[str]) -> dict[str, Any]:
        """Read the flags and the configuration file: what is given, without the defaults.

        Raises:
            ConfigError: for a name or a value that is not known.
        """
        # All settings are printed, but only those given are answered: the defaults are the dataclass's.
        given = self.parse_args(_clean(argv), defaults="print_config" in flags_of(argv)).as_dict()
        given.pop("config", None)
        # `#SMILES`, `~` and `null` are text as well, though to YAML they say nothing.
        said = {name: text for name, text in flags_of(argv).items() if name in self.texts}
        return dict(given) | {name: text for name, text in said.items() if given.get(name) is None}


def parse_dataclass(cls: type[T], argv: Sequence[str], *, prog: str) -> T:
    """Build a frozen dataclass from a command line.

    Raises:
        ConfigError: in one line, for a name or a value that is not known or that the dataclass refuses.
    """
    parser = build_parser(prog)
    parser.add_dataclass(cls)
    return build(cls, parser.parse_given(argv), prog=prog)


def build_parser(prog: str) -> Parser:
    """A parser that knows `--config` and `--print_config`; `prog` is the step's name."""
    parser = Parser(prog=prog, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file with these settings")
    return parser


def build(cls: type[T], values: dict[str, Any], *, prog: str) -> T:
    """Call a dataclass; what its `__post_init__` refuses becomes one line that begins with the step's name.

    Raises:
        ConfigError: if it refuses.
    """
    try:
        return cls(**values)
    except (ValueError, PipelineError) as error:
        raise ConfigError(f"{prog}: {' '.join(str(error).split())}") from None


def flat_names(cls: type) -> list[str]:
    """Fields of a dataclass that are flags of the same name; `metadata={"dotted": …}` marks the others."""
    return [field.name for field in dataclasses.fields(cls) if "dotted" not in field.metadata]


def flags_of(argv: Sequence[str]) -> dict[str, str]:
    """The flags given and their text, in `--name value` and `--name=value`; names without dashes."""
    flags: dict[str, str] = {}
    for word in _clean(argv):
        name, _, value = word.removeprefix("--").partition("=")
        flags[name] = value
    return flags


def read_config(argv: Sequence[str]) -> dict[str, Any]:
    """What the file of `--config` says; {} without one.

    Raises:
        ConfigError: if there is no such file, or it is no YAML mapping.
    """
    path = flags_of(argv).get("config")
    if path is None:
        return {}
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise ConfigError(f"config={Path(path).absolute()}: cannot read it ({reason}); expected a YAML file.") from None
    if not isinstance(values, dict):
        raise ConfigError(f"config={Path(path).absolute()}: expected lines like `hidden_dim: 128`.")
    return values


def explain(message: str, known: Sequence[str]) -> str:
    """Turn jsonargparse's lines into one: which flag, what came, what was expected."""
    text = " ".join(message.split())
    if match := re.match(r"unrecognized arguments: (\S+)", text, re.IGNORECASE):
        return _unknown(match[1].partition("=")[0], known)
    if match := re.search(r"(?:Group '(.+?)' does not accept option|^Option) '(.+?)'(?: is not accepted)?$", text):
        return _unknown("--" + ".".join(filter(None, match.groups())), known)
    if not (match := re.match(r'Parser key "(.+?)": (.*)', text)):
        return text
    flag, rest = f"--{match[1]}", match[2]
    if found := re.match(r"Expected an? (.+?)\. Got value: (.*)", rest):
        return f"{flag} {found[2] or chr(39) * 2}: expected {_words(found[1])}."
    if found := _UNION.match(rest):
        # The reason why a class is refused says more than the list of types that were tried.
        reasons = re.split(r"(?:^| )- (?=[A-Z])", found["errors"])
        telling = [reason for reason in reasons if reason and not reason.startswith(_EMPTY_REASONS)]
        value = _NESTED.sub(r"\1=\2", found["value"])
        return f"{flag} {value}: {explain(telling[0], ()) if telling else 'expected ' + _words(found['types'])}."
    return f"{flag}: {rest}"


def _unknown(flag: str, known: Sequence[str]) -> str:
    if not flag.startswith("--"):
        return f"'{flag}' follows no flag; write --name value."
    near = difflib.get_close_matches(flag, known, n=1)
    return f"{flag}: there is no such parameter" + (f"; did you mean {near[0]}?" if near else ".")


def _words(types: str) -> str:
    """`<class 'int'>, <class 'NoneType'>` as `int or nothing`."""
    choices = re.findall(r"Literal\[(.*?)\]", types)
    names = [name.rpartition(".")[2] for name in re.findall(r"<class '(.*?)'>", types)]
    listed = [choice.strip().strip("'") for group in choices for choice in group.split(",")]
    words = list(dict.fromkeys([*listed, *("nothing" if name == "NoneType" else name for name in names)]))
    if not words:
        return types
    return ("one of " if listed else "") + (", ".join(words) if listed else " or ".join(words))


def _clean(argv: Sequence[str]) -> list[str]:
    """Write `--name value` as `--name=value`, so that a value may begin with a dash; leave empty values out.

    A shell expands no `~/` behind `data=`.
    """
    words: list[str] = []
    rest = list(argv)
    while rest:
        name, equals, value = rest.pop(0).partition("=")
        if name.startswith("--") and not equals and rest and not rest[0].startswith("--"):
            equals, value = "=", rest.pop(0)
        if value or not equals:
            words.append(f"{name}{equals}{os.path.expanduser(value) if value.startswith('~/') else value}")
    return words
