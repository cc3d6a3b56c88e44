"""bundle: the champion, or any model, becomes a folder that can be served or built into an image."""

from __future__ import annotations

import pytest
from mlflow import MlflowClient

from pipeline import digests
from pipeline.errors import RegistryError
from pipeline.runs.tags import COMPLETE, DIGEST, MODEL
from steps.bundle import main
from tests.support.small_models import publish, write_molecule_bundle

pytestmark = pytest.mark.usefixtures("tracking")


def newest_run():
    return MlflowClient().search_runs(["0"], "tags.`graphline.step` = 'bundle'", order_by=["start_time DESC"])[0]


def test_the_champion_by_name(tmp_path, capsys):
    _, digest = publish(tmp_path, "live", 1)
    main(["--name=live", f"--out={tmp_path / 'out'}"])
    assert digests.verify(tmp_path / "out" / "bundle") == digest
    assert (tmp_path / "out" / "Dockerfile").is_file()
    said = capsys.readouterr().out.splitlines()
    assert f"bundle: models:/live@champion, sha256 {digest[:12]}" in said[0]
    assert f"python -m serving.app --bundle {tmp_path / 'out' / 'bundle'}" in said[1]
    assert said[2].endswith(f"docker build --tag atoms {tmp_path / 'out'}")
    tags = newest_run().data.tags
    assert (tags[MODEL], tags[DIGEST], tags[COMPLETE]) == ("models:/live@champion", digest, digest)


def test_any_model_by_its_path(tmp_path):
    digest = write_molecule_bundle(tmp_path / "made")
    main([f"--model={tmp_path / 'made'}", f"--out={tmp_path / 'out'}"])
    assert digests.verify(tmp_path / "out" / "bundle") == digest


def test_a_model_that_is_not_there_fails_the_run_and_leaves_no_folder(tmp_path):
    with pytest.raises(RegistryError, match="models:/nobody/1: cannot be fetched"):
        main(["--model=models:/nobody/1", f"--out={tmp_path / 'out'}"])
    assert not (tmp_path / "out").exists()
    assert newest_run().info.status == "FAILED"
