"""The endpoint's page of documentation."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from cloud_bridge.endpoint.docs import page
from cloud_bridge.endpoint.openapi import document


class Reader(HTMLParser):
    """Gathers what a page shows, and what it would load."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""
        self.tags: set[str] = set()
        self.ids: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids |= {value or "" for name, value in attrs if name == "id"}
        self.links |= {value or "" for name, value in attrs if name in {"href", "src"}}

    def handle_data(self, data: str) -> None:
        self.text += data


def read(url: str) -> Reader:
    reader = Reader()
    reader.feed(page(url))
    return reader


def test_it_shows_every_operation_and_loads_nothing() -> None:
    """Each path with its summary; every link leads to a place on it, or to the document itself."""
    told = read("http://here:8000")
    for path, methods in document()["paths"].items():
        assert path in told.text
        assert all(operation["summary"] in told.text for operation in methods.values())
    assert told.tags.isdisjoint({"script", "img", "link", "iframe"})
    assert told.links - {"openapi.json"} <= {f"#{name}" for name in told.ids}
    assert "http://here:8000/v2/models/NAME/infer" in told.text


def test_a_strange_host_cannot_write_into_it() -> None:
    """The URL comes from the request's Host header."""
    assert not re.search("<script", page('http://x"><script>alert(1)</script>'))
