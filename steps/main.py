"""main: data → store → network → ONNX bundle → verdict → candidate; a step whose result is still true is reused.

Takes the parameters of `prepare`, `train` and `evaluate` under their own names and checks all of them before the
first step starts. Ends with the commands that come next.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.dataset.config import PrepareConfig
from pipeline.errors import ConfigError
from pipeline.evaluation.config import EvaluateConfig
from pipeline.machine import disk_use, human_size
from pipeline.runs.keys import StepKey
from pipeline.runs.tags import CARD, COMPLETE, DIGEST, ERROR, EXAMPLE, HEADLINE, NAME, REUSED, STARTED, VERDICT, VERSION
from pipeline.training.config import TrainConfig
from steps import evaluate, prepare, register, train
from steps.cli import reuse
from steps.cli.arguments import flat_names, parse_dataclass
from steps.cli.command import end, run, say
from steps.cli.mainconfig import MainConfig

if TYPE_CHECKING:
    from mlflow.entities import Run

    from pipeline.runs.tracking import StepRun


def main(argv: Sequence[str]) -> None:
    if "--help" in argv:
        say(str(__doc__))
        return
    started = time.monotonic()
    mine = route(argv)
    explain = parse_dataclass(MainConfig, mine["main"], prog="main").explain
    prepare_config = parse_dataclass(PrepareConfig, mine["prepare"], prog="prepare")
    train_arguments = train.parse(mine["train"])
    evaluate_config = parse_dataclass(EvaluateConfig, mine["evaluate"], prog="evaluate")
    with prepare.located(prepare_config) as (source, digest):
        prepare_key = prepare.key_of(prepare_config, source, digest)
    bin_folder = str(Path(sys.executable).parent)
    if not os.environ.get("PATH", "").startswith(bin_folder):
        os.environ["PATH"] = f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}"
    from pipeline.evaluation.champion import champion_key
    from pipeline.evaluation.live import find_champion
    from pipeline.runs.tracking import WORK, start_step

    with start_step("main", say, name=source.name) as parent:
        parent.set_tags({NAME: source.name})
        say(f"graphline: {source.path} → '{source.name}'")
        chain = Chain(parent, source.name, explain)
        prepared = chain.do("prepare", prepare_key, mine["prepare"])
        store_digest = complete(prepared)
        trained = chain.do(
            "train",
            train.key_of(train_arguments, store_digest, source.kind),
            [*mine["train"], "--prepare_run", prepared.info.run_id, "--resume", "true"],
        )
        evaluated = chain.do(
            "evaluate",
            evaluate.key_of(
                evaluate_config,
                {
                    "store": store_digest,
                    "training": complete(trained),
                    "champion": champion_key(find_champion(source.name)),
                },
                source.kind,
            ),
            [*mine["evaluate"], "--train_run", trained.info.run_id],
        )
        registered = chain.do(
            "register",
            register.key_of(evaluated.data.tags[DIGEST], source.name),
            ["--evaluate_run", evaluated.info.run_id],
        )
        parent.log_metrics({key: value for key, value in evaluated.data.metrics.items() if key.startswith("test/")})
        parent.set_tags({VERDICT: evaluated.data.tags[VERDICT]})
        for line in next_commands(source.name, registered.data.tags[VERSION], evaluated, prepare_config):
            say(line)
        seconds = time.monotonic() - started
        say(f"{seconds:.0f} s; {human_size(disk_use(WORK))} of disk in {WORK}, which make clean gives back")
        parent.finish(complete(registered))


def route(argv: Sequence[str]) -> dict[str, list[str]]:
    """Send each `--name value` to the step that declares it, dotted names to `train`.

    Raises:
        ConfigError: a name that no step declares.
    """
    owners = {
        "prepare": flat_names(PrepareConfig),
        "train": [*flat_names(TrainConfig), "config", "print_config"],
        "evaluate": [name for name in flat_names(EvaluateConfig) if name != "train_run"],
        "main": flat_names(MainConfig),
    }
    mine: dict[str, list[str]] = {step: [] for step in owners}
    for name, value in pairs(argv):
        step = "train" if "." in name else next((step for step, names in owners.items() if name in names), None)
        if step is None:
            known = [name for names in owners.values() for name in names]
            near = difflib.get_close_matches(name, known, n=3) or known
            raise ConfigError(f"no step has a parameter '{name}'; did you mean {', '.join(near)}?")
        mine[step].append(f"--{name}" if value is None else f"--{name}={value}")
    return mine


def pairs(argv: Sequence[str]) -> list[tuple[str, str | None]]:
    """Read `--name value` and `--name=value`."""
    found: list[tuple[str, str | None]] = []
    for word in argv:
        if word.startswith("--") and (not found or found[-1][1] is not None or found[-1][0] in FLAGS):
            name, equals, value = word[2:].partition("=")
            found.append((name, value if equals else None))
        elif found and found[-1][1] is None:
            found[-1] = (found[-1][0], word)
        else:
            raise ConfigError(f"'{word}' follows no parameter; write --name value.")
    return found


FLAGS = ("print_config",)


class Chain:
    """The steps of one run of `main`, one after another.

    Attributes:
        name: of the model.
        explain: say what changed since which run.
    """

    def __init__(self, parent: StepRun, name: str, explain: bool) -> None:
        self.parent, self.name, self.explain = parent, name, explain

    def do(self, step: str, key: StepKey, argv: Sequence[str]) -> Run:
        """Reuse the finished run of `step` with this key, or run the step now.

        Two runs in one work folder that want the same result: the second waits for the first and reuses it. Versions
        are registered one at a time.
        """
        from pipeline.runs.tracking import WORK
        from pipeline.runs.workfolder import claim, hold

        with claim(WORK, f"register-{self.name}" if step == "register" else f"{step}-{key}", say):
            if step in reuse.PRODUCTS:  # somebody may be at it alone, or survive a `main` that was killed
                with hold(WORK / reuse.PRODUCTS[step] / key, say):
                    pass
            found, reason = reuse.find_reusable(step, key, self.parent.experiment_id)
            if found:
                self.parent.set_tags({f"{REUSED}{step}": found.info.run_id})
                say(f"{step}: reused, nothing changed since run {found.info.run_id[:8]}")
                return found
            if reason or self.explain:
                say(f"{step}: runs; {reason or reuse.explain(step, key, self.name, self.parent.experiment_id)}")
            return self._run(step, argv)

    def _run(self, step: str, argv: Sequence[str]) -> Run:
        import logging

        import mlflow
        from mlflow.exceptions import ExecutionException

        logging.getLogger("mlflow.projects").setLevel(logging.WARNING)
        values = dict(pairs(argv))
        try:
            submitted = mlflow.projects.run(
                ".",
                step,
                parameters={name: value for name, value in values.items() if value is not None},
                experiment_id=self.parent.experiment_id,
                env_manager="local",
            )
        except KeyboardInterrupt:
            self.parent.kill_children()
            raise
        except ExecutionException as error:
            failed = re.search(r"'(\w+)'", str(error))
            told = failed and ERROR in self.parent.client.get_run(failed[1]).data.tags
            why = "" if told else ": its process ended without a word, as one does that is killed (out of memory?)"
            end(f"stopped at step '{step}'{why}.", 2)  # else its own line says why
        self.parent.set_tags({f"{STARTED}{step}": submitted.run_id})
        return self.parent.client.get_run(submitted.run_id)


def complete(run: Run) -> str:
    """The output digest of a finished step."""

    return str(run.data.tags[COMPLETE])


def next_commands(name: str, version: str, evaluated: Run, config: Mapping[str, Any] | PrepareConfig) -> list[str]:
    """The exact commands that come next, ready to paste."""
    import mlflow

    tags = evaluated.data.tags
    card = Path(tags[CARD])
    server = mlflow.get_tracking_uri()
    look = f"open {server}" if server.startswith("http") else "python -m steps.ui"
    example = tags[EXAMPLE]
    return [
        "",
        f"{name}-candidates version {version}: {tags[HEADLINE]}",
        "next, in this folder:",
        f"  activate  source {os.path.relpath(Path(sys.prefix) / 'bin' / 'activate')}",
        f"  look      {look:<27} # and the card: {card}",
        f"  predict   mlflow run . --env-manager local -e predict -P model=models:/{name}-candidates@challenger "
        "-P data=new.csv -P out=answers.csv",
        f'  release   mlflow run . --env-manager local -e promote -P name={name} -P version={version} -P reason="why"',
        f'  serve     mlflow models serve -m "models:/{name}@champion" -p 5001 --env-manager local',
        f"  ask       curl -s localhost:5001/invocations -H 'Content-Type: application/json' -d {shlex.quote(example)}",
    ]


if __name__ == "__main__":
    run(main)
