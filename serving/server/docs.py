"""What this model takes and answers: an OpenAPI document, and a page for people that can send the example.

The page loads nothing from elsewhere.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from typing import Any

from serving.server.inference import datatype

Column = dict[str, str]

_ERRORS = {
    "400": "The request cannot be read, lacks a column or holds too many rows.",
    "408": "The body did not come in time.",
    "413": "The body is too large.",
    "415": "Another Content-Type or encoding.",
    "429": "Too many requests wait; try again after Retry-After seconds.",
    "503": "No worker can answer now; try again.",
    "504": "The time budget is over; send fewer rows.",
}


def openapi(name: str, version: str, ready: dict[str, Any], body_bytes: int) -> dict[str, Any]:
    """The OpenAPI document of a model.

    Args:
        ready: what a worker says of its model: columns of requests and answers, schema, example.
    """
    schema, inputs, outputs = ready["schema"], ready["inputs"], ready["outputs"]
    v2 = f"/v2/models/{name}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": name,
            "version": version,
            "description": f"{schema.get('description') or 'A graph neural network.'} A body has at most {body_bytes} "
            "bytes. What is wrong with one row is that row's `error`; the others are answered.",
        },
        "paths": {
            "/invocations": {"post": _invocations(inputs, outputs, schema, ready["example"], ready["answer"])},
            "/health": {"get": _page("Whether the server is alive.", _flag("live"))},
            "/ready": {"get": _page("Whether it takes requests now.", _flag("ready"), "503")},
            "/version": {"get": _page("Name, version and digest of the model.", {"type": "object"})},
            v2: {"get": _page("The model, for the Open Inference Protocol.", {"type": "object"})},
            f"{v2}/infer": {"post": _infer(inputs, ready["example"])},
        },
        "components": {
            "schemas": {"Error": _object({"error_code": {"type": "string"}, "message": {"type": "string"}})}
        },
    }


def _invocations(
    inputs: list[Column], outputs: list[Column], schema: dict[str, Any], example: Any, answer: Any
) -> dict[str, Any]:
    names = [one["name"] for one in inputs]
    properties = {one["name"]: _value(one, schema) for one in inputs}
    row = {"type": "object", "properties": properties, "required": names}
    rows = {"type": "array", "items": row, "minItems": 1}
    values = {name: {"type": "array", "items": value} for name, value in properties.items()}
    split = {
        "columns": {"type": "array", "items": {"type": "string"}, "const": names},
        "data": {"type": "array", "items": {"type": "array", "minItems": len(names), "maxItems": len(names)}},
    }
    forms = {
        "dataframe_records": rows,
        "dataframe_split": _object(split),
        "inputs": {"anyOf": [rows, {"type": "object", "properties": values, "required": names}]},
        "instances": rows,
    }
    record = {one["name"]: {"type": [_kind(one), "null"]} for one in outputs}
    answers = _object({"predictions": {"type": "array", "items": _object(record)}})
    csv = {"text/csv": {"schema": {"type": "string"}}} if schema["data_kind"] == "molecule" else {}
    return {
        "summary": "Answer rows, one record a row, in order.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"oneOf": [_object({k: v}) for k, v in forms.items()]},
                    "example": example,
                },
                **csv,
                "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
            },
        },
        "responses": {
            "200": {
                "description": "The answers.",
                "content": {"application/json": {"schema": answers, "example": answer}},
            },
            **_errors({"$ref": "#/components/schemas/Error"}),
        },
    }


def _infer(inputs: list[Column], example: Any) -> dict[str, Any]:
    tensor = {
        "name": {"type": "string", "enum": [one["name"] for one in inputs]},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
        "datatype": {"type": "string", "enum": sorted({datatype(one) for one in inputs})},
        "data": {"type": "array"},
    }
    table = example["dataframe_split"]
    columns = zip(inputs, zip(*table["data"], strict=True), strict=True)
    sent = [
        {"name": one["name"], "shape": [len(values)], "datatype": datatype(one), "data": _texts(one, values)}
        for one, values in columns
    ]
    return {
        "summary": "The same in the Open Inference Protocol, version 2.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": _object({"inputs": {"type": "array", "items": _object(tensor)}}),
                    "example": {"inputs": sent},
                }
            },
        },
        "responses": {
            "200": {"description": "The answers.", "content": {"application/json": {"schema": {"type": "object"}}}},
            **_errors(_object({"error": {"type": "string"}})),
        },
    }


def docs_page(document: dict[str, Any], ready: dict[str, Any]) -> bytes:
    """The page: columns of request and answer, and the example, ready to send."""
    schema = ready["schema"]
    targets = [
        (one["name"], one["kind"], one.get("unit") or "", one.get("description") or ", ".join(one["classes"]))
        for one in schema["targets"]
    ]
    parts = [
        (f"{part}.{c['name']}", c["kind"], _few(c["categories"]))
        for part in ("node", "edge")
        for c in _columns(schema, part)
    ]
    inputs = [(one["name"], one["type"]) for one in ready["inputs"]]
    tables = [
        _table("A row of the request", ("column", "type"), inputs),
        _table("Columns of nodes and edges", ("column", "kind", "categories"), parts),
        _table("What is answered", ("target", "kind", "unit", "meaning"), targets),
        _table("A row of the answer", ("column", "type"), [(one["name"], _kind(one)) for one in ready["outputs"]]),
    ]
    page = _PAGE.format(
        title=html.escape(document["info"]["title"]),
        version=html.escape(document["info"]["version"]),
        text=html.escape(document["info"]["description"]),
        tables="".join(tables),
        example=html.escape(json.dumps(ready["example"], ensure_ascii=False)),
        answer=html.escape(json.dumps(ready["answer"], indent=1, ensure_ascii=False)),
        errors=_table("Errors of a whole request", ("status", "meaning"), list(_ERRORS.items())),
    )
    return page.encode()


def _columns(schema: dict[str, Any], part: str) -> list[dict[str, Any]]:
    """Columns that a client sends; those of a molecule are made from its SMILES."""
    return list(schema[f"{part}_columns"]) if schema["data_kind"] == "graph" else []


def _value(column: Column, schema: dict[str, Any]) -> dict[str, Any]:
    """One value of a row; those that are wrong become the row's error, so any value is taken but for numbers."""
    name = column["name"]
    if column["type"] == "double":
        return {"type": "number"}
    if name in ("nodes", "edges"):
        ends = ["source", "target"] if name == "edges" else []
        lists = ends + [one["name"] for one in _columns(schema, name.removesuffix("s"))]
        return {"description": f"An object of equally long lists: {', '.join(lists) or 'node_id'}."}
    return {"description": "A SMILES." if name == "smiles" else "A number."}


