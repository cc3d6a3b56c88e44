"""The folder of a container image: whole, linted, and what lies in it serves without the project."""

from __future__ import annotations

import ast
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from pipeline.bundle.image import DEPLOY, image_name, write_image
from pipeline.errors import BundleError, ConfigError
from tests.conftest import ROOT
from tests.support.servers import serving_app
from tests.support.small_models import publish, write_molecule_bundle


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    folder = tmp_path_factory.mktemp("image")
    digest = write_molecule_bundle(folder / "bundle")
    assert write_image(folder / "out", folder / "bundle", "My model [nM]") == digest
    return folder / "out"


def test_hadolint_finds_nothing(image):
    program = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([program, image / "Dockerfile"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_page_names_the_base_image_of_the_dockerfile(image):
    lines = (image / "Dockerfile").read_text().splitlines()
    base = next(line.removeprefix("FROM ") for line in lines if line.startswith("FROM "))
    assert f"imagetools inspect {base}`" in (ROOT / "docs" / "serving.md").read_text()


def test_kubernetes_takes_the_example(image):
    import kubernetes_validate

    documents = list(yaml.safe_load_all((image / "kubernetes.yaml").read_text()))
    for document in documents:
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
    deployment, service, budget, policy = documents
    assert {document["metadata"]["name"] for document in documents} == {"my-model-nm"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"] == policy["spec"]["podSelector"]["matchLabels"] == labels
    assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]  # else no node could be emptied
    assert (policy["spec"]["policyTypes"], policy["spec"]["egress"]) == (["Ingress", "Egress"], [])
    pod = deployment["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert {"startupProbe", "readinessProbe", "livenessProbe", "resources"} <= set(container)
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsNonRoot"]
    options = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    assert float(options["--drain"]) + float(options["--timeout"]) < pod["terminationGracePeriodSeconds"]


def test_the_servers_options_are_those_of_dockerfile_and_example(image):
    from serving.app import parse

    entry = next(line for line in (image / "Dockerfile").read_text().splitlines() if line.startswith("ENTRYPOINT"))
    words = ast.literal_eval(entry.removeprefix("ENTRYPOINT "))
    args = next(yaml.safe_load_all((image / "kubernetes.yaml").read_text()))
    args = args["spec"]["template"]["spec"]["containers"][0]["args"]
    assert parse([*words[3:], *args]).bundle == "/app/bundle"


def test_the_image_holds_no_torch_and_pins_everything(image):
    lines = [line for line in (image / "requirements.txt").read_text().splitlines() if not line.startswith("#")]
    names = {line.partition("==")[0] for line in lines}
    assert {"mlflow-skinny", "onnxruntime", "prometheus_client", "uvicorn"} <= names
    assert not names & {"torch", "lightning", "torch-geometric", "tensordict", "mlflow"}
    assert all("==" in line for line in lines)
    ours = dict(
        line.split("==")
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if "==" in line and not line.startswith("#")
    )
    served = dict(line.split("==") for line in (DEPLOY / "requirements.txt").read_text().splitlines() if "==" in line)
    assert served.items() <= ours.items()


def test_what_lies_in_the_folder_is_enough(image):
    """Imported from the folder alone, by a Python that does not see the project."""
    code = (
        "import serving.app as app, serving.server.engine, sys; print(app.__file__); assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=image, env={"PATH": ""}, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).is_relative_to(image)


def test_an_occupied_folder_and_a_damaged_bundle_are_refused(image, tmp_path):
    with pytest.raises(ConfigError, match="something is there"):
        write_image(image, image / "bundle", "x")
    damaged = tmp_path / "bundle"
    damaged.mkdir()
    with pytest.raises(BundleError):
        write_image(tmp_path / "out", damaged, "x")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "image"), [("logS", "logs"), ("a_b c", "a-b-c"), ("µ", "graph-model"), ("x" * 80, "x" * 63)]
)
def test_names_fit_images(name, image):
    assert image_name(name) == image


@pytest.mark.mlflow
def test_the_step_packs_a_version(tracking, tmp_path, capsys):
    from steps.bundle import main

    version, digest = publish(tmp_path, "packed", 1)
    main([f"--model=models:/packed/{version}", f"--out={tmp_path / 'out'}"])
    said = capsys.readouterr().out
    assert digest[:12] in said
    assert f"--bundle {tmp_path / 'out' / 'bundle'}" in said
    assert (tmp_path / "out" / "Dockerfile").is_file()


@pytest.mark.mlflow
def test_the_folder_serves(image):
    with serving_app(image.parent, "--bundle", "bundle", "--workers", "1", cwd=image) as served:
        assert served.invoke({"dataframe_records": [{"smiles": "CCO", "temperature": 0}]}).status == 200
