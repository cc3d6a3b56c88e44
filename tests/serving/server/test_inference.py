"""The Open Inference Protocol as tables of MLflow's scoring server."""

from __future__ import annotations

import pytest

from serving.server.inference import describe_model, read_inference, write_inference
from serving.server.refusal import RequestError

INPUTS = [{"name": "smiles", "type": "string"}, {"name": "temperature", "type": "double"}]
OUTPUTS = [{"name": "size", "type": "double"}, {"name": "error", "type": "string"}]


def tensor(name, data, datatype="BYTES", shape=None):
    return {"name": name, "shape": [len(data)] if shape is None else shape, "datatype": datatype, "data": data}


GOOD = {"id": "7", "inputs": [tensor("temperature", [1, 2.5], "FP32"), tensor("smiles", ["C", "CC"])]}


def test_columns_come_in_the_models_order():
    table = read_inference(GOOD, INPUTS)["dataframe_split"]
    assert table == {"columns": ["smiles", "temperature"], "data": [["C", 1], ["CC", 2.5]]}


def test_a_column_may_be_nested_and_empty():
    inputs = [tensor("temperature", [[1], [2]], "INT64", [2, 1]), tensor("smiles", [["C"], ["CC"]], shape=[2, 1])]
    assert read_inference({"inputs": inputs}, INPUTS) == read_inference(
        {"inputs": [tensor("temperature", [1, 2], "FP64"), tensor("smiles", ["C", "CC"])]}, INPUTS
    )
    empty = {"inputs": [tensor("temperature", [], "FP64"), tensor("smiles", [])]}
    assert read_inference(empty, INPUTS)["dataframe_split"]["data"] == []


def test_answers_name_type_and_length():
    rows = [{"size": 1.5, "error": None}, {"size": None, "error": "invalid_smiles"}]
    assert write_inference(GOOD, rows, "atoms", "3", OUTPUTS) == {
        **{"model_name": "atoms", "model_version": "3", "id": "7"},
        "outputs": [tensor("size", [1.5, None], "FP64"), tensor("error", ["", "invalid_smiles"])],
    }
    some = write_inference(GOOD | {"outputs": [{"name": "error"}]}, rows, "atoms", "3", OUTPUTS)
    assert [one["name"] for one in some["outputs"]] == ["error"]


def test_the_model_describes_itself():
    assert describe_model("atoms", "3", INPUTS, OUTPUTS)["inputs"] == [
        {"name": "smiles", "datatype": "BYTES", "shape": [-1]},
        {"name": "temperature", "datatype": "FP64", "shape": [-1]},
    ]


def change(**more):
    return {"inputs": [GOOD["inputs"][0], GOOD["inputs"][1] | more]}


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ([], "list 'inputs'"),
        ({"inputs": 5}, "list 'inputs'"),
        ({"inputs": [5]}, "no object with a 'name'"),
        (GOOD | {"id": 5}, "'id' is no text"),
        (GOOD | {"outputs": [5]}, "'outputs' is no list"),
        (GOOD | {"outputs": "size"}, "'outputs' is no list"),
        ({"inputs": GOOD["inputs"][:1]}, r"no input \['smiles'\]"),
        ({"inputs": GOOD["inputs"] * 2}, "twice"),
        (change(datatype="FP32"), "another datatype; expected BYTES"),
        (change(datatype=["BYTES"]), "another datatype"),
        (change(shape=None), "no 'shape'"),
        (change(shape=[True, 2]), "no 'shape'"),
        (change(shape=[-2]), "no 'shape'"),
        (change(data=None), "no 'data'"),
        (change(shape=[1, 2]), "another shape"),
        (change(shape=[]), "another shape"),
        (change(shape=[3]), "not as many"),
        (change(data=["C", 5]), "another type than its datatype"),
        (change(data=["C"], shape=[1]), "differ in length"),
    ],
)
def test_refused_with_a_reason(request_, reason):
    with pytest.raises(RequestError, match=reason):
        read_inference(request_, INPUTS)


@pytest.mark.parametrize("value", [True, "1", None, [1, 2]])
def test_numbers_are_numbers(value):
    inputs = [tensor("temperature", [1, value], "FP32"), GOOD["inputs"][1]]
    with pytest.raises(RequestError, match="'temperature'"):
        read_inference({"inputs": inputs}, INPUTS)
