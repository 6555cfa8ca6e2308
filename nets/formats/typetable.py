"""Token types as JSON, and the table of record types that a net file carries.

A type is a word (``"int"``), or an object with one key that says its kind::

    "unit"  "bool"  "int"  "decimal"  "float"  "str"  "datetime"  "duration"
    {"int": {"min": 0, "max": 100}}             {"decimal": {"min": "0", "max": "99.95", "places": 2}}
    {"str": {"max_length": 80}}                 {"enum": {"name": "Tier", "values": ["gold", "silver"]}}
    {"optional": TYPE}                          {"list": {"of": TYPE, "max_length": 5}}
    {"record": "Offer"}

Records stand once, in the table, and are referred to by their key. The key is the record's name; where
several records of a net share a name, the first that the net's file mentions has it, and the others get
``Name_2``, ``Name_3``, ... (an unnamed one ``record``). Then the table says the true ``name``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from provenet.nets import schema
from provenet.nets.errors import did_you_mean
from provenet.nets.expr.ast import Build, Const, Expr, children, with_children
from provenet.nets.formats.limits import Mistakes
from provenet.nets.schema import Field, RecordType, Type, Value, shorten

MAX_TYPE_DEPTH = 40
MAX_TYPE_SIZE = 5_000
"""Most parts of a type once the records in it are written out: records of records grow fast."""

_WORDS: dict[str, Type] = {
    "unit": schema.UNIT,
    "bool": schema.BOOL,
    "int": schema.INT,
    "decimal": schema.DecimalType(),
    "float": schema.FloatType(),
    "str": schema.STR,
    "datetime": schema.DATETIME,
    "duration": schema.DURATION,
}
_NAMES = {of: word for word, of in _WORDS.items()}
KINDS = ("int", "decimal", "float", "str", "enum", "optional", "list", "record")


class TypeWriter:
    """Writes types as JSON and gathers the records that they mention."""

    def __init__(self) -> None:
        self.table: dict[str, Any] = {}
        self._keys: dict[RecordType, str] = {}
        self._renamed: dict[RecordType, RecordType] = {}

    @property
    def printed(self) -> dict[str, RecordType]:
        """The records of rewritten expressions, by key."""
        return {of.name: of for of in self._renamed.values()}

    def write(self, of: Type) -> Any:
        """A type as JSON."""
        if of in _NAMES:
            return _NAMES[of]
        match of:
            case schema.IntType(lo, hi):
                return {"int": _given(min=lo, max=hi)}
            case schema.DecimalType(lo, hi, places):
                low, high = (None if b is None else decimal_text(b) for b in (lo, hi))
                return {"decimal": _given(min=low, max=high, places=places)}
            case schema.FloatType(lo, hi):
                low_f, high_f = (None if b is None else float(b) + 0.0 for b in (lo, hi))
                return {"float": _given(min=low_f, max=high_f)}
            case schema.StrType(max_length):
                return {"str": _given(max_length=max_length)}
            case schema.EnumType(name, values):
                return {"enum": {"name": name, "values": list(values)}}
            case schema.OptionalType(item):
                return {"optional": self.write(item)}
            case schema.ListType(item, max_length):
                return {"list": {"of": self.write(item), **_given(max_length=max_length)}}
            case RecordType():
                return {"record": self.key(of)}
        raise AssertionError(of)

    def key(self, of: RecordType) -> str:
        """The key of a record in the table; it is entered at its first mention."""
        if of in self._keys:
            return self._keys[of]
        base = of.name or "record"
        key, n = base, 1
        while key in self.table:
            n += 1
            key = f"{base}_{n}"
        self._keys[of] = key
        # Claim the key before the fields claim theirs.
        self.table[key] = {}
        if key != of.name:
            self.table[key]["name"] = of.name
        self.table[key]["fields"] = [
            {"name": f.name, "type": self.write(f.type), **({f.mark: True} if f.mark else {})}
            for f in of.fields
        ]
        return key

    def rewrite(self, expr: Expr) -> Expr:
        """The expression as it is printed: records under their keys, numbers in canonical form."""
        match expr:
            case Const(value, of):
                return Const(canonical(value, of), self._rename(of))
            case Build(of, parts):
                renamed = self._rename(of)
                assert isinstance(renamed, RecordType)
                return Build(renamed, tuple(self.rewrite(p) for p in parts))
            case _:
                parts = children(expr)
                return with_children(expr, tuple(self.rewrite(p) for p in parts)) if parts else expr

    def _rename(self, of: Type) -> Type:
        match of:
            case schema.OptionalType(item):
                return schema.OptionalType(self._rename(item))
            case schema.ListType(item, max_length):
                return schema.ListType(self._rename(item), max_length)
            case RecordType(_, fields):
                if of not in self._renamed:
                    key = self.key(of)
                    self._renamed[of] = RecordType(
                        key, tuple(Field(f.name, self._rename(f.type), f.mark) for f in fields)
                    )
                return self._renamed[of]
            case _:
                return of


class TypeReader:
    """Reads types from JSON, resolving records in the table of a file.

    Args:
        table: The file's ``types``, not yet checked.
        wrong: Collects mistakes.
    """

    def __init__(self, table: Any, wrong: Mistakes) -> None:
        self._wrong = wrong
        self._table: Mapping[str, Any] = {}
        self._done: dict[str, RecordType | None] = {}
        # Depth and size of a type once records are written out.
        self._measure: dict[str, tuple[int, int]] = {}
        self._open: set[str] = set()
        if isinstance(table, dict):
            self._table = table
        else:
            wrong.add("$.types", f"expected an object, got {shorten(table)}")
        for key in self._table:
            self._record(key)

    @property
    def records(self) -> dict[str, RecordType]:
        """The records of the table, by key."""
        return {key: of for key, of in self._done.items() if of is not None}

    def read(self, data: Any, path: str) -> Type | None:
        """A type from JSON, or ``None`` where it has a mistake, which is collected."""
        found = self._read(data, path)
        return None if found is None else found[0]

    def _read(self, data: Any, path: str) -> _Measured | None:
        if isinstance(data, str):
            if data in _WORDS:
                return _WORDS[data], 1, 1
            hint = (
                did_you_mean(data[:40], _WORDS)
                if data not in self._table
                else f'write {{"record": "{data[:40]}"}}'
            )
            return self._no(path, f"no type is called {shorten(data)}", hint)
        if not isinstance(data, dict) or len(data) != 1:
            return self._no(
                path, f"expected a type, got {shorten(data)}", 'such as "int", {"record": "Offer"}'
            )
        kind, part = next(iter(data.items()))
        match kind:
            case "record":
                if not isinstance(part, str) or part not in self._table:
                    return self._no(
                        path,
                        f"no record {shorten(part)} in types",
                        did_you_mean(str(part)[:40], self._table)
                        if self._wrong.wants_more and len(self._table) < 1_000
                        else "",
                    )
                found = self._record(part)
                return None if found is None else (found, *self._measure[part])
            case "optional":
                return self._wrapped(part, f"{path}.optional", schema.OptionalType)
            case "list":
                if not self._keys(part, f"{path}.list", {"of"}, {"max_length"}):
                    return None
                limit, ok = self._number(part, "max_length", f"{path}.list", 0)
                made = self._wrapped(part["of"], f"{path}.list.of", lambda item: schema.ListType(item, limit))
                return made if ok else None
            case "enum":
                return self._enum(part, f"{path}.enum")
            case "str":
                if not self._keys(part, f"{path}.str", set(), {"max_length"}):
                    return None
                limit, ok = self._number(part, "max_length", f"{path}.str", 0)
                return (schema.StrType(limit), 1, 1) if ok else None
            case "int" | "decimal" | "float":
                return self._bounded(kind, part, f"{path}.{kind}")
        return self._no(path, f"no kind of type is called {shorten(kind)}", did_you_mean(kind[:40], KINDS))

    def _wrapped(self, data: Any, path: str, wrap: Callable[[Type], Type]) -> _Measured | None:
        inner = self._read(data, path)
        if inner is None:
            return None
        if inner[1] >= MAX_TYPE_DEPTH:
            return self._no(path, f"the type nests deeper than {MAX_TYPE_DEPTH} levels")
        return wrap(inner[0]), inner[1] + 1, inner[2] + 1

    def _record(self, key: str) -> RecordType | None:
        if key in self._done:
            return self._done[key]
        path = f"$.types.{key[:60]}"
        if key in self._open:
            self._no(path, "the record contains itself", "a token has a fixed depth; use a list of ids")
            return None
        if len(self._open) >= MAX_TYPE_DEPTH:
            self._no(path, f"the type nests deeper than {MAX_TYPE_DEPTH} levels")
            return None
        self._open.add(key)
        self._done[key] = made = self._fields(key, self._table[key], path)
        self._open.discard(key)
        return made

    def _fields(self, key: str, data: Any, path: str) -> RecordType | None:
        if not self._keys(data, path, {"fields"}, {"name"}):
            return None
        name = data.get("name", key)
        if not isinstance(name, str) or not isinstance(data["fields"], list):
            self._no(path, "expected a text in name and an array in fields")
            return None
        fields: list[Field] = []
        depth = size = 1
        for i, part in enumerate(data["fields"]):
            here = f"{path}.fields[{i}]"
            if not self._keys(part, here, {"name", "type"}, {"secret", "personal"}):
                continue
            found = self._read(part["type"], f"{here}.type")
            if (
                not isinstance(part["name"], str)
                or not part["name"]
                or part["name"] in {f.name for f in fields}
            ):
                self._no(f"{here}.name", "field names are texts, and no two alike")
            elif any(part.get(mark, True) is not True for mark in ("secret", "personal")):
                wrong = "secret" if part.get("secret", True) is not True else "personal"
                self._no(
                    f"{here}.{wrong}", f"a field is {wrong}, or says nothing of it", "write true, or leave it"
                )
            elif "secret" in part and "personal" in part:
                self._no(f"{here}.secret", "what is personal is hidden as a secret is", "leave secret out")
            elif found is not None:
                mark: schema.Mark = "secret" if "secret" in part else "personal" if "personal" in part else ""
                fields.append(Field(part["name"], found[0], mark))
                depth, size = max(depth, found[1] + 1), size + found[2]
        if len(fields) < len(data["fields"]):
            return None
        if depth > MAX_TYPE_DEPTH or size > MAX_TYPE_SIZE:
            self._no(
                path,
                f"the record has {size} parts in {depth} levels once written out",
                f"at most {MAX_TYPE_SIZE} in {MAX_TYPE_DEPTH}",
            )
            return None
        self._measure[key] = depth, size
        return RecordType(name, tuple(fields))

    def _enum(self, part: Any, path: str) -> _Measured | None:
        if not self._keys(part, path, {"name", "values"}, set()):
            return None
        name, values = part["name"], part["values"]
        if (
            not isinstance(name, str)
            or not isinstance(values, list)
            or not values
            or len(values) > MAX_TYPE_SIZE
        ):
            return self._no(path, f"expected a name and an array of 1 to {MAX_TYPE_SIZE} values")
        if not all(isinstance(v, str | int) and not isinstance(v, bool) for v in values):
            return self._no(path, "values are texts or whole numbers")
        if len(set(values)) < len(values):
            return self._no(path, "a value is given twice")
        return schema.EnumType(name, tuple(values)), 1, len(values)

    def _bounded(self, kind: str, part: Any, path: str) -> _Measured | None:
        more = {"places"} if kind == "decimal" else set()
        if not self._keys(part, path, set(), {"min", "max"} | more):
            return None
        bounds: list[Any] = []
        for name in ("min", "max"):
            value = part.get(name)
            if name in part:
                value = None if value is None else _bound(kind, value)
                if value is None:
                    wanted = (
                        "a decimal in quotes"
                        if kind == "decimal"
                        else "a number"
                        if kind == "float"
                        else "a whole number"
                    )
                    return self._no(f"{path}.{name}", f"expected {wanted}, got {shorten(part[name])}")
            bounds.append(value)
        lo, hi = bounds
        if lo is not None and hi is not None and lo > hi:
            return self._no(path, f"min {lo} is above max {hi}")
        places, ok = self._number(part, "places", path, 0)
        if not ok:
            return None
        made: Type
        if kind == "decimal":
            made = schema.DecimalType(lo, hi, places)
        else:
            made = schema.IntType(lo, hi) if kind == "int" else schema.FloatType(lo, hi)
        return made, 1, 1

    def _number(self, part: dict[str, Any], key: str, path: str, least: int) -> tuple[int | None, bool]:
        value = part.get(key)
        if key not in part or (
            isinstance(value, int) and not isinstance(value, bool) and least <= value <= 10**9
        ):
            return value, True
        self._no(f"{path}.{key}", f"expected a whole number from {least}, got {shorten(value)}")
        return None, False

    def _keys(self, part: Any, path: str, required: set[str], optional: set[str]) -> bool:
        return has_keys(part, path, required, optional, self._wrong)

    def _no(self, path: str, message: str, hint: str = "") -> _Measured | None:
        self._wrong.add(path, message, hint)
        return None


_Measured = tuple[Type, int, int]


def has_keys(part: Any, path: str, required: set[str], optional: set[str], wrong: Mistakes) -> bool:
    """Whether JSON data is an object with these keys; a mistake is collected where it is not."""
    if not isinstance(part, dict):
        wrong.add(path, f"expected an object, got {shorten(part)}")
        return False
    unknown = [key for key in part if key not in required and key not in optional]
    missing = sorted(required - part.keys())
    for key in unknown[:3]:
        wrong.add(path, f"unknown key {shorten(key)}", did_you_mean(key[:40], required | optional))
    for key in missing:
        wrong.add(path, f"no {key!r}", f"add it; the keys are {', '.join(sorted(required | optional))}")
    return not unknown and not missing


def canonical(value: Value, of: Type) -> Value:
    """A value in the form that equal values share: decimals without spare zeros, no negative zero."""
    match of:
        case schema.OptionalType(item):
            return None if value is None else canonical(value, item)
        case schema.ListType(item):
            return tuple(canonical(v, item) for v in value)
        case RecordType(_, fields):
            return tuple(canonical(v, f.type) for v, f in zip(value, fields, strict=True))
        case schema.DecimalType():
            return Decimal(decimal_text(value))
        case schema.FloatType():
            return float(value) + 0.0
        case _:
            return value


def decimal_text(value: Decimal) -> str:
    """The one text of a decimal number: ``1.50`` and ``1.5`` are the same, so are ``1E+2`` and ``100``."""
    sign, digits, exponent = value.as_tuple()
    if not value or not isinstance(exponent, int):
        return "0"
    kept = list(digits)
    while len(kept) > 1 and kept[-1] == 0:
        kept.pop()
        exponent += 1
    # Zeros before the point are written out as far as the schema's limits on digits and exponents let them.
    least = 0 if len(kept) + exponent <= 60 else 60
    while exponent > least:
        kept.append(0)
        exponent -= 1
    return str(Decimal((sign, tuple(kept), exponent)))


def _bound(kind: str, value: Any) -> Any:
    if kind == "decimal":
        try:
            found = Decimal(value) if isinstance(value, str) and len(value) <= 200 else None
        except InvalidOperation:
            return None
        return found if found is not None and found.is_finite() and abs(found.adjusted()) <= 120 else None
    if isinstance(value, bool):
        return None
    if kind == "int":
        return value if isinstance(value, int) else None
    if not isinstance(value, int | float) or (isinstance(value, int) and abs(value) > 2**1000):
        return None
    return float(value) if math.isfinite(value) else None


def _given(**parts: Any) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if value is not None}
