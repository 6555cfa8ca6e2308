"""Nets whose saga scopes or loops are hostile: each one once made a proof look at less than there was."""

from __future__ import annotations

import time
from typing import Any

import pytest

from provenet.nets.expr.parse import parse
from provenet.nets.net import (
    ContractInfo,
    Net,
    Place,
    Put,
    Read,
    Requirement,
    Role,
    SagaInfo,
    Take,
    Transition,
)
from provenet.nets.schema import BOOL, INT, UNIT, Field, IntType, RecordType, Type, UnitType
from provenet.verify import context
from provenet.verify.check import prove
from provenet.verify.context import Context
from provenet.verify.numbering import numbering
from provenet.verify.progress import known
from provenet.verify.verdict import Status, Verdict
from tests.verify.explicit import Explicit

SCOPE = SagaInfo("s", open="so", aborting="sa", completing="sc")
OWN = ("so", "sa", "sc")
A, B = (ContractInfo(c, UNIT, undo=f"undo {c}", saga="s") for c in "ab")
END = ((("end", 1),),)


@pytest.fixture
def by_reasoning(monkeypatch: pytest.MonkeyPatch) -> None:
    """No net is small enough for its state graph to be tried before the arguments for large ones."""
    monkeypatch.setattr(context, "_SMALL", -1)


def record(name: str, *fields: str) -> RecordType:
    return RecordType(name, tuple(Field(f, INT) for f in fields))


D, N = record("D", "depth"), record("N", "n")


class Places:
    """Some places, and transitions between them in a short notation."""

    def __init__(self, *black: str, **typed: Type) -> None:
        self.all = (*(Place(p, of) for p, of in typed.items()), *(Place(p) for p in black))
        self.types = {p.name: p.type for p in self.all}

    def step(
        self, name: str, takes: str, puts: str, guard: str = "", *, reads: str = "", **parts: Any
    ) -> Transition:
        """A transition.

        Args:
            name: Its name.
            takes: The places that it takes from, ``var:place`` where it names the token.
            puts: The places that it puts into, ``place = token`` where they hold data; between semicolons.
            guard: Over the named tokens.
            reads: Like ``takes``.
            parts: Everything else.
        """
        scope: dict[str, Type] = {}
        taken = [self._named(a, scope) for a in takes.split()]
        read = [self._named(a, scope) for a in reads.split()]
        records = {of.name: of for of in self.types.values() if isinstance(of, RecordType)}
        given = []
        for put in filter(None, puts.split("; ")):
            place, _, token = put.partition(" = ")
            of = self.types[place]
            given.append(Put(place, parse(token, scope, records, like=of) if token else None))
        return Transition(
            name,
            takes=tuple(Take(p, var) for p, var in taken),
            reads=tuple(Read(p, var) for p, var in read),
            puts=tuple(given),
            guard=parse(guard, scope, records, like=BOOL) if guard else None,
            **parts,
        )

    def _named(self, arc: str, scope: dict[str, Type]) -> tuple[str, str | None]:
        var, _, place = arc.rpartition(":")
        if not var:
            assert isinstance(self.types[place], UnitType)
            return place, None
        scope[var] = self.types[place]
        return place, var


def only(net: Net, id_: str) -> Verdict:
    (found,) = prove(net, only=[id_], timeout=20).verdicts
    return found


def two_tops() -> Net:
    """Two scopes that count two steps each; the numbers of both lie in one place, not in the same order."""
    of = Places(
        *(f"g{i}" for i in range(5)), "end", so=D, uo=record("U", "depth"), q=N, p=record("P", "a", "b")
    )
    first = (
        of.step(
            f"first {i}", f"g{i} s:so", f"g{i + 1}; so = D{{depth: s.depth + 1}}; q = N{{n: s.depth + 1}}"
        )
        for i in (0, 1)
    )
    second = (
        of.step(
            f"second {i}",
            f"g{i} v:q u:uo",
            f"g{i + 1}; uo = U{{depth: u.depth + 1}}; p = P{{a: v.n, b: u.depth + 1}}",
        )
        for i in (2, 3)
    )
    pop = of.step(
        "pop",
        "w:p s:so u:uo",
        "so = D{depth: s.depth - 1}; uo = U{depth: u.depth - 1}",
        "w.a == s.depth and w.b == u.depth",
        reads="g4",
    )
    done = of.step("done", "g4 s:so u:uo", "end", "s.depth == 0 and u.depth == 0")
    return Net(
        "two tops",
        of.all,
        (*first, *second, pop, done),
        initial=(("g0", ((),)), ("so", ((0,),)), ("uo", ((0,),))),
        finals=END,
        sagas=(SagaInfo("s", "so", "so", "so"), SagaInfo("u", "uo", "uo", "uo")),
    )


