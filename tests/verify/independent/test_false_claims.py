"""Nets in which a property seems to hold: neither the engines nor the separate checker fall for it.

Each breaks what a page of the catalogue says, in a way that a look at names, first arcs or roles alone would
miss. The certificates are forged: they claim what is false in the form in which engines claim it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from provenet.nets.check import check_net
from provenet.nets.expr.ast import Build, Const, Expr, Get, Var
from provenet.nets.expr.parse import parse
from provenet.nets.formats.canonical import content_hash
from provenet.nets.net import (
    Ask,
    Auto,
    ContractInfo,
    Entry,
    Fresh,
    Net,
    Perform,
    Place,
    Put,
    Requirement,
    Role,
    Rule,
    SagaInfo,
    Signal,
    Take,
    Transition,
)
from provenet.nets.schema import INT, Field, IntType, RecordType, Type
from provenet.verify.check import prove
from provenet.verify.independent.check import FORMAT
from tests.verify.independent.support import Data, checked, sealed

OFFER = RecordType("Offer", (Field("n", IntType()),))
LIMIT = RecordType("Limit", (Field("most", IntType()),))
TRIED = RecordType("Tried", (Field("attempt", IntType()),))


def forged(net: Net, prop: str, subject: str, kind: str = "structure", **evidence: Any) -> str:
    """What becomes of a claim that a property is proved."""
    return outcome(net, entry(prop, subject, "PROVED", [{"kind": kind, "data": evidence}]))


def entry(prop: str, subject: str, verdict: str, evidence: list[Data], trace: Data | None = None) -> Data:
    said = {"property": prop, "subject": subject, "title": "", "verdict": verdict, "method": ""}
    return {**said, "evidence": evidence, "obligations": None, "trace": trace}


def outcome(net: Net, one: Data) -> str:
    head = {"format": FORMAT, "net": net.name, "net_hash": content_hash(net), "versions": {}}
    (result,) = checked(net, sealed({**head, "verdicts": [one]}))
    return result.outcome


def decided(net: Net, prop: str, subject: str) -> str:
    """What the engines say."""
    assert not check_net(net)
    found = {v.subject: str(v.status) for v in prove(net, only=[prop], timeout=20).verdicts}
    return found[subject]


def over(text: str, **scope: Type) -> Expr:
    return parse(text, scope)


def contract(*transitions: Transition, info: ContractInfo | None = None, **places: Type) -> Net:
    """A net of one contract ``k``, whose case starts in ``asked``."""
    return Net(
        "k",
        tuple(Place(name, of) for name, of in places.items()),
        transitions,
        entries=(Entry("asked"),),
        contracts=(info or ContractInfo("k", OFFER),),
    )


def verdict_by(role: Role, takes: tuple[Take, ...], put: Put, guard: Expr | None = None) -> Transition:
    return Transition(f"k.{role}", role=role, contract="k", takes=takes, puts=(put,), guard=guard)


def commit(place: str, var: str = "o", payload: Expr | None = None) -> Transition:
    sell = Perform("sell", payload=payload)
    return Transition("k.commit", role=Role.COMMIT, contract="k", takes=(Take(place, var),), trigger=sell)


def accept(put: Put, guard: Expr | None = None) -> Transition:
    return verdict_by(Role.ACCEPT, (Take("asked", "o"),), put, guard)


# SDB-1


def swapped(var: str) -> Net:
    """What was accepted is raised by 50 on its way to the commit, which calls it ``var``."""
    more = Build(OFFER, (over("o.n + 50", o=OFFER),))
    swap = Transition("swap", takes=(Take("good", "o"),), puts=(Put("raised", more),))
    passing = accept(Put("good", Var("o")), over("o.n <= 30", o=OFFER))
    return contract(passing, swap, commit("raised", var), asked=OFFER, good=OFFER, raised=OFFER)


def test_a_variable_cannot_pass_for_what_was_accepted() -> None:
    assert decided(swapped("o"), "SDB-1", "k") == "REFUTED"
    # Were it called as proofs call the accepted value, it would equal that, whatever it is.
    for name in ("ghost_value", "ghost_set"):
        (mistake,) = check_net(swapped(name))
        assert mistake.code == "PN103"


def with_rule(rule: str, var: str = "o") -> Net:
    """Everything is accepted, and the policy has a rule about inputs that the commit does not carry."""
    said = Rule("cap", over(rule, proposal=OFFER, inputs=OFFER))
    info = ContractInfo("k", OFFER, policy="p", rules=(said,), inputs=OFFER)
    return contract(accept(Put("good", Var("o"))), commit("good", var), info=info, asked=OFFER, good=OFFER)


@pytest.mark.parametrize("var", ["o", "inputs"])
def test_a_rule_that_cannot_be_said_at_the_commit_is_not_shown(var: str) -> None:
    net = with_rule("proposal.n <= inputs.n", var)
    assert decided(net, "SDB-1", "k") == "UNKNOWN"
    question = {
        "transition": "k.commit",
        "condition": f"not (ghost_set and ghost_value == {var})",
    }
    facts = {"good": ["ghost_set and ghost_value == it"]}
    data = {"questions": [question], "ghost": {"k.accept": "o"}, "facts": facts}
    assert forged(net, "SDB-1", "k", "facts", **data) == "not re-checked"


def test_an_effect_that_is_given_something_else_is_not_what_was_accepted() -> None:
    both = RecordType("Both", (Field("proposal", OFFER), Field("other", OFFER)))
    made = Build(both, (Var("o"), Build(OFFER, (Const(99, INT),))))
    net = contract(
        accept(Put("good", made), over("o.n <= 30", o=OFFER)),
        commit("good", "v", Get(Var("v"), "other")),
        asked=OFFER,
        good=both,
    )
    assert decided(net, "SDB-1", "k") == "UNKNOWN"
    question = {
        "transition": "k.commit",
        "condition": "not (ghost_set and ghost_value == v.proposal)",
    }
    facts = {"good": ["ghost_set and ghost_value == it.proposal"]}
    data = {"questions": [question], "ghost": {"k.accept": "o"}, "facts": facts}
    assert forged(net, "SDB-1", "k", "facts", **data) == "not re-checked"
    # Of the proposal itself, the same evidence shows it.
    commits = (net.transitions[0], commit("good", "v", Get(Var("v"), "proposal")))
    assert forged(replace(net, transitions=commits), "SDB-1", "k", "facts", **data) == "re-checked"


# SDB-3


@pytest.mark.parametrize("proposal_is", ["first", "last"])
def test_a_limit_beside_the_proposal_decides_wherever_its_arc_stands(proposal_is: str) -> None:
    takes: tuple[Take, ...] = (Take("asked", "o"), Take("limits", "l"))
    takes = takes if proposal_is == "first" else takes[::-1]
    verdicts = [
        verdict_by(role, takes, Put(to, Var("o")), over(guard, l=LIMIT))
        for role, to, guard in (
            (Role.ACCEPT, "good", "l.most > 5"),
            (Role.REJECT, "bad", "not (l.most > 5)"),
        )
    ]
    back = [replace(t, puts=(*t.puts, Put("limits", Var("l")))) for t in verdicts]
    net = contract(*back, commit("good"), asked=OFFER, limits=LIMIT, good=OFFER, bad=OFFER)
    net = replace(net, initial=(("limits", ((3,), (7,))),))
    assert decided(net, "SDB-3", "k") == "REFUTED"
    assert forged(net, "SDB-3", "k") == "not re-checked"


def copied(*, takes: str) -> Net:
    """A proposal in two copies; the accept takes one, the reject another one or the same."""
    fork = Transition("fork", takes=(Take("asked", "o"),), puts=(Put("one", Var("o")), Put("two", Var("o"))))
    return contract(
        fork,
        verdict_by(Role.ACCEPT, (Take("one", "o"),), Put("good", Var("o")), over("o.n <= 30", o=OFFER)),
        verdict_by(Role.REJECT, (Take(takes, "o"),), Put("bad", Var("o")), over("not o.n <= 30", o=OFFER)),
        commit("good"),
        asked=OFFER,
        one=OFFER,
        two=OFFER,
        good=OFFER,
        bad=OFFER,
    )


def test_copies_of_a_proposal_may_get_two_verdicts() -> None:
    assert decided(copied(takes="two"), "SDB-3", "k") == "UNKNOWN"
    assert forged(copied(takes="two"), "SDB-3", "k") == "not re-checked"
    assert decided(copied(takes="one"), "SDB-3", "k") == "PROVED"
    assert forged(copied(takes="one"), "SDB-3", "k") == "re-checked"


def test_verdicts_on_proposals_that_are_never_there_together_are_apart() -> None:
    net = copied(takes="two")
    either = [replace(net.transitions[0], name=f"fork {p}", puts=(Put(p, Var("o")),)) for p in ("one", "two")]
    net = replace(net, transitions=(*either, *net.transitions[1:]))
    assert decided(net, "SDB-3", "k") == "PROVED"


def test_a_verdict_on_nothing_is_none() -> None:
    always = Transition("k.reject", role=Role.REJECT, contract="k")
    net = contract(accept(Put("good", Var("o"))), always, commit("good"), asked=OFFER, good=OFFER)
    assert decided(net, "SDB-3", "k") == "UNKNOWN"
    assert forged(net, "SDB-3", "k") == "not re-checked"


def test_a_verdict_that_waits_for_the_outside_is_no_policy() -> None:
    net = copied(takes="one")
    gated = replace(
        net.transitions[1], fresh=(Fresh("x", INT),), ensures=over("x > o.n", x=INT, o=OFFER), trigger=Auto()
    )
    net = replace(net, transitions=(net.transitions[0], gated, *net.transitions[2:]))
    assert decided(net, "SDB-3", "k") == "UNKNOWN"
    assert forged(net, "SDB-3", "k") == "not re-checked"


# SDB-4, CTL-1


def test_one_proposal_is_more_than_none() -> None:
    begin = Transition(
        "begin",
        role=Role.BEGIN,
        contract="k",
        takes=(Take("asked"),),
        puts=(Put("running", Build(TRIED, (Const(1, INT),))),),
    )
    ask = Transition(
        "ask",
        role=Role.PROPOSE,
        contract="k",
        takes=(Take("running", "t"),),
        puts=(Put("done", Var("t")),),
        fresh=(Fresh("answer", INT),),
        trigger=Ask("model"),
    )
    info = ContractInfo("k", INT, attempts=1)
    net = Net(
        "k",
        (Place("asked"), Place("running", TRIED), Place("done", TRIED)),
        (begin, ask),
        entries=(Entry("asked"),),
        contracts=(info,),
    )
    assert (decided(net, "SDB-4", "k"), forged(net, "SDB-4", "k", "ranking", field="")) == (
        "PROVED",
        "re-checked",
    )
    net = replace(net, contracts=(replace(info, attempts=0),))
    assert (decided(net, "SDB-4", "k"), forged(net, "SDB-4", "k", "ranking", field="")) == (
        "REFUTED",
        "refused",
    )


@pytest.mark.parametrize(
    ("irreversible", "exempt", "wanted"),
    [(True, "", "re-checked"), (False, "", "refused"), (True, "k", "not re-checked")],
)
def test_a_person_is_asked_for_by_irreversible_commits_only(
    irreversible: bool, exempt: str, wanted: str
) -> None:
    info = ContractInfo("k", OFFER, irreversible=irreversible)
    net = contract(accept(Put("good", Var("o"))), commit("good"), info=info, asked=OFFER, good=OFFER)
    net = replace(net, requirements=(Requirement("CTL-1", (("exempt", (exempt,) if exempt else ()),)),))
    steps = [{"transition": f"k.{name}", "binding": {"o": {"n": 9}}} for name in ("accept", "commit")]
    run = {"start": {"asked": [{"n": 9}]}, "steps": steps}
    assert outcome(net, entry("CTL-1", "k", "REFUTED", [], run)) == wanted


# DATA-1


@pytest.mark.parametrize("first", ["lock", "item"])
def test_a_lock_that_others_take_is_no_way_on_for_what_it_locks(first: str) -> None:
    takes: tuple[Take, ...] = (Take("lock"), Take("item", "o"))
    takes = takes if first == "lock" else takes[::-1]
    choice = [
        Transition(name, takes=takes, puts=(Put("lock"),), guard=over(guard, o=OFFER))
        for name, guard in (("low", "o.n < 70"), ("high", "o.n > 70"))
    ]
    close = Transition("close", takes=(Take("lock"),), trigger=Signal("close"))
    net = Net(
        "locked",
        (Place("lock"), Place("item", OFFER)),
        (*choice, close),
        entries=(Entry("item"),),
        initial=(("lock", ((),)),),
    )
    assert decided(net, "DATA-1", "low, high") == "REFUTED"
    assert forged(net, "DATA-1", "1 choices") == "not re-checked"
    late = Transition("late", takes=(Take("item", "o"),), trigger=Signal("late"))
    net = replace(net, transitions=(*net.transitions, late))
    assert decided(net, "DATA-1", "1 choices") == "PROVED"
    assert forged(net, "DATA-1", "1 choices") == "re-checked"


# STATE-1


def scoped(role: Role) -> Net:
    """A net without data in which a step of a scope never fires."""
    end = Transition("end", takes=(Take("start"),), puts=(Put("done"),))
    spare = Transition("spare", role=role, contract="s", takes=(Take("never"),), puts=(Put("done"),))
    return Net(
        "scoped",
        (Place("start"), Place("done"), Place("never")),
        (end, spare),
        initial=(("start", ((),)),),
        finals=((("done", 1),),),
        sagas=(SagaInfo("s", "start", "never", "never"),),
    )


@pytest.mark.parametrize("role", [Role.UNWIND, Role.DISCHARGE])
def test_what_passes_over_a_step_may_be_dead(role: Role) -> None:
    told = entry("STATE-1", "spare", "REFUTED", [{"kind": "explored", "data": {"markings": 2, "firings": 1}}])
    assert decided(scoped(role), "STATE-1", "") == "PROVED"
    assert outcome(scoped(role), told) == "not re-checked"
    assert decided(scoped(Role.ROUTE), "STATE-1", "spare") == "REFUTED"
    assert outcome(scoped(Role.ROUTE), told) == "re-checked"


def test_only_the_event_makes_a_kill_switch_no_way_to_complete() -> None:
    # What ends by the kill switch alone is stuck all the same, whatever role the switch has.
    for event, wanted in (("provenet.kill", "not re-checked"), ("close", "re-checked")):
        kill = Transition("kill", takes=(Take("start"),), puts=(Put("done"),), trigger=Signal(event))
        net = Net(
            "killed",
            (Place("start"), Place("done")),
            (kill,),
            initial=(("start", ((),)),),
            finals=((("done", 1),),),
        )
        assert forged(net, "STATE-1", "", "explored", markings=2, firings=1) == wanted


# conditions that do not fit


def test_a_condition_that_does_not_fit_what_it_is_about_is_no_crash() -> None:
    other = RecordType("Other", (Field("m", IntType()),))
    sells = [
        Transition(f"sell {place}", takes=(Take(place, "v"),), trigger=Perform("sell")) for place in "ab"
    ]
    where = over("payload.n > 5", payload=OFFER)
    net = Net(
        "two kinds",
        (Place("a", OFFER), Place("b", other)),
        tuple(sells),
        entries=(Entry("a"), Entry("b")),
        requirements=(Requirement("never", (("effect", "sell"), ("where", where))),),
    )
    start = {"a": [{"n": 9}], "b": [{"m": 9}]}
    for place, value, wanted in (("a", {"n": 9}, "re-checked"), ("b", {"m": 9}, "not re-checked")):
        step = {"transition": f"sell {place}", "binding": {"v": value}}
        run = {"start": start, "steps": [step]}
        told = entry("never", f"sell {place}", "REFUTED", [], run)
        assert outcome(net, {**told, "title": "never sell where payload.n > 5"}) == wanted


# titles


def piled(*asked: Requirement) -> Net:
    """Two tokens in one place."""
    split = Transition("split", takes=(Take("start"),), puts=(Put("heap", weight=2),))
    places = (Place("start"), Place("heap"))
    return Net("piled", places, (split,), initial=(("start", ((),)),), requirements=asked)


@pytest.mark.parametrize("name", ["", "few"])
def test_a_run_breaks_the_requirement_that_the_title_tells(name: str) -> None:
    few, more = (
        Requirement("bound", (("places", ("heap",)), ("k", k)), name and f"{name} {k}") for k in (1, 2)
    )
    run = {"start": {"start": [None]}, "steps": [{"transition": "split", "binding": {}}]}
    told = entry("bound", "heap", "REFUTED", [], run)
    for k, wanted in ((1, "re-checked"), (2, "refused")):
        title = f"{name} {k}" if name else f"heap together hold at most {k}"
        assert outcome(piled(few, more), {**told, "title": title}) == wanted


def test_a_title_that_says_more_than_the_net_requires_is_not_shown() -> None:
    where = over("it.n <= 30", it=OFFER)
    keep = Transition(
        "keep", takes=(Take("asked", "o"),), puts=(Put("good", Var("o")),), guard=over("o.n <= 30", o=OFFER)
    )
    net = contract(keep, asked=OFFER, good=OFFER)
    net = replace(net, requirements=(Requirement("always", (("place", "good"), ("where", where))),))
    data = {"questions": [{"condition": "not it.n <= 30"}], "ghost": None, "facts": {"good": ["it.n <= 30"]}}
    told = entry("always", "good", "PROVED", [{"kind": "facts", "data": data}])
    for most, wanted in ((30, "re-checked"), (20, "not re-checked")):
        assert outcome(net, {**told, "title": f"always in good: it.n <= {most}"}) == wanted