def _kind(column: Column) -> str:
    """What a column of the answer holds in JSON."""
    return "number" if column["type"] == "double" else "string"


def _texts(column: Column, values: tuple[Any, ...]) -> list[Any]:
    if datatype(column) != "BYTES":
        return list(values)
    return [value if isinstance(value, str) else json.dumps(value) for value in values]


def _page(summary: str, schema: dict[str, Any], *more: str) -> dict[str, Any]:
    content = {"content": {"application/json": {"schema": schema}}}
    return {"summary": summary, "responses": {code: {"description": summary} | content for code in ("200", *more)}}


def _flag(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "boolean"}}, "required": [name]}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _errors(schema: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema}}
    return {code: {"description": text, "content": content} for code, text in _ERRORS.items()}


def _few(names: list[str], count: int = 12) -> str:
    return ", ".join(names[:count]) + (f" … {len(names)} in all" if len(names) > count else "")


def _table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table with its title; nothing without rows."""
    if not rows:
        return ""

    def line(cells: tuple[str, ...], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    return f"<h2>{title}</h2><table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,"><title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }}
table {{ border-collapse: collapse }}
th, td {{ text-align: left; padding: .2rem 1rem .2rem 0; border-bottom: 1px solid #ddd }}
textarea, pre {{ width: 100%; box-sizing: border-box; font: 14px monospace; background: #f6f6f6; padding: .6rem }}
pre {{ overflow: auto; max-height: 24rem }} button {{ font: inherit; padding: .2rem 1rem }}
</style>
<h1>{title} <small>{version}</small></h1>
<p>{text}</p>
{tables}
<h2>Try it</h2>
<p><label for="body">POST /invocations, Content-Type: application/json</label></p>
<textarea id="body" rows="8">{example}</textarea>
<p><button id="send">Send</button> <span id="status">the answer that was recorded when the model was built:</span></p>
<pre id="answer">{answer}</pre>
{errors}
<p>For machines: <a href="openapi.json">openapi.json</a>, <a href="metrics">metrics</a>.</p>
<script>
document.getElementById("send").onclick = async () => {{
  const response = await fetch("invocations", {{method: "POST", headers: {{"Content-Type": "application/json"}},
    body: document.getElementById("body").value}});
  const answer = await response.json();
  document.getElementById("status").textContent = "status " + response.status + ", version " +
    decodeURIComponent(response.headers.get("X-Model-Version"));
  document.getElementById("answer").textContent = JSON.stringify(answer, null, 1);
}};
</script>
"""
