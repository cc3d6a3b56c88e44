"""The moment by which an answer must be there."""

from types import SimpleNamespace

from serving import deadline


def test_plain_serving_obeys_the_time_of_the_scoring_server(monkeypatch):
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: 100.0))
    monkeypatch.delenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", raising=False)  # MLflow's server leaves it in a process
    with deadline.granted():
        assert deadline.time_left() is None
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "7")
    with deadline.granted():
        assert deadline.time_left() == 7
        with deadline.granted():
            assert deadline.AT.get() == 107
    assert deadline.AT.get() is None
