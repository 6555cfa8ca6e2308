"""One small net for each property: proved, refuted with the shortest trace, vacuous."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from provenet import Token
from provenet.nets.build import NetBuilder
from provenet.nets.errors import NetError, PropertyError
from provenet.nets.expr.ast import Compare, Const, Get, Var
from provenet.nets.expr.parse import parse
from provenet.nets.models import schema_of
from provenet.nets.net import Choice, Net, Put, Requirement, Role, Take, Transition
from provenet.nets.requirements import always, bound, mutex, never, precedes
from provenet.nets.schema import BOOL, INT
from provenet.sdb.human import Human
from provenet.verify.check import CATALOGUE, prove, requirements_of
from provenet.verify.verdict import Status, Verdict
from tests.verify.nets import Offer, cap, chain, selling, trip


def only(net: Net, *wanted: Requirement | str) -> list[Verdict]:
    requirements = tuple(Requirement(w) if isinstance(w, str) else w for w in wanted)
    return list(prove(replace(net, requirements=requirements)).verdicts)


def holds(net: Net, wanted: Requirement | str) -> None:
    found = only(net, wanted)
    assert [(v.status, v.subject, v.reason) for v in found if v.status is not Status.PROVED] == []
    assert all(v.certificates for v in found)
    assert not any(v.vacuous for v in found)


def fails(net: Net, wanted: Requirement | str, steps: int | None) -> Verdict:
    """The refutation; ``steps`` is the length of its trace, ``None`` where there is none."""
    broken = [v for v in only(net, wanted) if v.status is Status.REFUTED]
    assert len(broken) == 1
    (verdict,) = broken
    assert verdict.reason
    if steps is None:
        assert verdict.trace is None
        assert verdict.certificates
    else:
        assert verdict.trace is not None
        assert verdict.trace.replays(net)
        assert len(verdict.trace.steps) == steps, [s.transition for s in verdict.trace.steps]
    return verdict


def edited(net: Net, name: str, change: Callable[[Transition], Transition | None]) -> Net:
    """The net with one transition changed, or left out."""
    assert net.has_transition(name)
    made = [change(t) if t.name == name else t for t in net.transitions]
    return replace(net, transitions=tuple(t for t in made if t is not None))


def line(*arcs: tuple[str, str], final: str = "c", also: tuple[str, ...] = ()) -> Net:
    """Black tokens: transitions ``a>b`` from place to place, one token in ``a``."""
    net = NetBuilder("line")
    names = dict.fromkeys([*(p for arc in arcs for p in arc), *also])
    places = {n: net.place(n, initial=[()] if n == "a" else []) for n in names}
    net.ends(places[final])
    for source, target in arcs:
        net.route(f"{source}>{target}", takes=places[source], puts=places[target])
    return net.build()


STRAIGHT = line(("a", "b"), ("b", "c"))

# the boundary


@pytest.mark.parametrize("id_", ["SDB-1", "SDB-2", "SDB-4", "SDB-5", "DATA-2", "CTL-3", "STATE-2", "STATE-3"])
def test_selling_is_proved(id_: str) -> None:
    holds(selling(), id_)


def test_sdb_1_a_commit_that_takes_what_was_only_proposed() -> None:
    net = selling()
    skipping = edited(net, "offer.accept", lambda t: replace(t, role=Role.ROUTE, guard=None))
    verdict = fails(skipping, "SDB-1", 5)
    assert verdict.subject == "offer"


def test_sdb_1_a_policy_that_the_verifier_does_not_check() -> None:
    net = edited(selling(), "offer.accept", lambda t: replace(t, guard=None))
    verdict = fails(net, "SDB-1", 5)
    assert int(verdict.witness["proposal.discount"]) > 30


def test_sdb_2_a_reject_that_nobody_takes() -> None:
    net = edited(selling(), "offer.give_up", lambda t: None)
    fails(net, "SDB-2", 2)


def test_sdb_2_a_reject_that_leaves_nothing() -> None:
    net = edited(selling(), "offer.reject", lambda t: replace(t, puts=()))
    fails(net, "SDB-2", 3)


def test_sdb_4_a_retry_that_does_not_count() -> None:
    def forget(t: Transition) -> Transition:
        return replace(t, guard=Get(Get(Var("r"), "signal"), "retryable"))

    fails(edited(selling(), "offer.retry", forget), "SDB-4", 6)


def test_sdb_5_an_accept_that_leaves_two_tokens() -> None:
    net = edited(selling(), "offer.accept", lambda t: replace(t, puts=t.puts * 2))
    fails(net, "SDB-5", 7)


@pytest.mark.parametrize(
    "id_", ["SDB-1", "SDB-2", "SDB-4", "SDB-5", "SAGA-1", "SAGA-2", "SAGA-3", "CTL-1", "CTL-3"]
)
def test_what_has_nothing_to_check_is_vacuous(id_: str) -> None:
    (verdict,) = only(STRAIGHT, id_)
    assert verdict.status is Status.PROVED
    assert verdict.vacuous


# sagas


@pytest.mark.parametrize("id_", ["SAGA-1", "SAGA-2", "SAGA-3"])
def test_a_trip_is_undone(id_: str) -> None:
    holds(trip(), id_)


def test_saga_1_a_compensation_that_is_skipped() -> None:
    def skip(t: Transition) -> Transition:
        return replace(t, role=Role.ROUTE)

    fails(edited(trip(), "flight.compensate", skip), "SAGA-1", 9)


def test_saga_3_undone_without_a_commit() -> None:
    fails(edited(trip(), "flight.commit", lambda t: replace(t, role=Role.ROUTE)), "SAGA-3", 8)


# people


def test_ctl_1_an_irreversible_commit_needs_its_own_approval() -> None:
    net = selling()
    contracts = tuple(replace(c, irreversible=c.id == "by hand") for c in net.contracts)
    holds(replace(net, contracts=contracts), "CTL-1")
    bare = selling(gate="none")
    fails(replace(bare, contracts=contracts), "CTL-1", 7)


def test_ctl_3_a_wait_without_a_timer() -> None:
    net = edited(selling(), "ask.timeout", lambda t: None)
    verdict = fails(net, "CTL-3", 3)
    assert verdict.subject == "review"


# state


def test_state_1_a_straight_line_is_sound() -> None:
    holds(STRAIGHT, "STATE-1")


def test_state_1_a_dead_end() -> None:
    verdict = fails(line(("a", "b"), ("b", "c"), ("a", "d")), "STATE-1", 1)
    assert "no option to complete" in verdict.reason


def test_state_1_a_token_left_behind() -> None:
    net = edited(
        line(("a", "b"), ("b", "c"), ("d", "c")), "a>b", lambda t: replace(t, puts=(*t.puts, Put("d")))
    )
    assert "improper" in fails(net, "STATE-1", 2).reason


def test_state_1_a_dead_transition() -> None:
    verdict = fails(line(("a", "b"), ("b", "c"), ("d", "c")), "STATE-1", None)
    assert verdict.subject == "d>c"


def test_state_1_without_a_final_marking_nothing_is_known() -> None:
    (verdict,) = only(replace(STRAIGHT, finals=()), "STATE-1")
    assert verdict.status is Status.UNKNOWN
    assert "no final marking" in verdict.reason


def test_state_2_a_token_for_every_round() -> None:
    net = edited(
        line(("a", "b"), ("b", "a"), ("a", "c")), "a>b", lambda t: replace(t, puts=(*t.puts, Put("c")))
    )
    fails(net, "STATE-2", 2)
    holds(STRAIGHT, "STATE-2")


def test_state_2_k_safeness() -> None:
    net = edited(STRAIGHT, "a>b", lambda t: replace(t, puts=(Put("b", None, 2),)))
    holds(net, Requirement("STATE-2", (("k", 2),)))
    fails(net, Requirement("STATE-2", (("k", 1),)), 1)


def test_state_3_a_deadlock() -> None:
    holds(STRAIGHT, "STATE-3")
    verdict = fails(line(("a", "b"), ("d", "c")), "STATE-3", 1)
    assert "b" in verdict.reason


# data


def choice(low: int, high: int) -> Net:
    net = NetBuilder("choice")
    asked = net.entry("asked", Offer)
    small, big = net.final("small", Offer), net.final("big", Offer)
    net.route("is small", takes={"o": asked}, when=lambda o: o.discount < low, puts={small: "o"})
    net.route("is big", takes={"o": asked}, when=lambda o: o.discount >= high, puts={big: "o"})
    return net.build()


def test_data_1_a_choice_without_gap_or_overlap() -> None:
    holds(choice(10, 10), "DATA-1")
    assert "no guard" in fails(choice(10, 12), "DATA-1", 0).reason
    assert "more than one guard" in fails(choice(12, 10), "DATA-1", 0).reason


@pytest.mark.parametrize(
    "limit", ["proposal.discount < 3 and proposal.discount > 4", "proposal.vip or not proposal.vip"]
)
def test_data_2_a_policy_that_says_nothing(limit: str) -> None:
    net = selling()
    info = net.contracts[0]
    rule = replace(info.rules[0], expr=parse(limit, {"proposal": info.proposal}, like=BOOL))
    contracts = (replace(info, rules=(rule,)), *net.contracts[1:])
    fails(replace(net, contracts=contracts), "DATA-2", None)


def test_data_3_a_precondition_that_the_policy_does_not_imply() -> None:
    net = selling()

    def wanting(most: int) -> Net:
        limit = Compare("<=", Get(Get(Var("v"), "proposal"), "discount"), Const(most, INT))
        return edited(net, "offer.commit", lambda t: replace(t, requires=limit))

    holds(wanting(30), "DATA-3")
    holds(wanting(31), "DATA-3")
    verdict = fails(wanting(29), "DATA-3", 4)
    assert verdict.witness["proposal.discount"] == 30


# the user's own


def test_never_but_what_a_person_approved() -> None:
    holds(selling(), cap())
    verdict = fails(selling(most=35), cap(), 5)
    assert 30 < int(verdict.witness["proposal.discount"]) <= 35
    fails(selling(gate="none"), cap(), 7)


def test_a_long_way_to_a_violation_is_no_proof() -> None:
    sold = never(effect="sell", of=Offer, where=lambda payload: payload.discount > 30)
    holds(chain(45, most=30), sold)
    fails(chain(45, most=40), sold, 91)


def test_never_in_text_and_as_a_tree() -> None:
    of = schema_of(Offer)
    text = never(effect="sell", where=parse("payload.discount > 80", {"payload": of}, like=BOOL))
    tree = never(effect="sell", where=Compare(">", Get(Var("payload"), "discount"), Const(80, INT)))
    holds(selling(), text)
    holds(selling(), tree)
    fails(selling(most=90), tree, 5)


def test_never_by_contract_and_by_transition() -> None:
    holds(selling(), never(contract="offer", of=Offer, where=lambda payload: payload.discount > 30))
    fails(selling(), never(transition="ask.approve"), 4)
    (verdict,) = only(line(("a", "b"), ("b", "c"), ("d", "c")), always("a", where=Const(True, BOOL)))
    assert verdict.status is Status.PROVED


def test_always() -> None:
    holds(
        selling(),
        always("offer.verified", where=lambda it: it.proposal.discount <= 30, of=_type("offer.verified")),
    )
    fails(selling(), always("review", of=Offer, where=lambda it: it.discount <= 30), 3)


def test_precedes() -> None:
    holds(selling(), precedes("offer.accept", "offer"))
    holds(selling(), precedes("offer.propose", "offer.commit"))
    fails(selling(), precedes("ask", "sell"), 5)


def test_bound_and_mutex() -> None:
    holds(selling(), bound("review", "approved", k=1))
    holds(selling(), mutex("sold", "refused"))
    net = edited(line(("a", "b"), ("b", "c")), "a>b", lambda t: replace(t, puts=(Put("b", None, 2),)))
    fails(net, bound("b", "c", k=1), 1)
    fails(net, mutex("b", "c"), 2)
    holds(net, bound("b", k=2))


def test_a_property_of_what_never_happens_is_vacuous() -> None:
    net = selling()
    dead = Transition("dead", takes=(Take("nowhere", "o"),), trigger=Choice("t", "c"))
    place = replace(net.place("review"), name="nowhere")
    net = replace(net, places=(*net.places, place), transitions=(*net.transitions, dead))
    (verdict,) = only(net, never(transition="dead", of=Offer, where=lambda payload: payload.vip))
    assert verdict.status is Status.PROVED
    assert "never fires" in verdict.vacuous


def two_people(*, second: str = "approved") -> Net:
    """An offer that nobody checked goes to one person, and what he refuses to another one."""
    net = NetBuilder("two people")
    review, appeal = net.entry("review", Offer), net.place("appeal", Offer)
    approved, refused = net.place("approved", Offer), net.final("refused", Offer)
    sold = net.final("sold", Offer)
    week = timedelta(days=7)
    net.add(Human("ask", takes=review, approve=approved, deny=appeal, who="boss", within=week))
    if second == "approved":
        net.add(Human("appeal", takes=appeal, approve=approved, deny=refused, who="board", within=week))
    else:
        net.route("appeal", takes={"o": appeal}, puts={approved: "o"})
    net.transition("sell", takes={"o": approved}, puts={sold: "o"})
    return net.build()


def test_never_unless_one_of_several_approved_it() -> None:
    def unless(*tasks: str) -> Requirement:
        return never(transition="sell", of=Offer, where=lambda payload: payload.discount > 30, unless=tasks)

    holds(two_people(), unless("ask", "appeal"))
    for alone in ("ask", "appeal"):
        assert unless(alone).arg("unless") == alone  # the same requirement and hash as with the name alone
        fails(two_people(), unless(alone), 2 if alone == "appeal" else 3)
    verdict = fails(two_people(second="nobody"), unless("ask", "ask.approve"), 3)
    assert "neither 'ask' nor 'ask.approve' approved it" in verdict.reason
    assert verdict.title.endswith("unless ask or ask.approve")


def test_unless_names_tasks() -> None:
    some = {f"task {i}" for i in range(8)}
    assert never(effect="sell", unless=some).arg("unless") == tuple(sorted(some))  # one hash in each process
    for wrong in ([3], 3):
        with pytest.raises(PropertyError, match="names no human tasks"):
            never(effect="sell", unless=wrong)  # type: ignore[arg-type]
    asked = Requirement("never", (("transition", "sell"), ("unless", 3)))  # as a file may say it
    with pytest.raises(PropertyError, match="names no human task"):
        prove(two_people(), only=[asked])


class Claim(Token):
    id: str
    kind: str
    note: str | None
    cents: int


def test_texts_of_a_run_say_nothing_where_they_mean_nothing() -> None:
    net = NetBuilder("claims")
    asked, paid = net.entry("asked", Claim), net.final("paid", Claim)
    refused = net.final("refused", Claim)

    def gift(c: Any) -> Any:
        return (c.kind == "gift") & (c.note == "from us")

    net.transition("pay", takes={"c": asked}, puts={paid: "c"}, when=gift)
    net.transition("refuse", takes={"c": asked}, puts={refused: "c"}, when=lambda c: ~gift(c))

    def told(transition: str) -> tuple[object, ...]:
        verdict = fails(
            net.build(), never(transition=transition, of=Claim, where=lambda payload: payload.cents > 5), 1
        )
        assert verdict.trace is not None
        (value,) = verdict.trace.steps[0].binding.values()
        return tuple(value)

    # "gift" matters here, and the id next to it does not; what is refused need be no other constant.
    assert told("pay") == ("a", "gift", "from us", 6)
    assert "gift" not in told("refuse")
    assert "from us" not in told("refuse")


# mistakes in what is asked


@pytest.mark.parametrize(
    ("wanted", "hint"),
    [
        ("SDB-9", "SDB-"),
        ("STAT", "STATE"),
        (never(effect="sel"), "sell"),
        (never(contract="ofer"), "offer"),
        (never(transition="ask.aprove"), "ask.approve"),
        (never(effect="sell", unless="aks"), "ask"),
        (never(effect="sell", unless=["ask", "aks"]), "ask"),
        (always("revew", where=Const(True, BOOL)), "review"),
        (precedes("ask", "sel"), "sell"),
        (bound("reviw", k=1), "review"),
        (mutex("sold", "refusd"), "refused"),
    ],
    ids=str,
)
def test_unknown_names_are_told_with_what_was_meant(wanted: Requirement | str, hint: str) -> None:
    with pytest.raises(PropertyError) as error:
        only(selling(), wanted)
    assert hint in error.value.hint


def test_a_condition_on_what_is_not_there_is_a_mistake() -> None:
    with pytest.raises(PropertyError):
        only(selling(), never(effect="sell", where=Compare(">", Var("payment"), Const(1, INT))))
    with pytest.raises(PropertyError):
        never(effect="sell", where=lambda payload: payload.discount > 3)
    with pytest.raises(PropertyError):
        only(selling(), Requirement("never"))


def test_a_net_with_mistakes_is_not_verified() -> None:
    with pytest.raises(NetError):
        prove(Net("empty"))


def test_families_and_everything() -> None:
    assert [p.id for p, _ in requirements_of(STRAIGHT, ["SAGA"])] == [
        *("SAGA-1", "SAGA-2", "SAGA-3", "SAGA-4")
    ]
    assert [p.id for p, _ in requirements_of(STRAIGHT)] == list(CATALOGUE)
    assert len(CATALOGUE) >= 15


def _type(place: str) -> object:
    return selling().place(place).type
