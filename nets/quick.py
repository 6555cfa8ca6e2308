"""``dataclass`` for frozen, slotted classes, made in a third of the standard library's time.

The standard decorator writes, compiles and runs the text of seven functions for every class: 0.8 ms a class,
a tenth of a second for the classes that one ``provenet verify`` loads. Here only ``__init__`` is written as
text, since only it must name each field; the other functions are closures over the fields. What they do is
what the standard's do (``tests/nets/test_quick.py`` holds the two equal), and ``fields``, ``replace``,
``asdict``, copies, pickles and patterns work as ever.

A class that inherits from a dataclass, or that can be changed, uses the standard decorator.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError
from typing import TYPE_CHECKING, Any, Literal

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, frozen: Literal[True], slots: Literal[True], eq: bool = True, kw_only: bool = False):
        """Make a class a dataclass, frozen and slotted.

        Args:
            frozen: Always true; said at the class for its reader.
            slots: Likewise.
            eq: Compare and hash by value, otherwise by identity.
            kw_only: Fields are given by name only.
        """
        if not (frozen and slots):
            raise TypeError("a class that is not frozen and slotted uses dataclasses.dataclass")
        return lambda cls: _made(cls, eq=eq, kw_only=kw_only)


def _made(plain: type, *, eq: bool, kw_only: bool) -> type:
    if any(dataclasses.is_dataclass(base) for base in plain.__bases__):
        raise TypeError(f"{plain.__name__} inherits from a dataclass: use dataclasses.dataclass for it")
    # Fields, slots and `__match_args__` are the standard's work, and take it little.
    cls: Any = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(plain)
    params = cls.__dataclass_params__
    params.init, params.repr, params.eq, params.frozen = True, True, eq, True
    fields = dataclasses.fields(cls)
    own = vars(plain)
    made = _written(cls, fields, eq=eq) | {
        "__repr__": _repr([f.name for f in fields if f.repr]),
        "__setattr__": _refuse_to_set,
        "__delattr__": _refuse_to_delete,
        "__getstate__": _state,
        "__setstate__": _restore,
    }
    for name, function in made.items():
        if name not in own:
            setattr(cls, name, function)
    return cls  # type: ignore[no-any-return]


class _Factory:
    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()
"""Default in ``__init__`` of a field whose factory makes it."""


def _written(cls: type, fields: Sequence[Field[Any]], *, eq: bool) -> dict[str, Any]:
    """The functions that must be quick when they run: each names its fields, as one text for all."""
    scope: dict[str, Any] = {"_FACTORY": _FACTORY}
    by_place: list[str] = []
    by_name: list[str] = []
    body: list[str] = []
    for f in fields:
        scope[f"_set_{f.name}"] = vars(cls)[f.name].__set__
        value, default = f.name, ""
        if f.default_factory is not MISSING:
            scope[f"_make_{f.name}"] = f.default_factory
            value, default = f"_make_{f.name}()", "=_FACTORY"
            if f.init:
                value += f" if {f.name} is _FACTORY else {f.name}"
        elif f.default is not MISSING:
            scope[f"_default_{f.name}"] = f.default
            default = f"=_default_{f.name}"
            value = f.name if f.init else default[1:]
        if f.init:
            if not f.kw_only and not default and any("=" in parameter for parameter in by_place):
                raise TypeError(f"non-default argument {f.name!r} follows default argument")
            (by_name if f.kw_only else by_place).append(f.name + default)
        if f.init or default:
            body.append(f"_set_{f.name}(_self, {value})")
    if hasattr(cls, "__post_init__"):
        body.append("_self.__post_init__()")
    parameters = ", ".join(["_self", *by_place, *(["*", *by_name] if by_name else [])])
    text = f"def __init__({parameters}):\n  " + "\n  ".join(body or ["pass"])
    if eq:
        compared = [f.name for f in fields if f.compare]
        hashed = [f.name for f in fields if (f.compare if f.hash is None else f.hash)]
        text += (
            "\ndef __eq__(self, other):\n"
            "  if other.__class__ is not self.__class__: return NotImplemented\n"
            f"  return {_tuple('self', compared)} == {_tuple('other', compared)}\n"
            f"def __hash__(self): return hash({_tuple('self', hashed)})"
        )
    # The text holds the names of fields and nothing else of the class, as the standard's does.
    exec(text, scope)  # noqa: S102
    made: dict[str, Any] = {name: scope[name] for name in ("__init__", "__eq__", "__hash__") if name in scope}
    for name, function in made.items():
        function.__qualname__ = f"{cls.__qualname__}.{name}"
    made["__init__"].__annotations__ = {f.name: f.type for f in fields if f.init} | {"return": None}
    return made


def _tuple(of: str, names: Sequence[str]) -> str:
    return "(" + "".join(f"{of}.{name}," for name in names) + ")"


def _repr(names: Sequence[str]) -> Callable[[Any], str]:
    def shown_as(self: Any) -> str:
        shown = ", ".join([f"{name}={getattr(self, name)!r}" for name in names])
        return f"{self.__class__.__qualname__}({shown})"

    return shown_as


def _refuse_to_set(_self: Any, name: str, _value: object) -> None:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: Any, name: str) -> None:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    return [getattr(self, f.name) for f in dataclasses.fields(self)]


def _restore(self: Any, state: Sequence[Any]) -> None:
    for f, value in zip(dataclasses.fields(self), state, strict=True):
        # The class refuses every assignment; a copy or a pickle is made past it.
        object.__setattr__(self, f.name, value)
