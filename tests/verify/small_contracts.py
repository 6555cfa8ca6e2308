"""Hypothesis strategies for small nets of contracts, people and saga scopes, with faults put in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from provenet.nets.build import NetBuilder
from provenet.nets.check import check_net
from provenet.nets.expr.ast import And, Build, Compare, Const, Expr, Get, Not, Var, substitute
from provenet.nets.net import Auto, Net, Place, Put, Read, Requirement, Role, Signal, Take, Transition
from provenet.nets.requirements import cap, machine
from provenet.nets.schema import BOOL, INT, Field, IntType, RecordType
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect, Proposal, Request
from provenet.sdb.human import Human
from provenet.sdb.policy import within
from provenet.sdb.saga import Saga

OFFER = RecordType("Offer", (Field("n", IntType(0, 2)), Field("vip", BOOL)))
WEEK = timedelta(days=7)

SDB = ("SDB-1", "SDB-3", "SDB-4", "SDB-5", "SDB-6")
SAGA = ("SAGA-1", "SAGA-2", "SAGA-3", "SAGA-4")
CATALOGUE = (*SDB, *SAGA, "STATE-1", "STATE-2", "STATE-3", "CTL-2", "CTL-3", "DATA-1", "DATA-3")


class Model:
    """A proposer that no proof ever asks."""

    async def propose(self, request: Request) -> Proposal:
        raise NotImplementedError


@st.composite
def contract_nets(draw: DrawFn) -> Net:
    """One or two contracts, perhaps a person between them, perhaps a saga scope around them.

    With up to two faults.
    """
    net = NetBuilder("contracts")
    start = net.entry("start", OFFER)
    middle = net.place("middle", OFFER)
    review = net.place("review", OFFER)
    end = net.final("end", OFFER)
    in_saga = draw(st.booleans())
    scope = net.add(Saga("scope", outcome=OFFER, completes=end, aborts=end)) if in_saga else None
    goal = net.place("goal", OFFER) if in_saga else end
    policies = st.sampled_from(
        [
            lambda proposal: proposal.n <= 1,
            lambda proposal: (proposal.n <= 1) & proposal.vip,
            lambda proposal: (proposal.n == 0) | proposal.vip,
        ]
    )
    limit = draw(policies)
    effect = Effect("sell", print, payload=OFFER)
    undo = Effect("refund", print, payload=OFFER, tries=draw(st.sampled_from((5, 5, None, 1))))
    two = draw(st.booleans())
    failing = draw(st.booleans())
    undoable = in_saga and draw(st.integers(0, 3)) > 0
    net.add(
        Contract(
            "a",
            takes=start,
            gives=middle if two else goal,
            propose=Model(),
            returns=OFFER,
            verify=within(OFFER, limit, name="p"),
            commit=effect if in_saga or draw(st.booleans()) else None,
            undo=undo if undoable else None,
            irreversible=not undoable,
            saga=scope,
            attempts=draw(st.integers(1, 2)),
            otherwise=review,
            on_failure=review if failing and in_saga else None,
            escalate=lambda inputs: inputs,
            requires=draw(st.sampled_from((None, limit, lambda proposal: proposal.n <= 1))),
        )
    )
    if two:
        net.add(
            Contract(
                "b",
                takes=middle,
                gives=goal,
                verify=within(OFFER, draw(policies), name="q"),
                commit=Effect("ship", print, payload=OFFER) if in_saga else None,
                undo=Effect("recall", print, payload=OFFER) if in_saga else None,
                saga=scope,
                otherwise=review,
            )
        )
    if draw(st.booleans()):
        net.add(Human("ask", takes=review, approve=goal, deny=goal, who="boss", within=WEEK))
        if scope is not None and draw(st.booleans()):
            scope.abort(net, "stop", takes={"inputs": review}, outcome="inputs")
    elif scope is not None:
        scope.abort(net, "stop", takes={"inputs": review}, outcome="inputs")
    else:
        net.route("drop", takes={"inputs": review}, puts={end: "inputs"})
    if scope is not None:
        scope.complete(net, "done", takes={"inputs": goal}, outcome="inputs")
        if draw(st.booleans()):
            scope.kill(net, "kill", outcome=Const((0, False), OFFER))
    for id_ in CATALOGUE:
        net.require(id_)
    made = net.build()
    if draw(st.booleans()):
        made = draw(_with_evidence(made))
    for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2)))):
        made = draw(_with_fault(made))
    counted = draw(st.lists(st.sampled_from([t.name for t in made.transitions]), min_size=1, max_size=2))
    asked = [cap(*counted, most=draw(st.integers(0, 3)))]
    if in_saga:
        asked.append(_scope_machine(made))
    made = replace(made, requirements=(*made.requirements, *asked))
    assert check_net(made) == (), check_net(made)
    return made


def _scope_machine(net: Net) -> Requirement:
    """The scope's token is in one state from the start to the end."""
    undoing = tuple(p.name for p in net.places if p.name.endswith(".undoing"))
    return machine(
        states={
            "open": "scope.open",
            "aborting": ("scope.aborting", *undoing),
            "completing": "scope.completing",
            "ended": "end",
        },
        moves={"open": ("aborting", "completing"), "aborting": "ended", "completing": "ended"},
    )


