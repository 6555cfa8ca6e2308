"""What makes a net well formed; every mistake at once, each with its place and how to mend it.

``PN1xx`` are mistakes of structure, ``PN2xx`` of expressions:

======  =====================================================================================================
PN101   a name is used twice
PN102   a name is empty, too long, or holds characters that cannot be printed
PN103   a variable's name is no identifier, is bound twice, or is one that proofs use
PN104   a name of a place that does not exist
PN105   an arc's weight is below 1, or above 1 where it binds one token
PN106   a put does not say which token it builds
PN107   a capacity is below 1, or too small for the initial tokens
PN108   an initial token does not belong to its place's type
PN109   the net has no places
PN110   nothing but time holds a transition back, and it computes with variables
PN111   a final marking counts a place twice or less than once
PN112   a place is an entry twice, or its initial tokens are given twice
PN113   ``OnFailure`` names no long-running transition that takes from the same place
PN114   the values from outside do not fit the trigger
PN115   a trigger leaves out its handler, task, choice or event
PN116   a token is taken from a coloured place without a name
PN117   two record types share a name
PN118   a token type has no values, or values that text cannot tell apart
PN119   a label, an event that is ignored or delivered, or the key of an event does not exist
PN124   what is said of an event's delivery, or of a case's key, cannot be done
PN125   a choice takes no number of people that there could be, or has a fallback that is none
PN201   an expression does not type-check
PN202   a condition is not a bool
PN203   a guard reads a value from outside
PN204   a built token does not fit its place
PN205   a delay is neither a duration nor a point in time
PN206   an expression is too large
PN207   a personal value would be stored in clear
======  =====================================================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta

from provenet.nets.errors import ExprError, Mistake, TypeMismatch, did_you_mean
from provenet.nets.expr.ast import Expr, free_variables, too_large
from provenet.nets.expr.typing import assignable, type_of
from provenet.nets.flow import spills
from provenet.nets.net import (
    After,
    Ask,
    Auto,
    Choice,
    Explain,
    Judge,
    Net,
    OnFailure,
    Perform,
    Put,
    Read,
    Signal,
    Take,
    Transition,
)
from provenet.nets.schema import (
    BoolType,
    DateTimeType,
    DecimalType,
    DurationType,
    EnumType,
    FloatType,
    IntType,
    ListType,
    OptionalType,
    RecordType,
    StrType,
    Type,
    UnitType,
    check,
)

MAX_NAME = 200
MAX_EYES = 100
"""Most people that one choice may take."""

RESERVED = ("ghost_set", "ghost_value")
"""Names that stand in a proof's conditions for the past, beside a transition's variables."""


def check_net(net: Net) -> tuple[Mistake, ...]:
    """All mistakes of a net, in the order in which it was written.

    Args:
        net: Any net, also one whose names do not resolve.

    Returns:
        The mistakes; empty for a well-formed net.
    """
    found: list[Mistake] = []
    if not net.places:
        found.append(
            Mistake("PN109", f"net {net.name!r}", "the net has no places", "add one with place(...)")
        )
    found += _names(net)
    found += _types(net)
    found += _markings(net)
    for transition in net.transitions:
        found += _transition(net, transition)
    return tuple(found or spills(net))


def _names(net: Net) -> Iterator[Mistake]:
    kinds: tuple[tuple[str, Iterable[str]], ...] = (
        ("place", (p.name for p in net.places)),
        ("transition", (t.name for t in net.transitions)),
        ("contract", (c.id for c in net.contracts)),
        ("saga", (s.id for s in net.sagas)),
        ("pattern", (p.id for p in net.patterns)),
    )
    sources = {t.name: t.source for t in net.transitions}
    for kind, names in kinds:
        for name, count in Counter(names).items():
            where = f"{kind} {name[:MAX_NAME]!r}"
            if kind == "transition" and sources[name]:
                where = f"{sources[name]}  {where}"
            if not name or len(name) > MAX_NAME or not name.isprintable():
                yield Mistake(
                    "PN102",
                    where,
                    f"a {kind}'s name must have 1 to {MAX_NAME} printable characters",
                    "rename it",
                )
            if count > 1:
                yield Mistake("PN101", where, f"{count} {kind}s have this name", "give each its own name")


def _types(net: Net) -> Iterator[Mistake]:
    uses: list[tuple[str, Type]] = [(f"place {p.name!r}", p.type) for p in net.places]
    uses += [(f'transition "{t.name}"', f.type) for t in net.transitions for f in t.fresh]
    uses += [(f"contract {c.id!r}", of) for c in net.contracts for of in (c.proposal, c.inputs)]
    seen: set[Type] = set()
    named: dict[str, tuple[str, RecordType]] = {}
    for where, of in uses:
        for part in _parts(of):
            if part in seen:
                continue
            seen.add(part)
            reason = _malformed(part)
            if reason:
                yield Mistake("PN118", where, f"the type {part}: {reason}", "declare the type anew")
            if isinstance(part, RecordType):
                other, known = named.setdefault(part.name, (where, part))
                if known != part:
                    yield Mistake(
                        "PN117",
                        where,
                        f"{part.name!r} is not the record of that name that {other} uses",
                        "rename one of the models: expressions build records by name",
                    )


def _parts(of: Type) -> Iterator[Type]:
    yield of
    match of:
        case OptionalType(item) | ListType(item):
            yield from _parts(item)
        case RecordType(_, fields):
            for field in fields:
                yield from _parts(field.type)


def _malformed(of: Type) -> str:
    """Why a type is none, its parts aside; empty where it is one."""
    match of:
        case IntType(lo, hi) | FloatType(lo, hi) | DecimalType(lo, hi) if lo is not None and hi is not None:
            return "its bounds are the wrong way round" if lo > hi else ""
        case StrType(longest) | ListType(_, longest):
            return "its length is negative" if longest is not None and longest < 0 else ""
        case EnumType(_, values):
            if not values or len(set(values)) < len(values):
                return "it needs values, each of them once"
            if any(isinstance(v, bool) or not isinstance(v, str | int) for v in values):
                return "its values must be strings or integers"
        case OptionalType(OptionalType() | UnitType()):
            return "null would mean two things"
        case RecordType(_, fields):
            names = [f.name for f in fields]
            if len(set(names)) < len(names):
                return "a field's name is used twice"
            bad = [n for n in names if n.startswith("_") or not n.isidentifier() or len(n) > MAX_NAME]
            if bad:
                return f"{bad[0][:MAX_NAME]!r} is no name for a field"
    return ""


def _markings(net: Net) -> Iterator[Mistake]:
    tokens: Counter[str] = Counter()
    for name, count in Counter(p for p, _ in net.initial).items():
        if count > 1:
            yield Mistake(
                "PN112", f"initial tokens of {name!r}", f"they are given {count} times", "say it once"
            )
    for name, values in net.initial:
        tokens[name] += len(values)
        where = f"initial tokens of {name!r}"
        if not net.has_place(name):
            yield _unknown(net, where, name)
            continue
        for value in values:
            try:
                check(value, net.place(name).type, name)
            except TypeMismatch as error:
                yield Mistake("PN108", where, error.message, f"the place holds {net.place(name).type}")
    for place in net.places:
        if place.capacity is None:
            continue
        least = tokens[place.name] + sum(e.place == place.name for e in net.entries)
        if place.capacity < max(1, least):
            yield Mistake(
                "PN107",
                f"place {place.name!r}",
                f"its capacity is {place.capacity}, and it starts with {least} tokens",
                f"raise the capacity to {max(1, least)} or more, or leave it out",
            )
    for name, count in Counter(e.place for e in net.entries).items():
        if count > 1:
            yield Mistake("PN112", f"entry {name!r}", f"the place is an entry {count} times", "say it once")
    for entry in net.entries:
        where = f"entry {entry.place!r}"
        if not net.has_place(entry.place):
            yield _unknown(net, where, entry.place)
        elif entry.where is not None:
            yield from _condition(
                where, "the entry's condition", entry.where, {"it": net.place(entry.place).type}
            )
    for final in net.finals:
        for name, count in Counter(p for p, _ in final).items():
            if not net.has_place(name):
                yield _unknown(net, "a final marking", name)
            if count > 1:
                yield Mistake("PN111", "a final marking", f"{name!r} is counted twice", "add the counts up")
        for name, n in final:
            if n < 1:
                yield Mistake("PN111", "a final marking", f"{name!r} is counted {n} times", "leave it out")
    for name in net.resting:
        if not net.has_place(name):
            yield _unknown(net, "a resting place", name)
    yield from _ignored(net)
    yield from _deliveries(net)
    yield from _keys(net)
    for saga in net.sagas:
        for name in (saga.open, saga.aborting, saga.completing):
            if not net.has_place(name):
                yield _unknown(net, f"saga {saga.id!r}", name)
    known = names_of(net) if net.patterns else frozenset()
    for pattern in net.patterns:
        for part, names in pattern.parts:
            for name in names:
                if name not in known:
                    where = f"pattern {pattern.id[:MAX_NAME]!r}, {part[:MAX_NAME]}"
                    hint = did_you_mean(name[:MAX_NAME], known)
                    yield Mistake("PN104", where, f"{name[:MAX_NAME]!r} names nothing of the net", hint)


def names_of(net: Net) -> frozenset[str]:
    """What can be named in a net: places, transitions, contracts, tasks, scopes, patterns."""
    found = {*(p.name for p in net.places), *(t.name for t in net.transitions)}
    found |= {*(c.id for c in net.contracts), *(s.id for s in net.sagas), *(p.id for p in net.patterns)}
    found |= {t.contract for t in net.transitions if t.contract}
    found |= {t.trigger.task for t in net.transitions if isinstance(t.trigger, Choice)}
    return frozenset(found)


def _transition(net: Net, t: Transition) -> Iterator[Mistake]:
    where = f'{t.source}  transition "{t.name}"' if t.source else f'transition "{t.name}"'
    yield from _arcs(net, t, where)
    bound = net.scope(t)
    scope = dict(bound)
    for fresh in t.fresh:
        bound.pop(fresh.var, None)
    if not t.takes and isinstance(t.trigger, Auto) and (scope or any(p.expr for p in t.puts)):
        yield Mistake(
            "PN110",
            where,
            "it takes no token, so it would fire for ever",
            "take a token, or give it a trigger: event(...), timer(...)",
        )
    if t.guard is not None:
        read = sorted(free_variables(t.guard) & {f.var for f in t.fresh}) if not too_large(t.guard) else []
        if read:
            yield Mistake(
                "PN203",
                where,
                f"the guard reads {', '.join(read)}, which comes from outside only when it fires",
                "say it in ensures=, or in the guard of the transition that follows",
            )
        else:
            yield from _condition(where, "the guard", t.guard, bound)
    if t.ensures is not None:
        yield from _condition(where, "ensures", t.ensures, scope)
    if t.requires is not None:
        yield from _condition(where, "requires", t.requires, scope)
    for put in t.puts:
        yield from _put(net, put, scope, where)
    yield from _trigger(net, t, bound, where)


def _arcs(net: Net, t: Transition, where: str) -> Iterator[Mistake]:
    both: tuple[tuple[str, tuple[Take | Read, ...]], ...] = (("take", t.takes), ("read", t.reads))
    for kind, arcs in both:
        for arc in arcs:
            if not net.has_place(arc.place):
                yield _unknown(net, where, arc.place, f"the {kind} arc from {arc.place!r}")
            if arc.weight < 1:
                yield _weight(where, arc.place, arc.weight)
            elif arc.weight > 1 and arc.var is not None:
                yield Mistake(
                    "PN105",
                    where,
                    f"the {kind} arc from {arc.place!r} binds {arc.var!r} and has weight {arc.weight}",
                    "write one arc with its own variable for each token",
                )
    for arc in t.takes:
        if (
            arc.var is None
            and net.has_place(arc.place)
            and not isinstance(net.place(arc.place).type, UnitType)
        ):
            yield Mistake(
                "PN116",
                where,
                f"the take arc from {arc.place!r} does not name its {net.place(arc.place).type}",
                "name it: which token is taken is part of the binding",
            )
    for name in t.resets:
        if not net.has_place(name):
            yield _unknown(net, where, name, f"the reset of {name!r}")
    for put in t.puts:
        if not net.has_place(put.place):
            yield _unknown(net, where, put.place, f"the put arc into {put.place!r}")
        if put.weight < 1:
            yield _weight(where, put.place, put.weight)
    variables = [arc.var for _, arcs in both for arc in arcs if arc.var is not None] + [
        f.var for f in t.fresh
    ]
    for var, count in Counter(variables).items():
        if not (var.isascii() and var.isidentifier()) or len(var) > MAX_NAME:
            yield Mistake(
                "PN103",
                where,
                f"the variable {var[:MAX_NAME]!r} is no identifier",
                "use letters, digits and _",
            )
        if var in RESERVED:
            yield Mistake("PN103", where, f"proofs call what was accepted {var!r}", "rename the variable")
        if count > 1:
            yield Mistake(
                "PN103",
                where,
                f"the variable {var!r} is bound {count} times",
                "give each arc its own variable, and compare them in the guard",
            )


def _put(net: Net, put: Put, scope: Mapping[str, Type], where: str) -> Iterator[Mistake]:
    of = net.place(put.place).type if net.has_place(put.place) else None
    if put.expr is None:
        if of is not None and not isinstance(of, UnitType):
            yield Mistake(
                "PN106",
                where,
                f"the put arc into {put.place!r} does not say which {of} it builds",
                "name a variable to pass on, or give a lambda that builds the token",
            )
        return
    if put.weight > 1:
        yield Mistake(
            "PN105",
            where,
            f"the put arc into {put.place!r} builds one token and has weight {put.weight}",
            "write one arc for each token",
        )
    mistake, given = _typed(where, f"the token for {put.place!r}", put.expr, scope)
    if mistake:
        yield mistake
    elif of is not None and given is not None and not assignable(given, of):
        yield Mistake("PN204", where, f"the token for {put.place!r} is a {given}", f"the place holds {of}")


def _ignored(net: Net) -> Iterator[Mistake]:
    events = {t.trigger.event for t in net.transitions if isinstance(t.trigger, Signal)}
    for i in net.ignored:
        where = f"ignored event {i.event[:MAX_NAME]!r}"
        if i.event not in events:
            message = "no transition waits for it, so the net does not have this event"
            yield Mistake("PN119", where, message, did_you_mean(i.event[:MAX_NAME], events))
        for place in i.unless:
            if not net.has_place(place):
                yield _unknown(net, where, place)


def _deliveries(net: Net) -> Iterator[Mistake]:
    events = {t.trigger.event for t in net.transitions if isinstance(t.trigger, Signal)}
    timed = {d.event for d in net.deliveries if d.lateness is not None}
    counts = Counter(d.event for d in net.deliveries)
    for d in net.deliveries:
        where = f"delivery of event {d.event[:MAX_NAME]!r}"
        for name in (d.event, d.late) if d.late else (d.event,):
            if name not in events:
                message = f"no transition waits for {name[:MAX_NAME]!r}, so the net does not have this event"
                yield Mistake("PN119", where, message, did_you_mean(name[:MAX_NAME], events))
        said = [
            (counts[d.event] > 1, "it is said more than once", "say it once"),
            (
                d.keep_for is not None and d.keep_for <= timedelta(0),
                f"it is kept for {d.keep_for}",
                "give a longer time, or leave it out",
            ),
            (d.keep_most < 1, f"{d.keep_most} are kept", "keep 1 or more"),
            (
                d.early == "refuse" and d.keep_for is not None,
                "it is refused when it comes early, so it is not kept for any time",
                'say early="keep"',
            ),
            (
                d.lateness is not None and d.lateness < timedelta(0),
                f"it may be {d.lateness} older than the newest",
                "give a time that is not below zero",
            ),
            (
                bool(d.late) and d.lateness is None,
                f"it is never late, so it is never taken as {d.late[:MAX_NAME]!r}",
                "say how late it may be: lateness=...",
            ),
            (
                bool(d.late) and d.late in timed,
                f"a late one is taken as {d.late[:MAX_NAME]!r}, which may be late itself",
                "name an event that is never late",
            ),
        ]
        yield from (Mistake("PN124", where, message, hint) for wrong, message, hint in said if wrong)


def _keys(net: Net) -> Iterator[Mistake]:
    entries = [e.place for e in net.entries]
    for name, count in Counter(k.name for k in net.keys).items():
        if count > 1:
            places = ", ".join(dict.fromkeys(k.place[:MAX_NAME] for k in net.keys if k.name == name))
            message = f"it is said {count} times, of tokens in {places}"
            yield Mistake("PN124", f"key {name[:MAX_NAME]!r}", message, "say it once, or name one otherwise")
    for k in net.keys:
        where = f"key {k.name[:MAX_NAME]!r}"
        if not k.name or len(k.name) > MAX_NAME or not k.name.isprintable():
            yield Mistake("PN102", where, "its name is empty, too long or cannot be printed", "rename it")
        if not net.has_place(k.place):
            yield _unknown(net, where, k.place)
            continue
        if k.place not in entries:
            message = f"place {k.place[:MAX_NAME]!r} is no entry, so no case starts with a token there"
            yield Mistake("PN124", where, message, did_you_mean(k.place[:MAX_NAME], entries))
        mistake, given = _typed(where, "the key", k.expr, {"it": net.place(k.place).type})
        if mistake:
            yield mistake
        elif given is not None and not isinstance(given, StrType | IntType | EnumType):
            yield Mistake("PN124", where, f"the key is a {given}", "give a text or a whole number")


def _key(t: Transition, key: str, where: str) -> Iterator[Mistake]:
    """The path of a payload's field must lead somewhere."""
    of: Type | None = t.fresh[0].type if t.fresh else None
    for name in key.split(".") if key else ():
        field = of.field(name) if isinstance(of, RecordType) else None
        if field is None:
            known = [f.name for f in of.fields] if isinstance(of, RecordType) else []
            message = f"its event's payload has no field {key[:MAX_NAME]!r} to tell events apart by"
            yield Mistake("PN119", where, message, did_you_mean(name[:MAX_NAME], known))
            return
        of = field.type


