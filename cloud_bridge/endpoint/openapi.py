"""What the endpoint's HTTP face takes and gives, as an OpenAPI document."""

from __future__ import annotations

from typing import Any

from cloud_bridge.endpoint.service import VERSION

_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}

_TEXTS: dict[str | None, str] = {None: "text/plain", "html": "text/html"}
"""Answers that are no JSON."""

_TENSOR = {
    "type": "object",
    "required": ["name", "shape", "datatype"],
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string", "example": "FP32"},
        "parameters": {"type": "object"},
        "data": {"type": "array", "items": {}, "description": "row-major, flat or nested; absent where raw bytes follow"},
    },
}

SCHEMAS: dict[str, Any] = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "Tensor": _TENSOR,
    "InferRequest": {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": {
                "type": "object",
                "properties": {
                    "timeout": {"type": "integer", "minimum": 0, "description": "the budget in microseconds; 0: none"},
                    "priority": {"type": "integer", "minimum": 0, "description": "1 goes first; 0, the default, last"},
                    "binary_data_output": {"type": "boolean"},
                },
            },
            "inputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
            "outputs": {"type": "array", "items": {"type": "object", "required": ["name"]}},
        },
    },
    "InferResponse": {
        "type": "object",
        "required": ["model_name", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "parameters": {"type": "object"},
            "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
        },
    },
    "PredictRequest": {
        "type": "object",
        "properties": {
            "signature_name": {"type": "string", "enum": ["serving_default"]},
            "instances": {"type": "array", "items": {}, "description": "rows; or else"},
            "inputs": {"description": "columns: an object of tensors by name, or the only tensor"},
        },
    },
    "PredictResponse": {"type": "object", "properties": {"predictions": {"type": "array", "items": {}}, "outputs": {}}},
    "Any": {},
}

PATHS: dict[tuple[str, str], tuple[str, str | None, str | None, tuple[int, ...]]] = {
    ("get", "/v2"): ("what the server is, and its extensions", None, "Any", ()),
    ("get", "/v2/health/live"): ("whether it is there", None, "Any", ()),
    ("get", "/v2/health/ready"): ("whether it takes calls", None, "Any", (503,)),
    ("post", "/v2/health/probe"): ("takes bytes and gives nothing", "binary", "InferResponse", (408, 413, 503)),
    ("get", "/v2/models/stats"): ("what all models have done", None, "Any", ()),
    ("post", "/v2/repository/index"): ("every version of every model", "Any", "Any", (400, 413)),
    ("post", "/v2/repository/models/{model}/load"): (
        "open a model anew; it takes its own place once it is proved", "Any", "Any", (400, 403, 404, 413, 500),
    ),
    ("post", "/v2/repository/models/{model}/unload"): (
        "let go of a model until it is loaded", "Any", "Any", (400, 403, 404, 413),
    ),
    ("get", "/v2/models/{model}"): ("what a model takes and gives", None, "Any", (404,)),
    ("get", "/v2/models/{model}/ready"): ("whether a model runs", None, "Any", (404, 500)),
    ("get", "/v2/models/{model}/stats"): ("what a model has done", None, "Any", (404,)),
    ("post", "/v2/models/{model}/infer"): (
        "run it", "InferRequest", "InferResponse", (400, 404, 408, 413, 500, 503, 504),
    ),
    ("get", "/v1/models/{model}"): ("TensorFlow Serving: whether a model can be asked", None, "Any", (404,)),
    ("post", "/v1/models/{model}:predict"): (
        "TensorFlow Serving: run it", "PredictRequest", "PredictResponse", (400, 404, 408, 413, 500, 503, 504),
    ),
    ("get", "/metrics"): ("for Prometheus", None, None, ()),
    ("get", "/openapi.json"): ("this document", None, "Any", ()),
    ("get", "/docs"): ("this document as a page", None, "html", ()),
}  # fmt: skip
"""Method and path -> what it does, its body, its answer, the statuses of its errors. Those of a model are there for
/versions/{version}, too, but for orders to the repository."""


def document() -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for (method, path), (summary, body, answer, errors) in PATHS.items():
        versioned = "{model}" in path and "repository" not in path
        for each in (path, path.replace("{model}", "{model}/versions/{version}")) if versioned else (path,):
            paths.setdefault(each, {})[method] = _operation(each, summary, body, answer, errors)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Edge Runtime endpoint", "version": VERSION, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {"schemas": SCHEMAS, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"key": []}],
    }


def _operation(path: str, summary: str, body: str | None, answer: str | None, errors: tuple[int, ...]) -> dict[str, Any]:
    names = [name for name in ("model", "version") if f"{{{name}}}" in path]
    parameters = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    given = {_TEXTS[answer]: {"schema": {"type": "string"}}} if answer in _TEXTS else _json(answer)
    responses: dict[str, Any] = {"200": {"description": "done", "content": given}}
    responses |= {str(status): {"description": "an error", "content": _ERROR} for status in (*errors, 401)}
    operation = {"summary": summary, "parameters": parameters, "responses": responses}
    if body == "binary":
        operation["requestBody"] = {"content": _BINARY}
    elif body is not None:
        binary = _BINARY if body == "InferRequest" else {}
        operation["requestBody"] = {"content": {**_json(body), **binary}}
    return operation


def _json(schema: str | None) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
