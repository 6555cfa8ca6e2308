"""A trace as text: what each step brings and puts, as differences between states."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from provenet.cli.printing import short_value
from provenet.nets.expr.typing import type_of
from provenet.nets.firing import NetRule
from provenet.nets.marking import Marking
from provenet.nets.net import Net, Perform, Role, Signal, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import OptionalType, RecordType, Type, UnitType, Value, to_json

if TYPE_CHECKING:
    from provenet.verify.verdict import Trace, TraceStep

GLYPHS: Mapping[Role, str] = {
    Role.PROPOSE: "?",
    Role.ACCEPT: "✓",
    Role.REJECT: "✗",
    Role.COMMIT: "●",
    Role.COMPENSATE: "↺",
    Role.KILL: "■",
}
"""One sign for a role, so that a trace can be skimmed; all other steps have a dot."""

_PLUMBING = frozenset({"attempt", "seq", "depth", "signal"})
_MOST_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Step:
    """One step as people read it.

    Attributes:
        number: From 1.
        glyph: Sign of its role.
        role: Its role in words.
        name: The contract, task or transition.
        changes: What it brings from outside and what it changes.
        note: What it means.
    """

    number: int
    glyph: str
    role: str
    name: str
    changes: tuple[str, ...]
    note: str


def steps_of(net: Net, trace: Trace, *, witness: Mapping[str, Any] | None = None) -> Iterator[Step]:
    """The steps of a trace.

    Raises:
        FiringError: The trace is no run of this net.
    """
    markings = trace.replay(net)
    rule = NetRule(net)
    for number, step in enumerate(trace.steps, 1):
        yield _step_text(rule, step, markings[number - 1], markings[number], number=number, witness=witness)


def _step_text(
    rule: NetRule,
    step: TraceStep,
    before: Marking,
    after: Marking,
    *,
    number: int,
    witness: Mapping[str, Any] | None = None,
) -> Step:
    """One step between two markings."""
    net = rule.net
    t = net.transition(step.transition)
    scope = net.scope(t)
    wanted = {name.rsplit(".", 1)[-1] for name in (witness or {})}
    changes: list[str] = []
    said: dict[str, Any] = {}
    for fresh in t.fresh:
        if isinstance(fresh.type, UnitType):
            continue
        leaves = dict(_leaves(fresh.type, step.binding[fresh.var]))
        said |= {path.rsplit(".", 1)[-1]: v for path, v in leaves.items()}
        changes.append(f"{fresh.var} := {_fields(leaves, wanted)}")
    if isinstance(t.trigger, Perform):
        changes.insert(0, _performed(rule, t, t.trigger, step, wanted))
    known = Counter(
        (path.rsplit(".", 1)[-1], repr(value))
        for var in (*(a.var for a in t.takes), *(a.var for a in t.reads))
        if var is not None
        for path, value in _leaves(scope[var], step.binding[var])
    ) + Counter((name, repr(value)) for name, value in said.items())
    for place, token in _arrived(before, after):
        leaves = {
            path: value
            for path, value in _leaves(net.place(place).type, token)
            if (path.rsplit(".", 1)[-1], repr(value)) not in known
        }
        changes.append(f"→ {place}" + (f" {_fields(leaves, wanted)}" if leaves else ""))
    if t.resets:
        gone = [p for p in t.resets if before.count(p) and not after.count(p)]
        if gone:
            changes.append(
                f"empties {', '.join(gone[:3])}" + (f" and {len(gone) - 3} more" if len(gone) > 3 else "")
            )
    name = t.contract or t.label or t.name
    if t.contract and t.role is Role.ROUTE:
        name = t.label or t.name
    return Step(number, GLYPHS.get(t.role, "·"), _role(t), name, tuple(changes), step.note)


def _performed(rule: NetRule, t: Transition, trigger: Perform, step: TraceStep, wanted: set[str]) -> str:
    """What an effect is given: ``crm.publish {customer: "a", discount_pct: 31}``."""
    scope = rule.net.scope(t)
    if trigger.payload is not None:
        of, value = type_of(trigger.payload, scope), rule.evaluate(t.name, trigger.payload, step.binding)
    else:
        var = next((a.var for a in t.takes if a.var is not None), None)
        if var is None:
            return trigger.handler
        of, value = scope[var], step.binding[var]
    leaves = dict(_leaves(of, value))
    return f"{trigger.handler} {_fields(leaves, wanted)}" if leaves else trigger.handler


def start_text(net: Net, start: Marking) -> list[str]:
    """What a case starts with."""
    places = [e.place for e in net.entries if start.count(e.place)] or [p for p in start if start.count(p)][
        :4
    ]
    return [
        f"{place} {short_value(to_json(token, net.place(place).type), 160)}"
        if not isinstance(net.place(place).type, UnitType)
        else place
        for place in places
        for token in start[place][:2]
    ]


def _role(t: Transition) -> str:
    if isinstance(t.trigger, Signal) and t.role is Role.ROUTE:
        return "event"
    return str(t.role).replace("_", " ")


def _arrived(before: Marking, after: Marking) -> Iterator[tuple[str, Value]]:
    for place, tokens in after.items():
        new = Counter(tokens)
        new.subtract(Counter(before[place]))
        for token, count in new.items():
            for _ in range(max(0, count)):
                yield place, token


def _leaves(of: Type, value: Value, path: str = "") -> Iterator[tuple[str, Any]]:
    match of:
        case RecordType(_, fields):
            for field, part in zip(fields, value, strict=True):
                if not path and field.name in _PLUMBING:
                    continue
                yield from _leaves(field.type, part, f"{path}.{field.name}" if path else field.name)
        case OptionalType(item) if value is not None:
            yield from _leaves(item, value, path)
        case UnitType():
            return
        case _:
            yield path, to_json(value, of)


def _fields(leaves: Mapping[str, Any], wanted: Iterable[str]) -> str:
    if set(leaves) == {""}:
        return short_value(leaves[""])
    first = [p for p in leaves if p.rsplit(".", 1)[-1] in wanted]
    shown = (first + [p for p in leaves if p not in first])[:_MOST_FIELDS]
    # The last name says enough where it is the only one of its kind.
    last = Counter(p.rsplit(".", 1)[-1] for p in leaves)
    parts = []
    for path in sorted(shown, key=list(leaves).index):
        name = path.rsplit(".", 1)[-1]
        parts.append(f"{name if last[name] == 1 else path}: {short_value(leaves[path], 40)}")
    more = len(leaves) - len(shown)
    return "{" + ", ".join(parts) + (f", … {more} more" if more else "") + "}"
