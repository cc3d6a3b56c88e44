"""Learning curves go to the step's own run, whose end is the step's to tell."""

import mlflow
import pytest

from pipeline.training.logger import RunLogger


@pytest.mark.usefixtures("tracking")
def test_a_fit_that_ends_leaves_the_run_running():
    run = mlflow.MlflowClient().create_run("0")
    logger = RunLogger(tracking_uri=mlflow.get_tracking_uri(), run_id=run.info.run_id)
    logger.log_metrics({"loss": 0.5}, step=1)
    logger.finalize("success")
    found = mlflow.get_run(run.info.run_id)
    assert (found.info.status, found.data.metrics) == ("RUNNING", {"loss": 0.5})


@pytest.mark.usefixtures("tracking")
def test_names_keep_the_letters_that_mlflow_takes():
    run = mlflow.MlflowClient().create_run("0")
    logger = RunLogger(tracking_uri=mlflow.get_tracking_uri(), run_id=run.info.run_id)
    logger.log_metrics({"val/溶解度/rmse": 0.5, "val/溶解性/rmse": 0.25, "lr?": 1.0})
    assert mlflow.get_run(run.info.run_id).data.metrics == {"val/溶解度/rmse": 0.5, "val/溶解性/rmse": 0.25, "lr_": 1.0}
