"""The boundary audit: presence, strength and meaning fall where something is taken away, and only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.examples.contract_renewal import agent
from provenet.examples.contract_renewal.mutants import MUTANTS, mutant
from provenet.nets.build import NetBuilder
from provenet.nets.expr.ast import And, Expr, Var
from provenet.nets.expr.build import record
from provenet.nets.formats.pnml import read_pnml
from provenet.nets.models import Token
from provenet.nets.net import Ask, Auto, Net, Perform, Role, Take, Transition
from provenet.nets.patterns.gate import Gate
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Effect
from provenet.sdb.human import Human
from provenet.sdb.policy import policy, rule, within
from provenet.sdb.proposers import model
from provenet.verify.boundary import Boundary, Presence, Score, Strength, score
from provenet.verify.boundary.strength import looked_at
from provenet.verify.verdict import Status


class Customer(Token):
    id: str
    most: int


class Offer(Token):
    customer: str
    discount: int


BILL = Effect("bill", lambda _: None, payload=Offer)
ASK = model("anthropic/claude-sonnet-4-6", prompt="Offer.", returns=Offer)
POLICY = within(Offer, lambda o: o.discount <= 30, name="policy v1")
ANY = within(Offer, lambda o: o.discount == o.discount, name="any v1")
RULES = policy("rules v1", rule("within", lambda proposal, inputs: proposal.discount <= inputs.most))


def sells(**parts: Any) -> NetBuilder:
    """One contract between a model and an effect."""
    net = NetBuilder("sells")
    start, done, off = net.entry("start", Customer), net.final("done", Offer), net.final("off", Customer)
    whole: dict[str, Any] = {"takes": start, "gives": done, "otherwise": off, "propose": ASK}
    whole |= {"returns": Offer, "verify": POLICY, "commit": BILL, **parts}
    net.add(Contract("offer", **whole))
    return net


def only(net: Net | NetBuilder) -> Boundary:
    found = score(net.build() if isinstance(net, NetBuilder) else net)
    assert len(found.boundaries) == 1
    return found.boundaries[0]


def axes(found: Score) -> dict[tuple[str, str], tuple[Presence, Strength, tuple[str, ...]]]:
    return {
        (b.proposal, b.done_by): (b.way.presence, b.way.strength, b.way.approved) for b in found.boundaries
    }


# strength, asked of the solver


def guarded() -> tuple[Net, Transition]:
    net = sells().build()
    return net, net.transition("offer.accept")


def strength_of(condition: Callable[..., Any]) -> Strength:
    net, accept = guarded()
    expr = record(condition, net.scope(accept))
    return looked_at(net, accept, expr, {"p": frozenset({("proposal",)})}).strength


@pytest.mark.parametrize(
    ("condition", "strength"),
    [
        (lambda p: p.proposal.discount <= 30, Strength.POLICY),
        (lambda p: p.proposal.discount <= p.inputs.most, Strength.BUSINESS_RULE),
        (
            lambda p: (p.proposal.discount <= 30) & (p.proposal.customer == p.inputs.id),
            Strength.BUSINESS_RULE,
        ),
        # What only looks like a rule:
        (lambda p: p.proposal.discount == p.proposal.discount, Strength.NONE),
        (lambda p: (p.proposal.discount <= 30) | (p.proposal.discount > 30), Strength.NONE),
        (lambda p: p.inputs.most <= 30, Strength.NONE),
        (lambda p: p.proposal.discount + p.inputs.most - p.inputs.most <= 30, Strength.POLICY),
        (lambda p: (p.proposal.discount <= 30) & (p.inputs.most == p.inputs.most), Strength.POLICY),
        (lambda p: (p.proposal.discount > 3) & (p.proposal.discount < 2), Strength.POLICY),
    ],
    ids=["policy", "business", "both", "same", "either", "inputs", "nominal", "idle part", "refuses all"],
)
def test_a_rule_counts_for_what_it_refuses(condition: Callable[..., Any], strength: Strength) -> None:
    assert strength_of(condition) is strength


@given(st.lists(st.sampled_from(["schema", "policy", "rule", "vacuous"]), max_size=4), st.integers(-50, 50))
def test_more_rules_are_never_weaker_and_idle_ones_add_nothing(kinds: list[str], bound: int) -> None:
    net, accept = guarded()
    p: dict[str, Callable[..., Any]] = {
        "schema": lambda p: p.attempt >= 0,
        "policy": lambda p: p.proposal.discount <= bound,
        "rule": lambda p: p.proposal.discount <= p.inputs.most + bound,
        "vacuous": lambda p: (p.proposal.discount <= bound) | (p.proposal.discount > bound),
    }
    worth = {"policy": Strength.POLICY, "rule": Strength.BUSINESS_RULE}
    whole: Expr = And(tuple(record(p[k], net.scope(accept)) for k in kinds))
    found = looked_at(net, accept, whole, {"p": frozenset({("proposal",)})}).strength
    assert found is max((worth.get(k, Strength.NONE) for k in kinds), default=Strength.NONE)


# presence and strength of a contract


@pytest.mark.parametrize(
    ("parts", "presence", "strength"),
    [
        ({"verify": RULES}, Presence.EXPLICIT, Strength.BUSINESS_RULE),
        ({"verify": POLICY}, Presence.EXPLICIT, Strength.POLICY),
        ({"verify": lambda proposal, inputs: True}, Presence.EXPLICIT, Strength.SCHEMA),
        ({"verify": ANY}, Presence.MISSING, Strength.SCHEMA),
        (
            {"verify": policy("inputs", rule("i", lambda inputs: inputs.most <= 30))},
            Presence.MISSING,
            Strength.SCHEMA,
        ),
    ],
    ids=["business rule", "policy", "function", "vacuous", "inputs only"],
)
def test_a_contract(parts: dict[str, Any], presence: Presence, strength: Strength) -> None:
    way = only(sells(**parts)).way
    assert (way.presence, way.strength) == (presence, strength)


def test_a_verifier_that_is_a_function_is_opaque_and_said_to_be() -> None:
    found = score(sells(verify=lambda proposal, inputs: True).build())
    assert [at for at, _ in found.opaque] == ["offer"]
    assert found.holds()
    assert not found.holds(Strength.POLICY)


def test_free_text_has_no_schema() -> None:
    net = NetBuilder("talks")
    start, done, off = net.entry("start", str), net.final("done", str), net.final("off", str)
    say = Effect("say", lambda _: None, payload=str)
    net.add(
        Contract(
            "say",
            takes=start,
            gives=done,
            otherwise=off,
            propose=ASK,
            returns=str,
            verify=lambda proposal, inputs: True,
            commit=say,
        )
    )
    assert only(net).way.strength is Strength.SCHEMA  # a function may look at it
    bare = net.build()
    accept = bare.transition("say.accept")
    changed = tuple(replace(t, trigger=Auto()) if t == accept else t for t in bare.transitions)
    assert only(replace(bare, transitions=changed)).way.strength is Strength.NONE


def test_nothing_that_is_strong_makes_up_for_what_is_weak() -> None:
    """A second boundary, ever so strong, changes nothing about the weakest."""
    net = sells(verify=RULES).build()
    bypass = Transition(
        "trust the model",
        takes=(Take("offer.proposed", "p"),),
        puts=tuple(replace(p, expr=p.expr) for p in net.transition("offer.accept").puts),
    )
    worse = replace(net, transitions=(*net.transitions, bypass))
    assert score(net).holds(Strength.BUSINESS_RULE)
    found = score(worse)
    assert found.weakest is not None
    assert found.weakest.weakness == (Presence.MISSING, Strength.SCHEMA)
    assert "trust the model" in found.weakest.way.steps
    assert not found.holds()


# nets without contracts


def raw(guard: Expr | None = None) -> Net:
    """A net by hand: a model, a choice, an effect."""
    net = NetBuilder("raw")
    start, said, done = net.entry("start", Customer), net.place("said", Offer), net.final("done", Offer)
    net.transition(
        "ask", takes={"c": start}, brings={"o": Offer}, puts={said: "o"}, trigger=Ask("m"), role=Role.PROPOSE
    )
    made = net.transition(
        "do", takes={"o": said}, brings={"r": None}, puts={done: "o"}, trigger=Perform("bill", Var("o"))
    )
    net.amend(made, guard=guard)
    return net.build()


def test_a_net_without_contracts_is_missing_what_it_needs() -> None:
    found = score(raw())
    assert axes(found) == {("ask", "do"): (Presence.MISSING, Strength.SCHEMA, ())}
    (meaning,) = found.meanings
    assert (meaning.reject, meaning.retry, meaning.undo) == (
        "nothing is ever refused",
        "nobody is asked again",
        "nobody takes it back",
    )
    assert meaning.verdicts == {"SDB-1": Status.REFUTED}
    assert not found.holds()


def test_a_guard_in_passing_is_implicit() -> None:
    guard = record(lambda o: o.discount <= 30, {"o": raw().place("said").type})
    way = only(raw(guard)).way
    assert (way.presence, way.strength) == (Presence.IMPLICIT, Strength.POLICY)


def test_an_effect_that_happens_because_of_what_was_said_is_a_boundary() -> None:
    net = NetBuilder("decides")
    start, said = net.entry("start", Customer), net.place("said", Offer)
    kept, done, off = net.place("kept", Customer), net.final("done", Customer), net.final("off")
    net.transition(
        "ask",
        takes={"c": start},
        brings={"o": Offer},
        puts={said: "o", kept: "c"},
        trigger=Ask("m"),
        role=Role.PROPOSE,
    )
    go = net.place("go")
    net.route("yes", takes={"o": said}, when=lambda o: o.discount > 5, puts=go)
    net.route("no", takes={"o": said, "c": kept}, when=lambda o: o.discount <= 5, puts=off)
    net.transition(
        "do",
        takes={"c": kept, "_g": go},
        brings={"r": None},
        puts={done: "c"},
        trigger=Perform("bill", Var("c")),
    )
    way = only(net).way
    assert (way.reach, way.presence, way.strength) == ("decision", Presence.IMPLICIT, Strength.POLICY)


def test_people_are_shown_apart_and_what_they_approve_is_said() -> None:
    net = NetBuilder("asks")
    start, review = net.entry("start", Customer), net.place("review", Offer)
    approved, done = net.place("approved", Offer), net.final("done", Offer)
    off, denied = net.final("off", Customer), net.final("denied", Offer)
    net.add(
        Contract("draft", takes=start, gives=review, otherwise=off, propose=ASK, returns=Offer, verify=POLICY)
    )
    net.add(
        Human("approve", takes=review, approve=approved, deny=denied, who="lead", within=timedelta(days=1))
    )
    net.add(Contract("bill", takes=approved, gives=done, otherwise=denied, verify=POLICY, commit=BILL))
    way = only(net).way
    assert way.approved == ("approve",)
    assert way.through == ("draft", "approve (a person)", "bill")
    assert way.presence is Presence.EXPLICIT


def test_a_gate_is_explicit() -> None:
    net = NetBuilder("gated")
    start, asked, off = net.entry("start", Customer), net.place("asked", Offer), net.final("off", Customer)
    done, denied = net.final("done", Offer), net.final("denied", Offer)
    net.add(
        Contract("draft", takes=start, gives=asked, otherwise=off, propose=ASK, returns=Offer, verify=POLICY)
    )
    net.add(
        Gate(
            "gate",
            takes=asked,
            gives=done,
            denied=denied,
            failed=denied,
            policy=POLICY,
            work=lambda at: Contract(
                at.id, takes=at.takes, gives=at.gives, otherwise=at.failed, verify=POLICY, commit=BILL
            ),
        )
    )
    found = score(net.build())
    assert found.holds(Strength.POLICY)
    assert only(net).way.through == ("draft", "gate", "gate.act")


def test_nothing_to_audit(tmp_path: Any) -> None:
    path = tmp_path / "net.pnml"
    path.write_text(
        '<pnml xmlns="http://www.pnml.org/version-2009/grammar/pnml"><net id="n" '
        'type="http://www.pnml.org/version-2009/grammar/ptnet"><page id="g"><place id="p"><initialMarking>'
        '<text>1</text></initialMarking></place><transition id="t"/><arc id="a" source="p" target="t"/>'
        "</page></net></pnml>"
    )
    found = score(read_pnml(path))
    assert (found.boundaries, found.people, found.meanings) == ((), (), ())
    assert found.weakest is None
    assert found.holds()


# the renewal agent and its mutants


@pytest.fixture(scope="module")
def renewal() -> Score:
    return score(agent().net)


def test_the_renewal_agent(renewal: Score) -> None:
    assert renewal.holds(Strength.POLICY)
    assert {b.by for b in renewal.boundaries} >= {"make offer", "write letter", "customer.negotiate"}
    assert renewal.alone == ()
    binding = next(m for m in renewal.meanings if m.effect == "email.send_binding_letter")
    assert binding.undo == "never: it is irreversible"
    assert binding.verdicts["CTL-1"] is Status.PROVED


FALLS = {
    "verifier bypassed": {"presence"},
    "discount under another action name": {"presence", "SDB-1"},
    "silence counts as approval": {"approval"},
    "binding letter without approval": {"approval"},
    "counter-offer goes to billing": {"approval"},
}


@pytest.mark.parametrize("name", sorted(FALLS))
def test_a_mutant_falls_where_something_was_taken_away(renewal: Score, name: str) -> None:
    before, found = axes(renewal), score(mutant(name)(agent().net), timeout=2)
    after = axes(found)
    fell = set()
    for at, (presence, strength, approved) in after.items():
        was = before.get(at, (Presence.EXPLICIT, Strength.POLICY, ()))
        if presence < was[0]:
            fell.add("presence")
        if strength < was[1] and at in before and presence == was[0]:
            fell.add("strength")
        if at in before and set(approved) < set(was[2]):
            fell.add("approval")
    fell |= {p for m in found.meanings for p in m.broken} & {"SDB-1"} if "SDB-1" in FALLS[name] else set()
    assert fell >= FALLS[name]


def test_no_mutant_scores_higher(renewal: Score) -> None:
    before = axes(renewal)
    for each in MUTANTS:
        net = each(agent().net)
        if each.name in FALLS or "policy" not in each.name:
            continue
        for at, (presence, strength, _) in axes(score(net, timeout=2)).items():
            if at in before:
                assert (presence, strength) <= before[at][:2], (each.name, at)


def test_it_is_the_same_every_time_and_in_json(renewal: Score) -> None:
    again = score(agent().net)
    assert again.to_json() == renewal.to_json()
    assert renewal.to_json()["counts"] == {"explicit": len(renewal.boundaries), "implicit": 0, "missing": 0}
