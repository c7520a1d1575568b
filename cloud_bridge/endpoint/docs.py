"""The OpenAPI document as a page to read: no script, nothing from elsewhere."""

from __future__ import annotations

from html import escape
from typing import Any

from cloud_bridge.endpoint.openapi import document

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The page's Content-Security-Policy."""

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem; }
body { color: #1d2733; background: #fff; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
details { border: 1px solid #d5dce4; border-radius: 6px; margin: .4rem 0; }
summary { padding: .5rem .8rem; cursor: pointer; }
details > div { padding: 0 .8rem .8rem; border-top: 1px solid #d5dce4; }
b { display: inline-block; width: 3.2rem; font: 600 .75rem ui-monospace, monospace; }
.get { color: #0b6bcb; } .post { color: #0a7d4b; }
code, pre { font: .85rem ui-monospace, monospace; }
pre { background: #f2f5f8; padding: .7rem; border-radius: 6px; overflow-x: auto; }
td { padding: .1rem 1rem .1rem 0; vertical-align: top; } summary span { color: #556575; float: right; }
@media (max-width: 46rem) { summary span { float: none; display: block; } }
@media (prefers-color-scheme: dark) {
  body { background: #12181f; color: #dfe6ee; } details, details > div { border-color: #33404d; }
  pre { background: #1c252f; }
  .get { color: #6db3f8; } .post { color: #58cf98; } summary span { color: #95a5b5; }
}
"""

_TRY = """curl -s {url}/v2/models/NAME
curl -s {url}/v2/models/NAME/infer -H 'budget-ms: 200' \\
  -d '{{"inputs": [{{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}}]}}'"""


def page(url: str) -> str:
    """The page, as an endpoint at this URL shows it."""
    told = document()
    operations = "\n".join(
        _operation(method, path, operation)
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
    )
    schemas = "\n".join(
        f'<details id="{name}"><summary><code>{name}</code></summary><div>{_fields(schema)}</div></details>'
        for name, schema in told["components"]["schemas"].items()
        if schema
    )
    title, version = told["info"]["title"], told["info"]["version"]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style><h1>{title} {version}</h1>"
        "<p>The Open Inference Protocol v2, with TensorFlow Serving's form beside it. "
        'The same as a document: <a href="openapi.json">openapi.json</a>.</p>'
        f"<pre>{escape(_TRY.format(url=url))}</pre><h2>Operations</h2>{operations}<h2>Bodies</h2>{schemas}</html>"
    )


def _operation(method: str, path: str, told: dict[str, Any]) -> str:
    gives: dict[str, list[str]] = {}
    for status, answer in sorted(told["responses"].items()):
        gives.setdefault(_content(answer["content"]), []).append(status)
    rows = [("takes", _content(told["requestBody"]["content"]))] if "requestBody" in told else []
    rows += [(", ".join(statuses), content) for content, statuses in gives.items()]
    table = "".join(f"<tr><td>{name}<td>{content}" for name, content in rows)
    head = f'<b class="{method}">{method.upper()}</b> <code>{escape(path)}</code><span>{escape(told["summary"])}</span>'
    return f"<details><summary>{head}</summary><div><table>{table}</table></div></details>"


def _content(content: dict[str, Any]) -> str:
    return " or ".join(f"{escape(kind)} {_named(body['schema'])}" for kind, body in content.items())


def _fields(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        f"<tr><td><code>{escape(name)}</code><td>{_named(field)}<td>{'required' if name in required else ''}"
        f"<td>{escape(field.get('description', ''))}"
        for name, field in schema.get("properties", {}).items()
    ]
    return f"<table>{''.join(rows)}</table>"


def _named(schema: dict[str, Any]) -> str:
    """A schema in a word or two."""
    if (name := schema.get("$ref", "").rpartition("/")[2]) and name != "Any":
        return f'<a href="#{name}">{name}</a>'
    if schema.get("type") == "array":
        return f"list of {_named(schema['items'])}"
    return str(schema.get("type", "anything"))
