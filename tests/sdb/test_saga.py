"""Saga scopes: in any order of events, what is aborted is undone in reverse, what completes is kept."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.nets.build import NetBuilder
from provenet.nets.firing import NetRule
from provenet.nets.marking import initial_marking, is_final
from provenet.nets.models import Token
from provenet.nets.net import Net, OnFailure, Perform, Role, Signal
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect
from provenet.sdb.policy import within
from provenet.sdb.reject import Reject
from provenet.sdb.saga import KILL_SIGNAL, Saga


class Job(Token):
    n: int


class Key(Token):
    key: str


ANY = within(Job, lambda job: job.n < 100, name="small")


def scope_of(parallel: int, serial: int) -> Net:
    """A scope with so many steps side by side, then so many in a row, the last of them irreversible."""
    net = NetBuilder("scope")
    start = net.entry("start", Job)
    closed, off = net.final("closed", Job), net.final("off", Job)
    saga = net.add(Saga("s", outcome=Job, completes=closed, aborts=off))
    lost = net.place("lost", Job)
    heads = [net.place(f"to p{i}", Job) for i in range(parallel)]
    tails = [net.place(f"from p{i}", Job) for i in range(parallel)]
    net.route("fork", takes={"j": start}, puts=dict.fromkeys(heads, "j"))

    def step(name: str, takes: Any, gives: Any, **more: Any) -> None:
        do = Effect(f"do {name}", lambda _: None, Job, Key)
        undo = Effect(f"undo {name}", lambda _: None, Key)
        more = more or {"undo": undo}
        net.add(
            Contract(
                name,
                takes=takes,
                gives=gives,
                verify=ANY,
                commit=do,
                saga=saga,
                otherwise=lost,
                on_failure=lost,
                **more,
            )
        )

    for i in range(parallel):
        step(f"p{i}", heads[i], tails[i])
    here = net.place("joined", Job)
    net.route("join", takes={f"j{i}": tail for i, tail in enumerate(tails)}, puts={here: "j0"})
    for i in range(serial):
        following = net.place(f"after s{i}", Job)
        step(f"s{i}", here, following, **({"irreversible": True} if i == serial - 1 else {}))
        here = following
    saga.complete(net, "finish", takes={"j": here}, outcome="j")
    saga.abort(net, "give up", takes={"j": lost}, outcome="j")
    saga.kill(net, "kill", outcome=Job(n=0))
    return net.build()


@given(
    parallel=st.integers(1, 3),
    serial=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    failing=st.sampled_from([0.0, 0.2, 0.6]),
    killing=st.sampled_from([0.0, 0.05, 0.3]),
)
@settings(max_examples=300)
def test_steps_are_undone_in_reverse_or_all_kept(
    parallel: int, serial: int, seed: int, failing: float, killing: float
) -> None:
    net, rng = scope_of(parallel, serial), random.Random(seed)
    rule = NetRule(net)
    marking = initial_marking(net, {"start": (1,)})
    begun: list[str] = []  # in the order in which their commits began
    done: set[str] = set()
    undone: list[str] = []
    while not is_final(net, marking):
        choices = [f for f in rule.enabled(marking) if f.transition != "kill" or rng.random() < killing]
        if not choices:
            continue
        firing = rng.choice(choices)
        t = net.transition(firing.transition)
        if isinstance(t.trigger, OnFailure) and rng.random() >= failing:
            continue
        values: dict[str, Any] = {"receipt": ("k",), "signal": Reject("x", retryable=False).value()}
        binding = {**firing.binding, **{f.var: values[f.var] if f.type != _UNIT else () for f in t.fresh}}
        if t.role is Role.INTENT:
            begun.append(t.contract)
        elif t.role is Role.COMMIT:
            done.add(t.contract)
        elif t.role is Role.COMPENSATE:
            undone.append(t.contract)
        marking = rule.fire(marking, t.name, binding)
    reversible = [c for c in begun if c in done and c != f"s{serial - 1}"]
    if marking["closed"]:
        assert undone == []
        assert len(done) == parallel + serial
    else:
        assert undone == reversible[::-1]


_UNIT = NetBuilder("u").place("u").type


def test_the_shape_of_a_scope() -> None:
    net = scope_of(1, 2)
    (info,) = net.sagas
    assert (info.open, info.aborting, info.completing) == ("s.open", "s.aborting", "s.completing")
    kill = net.transition("kill")
    assert (kill.role, kill.trigger) == (Role.KILL, Signal(KILL_SIGNAL))
    assert net.transition("give up").role is Role.ABORT
    assert net.transition("s.completed").role is Role.COMPLETE
    assert not net.has_place("s1.undo")
    undo = net.transition("p0.compensate").trigger
    assert isinstance(undo, Perform)
    assert (undo.handler, undo.tries) == ("undo p0", 5)


def test_cancelling_spares_what_must_be_finished_or_undone() -> None:
    net = scope_of(2, 2)
    for name in ("kill", "give up", "finish", "s.aborted", "s.completed"):
        resets = set(net.transition(name).resets)
        for place in (p.name for p in net.places):
            spared = place.rsplit(".", 1)[-1] in (
                "open",
                "aborting",
                "completing",
                "void",
                "undo",
                "undoing",
                "committing",
            )
            assert (place in resets) == (not spared and place not in ("closed", "off")), (name, place)


def test_a_scope_may_end_without_an_outcome() -> None:
    net = NetBuilder("plain")
    start, closed, off = net.entry("start", None), net.final("closed"), net.final("off")
    saga = net.add(Saga("s", outcome=None, completes=closed, aborts=off))
    saga.abort(net, "give up", takes=start, outcome=None)
    built = net.build()
    rule, marking = NetRule(built), initial_marking(built, {"start": ()})
    for name in ("give up", "s.aborted"):
        (binding,) = rule.bindings(marking, name)
        marking = rule.fire(marking, name, binding)
    assert is_final(built, marking)
