"""Which data a run reads: a built-in set, a file of molecules, a folder of graph tables, or the user's own function."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.dataset.config import PrepareConfig
from pipeline.errors import ConfigError, DataError
from pipeline.samples.kinds import find_kind

BUILT_IN = Path("data")
"""Folder of the built-in sets, seen from the project's root; `<name>.json` is the recipe of one."""


@dataclass(frozen=True)
class Source:
    """A resolved source: where the rows are and what is known about them beforehand.

    Attributes:
        path: the file or folder that is read.
        recipe: what a built-in set says of itself (licence, source, counts); empty for the user's own data.
    """

    path: Path
    kind: str
    name: str
    targets: tuple[str, ...]
    smiles: str | None = None
    split: str = "random"
    recipe: dict[str, Any] = field(default_factory=dict)


def find_source(config: PrepareConfig, root: Path, work: Path) -> Source:
    """Find the data that `config` names.

    Args:
        root: project folder; relative paths start there.
        work: folder for graph tables written from `dataset=module:function`.

    Raises:
        DataError: if nothing is there, or no target is named.
    """
    recipe: dict[str, Any] = {}
    if config.dataset:
        from pipeline.samples.graph.pyg import write_graph_tables

        path = write_graph_tables(config.dataset, work / folder_name(config.dataset), directed=config.directed)
        default_name = config.dataset.split(":")[-1]
    elif (root / BUILT_IN / f"{config.data}.json").is_file():
        recipe = json.loads((root / BUILT_IN / f"{config.data}.json").read_text())
        path, default_name = root / BUILT_IN / recipe["file"], config.data
    else:
        path = (root / config.data).resolve()
        default_name = path.name if path.is_dir() else Path(path.name.removesuffix(".gz")).stem
    if not path.exists():
        built_in = ", ".join(sorted(p.stem for p in (root / BUILT_IN).glob("*.json")))
        raise DataError(
            f"data={config.data}: nothing at {path}. Pass a file, a folder of graph tables, or one of {built_in}."
        )
    targets = names(config.target) or names(recipe.get("target"))
    if not targets and config.dataset:
        targets = _graph_targets(path)
    return Source(
        path=path,
        kind=find_kind(path).name,
        name=model_name(config.name or default_name),
        targets=targets,
        smiles=config.smiles or recipe.get("smiles"),
        split=config.split or recipe.get("split") or "random",
        recipe=recipe,
    )


def split_columns(source: Source, config: PrepareConfig) -> tuple[str | None, tuple[str, ...]]:
    """The column that names the sides, and the columns to read for the split."""
    if source.split in ("random", "scaffold"):
        return None, ()
    if source.split == "time":
        return None, (str(config.time_column),)
    column = "split" if source.split == "given" else source.split
    return column, (column,)


def names(text: str | None) -> tuple[str, ...]:
    """Split a comma-separated parameter into column names; quotes keep a name with a comma whole."""
    try:
        parts = next(csv.reader([text or ""], skipinitialspace=True), [])
    except csv.Error:  # a line break
        raise ConfigError(f"{text!r} is no list of column names; rename a column that has a line break.") from None
    return tuple(part.strip() for part in parts if part.strip())


def per_target(option: str, text: str | None, targets: tuple[str, ...]) -> dict[str, str | None]:
    """Read an option given once for all targets (`nM`) or by target (`pIC50:nM,logP:log`).

    Raises:
        ConfigError: if it names something that is not a target.
    """
    if text is None:
        return dict.fromkeys(targets)
    if not any(text.startswith(f"{target}:") for target in targets):
        return dict.fromkeys(targets, text)
    values: dict[str, str | None] = dict.fromkeys(targets)
    for part in re.split(r",(?=[^,]*:)", text):  # a comma without a target behind it belongs to the text
        target = next((name for name in targets if part.strip().startswith(f"{name}:")), None)
        if target is None:
            named = part.partition(":")[0].strip()
            raise ConfigError(f"{option}: '{named}' is no target; the targets are {', '.join(targets)}.")
        values[target] = part.strip().removeprefix(f"{target}:").strip()
    return values


def folder_name(dataset: str) -> str:
    """Name of the folder with the tables of `dataset=module:function`."""
    return re.sub(r"\W+", "-", dataset)


def model_name(text: str) -> str:
    """Make a registry name: letters, digits, `.`, `_` and `-`.

    Raises:
        ConfigError: if nothing is left.
    """
    name = re.sub(r"[^\w.-]+", "-", text).strip("-.")
    if not name or name.endswith(("-candidates", "-decisions")):
        raise ConfigError(f"name '{text}' cannot name a model; pass name= with letters, digits, '.', '_' or '-'.")
    return name


def _graph_targets(folder: Path) -> tuple[str, ...]:
    """Targets of tables that we wrote from PyG data: every column that starts with y."""
    from pyarrow import parquet

    columns = parquet.read_schema(folder / "graphs.parquet").names
    return tuple(column for column in columns if re.fullmatch(r"y\d*", column))