@st.composite
def _with_evidence(draw: DrawFn, net: Net) -> Net:
    """The first verifier reads a limit besides, which others may change."""
    limit = Place("limit", IntType(0, 2))
    net = replace(
        net,
        places=(*net.places, limit),
        initial=(*net.initial, ("limit", (draw(st.integers(0, 2)),))),
        resting=(*net.resting, "limit"),
    )
    accept = net.transition("a.accept")
    (var,) = (a.var for a in accept.takes)
    assert var is not None
    assert accept.guard is not None
    within_it = Compare("<=", Get(Get(Var(var), "proposal"), "n"), Var("limit"))
    passes = And((accept.guard, within_it)) if draw(st.booleans()) else accept.guard
    changed = {
        "a.accept": replace(accept, guard=passes, reads=(Read("limit", "limit"),)),
        "a.reject": replace(net.transition("a.reject"), guard=Not(passes), reads=(Read("limit", "limit"),)),
    }
    net = replace(net, transitions=tuple(changed.get(t.name, t) for t in net.transitions))
    raised = Const(draw(st.integers(0, 2)), limit.type)
    takes = (Take("limit", "old"),)
    while_waiting: dict[str, Any] = draw(
        st.sampled_from(({}, {"reads": (Read("a.verified", "v"),)}, {"reads": (Read("a.running", "v"),)}))
    )
    writer = Transition(
        "change", takes=takes, puts=(Put("limit", raised),), trigger=Signal("changed"), **while_waiting
    )
    kept = replace(writer, puts=(Put("limit", Var("old")),))
    added = draw(st.sampled_from(((), (writer,), (writer,), (kept,))))
    return replace(net, transitions=(*net.transitions, *added))


