"""The pyfunc of a bundle; MLflow runs this file when it loads the model.

`context.artifacts` holds `model.onnx` and `schema.json`. No torch here, and no pickle.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from pipeline.telemetry import SWITCHES

os.environ.update(SWITCHES)  # before the first import of onnxruntime

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import (
    DEADLINE_EXCEEDED,
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    TEMPORARILY_UNAVAILABLE,
)
from mlflow.pyfunc import PythonModel, PythonModelContext

from pipeline.errors import BundleError, DataError
from pipeline.machine import usable_cores
from pipeline.samples.kinds import kind_of
from pipeline.schema import Schema
from pipeline.serveconfig import ServeConfig
from serving import deadline
from serving.domain import Domain
from serving.request import Answers, read_request
from serving.session import Session
from serving.sharing import Sharing


class Refused(MlflowException):  # type: ignore[misc] # mlflow has no types that strict accepts
    """An error with a status. Its message stays: MLflow's server puts the table of the request in front of others."""

    @property
    def message(self) -> str:
        return str(self.args[0])

    @message.setter
    def message(self, _: str) -> None:
        pass


class GraphModel(PythonModel):  # type: ignore[misc] # mlflow has no types that strict accepts
    """Answers tables of molecules or graphs; one record a row, in order. Safe for many threads at once."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the artifacts and answer one row, so that the first request is as quick as the others.

        Raises:
            BundleError: if model, schema and featurizer do not belong together.
            ConfigError: if the bundle is loaded with settings that it cannot have.
        """
        self.schema = Schema.from_json(Path(context.artifacts["schema.json"]).read_text(encoding="utf-8"))
        self.session = Session(context.artifacts["model.onnx"])
        check_fit(self.session, self.schema)
        self.columns = self.schema.answer_columns(self.session.output_names)
        self.domain = Domain(self.schema)
        self.config = ServeConfig(**(context.model_config or {}))
        self.sharing = Sharing(
            self.session,
            directed=self.schema.directed,
            threads=self.config.threads or usable_cores(),
            wait_s=self.config.wait_ms / 1000,
        )
        self._answer(pd.DataFrame(kind_of(self.schema.data_kind).smallest(self.schema)))
        if "mlflow.pyfunc.scoring_server.app" in sys.modules:
            # The process is MLflow's server for this model alone, and what is loaded stays: to look through half a
            # million objects for garbage was a tenth of the time of a request of one row.
            gc.freeze()

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer a table.

        Args:
            model_input: a table with the `request_columns` of the schema; others are ignored.

        Returns:
            The `answer_columns` of the schema, dtype object, None where there is nothing to say.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE (HTTP 400) for a column that is missing or a limit of the request,
                naming it; DEADLINE_EXCEEDED (504); TEMPORARILY_UNAVAILABLE (503) without memory; INTERNAL_ERROR (500).
                None holds anything of the request.
        """
        try:
            with deadline.granted():
                return self._answer(model_input)
        except Exception as error:
            raise _refused(error) from None

    def _answer(self, table: pd.DataFrame) -> pd.DataFrame:
        pieces = read_request(table, self.schema, self.config)
        answers = Answers(self.schema, self.columns, len(table))
        with self.sharing.request():
            for piece in pieces:
                answers.add_errors(piece.errors)
                if piece.chunk is not None:
                    outputs = self.sharing.run_chunk(piece.chunk)
                    answers.add(piece.good, outputs, self.domain.warnings(piece.chunk, outputs))
        return answers.table()


def _refused(error: Exception) -> MlflowException:
    """The same error with a status, and without the client's data."""
    if isinstance(error, MlflowException):
        return error
    if isinstance(error, DataError):
        return Refused(str(error), INVALID_PARAMETER_VALUE)
    if isinstance(error, deadline.DeadlineError):
        return Refused("The time for this request is over; send fewer rows.", DEADLINE_EXCEEDED)
    if isinstance(error, MemoryError) or "Failed to allocate memory" in str(error):  # ONNX Runtime's own class
        return Refused("There is no memory for this request now; send fewer or smaller rows.", TEMPORARILY_UNAVAILABLE)
    # Places, no text: it may hold what the client sent.
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
    logging.getLogger(__name__).error("a request failed: %s at %s", type(error).__name__, " > ".join(places))
    return Refused("The model failed on this request; the server's log says where.", INTERNAL_ERROR)


def check_fit(session: Session, schema: Schema) -> None:
    """
    Raises:
        BundleError: if the ONNX file was written for another schema, or this featurizer makes other graphs.
    """
    written = session.metadata.get("schema")
    if written is None or Schema.from_json(written) != schema:
        raise BundleError("model.onnx was exported for another schema than schema.json; build the bundle again.")
    if reason := kind_of(schema.data_kind).mismatch(schema):
        raise BundleError(
            f"The model does not fit this code: {reason}. Serve the bundle with its own code, or train again."
        )


mlflow.models.set_model(GraphModel())
