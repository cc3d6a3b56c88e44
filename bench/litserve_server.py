"""The peer of bench/soak.py: LitServe with the same bundle. `python litserve_server.py BUNDLE PORT WORKERS`."""

from __future__ import annotations

import sys

import litserve
import mlflow.pyfunc
import pandas as pd


class Model(litserve.LitAPI):
    """As LitServe's own documentation writes an API; no limits, no checks."""

    def setup(self, device: str) -> None:
        self.model = mlflow.pyfunc.load_model(sys.argv[1], suppress_warnings=True, model_config={"threads": 1})

    def decode_request(self, request: dict) -> pd.DataFrame:
        return pd.DataFrame(request["dataframe_records"])

    def predict(self, table: pd.DataFrame) -> pd.DataFrame:
        return self.model.predict(table)

    def encode_response(self, answers: pd.DataFrame) -> dict:
        return {"predictions": answers.to_dict("records")}


if __name__ == "__main__":
    api = Model(api_path="/invocations")
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=int(sys.argv[3]), timeout=60)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="error")
