"""The way of learning curves to MLflow, under Lightning."""

from __future__ import annotations

from collections.abc import Mapping
from time import time

from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from pipeline.schema import metric_key


class RunLogger(MLFlowLogger):  # type: ignore[misc]
    """Leaves the end of the run to the step: Lightning's says FINISHED as soon as `fit` ends.

    And the names of metrics as they are: Lightning's drops letters that MLflow takes.
    """

    @rank_zero_only  # type: ignore[untyped-decorator] # lightning has no types for strict
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        from mlflow.entities import Metric

        now = int(time() * 1000)
        found = [
            Metric("/".join(map(metric_key, name.split("/"))), float(value), now, step or 0)
            for name, value in metrics.items()
        ]
        self.experiment.log_batch(run_id=self.run_id, metrics=found)

    def finalize(self, status: str = "success") -> None:
        pass
