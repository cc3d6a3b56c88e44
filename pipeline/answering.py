"""Answer tables with one bundle and nothing but the bundle's code: `python -P answering.py BUNDLE`, run by scoring.

One line of JSON a table comes in, columns by name; one line of JSON goes out: the answers, or {"failure": "..."}.
This file imports nothing of the project: a process holds the code of one `pipeline`, and here it is the bundle's.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any, TextIO


def main(bundle: str) -> int:
    """Load the bundle, say which columns it answers, then answer until the input ends."""
    # What libraries print would stand between the answers: it goes to the error output.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        import mlflow.pyfunc
        import pandas as pd

        model = mlflow.pyfunc.load_model(bundle, suppress_warnings=True)
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
            _say(answers, model.predict(table).to_dict("list"))
    except Exception as error:  # whatever it is, the other side gets one line
        _say(answers, {"failure": f"{type(error).__name__}: {_reason(error)}"})
        return 1
    return 0


def _say(stream: TextIO, what: Any) -> None:
    stream.write(json.dumps(what, allow_nan=False) + "\n")
    stream.flush()


def _reason(error: Exception) -> str:
    # MLflow puts the whole table before its reason.
    lines = str(error).rsplit("Error: ", 1)[-1].strip().splitlines()
    return lines[0][:300] if lines else "no reason given"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
