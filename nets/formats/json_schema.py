"""The JSON Schema (draft 2020-12) of net files, derived from the parts of a net.

``net.schema.json`` beside this module is what it returns, and ships with the package. After a change of the
format, write it anew with ``python -m provenet.nets.formats.json_schema > nets/formats/net.schema.json``.
"""

from __future__ import annotations

import sys
from typing import Any

from provenet.nets.formats.canonical import FORMAT, MAX_NODES, MAX_NUMBER
from provenet.nets.formats.json_text import pretty_text
from provenet.nets.formats.limits import MAX_TOKENS, MAX_WEIGHT
from provenet.nets.formats.shapes import TRIGGERS, Shape, parts_of
from provenet.nets.net import Net


def json_schema() -> dict[str, Any]:
    """The schema, as JSON data."""
    made = _Schema()
    body = made.object(Net)
    properties = {
        "$schema": {"type": "string"},
        "format": {"const": FORMAT, "description": "Name and version of this format."},
        "name": body["properties"].pop("name"),
        "types": {
            "type": "object",
            "description": "Record types, by key; a record is named like its key unless it says its name.",
            "additionalProperties": {"$ref": "#/$defs/record"},
        },
        **body["properties"],
    }
    for key in ("places", "transitions"):
        properties[key] = {**properties[key], "maxItems": MAX_NODES}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:provenet:{FORMAT}",
        "title": "Provenet net",
        "description": "A coloured Petri net with contracts. Keys that are left out have their default.",
        "type": "object",
        "required": ["format", "name"],
        "additionalProperties": False,
        "properties": properties,
        "$defs": {**_TYPES, **made.definitions},
    }


class _Schema:
    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}

    def object(self, cls: type) -> dict[str, Any]:
        parts = parts_of(cls)
        doc = (cls.__doc__ or "").strip().split("\n")[0]
        return {
            "type": "object",
            "description": doc,
            "required": [p.name for p in parts if p.required],
            "additionalProperties": False,
            "properties": {p.name: self.shape(p.shape, p.name) for p in parts},
        }

    def shape(self, shape: Shape, name: str = "") -> dict[str, Any]:
        found = self._shape(shape, name)
        return {"anyOf": [found, {"type": "null"}]} if shape.null else found

    def _shape(self, shape: Shape, name: str) -> dict[str, Any]:
        match shape.kind:
            case "text":
                return {"type": "string"}
            case "int":
                if name == "weight":
                    return {"type": "integer", "minimum": 1, "maximum": MAX_WEIGHT}
                return {"type": "integer", "minimum": -MAX_NUMBER, "maximum": MAX_NUMBER}
            case "flag":
                return {"type": "boolean"}
            case "span":
                return {"type": "integer", "description": "Microseconds."}
            case "word":
                return {"enum": list(shape.words)}
            case "type":
                return {"$ref": "#/$defs/type"}
            case "expr":
                return {"type": "string", "description": "An expression.", "maxLength": 10_000}
            case "trigger":
                return {"$ref": self._define("trigger", self._trigger)}
            case "object":
                cls = shape.of
                assert cls is not None
                return {"$ref": self._define(cls.__name__, lambda: self.object(cls))}
            case "array":
                return {"type": "array", "items": self.shape(shape.parts[0])}
            case "pair":
                members = [self.shape(s) for s in shape.parts]
                return {
                    "type": "array",
                    "prefixItems": members,
                    "minItems": len(members),
                    "maxItems": len(members),
                }
            case "tokens":
                return {
                    "description": "How many black tokens, or the values of typed ones.",
                    "anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_TOKENS}, {"type": "array"}],
                }
            case "args":
                return {"type": "array", "items": {"$ref": self._define("argument", lambda: _ARGUMENT)}}
        raise AssertionError(shape)

    def _define(self, name: str, make: Any) -> str:
        if name not in self.definitions:
            self.definitions[name] = {}
            self.definitions[name] = make()
        return f"#/$defs/{name}"

    def _trigger(self) -> dict[str, Any]:
        options = []
        for kind, cls in TRIGGERS.items():
            one = self.object(cls)
            one["properties"] = {"kind": {"const": kind}, **one["properties"]}
            one["required"] = ["kind", *one["required"]]
            options.append(one)
        return {"description": "What makes the engine fire a transition.", "oneOf": options}


def _closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": properties,
    }


def _kind(name: str, inner: dict[str, Any]) -> dict[str, Any]:
    return _closed({name: inner}, name)


_COUNT = {"type": "integer", "minimum": 0, "maximum": 10**9}
_TYPE = {"$ref": "#/$defs/type"}
_TYPES: dict[str, Any] = {
    "record": _closed(
        {
            "name": {"type": "string"},
            "fields": {
                "type": "array",
                "items": _closed(
                    {
                        "name": {"type": "string", "minLength": 1},
                        "type": _TYPE,
                        "secret": {"const": True},
                        "personal": {"const": True},
                    },
                    "name",
                    "type",
                ),
            },
        },
        "fields",
    ),
    "type": {
        "description": "The type of a token or of a part of one.",
        "oneOf": [
            {"enum": ["unit", "bool", "int", "decimal", "float", "str", "datetime", "duration"]},
            _kind("int", _closed({"min": {"type": "integer"}, "max": {"type": "integer"}})),
            _kind(
                "decimal", _closed({"min": {"type": "string"}, "max": {"type": "string"}, "places": _COUNT})
            ),
            _kind("float", _closed({"min": {"type": "number"}, "max": {"type": "number"}})),
            _kind("str", _closed({"max_length": _COUNT})),
            _kind(
                "enum",
                _closed(
                    {
                        "name": {"type": "string"},
                        "values": {
                            "type": "array",
                            "minItems": 1,
                            "uniqueItems": True,
                            "items": {"type": ["string", "integer"]},
                        },
                    },
                    "name",
                    "values",
                ),
            ),
            _kind("optional", _TYPE),
            _kind("list", _closed({"of": _TYPE, "max_length": _COUNT}, "of")),
            _kind("record", {"type": "string", "description": "A key of types."}),
        ],
    },
}
_ARGUMENT: dict[str, Any] = {
    "oneOf": [
        _closed({"name": {"type": "string"}, "text": {"type": "string"}}, "name", "text"),
        _closed({"name": {"type": "string"}, "int": {"type": "integer"}}, "name", "int"),
        _closed(
            {"name": {"type": "string"}, "texts": {"type": "array", "items": {"type": "string"}}},
            "name",
            "texts",
        ),
        _closed(
            {
                "name": {"type": "string"},
                "expr": {"type": "string", "maxLength": 10_000},
                "literals": {
                    "description": "Types of literals, by number, where the text does not tell.",
                    "type": "array",
                    "items": {
                        "type": "array",
                        "prefixItems": [{"type": "integer"}, _TYPE],
                        "minItems": 2,
                        "maxItems": 2,
                    },
                },
            },
            "name",
            "expr",
        ),
    ]
}


if __name__ == "__main__":
    sys.stdout.write(pretty_text(json_schema()))
