"""Where personal values go: an expression may test them anywhere, and carry them to fields marked so only.

What is carried is followed through copies, choices and arithmetic. A test of a personal value, such as a
comparison or a length, is none: it is what guards and routing are for. A value from outside is what its type
says it is; what a model writes into a field that is not marked, nobody can know here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from provenet.nets.errors import Mistake
from provenet.nets.expr.ast import Arith, Build, Expr, Get, If, OrElse, children
from provenet.nets.expr.typing import type_of
from provenet.nets.net import After, Ask, Choice, Net, Perform, Signal, Transition
from provenet.nets.schema import Field, ListType, OptionalType, RecordType, Type
from provenet.nets.secrets import is_personal


def spills(net: Net) -> Iterator[Mistake]:
    """Personal values of a well-formed net that would be stored in clear."""
    if not any(is_personal(p.type) for p in net.places) and not any(
        is_personal(f.type) for t in net.transitions for f in t.fresh
    ):
        return
    for t in net.transitions:
        where = f'{t.source}  transition "{t.name}"' if t.source else f'transition "{t.name}"'
        for what, field in _of_transition(net, t):
            yield _mistake(where, what, field)
    for k in net.keys:
        for field in spilled(k.expr, {"it": net.place(k.place).type}, None):
            yield _mistake(f"key {k.name!r}", "a key of the case", field)


def spilled(expr: Expr, scope: Mapping[str, Type], to: Type | None) -> Iterator[str]:
    """Personal fields whose values an expression carries to where they are not marked.

    Args:
        expr: The expression.
        scope: Types of its variables.
        to: The type of the place that its value is put in; ``None`` for one that is stored as it is.
    """
    match expr:
        case If(_, one, other) | OrElse(one, other):
            yield from spilled(one, scope, to)
            yield from spilled(other, scope, to)
            return
        case Build(of, parts):
            wanted = _record(to) or of
            for field, part in zip(wanted.fields, parts, strict=True):
                if field.mark != "personal":
                    yield from spilled(part, scope, field.type if to is not None else None)
                elif to is None:
                    yield field.name
            return
        case Arith():
            for part in children(expr):
                yield from spilled(part, scope, to)
            return
        case Get(_, name) if _marked(expr, scope):
            yield name
            return
    given = type_of(expr, scope)
    if is_personal(given):
        yield from _lost(given, to)


def _lost(given: Type, to: Type | None) -> Iterator[str]:
    """Personal fields of one type that are not so in another, field by field."""
    while isinstance(given, OptionalType | ListType):
        given = given.item
    while isinstance(to, OptionalType | ListType):
        to = to.item
    if not isinstance(given, RecordType):
        return
    same = isinstance(to, RecordType) and len(to.fields) == len(given.fields)
    others: tuple[Field | None, ...] = to.fields if same else (None,) * len(given.fields)  # type: ignore[union-attr]
    for mine, other in zip(given.fields, others, strict=True):
        if other is not None and other.mark == "personal":
            continue
        if mine.mark == "personal":
            yield mine.name
        else:
            yield from _lost(mine.type, None if other is None else other.type)


def _of_transition(net: Net, t: Transition) -> Iterator[tuple[str, str]]:
    scope = net.scope(t)
    for put in t.puts:
        if put.expr is not None:
            of = net.place(put.place).type
            yield from ((f"the token for {put.place!r}", f) for f in spilled(put.expr, scope, of))
    match t.trigger:
        case Ask(payload=expr) | Perform(payload=expr) | Choice(about=expr) if expr is not None:
            # What is given is hashed, and shown to people, as its own type says.
            yield from (("what it is given", f) for f in spilled(expr, scope, type_of(expr, scope)))
        case After(delay=delay):
            yield from (("the time of its timer", f) for f in spilled(delay, scope, None))
        case Signal(key=key) if key and t.fresh:
            brought: Type | None = t.fresh[0].type
            for name in key.split("."):
                found = _record(brought)
                part = None if found is None else found.field(name)
                if part is not None and part.mark == "personal":
                    yield "the key of its event", name
                brought = None if part is None else part.type


def _marked(expr: Expr, scope: Mapping[str, Type]) -> bool:
    """Whether an expression looks into a record at a personal field, or at a part of one."""
    while isinstance(expr, Get):
        of = _record(type_of(expr.of, scope))
        part = None if of is None else of.field(expr.field)
        if part is not None and part.mark == "personal":
            return True
        expr = expr.of
    return False


def _record(of: Type | None) -> RecordType | None:
    while isinstance(of, OptionalType):
        of = of.item
    return of if isinstance(of, RecordType) else None


def _mistake(where: str, what: str, field: str) -> Mistake:
    return Mistake(
        "PN207",
        where,
        f"{what} holds personal field {field!r} where it would be stored in clear",
        "mark the field that it goes to: Annotated[..., Personal]; or leave it out",
    )
