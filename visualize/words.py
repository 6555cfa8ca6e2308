"""What the parts of a net say in a picture: short sentences for people."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from provenet.nets.expr.ast import And, Const, Expr, Not, Or
from provenet.nets.expr.show import show
from provenet.nets.net import (
    After,
    Ask,
    Auto,
    Choice,
    ContractInfo,
    Explain,
    Judge,
    Net,
    OnFailure,
    Perform,
    Role,
    Signal,
    Transition,
)
from provenet.nets.schema import RecordType, Type, UnitType

# Strings and quoted names whole, then what structures an expression, then single characters.
_PIECE = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`| or | and | if |.', re.DOTALL)
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def duration(span: timedelta) -> str:
    """A time span in its largest whole unit: ``7 days``."""
    seconds = span.total_seconds()
    for size, unit in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}{'' if seconds == size else 's'}"
    return f"{seconds:g} seconds"


def delay(expr: Expr) -> str:
    """A timer's delay: ``after 7 days``, ``at 2026-01-01 09:00``, or the expression."""
    if isinstance(expr, Const) and isinstance(expr.value, timedelta):
        return f"after {duration(expr.value)}"
    if isinstance(expr, Const) and isinstance(expr.value, datetime):
        return f"at {expr.value:%Y-%m-%d %H:%M %Z}"
    return f"after {written(expr)}"


def written(expr: Expr) -> str:
    """An expression for people: without the quotes of names, and without the types that contracts make."""
    match expr:
        case And((only,)) | Or((only,)):
            return written(only)
        case Not(And((only,)) | Or((only,))):
            return written(Not(only))
        case _:
            pass
    return re.sub(r"`([^`]*)`", r"\1", re.sub(r"`[^`]*`\{", "{", show(expr)))


def fact(text: str) -> str:
    """A fact as people say it: ``not a or b or c`` as ``a → b or c``."""
    parts, depth, plain = [""], 0, True
    for piece in _PIECE.findall(text):
        depth += (piece in ("(", "[", "{")) - (piece in (")", "]", "}"))
        if depth == 0 and piece == " or ":
            parts.append("")
            continue
        plain = plain and not (depth == 0 and (piece == " if " or (piece == " and " and len(parts) == 1)))
        parts[-1] += piece
    premise, *rest = parts
    if not plain or not rest or not premise.startswith("not "):
        return text
    return f"{premise.removeprefix('not ')} → {' or '.join(rest)}"


def type_name(of: Type) -> str:
    """The name of a type, short; empty for plain black tokens and for records without a name."""
    if isinstance(of, UnitType):
        return ""
    if isinstance(of, RecordType):
        return of.name
    return str(of)


def cut(name: str, most: int = 14) -> str:
    """A long name with its middle left out: beginnings are often alike, ends tell."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def short_name(name: str, group: str) -> str:
    """A name without its group's prefix."""
    return name.removeprefix(f"{group}.") if group else name


def cancels(t: Transition, ordinary: frozenset[str]) -> str:
    """What a transition's resets do, in a few words; empty where it has none."""
    if not t.resets:
        return ""
    if len(t.resets) > 3 and ordinary - {a.place for a in t.takes} <= set(t.resets):
        return "cancels all ordinary work"
    names = ", ".join(t.resets[:3])
    return f"empties {names}" + (f" and {len(t.resets) - 3} more" if len(t.resets) > 3 else "")


def happens(t: Transition) -> str:
    """What makes a transition fire, for the second line of its box; empty where the role says it all."""
    match t.trigger:
        case After(span):
            return delay(span)
        case Signal(event):
            return f"on {event}"
        case Choice(task, choice, who, eyes=eyes):
            whose = (f"{eyes} of " if eyes > 1 else "") + (who or "anybody")
            return f"{whose}: {choice}" if t.role is not Role.ROUTE else f"{task}: {choice}"
        case Perform(handler):
            return handler
        case _:
            return ""


def deciders(choice: Choice) -> str:
    """Who may choose: a role, and the one that may as well after a while."""
    late = f", {choice.fallback} too after {duration(choice.after)}" if choice.fallback else ""
    return (choice.who or "anybody") + late


def who_acts(net: Net, t: Transition) -> str:
    """Who makes a transition fire, in words for a trace."""
    match t.trigger:
        case Ask():
            of = type_name(t.fresh[0].type) if t.fresh else ""
            return f"the proposer may say any {of}" if of else "the proposer may say anything"
        case Explain() | Auto() if t.role in {Role.ACCEPT, Role.REJECT}:
            policy = _policy(net, t.contract)
            return f"policy {policy} {'lets it pass' if t.role is Role.ACCEPT else 'refuses it'}"
        case Judge(handler, accepts):
            return f"function {handler} {'lets it pass' if accepts else 'refuses it'}"
        case Perform(handler, external=external):
            return f"{handler} is performed" + (", outside" if external else ", in the database")
        case OnFailure(of):
            asked = net.has_transition(of) and net.transition(of).role is Role.PROPOSE
            return "the proposer gives no usable answer" if asked else "the effect fails for good"
        case After(span):
            return f"time passes: {delay(span)}"
        case Choice(choice=choice, eyes=eyes) as trigger:
            several = f"{eyes} people ({deciders(trigger)}) choose"
            return f"{several if eyes > 1 else f'a person ({deciders(trigger)}) chooses'} {choice}"
        case Signal(event):
            return "somebody pulls the kill switch" if t.role is Role.KILL else f"the outside sends {event}"
        case _:
            return "by itself"


def rules(info: ContractInfo) -> list[str]:
    """The rules of a policy as text over the proposal's fields; a long one by its name."""
    texts = [(without_proposal(written(r.expr)), r.name) for r in info.rules]
    return [name if len(text) > 70 and name and len(name) < len(text) else text for text, name in texts]


def without_proposal(text: str) -> str:
    """``proposal.discount_pct <= 30`` as ``discount_pct <= 30``."""
    return re.sub(r"\bproposal\.", "", text)


def _policy(net: Net, contract: str) -> str:
    found = next((c.policy for c in net.contracts if c.id == contract), "")
    return f"“{found}”" if found else ""
