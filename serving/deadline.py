"""The moment by which an answer must be there: a server says it, the model stops working once it is past."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

AT: ContextVar[float | None] = ContextVar("deadline", default=None)
"""Of this request, by `time.monotonic()`; None is never. A server sets it in the task that awaits the answer: the
context goes with it into the thread that predicts."""


class DeadlineError(Exception):
    """The time of a request is over."""


@contextmanager
def granted() -> Iterator[None]:
    """Around a request: it has the time that MLflow's scoring server grants, unless somebody set another deadline."""
    if AT.get() is not None or os.environ.get("_MLFLOW_IS_IN_SERVING_ENVIRONMENT") != "true":
        yield
        return
    # The server answers 504 after this time, but lets the thread work on, for nobody.
    token = AT.set(time.monotonic() + float(os.environ.get("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT") or 60))
    try:
        yield
    finally:
        AT.reset(token)


def time_left() -> float | None:
    """Seconds until the deadline, above 0; None is forever.

    Raises:
        DeadlineError: if it is past.
    """
    deadline = AT.get()
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise DeadlineError
    return left
