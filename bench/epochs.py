"""One side of an epoch comparison: a process that trains one epoch whenever it is asked to, and else rests.

The parent starts a `Side` for each, in the environment of each; so sides of two environments take real turns. Needs
nothing but Lightning, which both environments have, and imports it only in the child.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
MAX_EPOCHS = 1000  # more than anyone asks for: the schedules need an end


class Side:
    """A child process, as its parent sees it; leaving the `with` block ends it."""

    def __init__(self, name: str, python: str | Path, module: str, *arguments: str | Path) -> None:
        self.name = name
        environment = {**os.environ, "OMP_NUM_THREADS": "2"}  # the most that is asked for; each epoch sets its own
        self.process = subprocess.Popen(
            [str(python), "-W", "ignore", "-m", module, *map(str, arguments)],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Side:
        self.facts = self._read()
        return self

    def __exit__(self, *exception: object) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()

    def epoch(self, threads: int) -> dict[str, Any]:
        """Train one epoch with that many threads of torch."""
        assert self.process.stdin
        self.process.stdin.write(f"{threads}\n")
        self.process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: ended with code {self.process.wait()}; see above.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve(fit: Callable[[Any], None], facts: dict[str, Any]) -> None:
    """Be the child: `fit` trains with the callback it is given, which waits before each epoch for the parent."""
    import torch
    from lightning.pytorch.callbacks import Callback

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not come between

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    class Gate(Callback):  # type: ignore[misc]
        def on_train_epoch_start(self, trainer: Any, module: Any) -> None:
            line = sys.stdin.readline()
            if not line:
                os._exit(0)  # the parent has all it wanted
            torch.set_num_threads(int(line))

        def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
            say({"steps": trainer.global_step})

    say(facts)
    fit(Gate())


def trainer_options(gate: Any) -> dict[str, Any]:
    """What all sides give Lightning's Trainer: training steps alone, nothing written, nothing drawn."""
    return {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": MAX_EPOCHS,
        "callbacks": [gate],
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "limit_val_batches": 0,
        "num_sanity_val_steps": 0,
    }
