"""Contracts: the fragment that each kind expands into, and the mistakes that it reports."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from provenet.nets.build import NetBuilder
from provenet.nets.errors import NetError
from provenet.nets.firing import NetRule
from provenet.nets.marking import Marking, initial_marking, is_final
from provenet.nets.models import Token
from provenet.nets.net import Ask, Auto, Explain, Judge, Net, OnFailure, Perform, Role
from provenet.nets.schema import RecordType
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect, Proposal, Request
from provenet.sdb.policy import policy, rule, within
from provenet.sdb.reject import Reject
from provenet.sdb.saga import Saga


class Customer(Token):
    id: str
    monthly: int


class Offer(Token):
    customer: str
    discount_pct: int


class Receipt(Token):
    key: str


class Echo:
    async def propose(self, request: Request) -> Proposal:
        return Proposal(request.payload)


V7 = within(Offer, lambda o: o.discount_pct <= 30, name="discount v7")
APPLY = Effect("billing.apply", lambda _: None, Offer, Receipt)
REVERT = Effect("billing.revert", lambda _: None, Receipt)


def make(*, broken: dict[str, Any] | None = None, **parts: Any) -> NetBuilder:
    """A net of one contract; ``parts`` and ``broken`` replace its arguments."""
    net = NetBuilder("n")
    start, off = net.entry("start", Customer), net.final("off", Customer)
    done = net.final("done", Offer)
    arguments: dict[str, Any] = {
        "takes": start,
        "gives": done,
        "propose": Echo(),
        "returns": Offer,
        "verify": V7,
        "otherwise": off,
    }
    net.add(Contract("c", **(arguments | parts | (broken or {}))))
    return net


def outline(net: Net) -> dict[str, tuple[Role, list[str], list[str]]]:
    """Role, takes and puts of each transition of the contract."""
    return {
        t.name.removeprefix("c."): (t.role, [a.place for a in t.takes], [p.place for p in t.puts])
        for t in net.transitions
        if t.contract == "c"
    }


LOOP = {
    "begin": (Role.BEGIN, ["start"], ["c.running"]),
    "propose": (Role.PROPOSE, ["c.running"], ["c.proposed"]),
    "fault": (Role.FAULT, ["c.running"], ["c.rejected"]),
    "accept": (Role.ACCEPT, ["c.proposed"], ["c.verified"]),
    "reject": (Role.REJECT, ["c.proposed"], ["c.rejected"]),
    "retry": (Role.RETRY, ["c.rejected"], ["c.running"]),
    "give_up": (Role.GIVE_UP, ["c.rejected"], ["off"]),
}


def test_a_contract_without_an_effect_passes_the_proposal_on() -> None:
    net = make().build()
    assert outline(net) == LOOP | {"commit": (Role.COMMIT, ["c.verified"], ["done"])}
    triggers = {t.name: t.trigger for t in net.transitions}
    assert isinstance(triggers["c.propose"], Ask)
    assert triggers["c.fault"] == OnFailure("c.propose")
    assert triggers["c.reject"] == Explain("c")
    assert triggers["c.accept"] == triggers["c.commit"] == Auto()


def test_a_proposer_is_shown_the_inputs_and_nothing_of_the_machinery() -> None:
    net = make().build()
    propose = net.transition("c.propose")
    assert isinstance(propose.trigger, Ask)
    assert propose.trigger.payload is not None
    running = net.place("c.running").type
    customer = ("a", 70)
    shown = NetRule(net).evaluate("c.propose", propose.trigger.payload, {"r": (customer, 1, None)})
    assert isinstance(running, RecordType)
    assert shown == customer


def test_an_external_effect_gets_an_intent_of_one_token() -> None:
    net = make(commit=APPLY).build()
    assert outline(net) == LOOP | {
        "intent": (Role.INTENT, ["c.verified"], ["c.committing"]),
        "commit": (Role.COMMIT, ["c.committing"], ["done"]),
    }
    commit = net.transition("c.commit").trigger
    assert isinstance(commit, Perform)
    assert (commit.handler, commit.external, commit.tries) == ("billing.apply", True, None)


def test_a_transactional_effect_needs_no_intent() -> None:
    net = make(commit=replace(APPLY, external=False)).build()
    assert "intent" not in outline(net)
    assert not net.contract("c").external


def test_a_failing_effect_has_a_way_out_and_then_a_bound_on_tries() -> None:
    net = make(commit=replace(APPLY, tries=4), on_failure=None).build()
    assert not net.has_transition("c.fail")
    builder = make(commit=replace(APPLY, tries=4))
    failed = builder.final("failed", Customer)
    assert builder.handlers["billing.apply"] == replace(APPLY, tries=4)
    builder.add(
        Contract(
            "d",
            takes=builder.entry("other", Customer),
            gives=builder.final("well", Offer),
            propose=Echo(),
            returns=Offer,
            verify=V7,
            commit=(pay := replace(APPLY, name="billing.other", tries=4)),
            on_failure=failed,
            otherwise=failed,
        )
    )
    net = builder.build()
    fail, commit = net.transition("d.fail"), net.transition("d.commit")
    assert (fail.role, fail.trigger) == (Role.FAIL, OnFailure("d.commit"))
    assert [a.place for a in fail.takes] == [a.place for a in commit.takes]
    assert isinstance(commit.trigger, Perform)
    assert commit.trigger.tries == pay.tries


def test_without_a_proposer_the_input_itself_is_verified() -> None:
    net = NetBuilder("n")
    approved = net.entry("approved", Offer)
    done, off = net.final("done", Offer), net.final("off", Offer)
    net.add(Contract("c", takes=approved, gives=done, verify=V7, commit=APPLY, otherwise=off))
    built = net.build()
    assert outline(built) == {
        "accept": (Role.ACCEPT, ["approved"], ["c.verified"]),
        "reject": (Role.REJECT, ["approved"], ["c.rejected"]),
        "give_up": (Role.GIVE_UP, ["c.rejected"], ["off"]),
        "intent": (Role.INTENT, ["c.verified"], ["c.committing"]),
        "commit": (Role.COMMIT, ["c.committing"], ["done"]),
    }
    assert built.contract("c").attempts == 1


def test_an_opaque_verifier_judges_both_ways() -> None:
    def check(proposal: Any, inputs: Any) -> bool:
        return bool(proposal.discount_pct < inputs.monthly)

    builder = make(verify=check)
    net = builder.build()
    accept, reject = net.transition("c.accept"), net.transition("c.reject")
    assert accept.trigger == Judge("c.verify", accepts=True)
    assert reject.trigger == Judge("c.verify", accepts=False)
    assert accept.guard is reject.guard is None
    assert net.contract("c").opaque == "function"
    assert Agent.of(builder).verifier("c.verify") is check


def test_several_inputs_are_named_and_gathered() -> None:
    net = NetBuilder("n")
    customer, limit = net.entry("customer", Customer), net.entry("limit", int)
    done, off = net.final("done", Offer), net.final("off", Customer)
    own = policy(
        "p",
        rule("own", lambda proposal, who: proposal.customer == who.id),
        rule("limit", lambda proposal, most: proposal.discount_pct <= most),
    )
    net.add(
        Contract(
            "c",
            takes={"who": customer, "most": limit},
            gives=done,
            propose=Echo(),
            returns=Offer,
            verify=own,
            when=lambda who, most: who.monthly > most,
            otherwise=off,
            escalate=lambda who: who,
        )
    )
    built = net.build()
    rule_ = NetRule(built)
    start = initial_marking(built, {"customer": ("a", 70), "limit": 20})
    (begin,) = rule_.enabled(start)
    marking = rule_.fire(start, begin.transition, begin.binding)
    assert marking["c.running"] == (((("a", 70), 20), 1, None),)
    for discount, next_ in ((20, "c.accept"), (21, "c.reject")):
        (ask,) = [f for f in rule_.enabled(marking) if f.transition == "c.propose"]
        proposed = rule_.fire(marking, "c.propose", {**ask.binding, "proposal": ("a", discount)})
        assert [f.transition for f in rule_.enabled(proposed)] == [next_]
    assert not list(rule_.enabled(initial_marking(built, {"customer": ("a", 20), "limit": 20})))


@pytest.mark.antipattern(
    "AP5", "impossible to express: a contract asks so often at most, and then says why it stopped"
)
@given(
    attempts=st.integers(1, 5),
    answers=st.lists(st.sampled_from(["fault", "final", 30, 31, 90]), min_size=6, max_size=6),
)
def test_a_loop_asks_so_often_at_most_and_says_why_it_stopped(attempts: int, answers: list[Any]) -> None:
    net = make(attempts=attempts).build()
    rule_ = NetRule(net)
    marking, asked = initial_marking(net, {"start": ("a", 70)}), 0
    while not is_final(net, marking):
        firings = list(rule_.enabled(marking))
        names = {f.transition.removeprefix("c."): f for f in firings}
        if "propose" in names:
            answer, asked = answers[asked], asked + 1
            if isinstance(answer, int):
                marking = fire(rule_, marking, names["propose"], proposal=("a", answer))
            else:
                signal = Reject(answer, retryable=answer == "fault").value()
                marking = fire(rule_, marking, names["fault"], signal=signal)
        elif "reject" in names:
            assert len(firings) == 1
            marking = fire(rule_, marking, names["reject"], signal=Reject("discount").value())
        else:
            assert len(firings) == 1
            marking = fire(rule_, marking, firings[0])
    used = answers[:asked]
    assert asked <= attempts
    if marking["done"]:
        assert used[-1] == 30
        assert 30 not in used[:-1]
    else:
        assert used[-1] == "final" or asked == attempts
        assert 30 not in used


def fire(rule_: NetRule, marking: Marking, firing: Any, **outside: Any) -> Marking:
    return rule_.fire(marking, firing.transition, {**firing.binding, **outside})


def test_default_shapes_take_what_has_the_type() -> None:
    net = make(
        commit=APPLY,
        requires=lambda proposal: proposal.discount_pct <= 30,
        escalate=lambda inputs, attempt: inputs.with_(monthly=attempt),
    ).build()
    rule_ = NetRule(net)
    committing = Marking({"c.committing": ((("a", 70), ("a", 5)),)})
    done = rule_.fire(committing, "c.commit", {"v": (("a", 70), ("a", 5)), "receipt": ("k",)})
    assert done == Marking({"done": (("a", 5),)})
    spent = (("a", 70), None, 3, Reject("x").value())
    gone = rule_.fire(Marking({"c.rejected": (spent,)}), "c.give_up", {"r": spent})
    assert gone == Marking({"off": (("a", 3),)})


@pytest.mark.parametrize(
    ("code", "broken"),
    [
        ("SD203", {"attempts": 0}),
        ("SD203", {"attempts": 1_001}),
        ("SD203", {"attempts": True}),
        ("SD204", {"returns": None}),
        ("SD205", {"propose": lambda _: None}),
        ("SD208", {"commit": APPLY, "undo": REVERT}),
        ("SD210", {"gives": "amount"}),
        ("PN200", {"verify": policy("p", rule("r", lambda proposal: proposal.discont <= 30))}),
        ("PN200", {"requires": lambda nobody: nobody == 1}),
    ],
)
def test_mistakes_are_collected_with_their_place_and_a_hint(code: str, broken: dict[str, Any]) -> None:
    builder = NetBuilder("n")
    if broken.get("gives") == "amount":
        builder = make()
        (amount,) = [builder.final("amount", int)]
        builder.add(
            Contract(
                "d",
                takes=builder.entry("second", Customer),
                gives=amount,
                propose=Echo(),
                returns=Offer,
                verify=V7,
                otherwise=builder.final("nothing", Customer),
            )
        )
    else:
        builder = make(broken=broken)
    with pytest.raises(NetError) as error:
        builder.build()
    mistakes = [m for m in error.value.mistakes if m.code == code]
    assert mistakes, error.value
    assert all("contract" in m.where for m in mistakes)
    assert all(m.hint for m in mistakes)


def test_mistakes_about_sagas() -> None:
    net = NetBuilder("n")
    start, done = net.entry("start", Offer), net.place("done", Offer)
    closed = net.final("closed", Offer)
    saga = net.add(Saga("s", outcome=Offer, completes=closed, aborts=closed))
    parts: dict[str, Any] = {"takes": start, "gives": done, "verify": V7, "otherwise": done, "saga": saga}
    net.add(Contract("no undo", **parts, commit=APPLY))
    net.add(Contract("both", **parts, commit=APPLY, undo=REVERT, irreversible=True, undo_payload="receipt"))
    other = replace(REVERT, name="billing.other", payload=int)
    net.add(Contract("no payload", **parts, commit=APPLY, undo=other))
    net.add(Contract("another handler", **parts, commit=replace(APPLY), undo=REVERT))
    with pytest.raises(NetError) as error:
        net.build()
    found = {(m.code, name) for m in error.value.mistakes for name in _NAMES if f"{name!r}" in m.where}
    assert {("SD207", "no undo"), ("SD209", "both"), ("SD211", "no payload")} <= found
    assert "SD206" in {m.code for m in error.value.mistakes}


_NAMES = ("no undo", "both", "no payload", "another handler")


def test_an_agent_names_what_is_missing_and_what_is_of_the_wrong_kind() -> None:
    of = Agent.of(make(commit=APPLY, timeout=timedelta(seconds=5)))
    assert of.missing() == ()
    assert of.effect("billing.apply") is APPLY
    bare = Agent(of.net)
    assert bare.missing() == ("c.propose", "billing.apply")
    for ask in (of.proposer, of.verifier):
        with pytest.raises(Exception, match="not bound to"):
            ask("billing.apply")
    with pytest.raises(Exception, match="not bound to an effect"):
        of.effect("c.propose")