@pytest.mark.usefixtures("by_reasoning")
def test_the_tops_of_two_scopes_need_not_be_one_token() -> None:
    net = two_tops()
    explicit = Explicit(net)
    assert explicit.complete
    assert explicit.state_1() is explicit.state_3() is False
    assert only(net, "STATE-1").status is Status.REFUTED
    assert only(net, "STATE-3").status is Status.REFUTED


def counting(by: str, also: str = "") -> Net:
    """A scope that aborts without an undoing: its token counts steps by one field, and ends by another."""
    ends = also or by
    names = (also, by) if also else (by,)
    state = record("S", *names)
    of = Places("g0", "g1", "g2", "end", **dict.fromkeys((*OWN, "over"), state), pa=N, oa=N)
    up = ", ".join(f"{f}: s.{f} + 1" if f == by else f"{f}: s.{f}" for f in names)
    steps = (
        of.step(
            "intent",
            "g0 s:so",
            f"g1; so = S{{{up}}}; pa = N{{n: s.{by} + 1}}",
            role=Role.INTENT,
            contract="a",
        ),
        of.step("commit", "g1 v:pa", "g2; oa = v", role=Role.COMMIT, contract="a"),
        of.step("abort", "g2 s:so", "sa = s", role=Role.ABORT, contract="s"),
        of.step("look", "g2", "g2", f"v.n == s.{by} and s.{ends} == 7", reads="v:oa s:sa"),
        of.step("aborted", "s:sa", "over = s; end", f"s.{ends} == 0", role=Role.ABORTED, contract="s"),
    )
    return Net(
        "counting",
        of.all,
        steps,
        initial=(("g0", ((),)), ("so", ((0,) * len(names),))),
        finals=END,
        resting=("oa", "over"),
        contracts=(A,),
        sagas=(SCOPE,),
    )


@pytest.mark.usefixtures("by_reasoning")
@pytest.mark.parametrize(("by", "also"), [("y", "x"), ("x", "y")])
def test_a_scope_that_ends_by_another_counter_has_not_undone_its_steps(by: str, also: str) -> None:
    net = counting(by, also)
    explicit = Explicit(net)
    assert explicit.complete
    assert explicit.saga("s")["SAGA-1"] is False
    assert only(net, "SAGA-1").status is Status.REFUTED


@pytest.mark.usefixtures("by_reasoning")
def test_no_steps_are_numbered_by_two_counters_of_one_token() -> None:
    for net, expected in ((counting("y"), True), (counting("y", "x"), False), (counting("x", "y"), False)):
        ctx = Context(net, deadline=time.monotonic() + 20)
        here = known(ctx)
        assert (numbering(ctx, SCOPE, here.facts) is not None) is expected
        assert ("s" in here.numbered) is expected


def below_plumbing() -> Net:
    """The undoing of ``a`` takes a token on top, which is no contract's, and its own from below ``b``."""
    of = Places(
        *(f"g{i}" for i in range(6)),
        "end",
        **dict.fromkeys(OWN, D),
        **dict.fromkeys(("pa", "oa", "pb", "ob", "z", "x"), N),
        **dict.fromkeys(("uz", "ub"), record("U", "n", "depth")),
    )
    up, number = "so = D{depth: s.depth + 1}", "N{n: s.depth + 1}"
    undo, top, down = "U{n: v.n, depth: s.depth}", "v.n == s.depth", "sa = D{depth: u.depth - 1}"
    steps = (
        of.step("intent a", "g0 s:so", f"g1; {up}; pa = {number}", role=Role.INTENT, contract="a"),
        of.step("commit a", "g1 v:pa", "g2; oa = v", role=Role.COMMIT, contract="a"),
        of.step("intent b", "g2 s:so", f"g3; {up}; pb = {number}", role=Role.INTENT, contract="b"),
        of.step("commit b", "g3 v:pb", "g4; ob = v", role=Role.COMMIT, contract="b"),
        of.step("plumbing", "g4 s:so", f"g5; {up}; z = {number}"),
        of.step("abort", "g5 s:so", "sa = s", role=Role.ABORT, contract="s"),
        of.step("unwind z", "v:z s:sa", f"uz = {undo}", top),
        of.step("undo a", "u:uz v:oa", f"x = v; {down}", role=Role.COMPENSATE, contract="a"),
        of.step("unwind b", "v:ob s:sa", f"ub = {undo}", top, role=Role.UNWIND, contract="b"),
        of.step("undo b", "u:ub", down, role=Role.COMPENSATE, contract="b"),
        of.step("drop x", "v:x s:sa", "sa = D{depth: s.depth - 1}", top),
        of.step("aborted", "s:sa", "end", "s.depth == 0", role=Role.ABORTED, contract="s"),
    )
    return Net(
        "below plumbing",
        of.all,
        steps,
        initial=(("g0", ((),)), ("so", ((0,),))),
        finals=END,
        contracts=(A, B),
        sagas=(SCOPE,),
    )


