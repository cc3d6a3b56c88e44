"""How every step ends: one line and code 2 for what a user can mend, 130 when stopped, a traceback for our bugs."""

from __future__ import annotations

import gc
import io
import itertools
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from pipeline.errors import PipelineError
from pipeline.machine import is_busy
from pipeline.telemetry import SWITCHES

os.environ.update(SWITCHES)
if is_busy():  # before torch loads. Threads that spin at every wait take the time that others have the core for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")


def run(step: Callable[[Sequence[str]], None]) -> None:
    """Run a step with the arguments of this process and end the process."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that has no → shows it as ?, and is no reason to end
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    warnings.filterwarnings("ignore")  # of other people's packages; our tests turn ours into errors
    # What an import makes stays: to search MLflow's modules for garbage while they load is a fifth of a start.
    gc.set_threshold(50_000, 20, 20)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        step(sys.argv[1:])
    except PipelineError as error:
        end(f"error: {' '.join(str(error).split())}", error.exit_code)
    except KeyboardInterrupt:
        end("stopped.", 130)
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        end(f"error: {line}", 2)


def explain(error: Exception) -> str | None:
    """What MLflow, its server or the system says, in one line; None if the mistake is ours."""
    text = " ".join(str(error).split())
    if not {base.__module__ for base in type(error).__mro__}.isdisjoint({"mlflow.exceptions", "requests.exceptions"}):
        answer = getattr(error, "response", None)
        if getattr(error, "error_code", "") == "PERMISSION_DENIED" or getattr(answer, "status_code", 0) == 403:
            return _refusal(text)
        return f"MLflow says: {text}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror}: {error.filename or 'no file named'}. Free the disk or mend the rights."
    return None


def _refusal(text: str) -> str:
    """A server with logins answered 403: who may not do what, and who can change it."""
    from mlflow.utils.credentials import read_mlflow_creds

    page = re.search(r"/(?:ajax-)?api/[\w./-]*\w", text)
    return (
        f"the tracking server does not let user '{read_mlflow_creds().username}' do this"
        f"{f' ({page[0]})' if page else ''}. Authors write candidates, reviewers releases; "
        "an administrator gives rights with `python -m steps.grant`."
    )


_stops = itertools.count()  # not an Event: the second signal may cut off the first one's handler within its lock


def _stop(number: int, frame: Any) -> None:
    """Stop at Ctrl-C, and alike when told to terminate; once: `mlflow run` passes on what the terminal has sent."""
    if next(_stops) == 0:
        raise KeyboardInterrupt


def end(line: str, code: int) -> None:
    """Print one line to standard error and leave with `code`."""
    print(line, file=sys.stderr, flush=True)
    sys.exit(code)


def say(line: str) -> None:
    """Print a line for people, at once."""
    print(line, flush=True)
