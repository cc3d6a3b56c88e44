"""`--model` pins a version at start; `--follow` changes to the alias's new one, under load, or stays."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest

from pipeline.review.decision import APPROVE, RETIRE, ROLLBACK
from tests.support.records import decide
from tests.support.servers import refusal, serving_app, wait_until
from tests.support.small_models import publish

pytestmark = pytest.mark.mlflow

BODY = {"dataframe_records": [{"smiles": "CCO", "temperature": 0}]}


@pytest.fixture
def env(tracking):
    return {"MLFLOW_TRACKING_URI": tracking}


def sizes(reply):
    assert reply.status == 200, reply.body
    return [row["size"] for row in reply.json["predictions"]]


def other_answers(bundle):
    record = bundle / "example_answers.json"
    record.write_text(record.read_text().replace("size", "largeness"))


def broken_code(bundle):
    (bundle / "model.py").write_text("raise RuntimeError('broken')\n")


@pytest.mark.slow
def test_a_swap_under_load_loses_and_mixes_nothing(tracking, env, tmp_path):
    first, digest = publish(tmp_path, "swap", 1)
    options = ("--model", "models:/swap@champion", "--workers", "1", "--follow", "0.5")
    with serving_app(tmp_path, *options, **env) as app:
        pid = app.workers()
        log = "there is no swap-decisions, not compared"
        assert app.ask("GET", "/version").json == {"name": "swap", "version": first, "digest": digest, "log": log}
        stop = threading.Event()
        seen = [set() for _ in range(4)]

        def hammer(k):
            order = []
            while not stop.is_set():
                reply = app.invoke(BODY)
                version = reply.headers["x-model-version"]
                assert sizes(reply) == [3.0 * int(version.split("/")[1])]  # weight and version are the same number
                order.append(version)
            seen[k] = set(order)
            assert order == sorted(order)  # never back

        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(hammer, k) for k in range(4)]
            second, _ = publish(tmp_path, "swap", 2)
            wait_until(lambda: app.ask("GET", "/version").json["version"] == second or any(a.done() for a in asked))
            wait_until(lambda: app.invoke(BODY).headers["x-model-version"] == f"swap/{second}")
            stop.set()
            [one.result() for one in asked]
        assert set.union(*seen) == {f"swap/{first}", f"swap/{second}"}
        wait_until(lambda: len(app.workers()) == 1, 60)  # the old one has gone
        assert app.workers() != pid
        assert app.metric('graphline_worker_changes_total{kind="swapped"}') == 1
        assert app.metric("graphline_model_info") == 1

        # What is wrong never takes over, and what runs stays.
        harms = [other_answers, broken_code]
        for k, harm in enumerate(harms):
            publish(tmp_path, "swap", 3 + k, harm)
            wait_until(lambda: app.metric('graphline_follow_total{outcome="failed"}') > k)  # noqa: B023
            assert sizes(app.invoke(BODY)) == [6.0]
        reasons = [line["reason"] for line in app.lines() if line["event"] == "follow"]
        assert "answers its input example differently" in reasons[0]
        assert "Error: broken" in reasons[1]
        assert len(app.workers()) == 1

        # A good one after bad ones does.
        last, _ = publish(tmp_path, "swap", 5)
        wait_until(lambda: app.invoke(BODY).headers["x-model-version"] == f"swap/{last}")
        assert app.stop() == 0


def test_without_follow_the_version_is_pinned(tracking, env, tmp_path):
    first, _ = publish(tmp_path, "pinned", 1)
    with serving_app(tmp_path, "--model", "models:/pinned@champion", "--workers", "1", **env) as app:
        publish(tmp_path, "pinned", 2)
        assert app.invoke(BODY).headers["x-model-version"] == f"pinned/{first}"
        assert next(line for line in app.lines() if line["event"] == "serving")["log"].startswith("there is no")


def test_what_the_log_of_decisions_does_not_say_is_refused_and_told(tracking, env, tmp_path):
    first, digest = publish(tmp_path, "log", 1)
    decide("log", APPROVE, first, digest)
    with serving_app(tmp_path, "--model", "models:/log@champion", "--workers", "1", "--follow", "0.2", **env) as app:
        assert app.ask("GET", "/version").json["log"] == "record 1 of log-decisions"
        assert app.metric("graphline_log_agrees") == 1
        second, new = publish(tmp_path, "log", 2)  # its alias moves, and no record says so
        wait_until(lambda: app.metric('graphline_follow_total{outcome="refused"}') > 2, 60)
        assert app.invoke(BODY).headers["x-model-version"] == f"log/{first}"
        (line,) = [line for line in app.lines() if line["event"] == "follow"]  # once, not at each look
        assert "log version 2" in line["reason"]
        assert "is not released in log-decisions" in line["reason"]
        decide("log", APPROVE, second, new)  # now one does
        wait_until(lambda: app.invoke(BODY).headers["x-model-version"] == f"log/{second}", 60)
        decide("log", RETIRE, second, new)  # and the alias stays: it goes on, and says so
        wait_until(lambda: app.metric("graphline_log_agrees") == 0, 60)
        decide("log", ROLLBACK, second, new)
        wait_until(lambda: app.metric("graphline_log_agrees") == 1, 60)
        mlflow.MlflowClient().delete_registered_model_alias("log", "champion")  # as `retire` does
        decide("log", RETIRE, second, new)
        wait_until(lambda: app.metric("graphline_log_agrees") == 0, 60)
        assert "is retired in log-decisions" in app.ask("GET", "/version").json["log"]
        assert app.invoke(BODY).status == 200
    assert "is retired in log-decisions" in refusal(["--model", f"models:/log/{second}"], **env)


def test_bytes_that_are_not_those_of_the_version_are_refused(tracking, env, tmp_path):
    version, _ = publish(tmp_path, "bytes", 1)
    client = mlflow.MlflowClient()
    client.set_model_version_tag("bytes", version, "graphline.digest", "0" * 64)
    assert "expected 0000" in refusal(["--model", f"models:/bytes/{version}"], **env)
    client.delete_model_version_tag("bytes", version, "graphline.digest")
    assert "carries no digest" in refusal(["--model", "models:/bytes@champion"], **env)
    assert "no alias 'nobody'" in refusal(["--model", "models:/bytes@nobody"], **env)
