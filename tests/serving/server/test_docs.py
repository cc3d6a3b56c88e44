"""schemathesis asks the server what its own OpenAPI document promises."""

from __future__ import annotations

import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.support.servers import serving_app
from tests.support.small_models import write_graph_bundle, write_molecule_bundle

pytestmark = pytest.mark.mlflow

# A row that is wrong is that row's error in a 200, which schemathesis cannot know: it takes it for accepted nonsense.
# CSV and Parquet are described as text and bytes, of which most are refused.
LEFT_OUT = "negative_data_rejection,positive_data_acceptance"


@pytest.mark.parametrize("write", [write_molecule_bundle, write_graph_bundle])
def test_the_server_keeps_its_document(tmp_path, write):
    write(tmp_path / "bundle")
    program = Path(sysconfig.get_path("scripts")) / "schemathesis"
    with serving_app(tmp_path, "--bundle", str(tmp_path / "bundle"), "--workers", "2") as app:
        url = f"http://127.0.0.1:{app.port}/openapi.json"
        words = ["--exclude-checks", LEFT_OUT, "--max-examples", "25", "--seed", "1", "--generation-database", "none"]
        done = subprocess.run(
            [program, "run", url, "--suppress-health-check", "all", "--no-color", *words],
            cwd=tmp_path, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert app.metric('graphline_requests_total{outcome="ok",route="/invocations"}') > 0
        assert app.metric('graphline_requests_total{outcome="bad_request"') > 0
        assert app.metric('graphline_requests_total{outcome="unavailable"') == 0
        assert app.metric("graphline_worker_changes_total") == 0