def _people(choice: Choice, where: str) -> Iterator[Mistake]:
    """How many people it takes, and who else may decide after a while."""
    said = (
        (
            not 1 <= choice.eyes <= MAX_EYES,
            f"it takes {choice.eyes} people",
            f"give a number from 1 to {MAX_EYES}",
        ),
        (
            choice.after < timedelta(0) or (bool(choice.after) and not choice.fallback),
            f"after {choice.after}, {choice.fallback[:MAX_NAME] or 'nobody'!r} may decide as well",
            "name the fallback's role, and a span that is not negative",
        ),
        (
            bool(choice.fallback) and not choice.who,
            f"{choice.fallback[:MAX_NAME]!r} may decide as well, where anybody may",
            "name the role that decides first",
        ),
    )
    yield from (Mistake("PN125", where, message, hint) for wrong, message, hint in said if wrong)


def _trigger(net: Net, t: Transition, bound: Mapping[str, Type], where: str) -> Iterator[Mistake]:
    trigger = t.trigger
    parts: tuple[tuple[str, str], ...] = ()
    payload: Expr | None = None
    match trigger:
        case Ask(handler, payload) | Perform(handler, payload):
            parts = (("handler", handler),)
        case Judge(handler):
            parts = (("handler", handler),)
        case Explain(contract):
            parts = (("contract", contract),)
        case Choice(task, choice, _, payload):
            parts = (("task", task), ("choice", choice))
            yield from _people(trigger, where)
        case Signal(event, key):
            parts = (("event", event),)
            yield from _key(t, key, where)
        case OnFailure(of):
            yield from _on_failure(net, t, of, where)
        case After(delay):
            mistake, given = _typed(where, "the delay", delay, bound)
            if mistake:
                yield mistake
            elif not isinstance(given, DurationType | DateTimeType):
                yield Mistake(
                    "PN205",
                    where,
                    f"the delay is a {given}",
                    "give a timedelta since the first token arrived, or a datetime",
                )
    for what, name in parts:
        if not name:
            yield Mistake("PN115", where, f"its trigger names no {what}", f"give the {what} a name")
    if payload is not None:
        mistake, _ = _typed(where, "what it is given", payload, bound)
        if mistake:
            yield mistake
    if isinstance(trigger, Ask | Explain) and not t.fresh:
        yield Mistake(
            "PN114", where, "what its trigger brings is bound to no variable", "name one with brings={...}"
        )
    elif not isinstance(trigger, Auto) and len(t.fresh) > 1:
        yield Mistake(
            "PN114",
            where,
            f"its trigger brings one value, but {len(t.fresh)} variables wait for one",
            "bring one record with several fields",
        )


