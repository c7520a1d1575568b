"""The endpoint's OpenAPI document."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.openapi.__main__ import led
from cloud_bridge.endpoint.http import app
from cloud_bridge.endpoint.openapi import document
from cloud_bridge.endpoint.service import Service
from edge_runtime.bundles.store import Store


def test_every_route_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    """With its methods."""
    service = Service(Store(tmp_path / "store", create=True))
    routes: set[tuple[str, str]] = set()
    for route in app(service).routes:
        methods: set[str] = route.methods  # type: ignore[attr-defined]
        routes |= {(method.lower(), route.path) for method in methods - {"HEAD"}}  # type: ignore[attr-defined]
    service.close()
    assert routes == {(method, path) for path, methods in document()["paths"].items() for method in methods}


def test_every_reference_leads_somewhere_and_every_name_in_a_path_is_described() -> None:
    """And it is JSON."""
    told = document()
    text = json.dumps(told)
    for name in re.findall(r"#/components/schemas/(\w+)", text):
        assert name in told["components"]["schemas"]
    for path, methods in told["paths"].items():
        for operation in methods.values():
            described: list[dict[str, Any]] = operation["parameters"]
            assert {each["name"] for each in described} == set(re.findall(r"{(\w+)}", path))


def test_the_document_that_leads_to_a_model_differs_in_nothing_else() -> None:
    """What schemathesis reads (benchmarks.openapi): the model's name in each path but the one that unloads it."""
    told, bare = led(document()), document()
    assert told["paths"].keys() == bare["paths"].keys()
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            assert operation["responses"] == bare["paths"][path][method]["responses"]
            names = [each["name"] for each in operation["parameters"] if "tiny" in json.dumps(each)]
            assert names == (["model"] if "{model}" in path and not path.endswith("/unload") else [])