@st.composite
def _with_fault(draw: DrawFn, net: Net) -> Net:
    """The net with one thing done wrong; the net itself where the fault does not fit."""
    at = draw(st.integers(0, len(net.transitions) - 1))
    t = net.transitions[at]
    kind = draw(
        st.sampled_from(
            (
                "guard",
                "flip",
                "swap",
                "drop",
                "double",
                "retarget",
                "value",
                "steal",
                "role",
                "resets",
                "jump",
                "add",
                "unscoped",
            )
        )
    )
    alike = {
        p.name: [q.name for q in net.places if q.type == p.type and q.name != p.name] for p in net.places
    }
    changed: Transition | None = t
    extra: tuple[Transition, ...] = ()
    match kind:
        case "guard":
            guarded = [u for u in net.transitions if u.guard is not None]
            if guarded:
                t = draw(st.sampled_from(guarded))
                changed = replace(t, guard=None)
        case "flip":
            changed = replace(t, guard=None if t.guard is None else Not(t.guard))
        case "drop":
            changed = None
        case "double":
            extra = (replace(t, name=t.name + " again", role=draw(st.sampled_from((t.role, Role.ROUTE)))),)
        case "retarget" if t.puts and alike[t.puts[0].place]:
            to = draw(st.sampled_from(alike[t.puts[0].place]))
            changed = replace(t, puts=(replace(t.puts[0], place=to), *t.puts[1:]))
        case "add" if t.puts:
            put = draw(st.sampled_from(t.puts))
            to = draw(st.sampled_from([put.place, *alike[put.place]]))
            changed = replace(t, puts=(*t.puts, replace(put, place=to)))
        case "swap" if len(t.puts) > 1:
            changed = replace(t, puts=t.puts[1:])
        case "value":
            builders = [(i, p) for i, p in enumerate(t.puts) if isinstance(p.expr, Build)]
            if builders:
                _, put = draw(st.sampled_from(builders))
                changed = replace(t, puts=tuple(_other_value(draw, p) if p is put else p for p in t.puts))
        case "steal" if t.takes and alike[t.takes[0].place]:
            source = draw(st.sampled_from(alike[t.takes[0].place]))
            changed = replace(t, takes=(replace(t.takes[0], place=source), *t.takes[1:]))
        case "role":
            changed = replace(t, role=draw(st.sampled_from((Role.ROUTE, Role.ACCEPT, Role.COMMIT))))
        case "resets":
            changed = replace(t, resets=())
        case "unscoped" if net.sagas:
            intents = [u for u in net.by_role(Role.INTENT) if len(u.takes) > 1]
            if intents:
                t = draw(st.sampled_from(intents))
                changed = _unscoped(t)
            if draw(st.booleans()):
                cut = {u.name: replace(u, resets=()) for u in net.by_role(Role.KILL, Role.ABORT)}
                net = replace(net, transitions=tuple(cut.get(u.name, u) for u in net.transitions))
        case "jump":
            extra = tuple(_shortcuts(net, draw(st.integers(0, 3))))
    if changed is not None and changed.role in (Role.ACCEPT, Role.COMMIT) and not changed.contract:
        changed = t
    rest = tuple(changed if u is t else u for u in net.transitions if u is not t or changed is not None)
    found = replace(net, transitions=(*(u for u in rest if u is not None), *extra))
    return found if not check_net(found) else net


def _unscoped(t: Transition) -> Transition:
    """An intent that does not ask its scope for a number."""
    (put,) = (p for p in t.puts if p.place != "scope.open")
    assert put.expr is not None
    opened = RecordType("scope.open", (Field("depth", INT),))
    token = substitute(put.expr, {"s": Const((1,), opened)})
    return replace(
        t,
        takes=tuple(a for a in t.takes if a.place != "scope.open"),
        puts=(replace(put, expr=token),),
    )


def _other_value(draw: DrawFn, put: Put) -> Put:
    """A built token with one number off by one, or another offer in it."""
    assert isinstance(put.expr, Build)
    parts: list[Expr] = list(put.expr.parts)
    at = draw(st.integers(0, len(parts) - 1))
    of = put.expr.type.fields[at].type
    if of == INT:
        parts[at] = Const(draw(st.integers(0, 2)), INT)
    elif of == OFFER:
        parts[at] = Const((draw(st.integers(0, 2)), draw(st.booleans())), OFFER)
    return replace(put, expr=Build(put.expr.type, tuple(parts)))


def _shortcuts(net: Net, which: int) -> list[Transition]:
    """A transition past a verifier, a commit or a person."""
    ways: list[tuple[str, str]] = [
        ("start", "goal"),
        ("review", "goal"),
        ("start", "middle"),
        ("start", "end"),
    ]
    source, target = ways[which]
    if not net.has_place(source) or not net.has_place(target):
        return []
    arcs: dict[str, Any] = {"takes": (Take(source, "x"),), "puts": (Put(target, Var("x")),)}
    return [Transition("shortcut", trigger=Auto(), **arcs)]