def _on_failure(net: Net, t: Transition, of: str, where: str) -> Iterator[Mistake]:
    if not net.has_transition(of):
        hint = did_you_mean(of, (u.name for u in net.transitions if isinstance(u.trigger, Ask | Perform)))
        yield Mistake("PN113", where, f"it waits for the failure of {of!r}, which is no transition", hint)
        return
    other = net.transition(of)
    if not isinstance(other.trigger, Ask | Perform):
        yield Mistake(
            "PN113",
            where,
            f"{of!r} asks nobody and performs nothing, so it cannot fail",
            "name one that does",
        )
    elif not {a.place for a in other.takes} & {a.place for a in t.takes}:
        yield Mistake(
            "PN113",
            where,
            f"it takes from no place that {of!r} takes from, so it cannot stand in for it",
            f"take from {', '.join(sorted({a.place for a in other.takes})) or 'a place'}",
        )


def _condition(where: str, what: str, expr: Expr, scope: Mapping[str, Type]) -> Iterator[Mistake]:
    mistake, given = _typed(where, what, expr, scope)
    if mistake:
        yield mistake
    elif not isinstance(given, BoolType):
        yield Mistake("PN202", where, f"{what} is a {given}, not a bool", "compare it with something")


def _typed(
    where: str, what: str, expr: Expr, scope: Mapping[str, Type]
) -> tuple[Mistake | None, Type | None]:
    reason = too_large(expr)
    if reason:
        return Mistake("PN206", where, f"{what}: {reason}", "split it over several transitions"), None
    try:
        return None, type_of(expr, scope)
    except ExprError as error:
        return Mistake("PN201", where, f"{what}: {error.message}", error.hint), None


def _unknown(net: Net, where: str, name: str, what: str = "") -> Mistake:
    message = f"{what or repr(name)} names no place of net {net.name!r}"
    return Mistake("PN104", where, message, did_you_mean(name, (p.name for p in net.places)))


def _weight(where: str, place: str, weight: int) -> Mistake:
    return Mistake("PN105", where, f"the arc at {place!r} has weight {weight}", "a weight is 1 or more")
