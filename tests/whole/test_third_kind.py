"""The seam is enough: a third kind of data, a folder and a line, goes from a file to a served answer."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.support.project import Project
from tests.support.servers import models_serve

pytestmark = pytest.mark.mlflow

LINE = '    raise StoreError(f"data of the kind'
NEW = """    if name == "vectors":
        from pipeline.samples.vectors.kind import KIND as VECTORS

        return VECTORS
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project with a kind of its own: vectors of three numbers."""
    project = Project(tmp_path_factory.mktemp("third"))
    folder = project.folder
    shutil.copytree(ROOT / "tests" / "examples" / "vectors", folder / "pipeline" / "samples" / "vectors")
    kinds = folder / "pipeline" / "samples" / "kinds.py"
    text = kinds.read_text()
    assert text.count(LINE) == 1
    kinds.write_text(text.replace(LINE, NEW + LINE))
    rng = np.random.default_rng(0)
    v = rng.normal(size=(400, 3)).round(3)
    rows = [f"{n},{a + 2 * b:.4f},{a},{b},{c}" for n, (a, b, c) in enumerate(v)]
    (folder / "points.vectors.csv").write_text("\n".join(["id,y,v0,v1,v2", *rows, "bad,1,1,x,1", ""]))
    return project


def test_from_a_file_to_a_served_answer(project, tmp_path):
    mlp = "model.class_path=pipeline.samples.vectors.mlp.MLP"
    words = ["data=points.vectors.csv", "name=points", "target=y", mlp, "max_epochs=40", "hidden_dim=32"]
    text = project.run(*(word for one in words for word in ("-P", one)))
    assert "401 rows → 400 graphs" in text
    assert "rows left out: 1 wrong_type" in text
    (bundle,) = (path for path in (project.folder / ".graphline" / "bundles").iterdir() if path.is_dir())
    code = {path.relative_to(bundle / "code").as_posix() for path in (bundle / "code").rglob("*.py")}
    assert "pipeline/samples/vectors/kind.py" in code
    assert not any("molecule" in name or "source" in name for name in code)

    rows = {"v0": [1.0, 0.0, None], "v1": [0.5, -1.0, 1.0], "v2": [0.0, 3.0, 0.0]}
    with models_serve(bundle, tmp_path) as served:
        reply = served.ask(
            "POST",
            "/invocations",
            {
                "dataframe_split": {
                    "columns": list(rows),
                    "data": [list(row) for row in zip(*rows.values(), strict=True)],
                }
            },
        )
    assert reply.status == 200
    first, second, third = reply.json["predictions"]
    assert first["y"] == pytest.approx(2.0, abs=0.4)
    assert second["y"] == pytest.approx(-2.0, abs=0.4)
    assert (third["y"], third["error"]) == (None, "missing")

    (project.folder / "new.vectors.csv").write_text("id,v0,v1,v2\na,1,0.5,0\n")
    project.run("-e", "predict", "-P", "data=new.vectors.csv", "-P", "out=out.csv", "-P", f"model={bundle}")
    assert f"{json.dumps(first['y'])}" in (project.folder / "out.csv").read_text()
