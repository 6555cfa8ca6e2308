"""Traces as data for a player: what each step takes and puts, as differences between states.

A token is a list of fields, each with its path, its text, and what a reader should know of it: ``new`` where
no token that the step took has it, ``witness`` where it shows the point of the verdict.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from provenet.nets.marking import Marking
from provenet.nets.net import Net, Transition
from provenet.nets.schema import UnitType, Value
from provenet.visualize import words
from provenet.visualize.palette import LOOKS
from provenet.visualize.strip import is_witness, leaves, replayed, witness_values

if TYPE_CHECKING:
    from provenet.verify.verdict import Report, Trace, TraceStep, Verdict

MOST_STEPS = 5_000
"""Steps of a trace that a page holds; of a longer one, only its beginning."""

Field = tuple[str, str, str]
Known = set[tuple[str, str]]
Witness = frozenset[tuple[str, str]]


def named_traces(report: Report) -> list[tuple[str, Verdict]]:
    """The verdicts that have a trace, each with a name that is unique in the report: ``never-1``."""
    counts: Counter[str] = Counter()
    found = []
    for v in report.verdicts:
        if v.trace is not None:
            counts[v.property] += 1
            stem = re.sub(r"[^A-Za-z0-9]+", "-", v.property).strip("-").lower() or "trace"
            found.append((f"{stem}-{counts[v.property]}", v))
    return found


def playback(net: Net, verdict: Verdict, *, name: str) -> dict[str, Any]:
    """One trace as data.

    Args:
        net: The net.
        verdict: A verdict with a trace.
        name: What the trace is called in links.

    Raises:
        RenderError: The trace is no run of this net.
    """
    trace: Trace | None = verdict.trace
    assert trace is not None
    witness = witness_values(verdict)
    markings = replayed(net, trace)
    shown = trace.steps[:MOST_STEPS]
    numbers = {p.name: i for i, p in enumerate(net.places)}
    ranks = {t.name: i for i, t in enumerate(net.transitions)}
    start = {
        numbers[place]: [_token(net, place, token, None, witness) for token in tokens]
        for place, tokens in markings[0].items()
        if tokens
    }
    return {
        "name": name,
        "property": verdict.property,
        "title": verdict.title,
        "reason": verdict.reason,
        "refuted": str(verdict.status) == "REFUTED",
        "start": start,
        "steps": [
            {"t": ranks[step.transition], **_step(net, step, markings[i], markings[i + 1], numbers, witness)}
            for i, step in enumerate(shown)
        ],
        "left_out": len(trace.steps) - len(shown),
    }


def _step(
    net: Net, step: TraceStep, before: Marking, after: Marking, numbers: dict[str, int], witness: Witness
) -> dict[str, Any]:
    t = net.transition(step.transition)
    scope = net.scope(t)
    fresh = {f.var for f in t.fresh}
    known: Known = {
        (path.rsplit(".", 1)[-1], text)
        for var, of in scope.items()
        if var not in fresh
        for path, text in leaves(of, step.binding[var])
    }
    look = LOOKS[t.role]
    return {
        "glyph": look.glyph,
        "role": look.tag,
        "name": _name(t),
        "who": words.who_acts(net, t),
        "note": step.note,
        "says": [
            [f.var, _fields(leaves(f.type, step.binding[f.var]), None, witness)]
            for f in t.fresh
            if not isinstance(f.type, UnitType)
        ],
        "changes": [
            {
                "p": numbers[place],
                "gone": [_token(net, place, token, None, witness) for token in gone],
                "new": [_token(net, place, token, known, witness) for token in new],
            }
            for place, gone, new in _changes(net, before, after)
        ],
    }


def _name(t: Transition) -> str:
    """The contract, and the transition where its role does not say the same."""
    name = t.label or words.short_name(t.name, t.contract)
    said = {LOOKS[t.role].tag, str(t.role), str(t.role).replace("_", " "), t.contract.lower()}
    if not t.contract:
        return name
    return t.contract if name.lower() in said else f"{t.contract}: {name}"


def _changes(net: Net, before: Marking, after: Marking) -> Iterator[tuple[str, list[Value], list[Value]]]:
    """Places that change, with the tokens that are gone from them and those that are new."""
    for place in net.places:
        was, is_ = before[place.name], after[place.name]
        if was is is_ or was == is_:
            continue
        there, then = Counter(was), Counter(is_)
        gone, new = list((there - then).elements()), list((then - there).elements())
        if gone or new:
            yield place.name, gone, new


def _token(net: Net, place: str, token: Value, known: Known | None, witness: Witness) -> list[Field]:
    return _fields(leaves(net.place(place).type, token), known, witness)


def _fields(found: Iterator[tuple[str, str]], known: Known | None, witness: Witness) -> list[Field]:
    return [
        (
            path,
            text,
            "witness"
            if is_witness(path, text, witness)
            else ""
            if known is None or (path.rsplit(".", 1)[-1], text) in known
            else "new",
        )
        for path, text in found
    ]
