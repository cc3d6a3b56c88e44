"""How every step ends: one line and exit code 2 for what a user can mend, 130 for Ctrl-C, a traceback for our bugs."""

from __future__ import annotations

import gc
import os
import sys
import warnings
from collections.abc import Callable, Sequence

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the first import of mlflow
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from pipeline.errors import PipelineError


def run(step: Callable[[Sequence[str]], None]) -> None:
    """Run a step with the arguments of this process and end the process."""
    warnings.filterwarnings("ignore")  # of other people's packages; our tests turn ours into errors
    # What an import makes stays: to search MLflow's modules for garbage while they load is a fifth of a start.
    gc.set_threshold(50_000, 20, 20)
    try:
        step(sys.argv[1:])
    except PipelineError as error:
        end(f"error: {' '.join(str(error).split())}", error.exit_code)
    except KeyboardInterrupt:
        end("stopped.", 130)
    except OSError as error:
        if error.errno is None:
            raise
        end(f"error: {error.strerror}: {error.filename or 'no file named'}. Free the disk or mend the rights.", 2)
    except Exception as error:
        if type(error).__module__ != "mlflow.exceptions":
            raise
        end(f"error: MLflow says: {' '.join(str(error).split())}", 2)


def end(line: str, code: int) -> None:
    """Print one line to standard error and leave with `code`."""
    print(line, file=sys.stderr, flush=True)
    sys.exit(code)


def say(line: str) -> None:
    """Print a line for people, at once."""
    print(line, flush=True)