@pytest.mark.usefixtures("by_reasoning")
def test_a_token_on_top_that_is_no_step_does_not_order_the_undoing() -> None:
    net = below_plumbing()
    explicit = Explicit(net)
    assert explicit.complete
    assert explicit.saga("s") == {"SAGA-1": True, "SAGA-2": False, "SAGA-3": True}
    found = only(net, "SAGA-2")
    assert found.status is Status.REFUTED
    assert found.trace is not None
    assert [s.transition for s in found.trace.steps][-1] == "undo a"


@pytest.mark.usefixtures("by_reasoning")
@pytest.mark.parametrize(("empties", "expected"), [(("so",), Status.REFUTED), ((), Status.PROVED)])
def test_no_abort_follows_a_step_that_empties_the_place_of_the_scope(
    empties: tuple[str, ...], expected: Status
) -> None:
    of = Places("g0", "g1", *OWN, "f", "f2", "a", "end")
    steps = (
        of.step("commit", "g0", "g1; a", role=Role.COMMIT, contract="a"),
        of.step("fail", "g0", "f", role=Role.FAIL, contract="a"),
        of.step("on", "f", "f2", resets=empties),
        of.step("abort", "f2 so", "sa", role=Role.ABORT, contract="s"),
        of.step("undo", "a sa", "sa", role=Role.COMPENSATE, contract="a"),
        of.step("aborted", "sa", "end", role=Role.ABORTED, contract="s"),
        of.step("complete", "g1 so a", "end", role=Role.COMPLETE, contract="s"),
        *((of.step("over", "f2", "end"),) if empties else ()),
    )
    net = Net(
        "emptied",
        of.all,
        steps,
        initial=(("g0", ((),)), ("so", ((),))),
        finals=END,
        contracts=(A,),
        sagas=(SCOPE,),
    )
    explicit = Explicit(net)
    assert explicit.never_fires("fail") is False
    assert explicit.never_fires("abort") is bool(empties)
    assert only(net, "SAGA-4").status is expected


@pytest.mark.usefixtures("by_reasoning")
@pytest.mark.parametrize(
    "asked",
    [
        Requirement("eventually", (("what", ("end",)),)),
        Requirement("formula", (("formula", "AF end >= 1"), ("runs", "fair"))),
    ],
    ids=["eventually", "formula"],
)
def test_a_scope_that_counts_down_for_ever_has_no_finite_graph(asked: Requirement) -> None:
    of = Places("g0", "g1", "g2", "end", **dict.fromkeys(OWN, D), o=N)
    steps = (
        of.step("push", "g0 s:so", "g1; sa = D{depth: s.depth + 1}; o = N{n: s.depth + 1}", "s.depth == 0"),
        of.step("pop", "g1 s:sa v:o", "g2; sc = D{depth: s.depth - 2}", "v.n == s.depth and s.depth == 1"),
        of.step("down", "s:sc", "sc = D{depth: s.depth - 1}", "s.depth < 0"),
        of.step("done", "g2 s:sc", "end"),
    )
    net = Net("downward", of.all, steps, initial=(("g0", ((),)), ("so", ((0,),))), finals=END, sagas=(SCOPE,))
    assert not Explicit(net, most=100).complete
    assert prove(net, only=[asked], timeout=0.5).status() is not Status.PROVED


