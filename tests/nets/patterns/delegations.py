"""An agent that delegates, of any size: children score a task, the owner writes their weighted mean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from provenet.nets.build import NetBuilder
from provenet.nets.expr.build import Term, make
from provenet.nets.models import Token
from provenet.nets.patterns.delegation import Child, Delegation, Partial, by_priority, weighted
from provenet.nets.patterns.slot import Slot, Work
from provenet.nets.requirements import cap, never
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect
from provenet.sdb.policy import within
from provenet.sdb.proposers import scripted

POLICIES: tuple[Partial, ...] = ("drop", "substitute", "fail fast")
DEADLINE = timedelta(minutes=5)
PATIENCE = (timedelta(seconds=60), timedelta(minutes=10))
"""How long a child's proposer is waited for: less than its deadline, or more, in turns."""

STANDARD = 50


class Lead(Token):
    id: str
    feedback: str


class View(Token):
    score: int


class Score(Token):
    id: str
    score: int


def specialist(at: Slot) -> Contract:
    """A child's part: what it proposes is a score from 0 to 100."""
    return Contract(
        at.id,
        takes=at.takes,
        gives=at.gives,
        otherwise=at.failed,
        propose=scripted([]),
        returns=View,
        verify=within(View, lambda v: (v.score >= 0) & (v.score <= 100), name="range v1"),
        escalate=lambda inputs, signal: inputs.with_(feedback=signal.rule),
        attempts=1,
        timeout=PATIENCE[at.id[-1] in "13579a"],
    )


def named(count: int) -> tuple[str, ...]:
    """The children's names; each weighs one more than the one before it."""
    return tuple(f"c{n}" for n in range(1, count + 1))


def merged(partial: Partial, names: Sequence[str]) -> Callable[..., Term]:
    """The merge: a lambda with the children's names as its parameters, as an author would write it."""

    def mean(inputs: Term, **results: Term) -> Term:
        missing = make(View, score=0)
        views = [r.or_else(missing) if partial == "drop" else r for r in results.values()]
        pairs = [(view.score, weight) for weight, view in enumerate(views, 1)]
        return make(Score, id=inputs.id, score=weighted(*pairs))

    given = ", ".join(names)
    passed = ", ".join(f"{name}={name}" for name in names)
    made: Callable[..., Term] = eval(f"lambda inputs, {given}: mean(inputs, {passed})", {"mean": mean})
    return made


def scored(
    count: int, retries: int = 0, partial: Partial = "drop", *, work: Work = specialist, **parts: Any
) -> NetBuilder:
    """The net of the agent."""
    net = NetBuilder("scored")
    inbox, score = net.entry("inbox", Lead), net.place("score", Score)
    written, refused = net.final("written", Score), net.final("refused", Score)
    names = named(count)
    instead = (lambda inputs: make(View, score=STANDARD)) if partial == "substitute" else None
    fails = net.final("gone", Lead) if partial == "fail fast" else None
    given: dict[str, Any] = {
        "takes": inbox,
        "gives": score,
        "children": [Child(n, gives=View, work=work, within=DEADLINE, instead=instead) for n in names],
        "merge": merged(partial, names),
        "partial": partial,
        "fails": fails,
        "retries": retries,
    }
    net.add(Delegation("ask", **(given | parts)))
    crm = Effect("crm.write", _never, payload=Score)
    sound = within(Score, lambda s: (s.score >= 0) & (s.score <= 100), name="sound v1")
    net.add(Contract("write", takes=score, gives=written, otherwise=refused, verify=sound, commit=crm))
    high = never(effect="crm.write", of=Score, where=lambda payload: payload.score > 100)
    net.require("STATE", "SDB", "DATA", "CTL-3", cap("crm.write", most=1), high)
    return net


def delegation(**changes: Any) -> Delegation:
    """Two children; the first that has an answer."""
    partial = changes.get("partial", "drop")
    stand_in = (lambda inputs: make(View, score=50)) if partial == "substitute" else None
    standard: dict[str, Any] = {
        "id": "ask",
        "children": [
            Child("a", gives=View, work=specialist, within=DEADLINE, instead=stand_in),
            Child("b", gives=View, work=specialist, within=DEADLINE, instead=stand_in),
        ],
        "merge": lambda inputs, a, b: make(
            Score, id=inputs.id, score=by_priority(a, b, make(View, score=0)).score
        ),
    }
    return Delegation(**(standard | changes))


def team(inner: Partial, *, retries: int = 0) -> Callable[[Slot], Delegation]:
    """A delegation as a child's part."""
    return lambda at: delegation(
        id=at.id,
        takes=at.takes,
        gives=at.gives,
        partial=inner,
        fails=at.failed if inner == "fail fast" else None,
        merge=lambda inputs, a, b: by_priority(a, b, make(View, score=0)),
        retries=retries,
    )


def _never(request: Any) -> None:
    raise AssertionError("a test's bench stands for the CRM")
