"""Formulas of CTL and LTL on nets with data: against explicit search, and what is said of them."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from provenet.nets.errors import ProvenetError
from provenet.nets.expr.ast import Arith, Compare, Const, Var
from provenet.nets.formats.canonical import net_from_json, net_to_json
from provenet.nets.marking import is_final
from provenet.nets.net import Auto, Choice, Entry, Fresh, Net, Place, Put, Read, Signal, Take, Transition
from provenet.nets.requirements import Runs, formula, responds
from provenet.nets.schema import BOOL, INT, IntType
from provenet.verify.certificate import recheck
from provenet.verify.check import prove
from provenet.verify.context import Context
from provenet.verify.modal import vocabulary
from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.formula_text import parse_formula, shown
from provenet.verify.plain.net import PTNet
from provenet.verify.properties.temporal import check_formula
from provenet.verify.verdict import Status, Verdict
from tests.verify.explicit import Explicit
from tests.verify.explicit_temporal import Judge
from tests.verify.plain.formulas import branching, graph_of, satisfying
from tests.verify.plain.nets import nets as plain_nets
from tests.verify.small_contracts import contract_nets
from tests.verify.small_nets import small_nets

QUICK = settings(deadline=None, suppress_health_check=list(HealthCheck))
RUNS: st.SearchStrategy[Runs] = st.sampled_from(get_args(Runs))
LOGICS = ("ctl", "ltl", "both", "usual", "usual")


@st.composite
def formulas(draw: DrawFn, net: Net) -> tl.Temporal:
    """A formula of CTL, of LTL, or of CTL*, about the places and transitions of a net."""
    words = vocabulary(net)
    kind = draw(st.sampled_from(LOGICS))

    def atom() -> tl.Temporal:
        choice = draw(st.integers(0, 9))
        if choice == 0:
            return tl.Now(logic.deadlock(words))
        if choice < 4:
            return tl.Now(logic.fireable(words, draw(st.integers(0, len(net.transitions) - 1))))
        chosen = draw(st.sets(st.integers(0, len(net.places) - 1), min_size=1, max_size=2))
        terms = dict.fromkeys(chosen, 1)
        bound = draw(st.sampled_from((1, 1, 1, 2)))
        return tl.Now(draw(st.sampled_from((logic.at_least, logic.at_most)))(terms, bound))

    def path(depth: int, inner: bool) -> tl.Temporal:
        of = state if inner else (lambda d: path(d, inner=False))
        if not inner and (depth <= 0 or draw(st.integers(0, 5)) == 0):
            return atom()
        choice = draw(st.sampled_from("XFGFGURn&|" if not inner else "XFGFGUR"))
        match choice:
            case "X":
                return tl.X(of(depth - 1))
            case "F":
                return tl.F(of(depth - 1))
            case "G":
                return tl.G(of(depth - 1))
            case "U":
                return tl.U(of(depth - 1), of(depth - 1))
            case "R":
                return tl.R(of(depth - 1), of(depth - 1))
            case "n":
                return tl.Not(of(depth - 1))
            case "&":
                return tl.Both((of(depth - 1), of(depth - 1)))
        return tl.Either((of(depth - 1), of(depth - 1)))

    def state(depth: int) -> tl.Temporal:
        if depth <= 0 or draw(st.integers(0, 4)) == 0:
            return atom()
        choice = draw(st.integers(0, 6))
        if choice == 0:
            return tl.Not(state(depth - 1))
        if choice == 1:
            return tl.Both((state(depth - 1), state(depth - 1)))
        if choice == 2:
            return tl.Either((tl.Not(state(depth - 1)), state(depth - 1)))
        of = path(2, inner=False) if kind == "both" else path(depth, inner=True)
        return tl.E(of) if draw(st.integers(0, 2)) == 0 else tl.A(of)

    def usual() -> tl.Temporal:
        """What people ask for."""
        p, q = atom(), atom()
        made: list[tl.Temporal] = [
            *(tl.A(tl.F(p)), tl.A(tl.G(tl.Either((tl.Not(p), tl.A(tl.F(q)))))), tl.E(tl.G(p)), tl.F(p)),
            *(tl.G(tl.F(p)), tl.F(tl.G(p)), tl.A(tl.U(p, q)), tl.A(tl.G(tl.E(tl.F(p)))), tl.E(tl.F(p))),
        ]
        return draw(st.sampled_from(made))

    if kind == "usual":
        return usual()
    return path(3, inner=False) if kind == "ltl" else state(3)


def judged(net: Net, f: tl.Temporal | str, runs: Runs, *, seconds: float = 5) -> Verdict:
    """The verdict on one formula."""
    ctx = Context(net, deadline=time.monotonic() + seconds, most_states=2_000)
    text = f if isinstance(f, str) else shown(f, vocabulary(net))
    (verdict,) = check_formula(ctx, formula(text, runs=runs))
    ctx.memo.clear()
    return verdict


def disagreement(net: Net, seen: Explicit, f: tl.Temporal, runs: Runs, tally: Counter[str]) -> str:
    """Where the verdict and explicit search contradict each other."""
    words = vocabulary(net)
    assert tl.simplified(parse_formula(shown(f, words), words)) == tl.simplified(f)
    v = judged(net, f, runs)
    tally[str(v.status)] += 1
    if v.status is Status.UNKNOWN:
        return ""
    if v.trace is not None and not v.trace.replays(net):
        return f"the trace does not replay: {v}"
    if v.status is Status.PROVED and not v.certificates:
        return f"no certificate: {v}"
    if not seen.complete:
        tally["not compared"] += 1
        return ""
    linear = not tl.is_state(f)
    holds = Judge(seen, runs, linear=linear).holds(tl.A(f) if linear else f)
    if holds != (v.status is Status.PROVED):
        return f"{v.title} [{runs}]: {v.status} by {v.method} ({v.reason}), but it is {holds}"
    return ""


def _compare(net: Net, data: st.DataObject) -> None:
    seen, tally = Explicit(net, most=250), Counter[str]()
    for _ in range(3):
        f, runs = data.draw(formulas(net)), data.draw(RUNS)
        assert not disagreement(net, seen, f, runs, tally)


@settings(QUICK, max_examples=35)
@given(small_nets(), st.data())
def test_verdicts_agree_with_explicit_search(net: Net, data: st.DataObject) -> None:
    _compare(net, data)


@settings(QUICK, max_examples=6)
@given(contract_nets(), st.data())
def test_verdicts_agree_on_nets_of_contracts(net: Net, data: st.DataObject) -> None:
    _compare(net, data)


@settings(QUICK, max_examples=25)
@given(plain_nets(), st.data())
def test_without_data_it_is_the_logic_of_the_contest(plain: PTNet, data: st.DataObject) -> None:
    """Against a third reading of CTL, by the meaning of each operator."""
    graph = graph_of(plain, limit=200)
    assume(graph is not None and all(plain.pre))
    assert graph is not None
    f = data.draw(branching(plain))
    net = Net(
        "plain",
        tuple(map(Place, plain.places)),
        tuple(
            Transition(
                name,
                takes=tuple(Take(plain.places[p], None, w) for p, w in pre),
                puts=tuple(Put(plain.places[p], None, w) for p, w in post),
            )
            for name, pre, post in zip(plain.transitions, plain.pre, plain.post, strict=True)
        ),
        initial=tuple((p, ((),) * n) for p, n in zip(plain.places, plain.initial, strict=True) if n),
    )
    v = judged(net, f, "all")
    holds = plain.initial in satisfying(graph, f)
    # Nothing is forgotten where nothing is known of tokens: what is not decided is too large.
    assert v.status is (Status.PROVED if holds else Status.REFUTED), v


@settings(QUICK, max_examples=20)
@given(small_nets(), st.data())
def test_a_formula_and_its_negation(net: Net, data: st.DataObject) -> None:
    f, runs = data.draw(formulas(net).filter(tl.is_state)), data.draw(RUNS)
    one, other = judged(net, f, runs), judged(net, tl.Not(f), runs)
    assume(all(e.where is None for e in net.entries))  # else there may be no case at all
    assert (one.status, other.status) != (Status.PROVED, Status.PROVED)
    if not net.entries:
        assert (one.status, other.status) != (Status.REFUTED, Status.REFUTED)


@settings(QUICK, max_examples=20)
@given(small_nets(), st.data())
def test_names_do_not_matter(net: Net, data: st.DataObject) -> None:
    f, runs = data.draw(formulas(net)), data.draw(RUNS)
    net = replace(net, requirements=())
    told = re.sub(r'"([pt]\d)', r'"some \1', json.dumps(net_to_json(net)))
    renamed = net_from_json(json.loads(told), source="renamed")
    assert [p.name for p in renamed.places] == [f"some {p.name}" for p in net.places]
    assert judged(net, f, runs).status is judged(renamed, f, runs).status


# what is said


def _counting(*, most: int, back: int) -> Net:
    """A counter that goes up, and from its top back to some value; or stops there."""
    n = IntType(0, most)
    guard = Compare("<", Var("v"), Const(most, INT))
    puts = (Put("counter", Arith("+", Var("v"), Const(1, INT))),)
    moves = [Transition("up", takes=(Take("counter", "v"),), puts=puts, guard=guard)]
    if back >= 0:
        top = Compare("==", Var("v"), Const(most, INT))
        again = (Put("counter", Const(back, n)), Put("laps"))
        moves.append(Transition("back", takes=(Take("counter", "v"),), puts=again, guard=top))
        moves.append(Transition("forget", takes=(Take("laps"),)))
    return Net(
        "counting",
        (Place("counter", n), Place("laps", capacity=1)),
        tuple(moves),
        initial=(("counter", (0,)),),
    )


def test_a_loop_over_data_comes_back_to_its_marking() -> None:
    net = _counting(most=3, back=1)
    assert "nothing that follows" in judged(net, "F G laps", "all").reason
    stay = Transition("stay", reads=(Read("counter", "v"),), puts=(Put("laps"),))
    v = judged(replace(net, transitions=(*net.transitions, stay)), "F G laps", "all")
    assert v.status is Status.REFUTED
    assert v.trace is not None
    net = replace(net, transitions=(*net.transitions, stay))
    markings = v.trace.replay(net)
    assert markings[-1] in markings[:-1]
    assert [s.note for s in v.trace.steps].count("from here on again and again") == 1
    assert "repeated for ever" in v.reason
    assert judged(net, "G F laps", "all").status is Status.PROVED
    assert judged(net, "G F fireable(back)", "fair").status is Status.PROVED


def test_a_run_that_ends_is_really_stuck() -> None:
    net = _counting(most=3, back=-1)
    v = judged(net, "F laps", "all")
    assert v.status is Status.REFUTED
    assert v.trace is not None
    assert len(v.trace.steps) == 3
    assert judged(net, "F deadlock", "all").status is Status.PROVED
    assert judged(net, "AG (deadlock | EX true)", "all").status is Status.PROVED


def _order() -> Net:
    """An order that a person approves or not, with an event that may come again and again."""
    return Net(
        "order",
        (Place("asked", BOOL), Place("sent", BOOL), Place("done", BOOL), Place("tries")),
        (
            Transition("ask", takes=(Take("asked", "v"),), puts=(Put("sent", Var("v")),), trigger=Auto()),
            Transition("poll", takes=(Take("sent", "v"),), puts=(Put("sent", Var("v")),), trigger=Auto()),
            Transition(
                "answer",
                takes=(Take("sent", "v"),),
                puts=(Put("done", Var("x")),),
                fresh=(Fresh("x", BOOL),),
            ),
            Transition(
                "chat", takes=(Take("sent", "v"),), puts=(Put("sent", Var("v")),), trigger=Signal("chat")
            ),
        ),
        entries=(Entry("asked"),),
        finals=((("done", 1),),),
    )


def test_fair_runs_answer_and_others_need_not() -> None:
    net = _order()
    fair, every = judged(net, "AG (sent -> AF done)", "fair"), judged(net, "AG (sent -> AF done)", "all")
    assert fair.status is Status.PROVED
    assert "what stays possible happens in the end" in fair.reason
    assert every.status is Status.REFUTED
    assert "what stays possible may not happen" in every.reason
    assert every.trace is not None
    assert every.trace.steps[-1].transition in {"poll", "chat"}


def test_people_may_stay_away_on_fair_runs() -> None:
    net = _order()
    asked = replace(net.transition("answer"), trigger=Choice("clerk", "yes"))
    alone = replace(
        net, transitions=(net.transition("ask"), asked), finals=((("done", 1),),), requirements=()
    )
    v = judged(alone, "F done", "fair")
    assert v.status is Status.REFUTED
    assert judged(alone, "F done", "all").status is Status.PROVED
    assert judged(alone, "AG (sent -> EF done)", "fair").status is Status.PROVED
    assert judged(alone, "AG (sent -> EX done)", "fair").status is Status.PROVED


def test_people_may_stay_away_while_something_else_goes_round() -> None:
    net = _order()
    asked = replace(net.transition("answer"), trigger=Choice("clerk", "yes"))
    moves = (net.transition("ask"), net.transition("poll"), asked)
    v = judged(replace(net, transitions=moves), "F done", "fair")
    assert v.status is Status.REFUTED
    assert v.trace is not None
    assert [s.transition for s in v.trace.steps] == ["ask", "poll"]


def test_a_case_that_is_over_stays_as_it_is() -> None:
    net = _order()
    on = Transition("undo", takes=(Take("done", "v"),), puts=(Put("sent", Var("v")),))
    longer = replace(net, transitions=(*net.transitions, on))
    assert judged(longer, "AG (done -> AG done)", "fair").status is Status.PROVED
    v = judged(longer, "AG (done -> AG done)", "all")
    assert v.status is Status.REFUTED
    assert v.trace is not None
    assert any(is_final(longer, m) for m in v.trace.replay(longer)[:-1])


def test_what_some_run_shows() -> None:
    v = judged(_counting(most=3, back=1), "EF fireable(back)", "all")
    assert v.status is Status.PROVED
    assert v.certificates
    # What holds of a case must hold whatever it starts with.
    net = _counting(most=3, back=1)
    free = replace(net, initial=(), entries=(Entry("counter"),))
    assert judged(free, "EX laps", "all").status is Status.REFUTED
    assert judged(free, "EF laps", "all").status is Status.PROVED


def test_vacuity_is_reported() -> None:
    assert "never holds" in judged(_order(), "AG (tries -> AF done)", "fair").vacuous
    assert judged(_order(), "AG (sent -> AF done)", "fair").vacuous == ""
    assert "constants decide it" in judged(_order(), "AG true", "fair").vacuous


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("AG snt", "there is no place .snt"),
        ("AG answer", "answer. is a transition"),
        ("AG fireable(poll, polls)", "there is no transition"),
        ("AG (", "expected"),
    ],
)
def test_a_name_that_matches_nothing_is_an_error(text: str, says: str) -> None:
    with pytest.raises(ProvenetError, match=says):
        judged(_order(), text, "fair")


def test_other_runs_do_not_exist() -> None:
    with pytest.raises(ProvenetError, match="there are no 'far' runs"):
        judged(_order(), "AG sent", "far")  # type: ignore[arg-type]


def test_a_net_without_bounds_is_not_proved_but_refuted() -> None:
    puts = (Put("seed"), Put("more", Const(1, INT)))
    grows = Net(
        "grows",
        (Place("seed"), Place("more", INT)),
        (Transition("grow", takes=(Take("seed"),), puts=puts),),
        initial=(("seed", ((),)),),
    )
    v = judged(grows, "AG more <= 3", "fair")
    assert v.status is Status.REFUTED
    assert v.trace is not None
    assert len(v.trace.steps) == 4
    assert judged(grows, "AG seed", "fair").status is Status.UNKNOWN


def test_a_requirement_is_proved_and_rechecked() -> None:
    net = replace(_order(), requirements=(formula("AG (sent -> AF done)", name="every order is answered"),))
    report = prove(net)
    (v,) = report.verdicts
    assert (v.status, v.title, v.subject) == (Status.PROVED, "every order is answered", "fair runs")
    assert recheck(net, report) == ()
    other = replace(net, transitions=net.transitions[:2])
    assert recheck(other, report)
    assert net_from_json(net_to_json(net), source="copy") == net


def test_responds_shows_the_loop() -> None:
    net = _order()
    silent = replace(
        net,
        transitions=(
            *(t for t in net.transitions if t.name != "answer"),
            Transition("lost", takes=(Take("tries"),), puts=(Put("done", Const(value=True, type=BOOL)),)),
        ),
    )
    (v,) = prove(silent, only=[responds("ask", "lost")]).verdicts
    assert v.status is Status.REFUTED
    assert v.trace is not None
    assert "can be repeated for ever" in v.reason
    markings = v.trace.replay(silent)
    assert markings[-1] in markings[:-1]
    assert v.trace.steps[-1].transition == "poll"
