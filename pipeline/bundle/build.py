"""A bundle: the folder that is served, and the digests by which its bytes are known.

    MLmodel, requirements.txt, …  what MLflow writes       artifacts/model.onnx   the network
    model.py                      the pyfunc               artifacts/schema.json  what it takes and answers
    code/                         the modules it imports   digests.json           sha256 of every other file
    __pycache__                   empty, in each folder of code: Python keeps no compiled code here
    example_answers.json          what it answers to serving_input_example.json

The sha256 of `digests.json` is the digest of the bundle: who knows it can tell that no byte has changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.digests import write_digests
from pipeline.errors import BundleError
from pipeline.imports import ROOT, copy_files, kind_imports, trace_imports
from pipeline.serveconfig import ServeConfig
from pipeline.telemetry import SWITCHES

if TYPE_CHECKING:
    from pipeline.schema import Schema

EXAMPLE_ANSWERS = "example_answers.json"
STORE = "graphline.store"
"""In the metadata of `MLmodel`: digest of the store that the network was trained on."""

_PYFUNC = "serving/model.py"


def build_bundle(
    folder: str | Path, onnx_path: str | Path, schema: Schema, example: Any, metadata: Mapping[str, Any] | None = None
) -> str:
    """Build the bundle of an exported network.

    Args:
        folder: where; it must not be there yet.
        example: pandas table of two or three rows as a request has them.
        metadata: what `MLmodel` should say besides.

    Returns:
        The digest of the bundle.

    Raises:
        BundleError: if the folder is there already.
    """
    os.environ.update(SWITCHES)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"  # else uv.lock of the working directory lands in the bundle
    import mlflow.pyfunc

    folder = Path(folder)
    if folder.exists():
        raise BundleError(f"{folder.absolute()} is there already; remove it or choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        stage = Path(temporary)
        artifacts = {"model.onnx": stage / "model.onnx", "schema.json": stage / "schema.json"}
        shutil.copyfile(onnx_path, artifacts["model.onnx"])
        artifacts["schema.json"].write_text(schema.to_json(), encoding="utf-8")
        copy_files(shipped_files(schema.data_kind), stage / "code")
        with _quiet():
            mlflow.pyfunc.save_model(
                str(stage / "bundle"),
                python_model=str(ROOT / _PYFUNC),
                artifacts={name: str(path) for name, path in artifacts.items()},
                signature=_signature(schema, artifacts["model.onnx"]),
                input_example=example,
                pip_requirements=str(ROOT / "serving" / "requirements.txt"),
                code_paths=[str(path) for path in (stage / "code").iterdir()],
                metadata=dict(metadata or {}),
                model_config=dataclasses.asdict(ServeConfig()),  # what may be set when the bundle is loaded
            )
        _drop_local_paths(mlflow.models.Model.load(stage / "bundle"), stage / "bundle" / "MLmodel")
        _record_answers(stage / "bundle", example)
        _bar_bytecode(stage / "bundle")
        digest = write_digests(stage / "bundle")
        (stage / "bundle").rename(folder)
    return digest


def shipped_files(data_kind: str) -> dict[str, Path]:
    """The files of this project that the pyfunc imports, by path; it is itself `model.py` of the bundle."""
    source = f"pipeline.samples.{data_kind}.source"  # what prepares, which serving never asks for
    files = trace_imports(["serving.model"], ROOT, without=(source,), instead=kind_imports(data_kind)).files
    return {name: path for name, path in files.items() if name != _PYFUNC}


def _signature(schema: Schema, onnx_path: Path) -> Any:
    """What MLflow checks of a request, and what the answer looks like.

    A column of `AnyType` is checked row by row: one bad value is that row's error and does not fail the request.
    """
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec
    from mlflow.types.schema import Schema as Columns

    from pipeline.samples.kinds import kind_of

    inputs = [
        ColSpec(AnyType() if ask.type == "any" else ask.type, ask.name)
        for ask in kind_of(schema.data_kind).columns(schema)
    ]
    columns = schema.answer_columns({output.name for output in onnx.load(onnx_path).graph.output})
    outputs = [ColSpec("double" if one.holds == "number" else "string", one.name, required=False) for one in columns]
    return ModelSignature(inputs=Columns(inputs), outputs=Columns(outputs))


def _drop_local_paths(model: Any, path: Path) -> None:
    """MLflow notes where model and artifacts came from; only the names inside the bundle are read again."""
    flavor = model.flavors["python_function"]
    flavor["model_code_path"] = Path(flavor["model_code_path"]).name
    for name, artifact in flavor["artifacts"].items():
        artifact["uri"] = name
    model.save(str(path))


def _record_answers(folder: Path, example: Any) -> None:
    """Write what the bundle answers to its own example: whoever loads it later can tell that it still does.

    The bundle's code is a copy of this process's, so it may run here.
    """
    import mlflow.pyfunc

    places, modules = list(sys.path), set(sys.modules)
    try:
        with _quiet():
            answers = mlflow.pyfunc.load_model(str(folder), suppress_warnings=True).predict(example)
    finally:
        sys.path[:] = places
        for name in [name for name in set(sys.modules) - modules if name.startswith("code_model_")]:
            del sys.modules[name]
    content = json.dumps({"predictions": answers.to_dict("records")}, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / EXAMPLE_ANSWERS).write_text(content, encoding="utf-8")


def _bar_bytecode(folder: Path) -> None:
    """Put an empty, listed file where Python would keep compiled code, which it runs in place of the sources.

    So it neither writes there when MLflow loads the bundle where it is kept, nor reads what somebody put there.
    """
    for leftover in list(folder.rglob("__pycache__")):
        shutil.rmtree(leftover)
    for place in {path.parent for path in folder.rglob("*.py")}:
        (place / "__pycache__").touch()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """MLflow says that it validates the example, and advises on signatures that are given here."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
