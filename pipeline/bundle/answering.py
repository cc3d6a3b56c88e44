"""Answer tables with one bundle and nothing but the bundle's code: `python -P answering.py BUNDLE`, run by child.

One line of JSON a table comes in, columns by name; one line of JSON goes out: the answers with the seconds they took
and the peak memory so far, or {"failure": "..."}.
This file imports nothing of the project: a process holds the code of one `pipeline`, and here it is the bundle's.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, TextIO


def main(bundle: str) -> int:
    """Load the bundle, say which columns it answers, then answer until the input ends."""
    # What libraries print would stand between the answers: it goes to the error output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        import mlflow.pyfunc
        import pandas as pd

        # The limits of a request are for clients; who asks here cuts its own tables.
        settings = {"max_rows": 2**31, "max_bytes": 2**40, "threads": 1}
        model = mlflow.pyfunc.load_model(bundle, suppress_warnings=True, model_config=settings)
        signature = model.metadata.signature
        _say(answers, {"columns": signature.outputs.input_names()})
        # Numbers with gaps are float64; whatever else stays as it came, for the bundle to judge row by row.
        numbers = {column.name for column in signature.inputs if column.type == mlflow.types.DataType.double}
        for line in sys.stdin:
            table = pd.DataFrame(
                {
                    name: pd.Series(values, dtype="float64" if name in numbers else object)
                    for name, values in json.loads(line).items()
                }
            )
            started = time.perf_counter()
            answered = model.predict(table)
            seconds = time.perf_counter() - started
            columns = answered.to_dict("list")
            _say(answers, {"answers": columns, "seconds": seconds, "peak_memory_bytes": peak_memory_bytes()})
    except Exception as error:  # whatever it is, the other side gets one line
        _say(answers, {"failure": f"{type(error).__name__}: {_reason(error)}"})
        return 1
    return 0


def peak_memory_bytes() -> int:
    """Largest resident memory of this program so far."""
    try:
        # Not `getrusage`: there a program starts with the peak of the process that started it, here torch's gigabyte.
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _say(stream: TextIO, what: Any) -> None:
    stream.write(json.dumps(what, allow_nan=False) + "\n")
    stream.flush()


def _reason(error: Exception) -> str:
    # MLflow puts the whole table before its reason.
    lines = str(error).rsplit("Error: ", 1)[-1].strip().splitlines()
    return lines[0][:300] if lines else "no reason given"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