def test_a_graph_cut_short_does_not_show_that_nothing_leads_on() -> None:
    of = Places(
        *(f"{c}{i}" for c in "cd" for i in range(6)),
        *OWN,
        "g",
        "f",
        "x",
        "a",
        "end",
        **dict.fromkeys("vw", N),
    )
    steps = (
        of.step("tick", "s:v", "v = N{n: s.n + 1}"),
        of.step("tock", "s:w u:v", "w = N{n: u.n}; v = N{n: u.n + 1}"),
        *(of.step(f"up {i}", f"c{i}", f"d{i}") for i in range(6)),
        *(of.step(f"down {i}", f"d{i}", f"c{i}") for i in range(6)),
        of.step("commit", "g", "a", role=Role.COMMIT, contract="a"),
        of.step("fail", "g", "f", role=Role.FAIL, contract="a"),
        of.step("again", "f", "g"),
        of.step("odd", "f s:v u:w", "x", "s.n == u.n"),
        of.step("fail for good", "x", "end", role=Role.FAIL, contract="a"),
        of.step("abort", "f so", "sa", role=Role.ABORT, contract="s"),
        of.step("aborted", "sa", "end", role=Role.ABORTED, contract="s"),
        of.step("undo", "a sa", "sa", role=Role.COMPENSATE, contract="a"),
    )
    net = Net(
        "cut short",
        of.all,
        steps,
        initial=(
            *((p, ((),)) for p in ("g", "so", *(f"c{i}" for i in range(6)))),
            ("v", ((1,),)),
            ("w", ((0,),)),
        ),
        finals=END,
        contracts=(A,),
        sagas=(SCOPE,),
    )
    # What v says is above what w says, always: only an abort or another try follows a failure.
    assert Explicit(net, most=300).never_fires("odd") is None
    assert only(net, "SAGA-4").status is not Status.REFUTED


def twice(last: str) -> Net:
    """Contract ``a`` commits, then ``b``, then ``a`` again; the step that is undone last is given."""
    first = {"1": "2", "2": "1"}[last]
    of = Places(
        *(f"g{i}" for i in range(7)), *OWN, "b", "end", a=RecordType("U", (Field("k", IntType(1, 2)),))
    )
    steps = (
        of.step("a1", "g0", "g1; a = U{k: 1}", role=Role.COMMIT, contract="a"),
        of.step("b1", "g1", "g2; b", role=Role.COMMIT, contract="b"),
        of.step("a2", "g2", "g3; a = U{k: 2}", role=Role.COMMIT, contract="a"),
        of.step("abort", "g3 so", "g4; sa", role=Role.ABORT, contract="s"),
        of.step(
            "undo one a", "g4 v:a", "g5", f"v.k == {first}", reads="sa", role=Role.COMPENSATE, contract="a"
        ),
        of.step("undo b", "g5 b", "g6", reads="sa", role=Role.COMPENSATE, contract="b"),
        of.step("undo other a", "g6 v:a sa", "end", f"v.k == {last}", role=Role.COMPENSATE, contract="a"),
    )
    return Net(
        "twice",
        of.all,
        steps,
        initial=(("g0", ((),)), ("so", ((),))),
        finals=END,
        contracts=(A, B),
        sagas=(SCOPE,),
    )


@pytest.mark.parametrize(("last", "wrong"), [("2", Status.PROVED), ("1", Status.REFUTED)])
def test_steps_of_one_contract_are_not_taken_for_one_another(last: str, wrong: Status) -> None:
    net = twice(last)
    explicit = Explicit(net)
    assert explicit.complete
    assert explicit.saga("s")["SAGA-2"] is None
    # Where "2" is undone last, "1" is undone before what came after it; by their roles they are the same.
    assert only(net, "SAGA-2").status is not wrong


@pytest.mark.parametrize(("role", "expected"), [(Role.DISCHARGE, False), (Role.COMPENSATE, True)])
def test_what_is_dropped_before_an_abort_is_not_undone(role: Role, expected: bool) -> None:
    of = Places("g0", *OWN, "a", "n", "end")
    steps = (
        of.step("commit", "g0", "a", role=Role.COMMIT, contract="a"),
        of.step("abort", "so", "sa", reads="a", role=Role.ABORT, contract="s"),
        of.step("drop", "a", "n", reads="sa", role=role, contract="a"),
        of.step("aborted", "sa n", "end", role=Role.ABORTED, contract="s"),
    )
    net = Net(
        "dropped",
        of.all,
        steps,
        initial=(("g0", ((),)), ("so", ((),))),
        finals=END,
        contracts=(A,),
        sagas=(SCOPE,),
    )
    explicit = Explicit(net)
    assert explicit.complete
    assert explicit.saga("s")["SAGA-1"] is expected
    assert only(net, "SAGA-1").status is (Status.PROVED if expected else Status.REFUTED)
