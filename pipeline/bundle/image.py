"""A folder from which a container image of one model is built: bundle, server, requirements, Dockerfile.

bundle/               the model, verified          Dockerfile         bakes all of it in; no torch, no compiler
pipeline/ serving/    the server's code            kubernetes.yaml    an example: probes, limits, non-root
requirements.txt      the bundle's and the server's, pinned
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from pipeline.digests import copy_listed, private_copy, verify
from pipeline.errors import ConfigError
from pipeline.imports import ROOT, copy_files, trace_imports

DEPLOY = ROOT / "serving" / "deploy"
SERVER = ("serving.app", "serving.server.engine")
NAME = "graph-model"  # in the example


def write_image(folder: Path, bundle: Path, name: str) -> str:
    """Write the folder.

    Args:
        folder: where; it must not be there yet, or be empty.
        bundle: the model's folder; it is copied, and the copy verified.
        name: of the model.

    Returns:
        The digest of the bundle.

    Raises:
        ConfigError: if something is at `folder` already.
        BundleError: if the bundle is not what was signed off.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"out={folder.absolute()}: something is there already; choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="graphline-", dir=folder.parent) as temporary:
        stage = Path(temporary) / "image"
        with private_copy(bundle) as copy:
            copy_listed(copy, stage / "bundle")
        digest = verify(stage / "bundle")
        copy_files(trace_imports(SERVER, ROOT).files, stage)
        _write_texts(stage, name)
        for path in (stage, *stage.rglob("*")):  # the image runs as another user
            path.chmod(0o755 if path.is_dir() else 0o644)
        if folder.exists():
            folder.rmdir()
        stage.rename(folder)
    return digest


def image_name(name: str) -> str:
    """A model's name as images and Kubernetes take it: `[a-z0-9]([-a-z0-9]*[a-z0-9])?`, at most 63."""
    return re.sub("[^a-z0-9]+", "-", name.lower())[:63].strip("-") or NAME


def _write_texts(stage: Path, name: str) -> None:
    for text in ("Dockerfile", "kubernetes.yaml"):
        content = (DEPLOY / text).read_text(encoding="utf-8").replace(NAME, image_name(name))
        (stage / text).write_text(content, encoding="utf-8")
    needs = [
        path.read_text(encoding="utf-8")
        for path in (stage / "bundle" / "requirements.txt", DEPLOY / "requirements.txt")
    ]
    (stage / "requirements.txt").write_text("\n".join(text.rstrip() for text in needs) + "\n", encoding="utf-8")
    (stage / ".dockerignore").write_text("**/*.pyc\nkubernetes.yaml\nDockerfile\n", encoding="utf-8")
