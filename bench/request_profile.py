"""Where the time of one request goes: `python -P bench/request_profile.py BUNDLE REQUEST ROUNDS`, run by bench.serving.

In a process that holds nothing but the bundle and its requirements. Prints milliseconds by part as JSON: the whole of
MLflow's `invocations`, of it our `predict`, of that the featurizer, RDKit's parsing of the same SMILES, the network.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def main(bundle: str, request: str, rounds: int) -> None:
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.pyfunc import scoring_server

    model = mlflow.pyfunc.load_model(bundle, suppress_warnings=True)
    ours = model.unwrap_python_model()
    featurize, parse = (
        sys.modules["pipeline.samples.molecule.featurize"].featurize_smiles,
        sys.modules["pipeline.samples.molecule.smiles"].parse_smiles,
    )
    body = Path(request).read_bytes()
    smiles = [row["smiles"] for row in json.loads(body)["dataframe_records"]]
    table, schema, limits = pd.DataFrame({"smiles": smiles}), model.metadata.get_input_schema(), ours.schema.limits
    chunk = featurize(smiles, limits).chunk
    parts: dict[str, Callable[[], object]] = {
        "invocations": lambda: scoring_server.invocations(body, "application/json", model, schema),
        "predict": lambda: ours.predict(None, table),
        "featurize": lambda: featurize(smiles, limits),
        "parse": lambda: [parse(one, limits) for one in smiles],
        "network": lambda: ours.session.run_chunk(chunk, directed=False),
    }
    times: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(rounds + 1):
        for name, call in parts.items():
            start = time.perf_counter()
            call()
            if turn:
                times[name].append(1e3 * (time.perf_counter() - start))
    print(json.dumps(times))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
