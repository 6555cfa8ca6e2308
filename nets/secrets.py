"""Fields whose values are nobody's business: marked in the token's type, hidden wherever people read.

A field is marked at the model, ``card: Annotated[str, Secret]`` or ``name: Annotated[str, Personal]``; the
mark travels in the net's types, so that whoever shows values knows which to hide. It changes nothing that a
net does, and a net without marks is the same net, with the same hash, as before there were any. What is
secret is stored as it is; what is personal is encrypted, by the engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

from provenet.nets.erased import Erased
from provenet.nets.schema import HIDDEN, Field, ListType, OptionalType, RecordType, Type, Value, to_json

Shown: TypeAlias = Callable[[Field, Any], Any]
"""What stands in the place of a marked field's data."""


@lru_cache(maxsize=4096)
def keeps_secrets(of: Type) -> bool:
    """Whether any part of a type is marked."""
    match of:
        case OptionalType(item) | ListType(item):
            return keeps_secrets(item)
        case RecordType(_, fields):
            return any(f.mark or keeps_secrets(f.type) for f in fields)
        case _:
            return False


@lru_cache(maxsize=4096)
def is_personal(of: Type) -> bool:
    """Whether any part of a type is data of a person."""
    match of:
        case OptionalType(item) | ListType(item):
            return is_personal(item)
        case RecordType(_, fields):
            return any(f.mark == "personal" or is_personal(f.type) for f in fields)
        case _:
            return False


def hide(data: Any, of: Type, shown: Shown = lambda _, __: HIDDEN) -> Any:
    """JSON data of a type, with ``***`` in place of what is marked; data of another shape is hidden whole.

    Args:
        data: The data.
        of: Its type.
        shown: What stands in the place of a marked field, where it is not ``***``.
    """
    if not keeps_secrets(of):
        return data
    match of:
        case OptionalType(item):
            return None if data is None else hide(data, item, shown)
        case ListType(item) if isinstance(data, list):
            return [hide(d, item, shown) for d in data]
        case RecordType(_, fields) if isinstance(data, dict):
            known = {f.name: f for f in fields}
            return {
                name: HIDDEN
                if name not in known
                else shown(known[name], d)
                if known[name].mark
                else hide(d, known[name].type, shown)
                for name, d in data.items()
            }
        case _:
            return HIDDEN


def secrets_in(value: Value, of: Type) -> Iterator[str]:
    """The texts of a value's secret parts."""
    if not keeps_secrets(of):
        return
    match of:
        case OptionalType(item):
            if value is not None:
                yield from secrets_in(value, item)
        case ListType(item):
            for each in value:
                yield from secrets_in(each, item)
        case RecordType(_, fields):
            for f, part in zip(fields, value, strict=True):
                if type(part) is Erased:
                    continue
                if f.mark:
                    yield from _texts(to_json(part, f.type))
                    if f.mark == "personal" and part is not None:
                        yield str(part)  # a date, say, which people write in another form
                else:
                    yield from secrets_in(part, f.type)


def without(text: str, secrets: Iterable[str]) -> str:
    """A text in which each secret is ``***``; one of fewer than four characters is too common to be found."""
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) >= _SHORTEST:
            for form in (secret, repr(secret)[1:-1]):
                text = re.sub(re.escape(form), HIDDEN, text, flags=re.IGNORECASE)
    return text


_SHORTEST = 4


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, dict):
        for each in data.values():
            yield from _texts(each)
    elif isinstance(data, list):
        for each in data:
            yield from _texts(each)
    elif data is not None and not isinstance(data, bool):
        yield str(data)
