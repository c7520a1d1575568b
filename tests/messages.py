"""Values of any msgspec type, for property tests: whatever its schema allows."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st
from msgspec import inspect as kinds

from cloud_bridge.protocol.fleet.commands import Document
from edge_runtime.objective import METRICS, Objective
from edge_runtime.routing.policy import Policy

_Made = TypeVar("_Made")

texts = st.text(max_size=5)
numbers = st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(texts, json_values, max_size=4)

policies = st.builds(Policy, quantile=st.floats(0.5, 0.999), patience=st.floats(0.0, 100.0))
segments = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
objectives = st.builds(
    Objective, metric=st.sampled_from(METRICS), busy=st.booleans(), rate=st.none() | st.floats(0.1, 99.0)
)


@cache
def values(kind: type[_Made]) -> st.SearchStrategy[_Made]:
    """Any value of this type."""
    return of(kinds.type_info(kind))


@cache
def documents() -> st.SearchStrategy[Document]:
    """Documents of jobs that hold for a while, and are meant for somebody."""
    info = kinds.type_info(Document)
    assert isinstance(info, kinds.StructType)
    fields = {field.name: of(field.type) for field in info.fields}
    fields |= {"issued_at": st.floats(0.0, 1e9), "expires_at": st.floats(1.0, 86_400.0)}
    fields["things"] = st.lists(segments, min_size=1, max_size=3).map(tuple)
    return st.fixed_dictionaries(fields).map(_document)


def _document(fields: dict[str, Any]) -> Document:
    return Document(**{**fields, "expires_at": fields["issued_at"] + fields["expires_at"]})


def of(info: kinds.Type) -> st.SearchStrategy[Any]:
    """Any value of a type that was looked into."""
    match info:
        case kinds.Metadata():
            return of(info.type)
        case kinds.StructType(cls=cls) if cls in (Policy, Objective, Document):
            return documents() if cls is Document else {Policy: policies, Objective: objectives}[cls]
        case kinds.StructType():
            return _structs(info)
        case kinds.UnionType():
            return st.one_of(*map(of, info.types))
        case kinds.LiteralType():
            return st.sampled_from(info.values)
        case kinds.DictType():
            return st.dictionaries(of(info.key_type), of(info.value_type), max_size=min(info.max_length or 3, 3))
        case kinds.VarTupleType():
            return st.lists(of(info.item_type), min_size=info.min_length or 0, max_size=3).map(tuple)
        case _:
            return _scalar(info)


def _scalar(info: kinds.Type) -> st.SearchStrategy[Any]:
    match info:
        case kinds.StrType(pattern=str(pattern)):
            return st.from_regex(pattern).filter(lambda text: info.max_length is None or len(text) <= info.max_length)
        case kinds.StrType():
            return st.text(min_size=info.min_length or 0, max_size=min(info.max_length or 20, 20))
        case kinds.IntType():
            return st.integers(info.ge, info.le)
        case kinds.FloatType():
            low, strict = (info.ge, False) if info.gt is None else (info.gt, True)
            return st.floats(low, info.le, exclude_min=strict, allow_nan=False, allow_infinity=False)
        case kinds.BytesType():
            return st.binary(max_size=info.max_length or 40)
        case kinds.BoolType():
            return st.booleans()
        case kinds.NoneType():
            return st.none()
        case kinds.AnyType():
            return json_values
        case kinds.RawType():
            return json_objects.map(msgspec.json.encode).map(msgspec.Raw)
    raise NotImplementedError(info)


def _structs(info: kinds.StructType) -> st.SearchStrategy[Any]:
    needed = {field.name: of(field.type) for field in info.fields if field.required}
    others = {field.name: of(field.type) for field in info.fields if not field.required}
    return st.fixed_dictionaries(needed, optional=others).map(lambda fields: info.cls(**fields))
