"""The pyfunc of a bundle; MLflow runs this file when it loads the model.

`context.artifacts` holds `model.onnx` and `schema.json`. No torch here, and no pickle.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from pipeline.errors import BundleError, DataError
from pipeline.schema import Schema
from serving.request import Answers, Categories, read_request
from serving.session import Session


class GraphModel(PythonModel):  # type: ignore[misc] # mlflow has no types that strict accepts
    """Answers tables of molecules or graphs; one record a row, in order. Safe for many threads at once."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the artifacts.

        Raises:
            BundleError: if model, schema and featurizer do not belong together.
        """
        self.schema = Schema.from_json(Path(context.artifacts["schema.json"]).read_text(encoding="utf-8"))
        self.session = Session(context.artifacts["model.onnx"])
        check_fit(self.session, self.schema)
        self.categories = Categories(self.schema)

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answer a table.

        Args:
            model_input: a table with the columns of `pipeline.answer.request_columns`; others are ignored.

        Returns:
            The columns of `pipeline.answer.answer_columns`, dtype object, None where there is nothing to say.

        Raises:
            MlflowException: INVALID_PARAMETER_VALUE (HTTP 400) if a column is missing, naming it.
        """
        answers = Answers(self.schema, len(model_input), ensemble=self.session.is_ensemble)
        try:
            for piece in read_request(model_input, self.schema):
                answers.add_errors(piece.errors)
                if piece.chunk is not None:
                    outputs = self.session.run_chunk(piece.chunk, directed=self.schema.directed)
                    answers.add(piece.good, outputs, self.categories.unknown(piece.chunk))
        except DataError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None
        return answers.table()


def check_fit(session: Session, schema: Schema) -> None:
    """
    Raises:
        BundleError: if the ONNX file was written for another schema, or this featurizer makes other graphs.
    """
    written = session.metadata.get("schema")
    if written is None or Schema.from_json(written) != schema:
        raise BundleError("model.onnx was exported for another schema than schema.json; build the bundle again.")
    if schema.data_kind == "molecule":
        from pipeline.descriptors import DESCRIPTOR_COLUMNS
        from pipeline.featurize import FEATURIZER_VERSION

        if schema.featurizer_version != FEATURIZER_VERSION:
            raise BundleError(
                f"The model was trained with featurizer version {schema.featurizer_version}, this code has "
                f"{FEATURIZER_VERSION}; train again, or serve the bundle with its own code."
            )
        if schema.descriptor_columns not in ((), DESCRIPTOR_COLUMNS):
            raise BundleError(
                "The model was trained on other molecule descriptors than this RDKit computes; "
                "install the bundle's requirements."
            )


mlflow.models.set_model(GraphModel())
