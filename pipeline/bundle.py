"""A bundle: the folder that is served, and the digests by which its bytes are known.

    MLmodel, requirements.txt, …  what MLflow writes       artifacts/model.onnx   the network
    model.py                      the pyfunc               artifacts/schema.json  what it takes and answers
    code/                         the modules it imports   digests.json           sha256 of every other file
    example_answers.json          what it answers to serving_input_example.json

The sha256 of `digests.json` is the digest of the bundle: who knows it can tell that no byte has changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.cache import imported_modules
from pipeline.errors import BundleError
from pipeline.serveconfig import ServeConfig

if TYPE_CHECKING:
    from pipeline.schema import Schema

DIGESTS = "digests.json"
EXAMPLE_ANSWERS = "example_answers.json"
# Written by MLflow beside the model when a version is downloaded.
UNSIGNED = (DIGESTS, "registered_model_meta")
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".joblib", ".dill", ".cloudpickle", ".pyc")

_MEND = "Fetch the bundle again; if it is damaged where it is kept, register or release the model again."
_ROOT = Path(__file__).parents[1]
_PYFUNC = "serving/model.py"
_PACKAGES = ("pipeline", "serving")
# These need RDKit: where graphs come as tables they stay out.
_MOLECULES_ONLY = ("pipeline.featurize", "pipeline.descriptors")


def write_digests(folder: str | Path) -> str:
    """Write `digests.json` of a finished bundle.

    Returns:
        The digest of the bundle: 64 hexadecimal digits.

    Raises:
        BundleError: if the folder holds a link or a pickle.
    """
    folder = Path(folder)
    digests = {name: _sha256(folder / name) for name in sorted(_files(folder))}
    content = json.dumps(digests, indent=1, ensure_ascii=False).encode()
    (folder / DIGESTS).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def verify(folder: str | Path) -> str:
    """Compare every file of a bundle with its digest.

    Returns:
        The digest of the bundle, to be compared with the one that was signed off.

    Raises:
        BundleError: naming the first file that changed, is missing, is not listed, is a link or a pickle.
    """
    folder = Path(folder)
    listed, digest = _read_digests(folder)
    found = set(_files(folder))
    for name in sorted(found | listed.keys()):
        if name not in found:
            raise BundleError(f"{folder}: '{name}' is missing. {_MEND}")
        if name not in listed:
            raise BundleError(f"{folder}: '{name}' is not listed in {DIGESTS}. {_MEND}")
        if _sha256(folder / name) != listed[name]:
            raise BundleError(f"{folder}: '{name}' is not what was signed off (sha256 differs). {_MEND}")
    return digest


@contextlib.contextmanager
def private_copy(folder: str | Path, expected: str | None = None, called: str = "") -> Iterator[Path]:
    """Copy a bundle to a folder that only this user can read, verify the copy, and remove it in the end.

    Loading a bundle writes into it, and a folder that others can write may change between check and use.

    Args:
        expected: the digest that was signed off, if it is known.
        called: what an error calls it; its folder if empty.

    Raises:
        BundleError: as `verify`, or if the digest is another one.
    """
    called = called or str(folder)
    with tempfile.TemporaryDirectory(prefix="graphline-") as temporary:  # mode 0700
        copy = Path(temporary) / "bundle"
        if not Path(folder).is_dir():
            raise BundleError(f"{Path(folder).absolute()}: no such bundle folder.")
        try:
            shutil.copytree(folder, copy, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        except (OSError, shutil.Error) as error:
            raise BundleError(f"{called}: cannot be copied ({str(error)[:200]}).") from None
        try:
            digest = verify(copy)
        except BundleError as error:
            raise BundleError(str(error).replace(str(copy), called)) from None
        if expected is not None and digest != expected:
            raise BundleError(f"{called}: the digest is sha256 {digest}, expected {expected}. {_MEND}")
        yield copy


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
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
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
        code = _copy_code(stage / "code", molecules=schema.data_kind == "molecule")
        with _quiet():
            mlflow.pyfunc.save_model(
                str(stage / "bundle"),
                python_model=str(_ROOT / _PYFUNC),
                artifacts={name: str(path) for name, path in artifacts.items()},
                signature=_signature(schema, artifacts["model.onnx"]),
                input_example=example,
                pip_requirements=str(_ROOT / "serving" / "requirements.txt"),
                code_paths=[str(path) for path in code],
                metadata=dict(metadata or {}),
                model_config=dataclasses.asdict(ServeConfig()),  # what may be set when the bundle is loaded
            )
        _drop_local_paths(mlflow.models.Model.load(stage / "bundle"), stage / "bundle" / "MLmodel")
        _record_answers(stage / "bundle", example)
        for leftover in (stage / "bundle").rglob("__pycache__"):
            shutil.rmtree(leftover)
        digest = write_digests(stage / "bundle")
        (stage / "bundle").rename(folder)
    return digest


def code_modules(*, molecules: bool) -> dict[str, Path]:
    """The modules of this project that the pyfunc imports, by name: it is itself `model.py` of the bundle.

    Args:
        molecules: whether the featurizer and the descriptors are needed.
    """
    found = closure((_PYFUNC,), without=() if molecules else _MOLECULES_ONLY)
    return {name: source for name, source in found.items() if source != _ROOT / _PYFUNC}


def closure(starts: Sequence[str], without: Sequence[str] = ()) -> dict[str, Path]:
    """These files and the modules of this project that they import, by name, over all levels."""
    found: dict[str, Path] = {}
    waiting = [".".join(Path(start).with_suffix("").parts) for start in starts]
    while waiting:
        name = waiting.pop()
        source = _ROOT / Path(*name.split(".")).with_suffix(".py")
        if name not in found and source.is_file() and name not in without:
            found[name] = source
            waiting += imported_modules(source)
    return found


def _copy_code(folder: Path, *, molecules: bool) -> list[Path]:
    """Lay out the packages of a bundle; their `__init__.py` are as empty as here."""
    for name, source in code_modules(molecules=molecules).items():
        target = folder / Path(*name.split(".")).with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    packages = [folder / name for name in _PACKAGES]
    for package in packages:
        (package / "__init__.py").touch()
    return packages


def _signature(schema: Schema, onnx_path: Path) -> Any:
    """What MLflow checks of a request, and what the answer looks like.

    Number columns of molecules are doubles, so that CSV requests work. Graphs cannot come as CSV: all their columns
    are `AnyType`, so that one bad value is that row's error and does not fail the request.
    """
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, ColSpec
    from mlflow.types.schema import Schema as Columns

    from pipeline.answer import answer_columns, request_columns, text_columns

    if schema.data_kind == "molecule":
        inputs = [ColSpec("string" if name == "smiles" else "double", name) for name in request_columns(schema)]
    else:
        inputs = [ColSpec(AnyType(), name) for name in request_columns(schema)]
    ensemble = "std" in {output.name for output in onnx.load(onnx_path).graph.output}
    text = text_columns(schema)
    columns = answer_columns(schema, ensemble=ensemble)
    outputs = [ColSpec("string" if name in text else "double", name, required=False) for name in columns]
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


def _files(folder: Path) -> Iterator[str]:
    """Every file that is signed, relative to the bundle, with forward slashes.

    Raises:
        BundleError: at a link, a pickle or something that is no plain file.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__"]
        for name in sorted(folders + names):
            path = Path(parent) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                raise BundleError(f"{folder}: '{relative}' is a link; a bundle holds plain files only.")
            if path.is_dir() or relative in UNSIGNED:
                continue
            if not path.is_file():
                raise BundleError(f"{folder}: '{relative}' is no plain file.")
            if path.suffix.lower() in PICKLES:
                raise BundleError(f"{folder}: '{relative}' may hold a pickle, which runs code when it is read.")
            yield relative


def _read_digests(folder: Path) -> tuple[dict[str, str], str]:
    path = folder / DIGESTS
    if path.is_symlink() or not path.is_file():
        raise BundleError(f"{folder.absolute()}: there is no {DIGESTS}; this is no bundle of graphline.")
    content = path.read_bytes()
    try:
        listed = json.loads(content)
    except ValueError:
        listed = None
    if not isinstance(listed, dict):
        raise BundleError(f"{folder}: {DIGESTS} cannot be read. {_MEND}")
    return listed, hashlib.sha256(content).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
