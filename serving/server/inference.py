"""The Open Inference Protocol, version 2: its requests and answers as those of MLflow's scoring server.

A column of text is `BYTES`, a column of numbers `FP64`; `nodes` and `edges` of a graph are `BYTES` that hold JSON text.
Of an answer, a text that is not there is "", a number that is not there null.

Source: https://github.com/open-inference/open-inference-protocol, HTTP/REST.
"""

from __future__ import annotations

import math
from typing import Any

from serving.server.refusal import RequestError

FLOATS = ("FP16", "FP32", "FP64")
INTEGERS = ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64")
PLATFORM = "onnxruntime_onnx"

Column = dict[str, str]  # name and type, as the signature of the model says


def describe_model(name: str, version: str, inputs: list[Column], outputs: list[Column]) -> dict[str, Any]:
    """The metadata of the model: names, types and shapes of its columns."""

    def tensors(columns: list[Column]) -> list[dict[str, Any]]:
        return [{"name": one["name"], "datatype": datatype(one), "shape": [-1]} for one in columns]

    return {
        "name": name,
        "versions": [version],
        "platform": PLATFORM,
        "inputs": tensors(inputs),
        "outputs": tensors(outputs),
    }


def datatype(column: Column) -> str:
    """The protocol's name of a column's type."""
    return "FP64" if column["type"] == "double" else "BYTES"


def read_inference(request: Any, columns: list[Column]) -> dict[str, Any]:
    """The table of a request, as `dataframe_split`.

    Raises:
        RequestError: 400, if tensors are missing, twice, of another type, or differ in length.
    """
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise _refused("expected an object with the list 'inputs'")
    if not isinstance(request.get("id", ""), str):
        raise _refused("'id' is no text")
    _wanted_outputs(request)
    tensors: dict[str, Any] = {}
    for tensor in request["inputs"]:
        if not isinstance(tensor, dict) or not isinstance(tensor.get("name"), str):
            raise _refused("an input is no object with a 'name'")
        if tensor["name"] in tensors:
            raise _refused("an input comes twice")
        tensors[tensor["name"]] = tensor
    names = [column["name"] for column in columns]
    if missing := [name for name in names if name not in tensors]:
        raise _refused(f"there is no input {missing}; expected {names}")
    values = [_read_tensor(tensors[column["name"]], column) for column in columns]
    if len({len(one) for one in values}) > 1:
        raise _refused("the inputs differ in length")
    return {"dataframe_split": {"columns": names, "data": [list(row) for row in zip(*values, strict=True)]}}


def write_inference(
    request: Any, rows: list[dict[str, Any]], name: str, version: str, outputs: list[Column]
) -> dict[str, Any]:
    """The answer in the protocol's words.

    Args:
        rows: one record a row.
    """
    wanted = _wanted_outputs(request)
    shown = [column for column in outputs if not wanted or column["name"] in wanted]
    tensors = []
    for column in shown:
        values = [row[column["name"]] for row in rows]
        if datatype(column) == "BYTES":
            values = ["" if value is None else value for value in values]
        tensors.append({"name": column["name"], "datatype": datatype(column), "shape": [len(rows)], "data": values})
    found = {"model_name": name, "model_version": version, "outputs": tensors}
    return found | ({"id": request["id"]} if "id" in request else {})


def _wanted_outputs(request: dict[str, Any]) -> list[str]:
    wanted = request.get("outputs", [])
    if not isinstance(wanted, list) or not all(isinstance(one, dict) and "name" in one for one in wanted):
        raise _refused("'outputs' is no list of objects with a 'name'")
    return [one["name"] for one in wanted]


def _read_tensor(tensor: dict[str, Any], column: Column) -> list[Any]:
    """The values of an input of shape [N] or [N, 1], flat or nested."""
    name = column["name"]
    kinds = (*FLOATS, *INTEGERS) if datatype(column) == "FP64" else ("BYTES",)
    # Columns of graphs take both: numbers, and JSON text.
    kinds = (*kinds, *FLOATS, *INTEGERS) if column["type"] == "any" else kinds
    if tensor.get("datatype") not in kinds:
        raise _refused(f"input '{name}' is of another datatype; expected {kinds[-1 if len(kinds) == 1 else 2]}")
    shape, data = tensor.get("shape"), tensor.get("data")
    if not isinstance(shape, list) or not isinstance(data, list):
        raise _refused(f"input '{name}' has no 'shape' or no 'data'")
    if not all(type(size) is int and size >= 0 for size in shape):
        raise _refused(f"input '{name}' has no 'shape' of whole numbers")
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise _refused(f"input '{name}' has another shape than [rows] or [rows, 1]")
    flat = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in data]
    if len(flat) != math.prod(shape):
        raise _refused(f"input '{name}' has not as many values as its shape says")
    text = tensor["datatype"] == "BYTES"
    if not all(_fits(value, text) for value in flat):
        raise _refused(f"input '{name}' holds a value of another type than its datatype")
    return flat


def _fits(value: Any, text: bool) -> bool:
    if text:
        return isinstance(value, str)
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refused(message: str) -> RequestError:
    return RequestError(400, "BAD_REQUEST", message)
