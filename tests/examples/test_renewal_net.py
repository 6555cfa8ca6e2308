"""The renewal net: what it is made of, what its runs can and cannot do, and where its customers end."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provenet.examples.contract_renewal.customers import (
    SAMPLE,
    Customer,
    ExpectedPath,
    expected_path,
    load_customers,
)
from provenet.examples.contract_renewal.effects import OUTSIDE_URL, Effects
from provenet.examples.contract_renewal.faults import Faults
from provenet.examples.contract_renewal.ledger import Ledger
from provenet.examples.contract_renewal.net import APPROVE_OFFER, CATALOGUE, agent, build
from provenet.examples.contract_renewal.people import Rates, decide, plan
from provenet.examples.contract_renewal.policy_data import POLICY_V7
from provenet.examples.contract_renewal.proposers import GOOD, Misbehaviour, Proposers, draw
from provenet.examples.contract_renewal.services import OutsideWorld
from provenet.examples.contract_renewal.tokens import Case, Deal, Done, Draft, Offer, Score, case_of
from provenet.nets.errors import ProvenetError
from provenet.nets.expr.evaluate import compile_expr
from provenet.nets.models import schema_of, to_value
from provenet.nets.net import Perform, Role
from provenet.sdb.handlers import Agent, EffectRefused, ProposalFault, Request
from tests.examples.simulate import Player, Run, some_value

WILD = Misbehaviour(greedy=0.15, wrong=0.1, malformed=0.1, crash=0.05, hang=0.05, stubborn=0.3)
NOTHING_ODD = Rates(duplicate=0, silent=0, negotiates=0, merger=0, kill=0, absent=0)


# Few enough seeds that the properties look at the same runs.
SEEDS = st.integers(0, 499)


@lru_cache
def wild() -> Agent:
    return agent(proposers=Proposers.stand_in(seed=1, misbehaviour=WILD))


@pytest.fixture(scope="module")
def good() -> Agent:
    return agent(proposers=Proposers.stand_in(seed=1, misbehaviour=GOOD))


@pytest.fixture(scope="module")
def sample() -> tuple[Customer, ...]:
    return customers()


# what a run can and cannot do


@given(seed=SEEDS)
@settings(max_examples=150)
def test_whatever_happens_a_case_ends_well(seed: int) -> None:
    run = random_run(seed)
    result = run.outcome.result
    assert (run.end == "closed") == (result in ("renewed", "renewed_with_offer", "restructured"))
    assert (result == "killed") == bool(run.fired("kill") and run.end == "called off")


@given(seed=SEEDS)
@settings(max_examples=150)
def test_effects_are_undone_in_reverse_order_or_kept(seed: int) -> None:
    run = random_run(seed)
    undoes = {
        "crm.withdraw_draft": "crm.create_draft",
        "billing.revert_offer": "billing.apply_offer",
        "email.send_correction": "email.send_letter",
    }
    standing: list[str] = []
    for effect, _ in run.effects():
        if effect in undoes:
            assert standing.pop() == undoes[effect]
        elif effect != "email.send_binding_letter":
            standing.append(effect)
    if run.end == "called off":
        assert standing == []
    else:
        assert standing[:3] == ["crm.create_draft", *standing[1:3]]
        assert not any(effect in undoes for effect, _ in run.effects())


@given(seed=SEEDS)
@settings(max_examples=150)
def test_no_discount_over_policy_without_an_approval_of_that_very_offer(seed: int) -> None:
    run = random_run(seed)
    approved: list[Any] = []
    for step in run.steps:
        if step.transition == f"{APPROVE_OFFER}.approve":
            approved.append(step.binding["inputs"][2])
        if step.effect == "billing.apply_offer":
            offer: Offer = step.payload
            assert offer.discount_pct <= POLICY_V7.discount.escalate_pct
            if offer.discount_pct > POLICY_V7.discount.ceiling(offer.customer):
                assert to_value(offer, schema_of(Offer)) in approved


@given(seed=SEEDS)
@settings(max_examples=150)
def test_letters_say_what_billing_has(seed: int) -> None:
    run = random_run(seed)
    billed: list[Offer] = []
    for effect, payload in run.effects():
        if effect == "billing.apply_offer":
            billed.append(payload)
        elif effect in ("email.send_letter", "email.send_binding_letter"):
            said = (payload.customer, payload.discount_pct, payload.term_months)
            assert said == (billed[-1].customer, billed[-1].discount_pct, billed[-1].term_months)


@given(seed=SEEDS)
@settings(max_examples=150)
def test_nothing_is_asked_more_than_three_times_and_nothing_commits_twice(seed: int) -> None:
    run = random_run(seed)
    fired = Counter(s.transition for s in run.steps)
    for contract in wild().net.contracts:
        asked = fired[f"{contract.id}.propose"] + fired[f"{contract.id}.fault"]
        assert asked <= contract.attempts
        assert fired[f"{contract.id}.commit"] <= 1
    assert fired["open window"] + fired["window never opens"] + fired["kill"] >= 1
    assert fired["open window"] <= 1
    assert fired["absorb change"] <= fired["discontinue plan"] <= 1


def test_every_transition_can_fire() -> None:
    fired: Counter[str] = Counter()
    for seed in range(2_000):
        fired.update(s.transition for s in random_run(seed).steps)
        if len(fired) == len(wild().net.transitions):
            break
    assert [t.name for t in wild().net.transitions if not fired[t.name]] == []


@lru_cache(maxsize=2_000)
def random_run(seed: int) -> Run:
    player = Player(wild(), seed)
    return player.at_random(some_value(wild().net.place("waiting").type, player.random))


# where customers end


def test_with_good_proposers_and_expected_people_every_customer_ends_on_the_expected_path(
    good: Agent, sample: tuple[Customer, ...]
) -> None:
    ends = {c.customer_id: Player(good, 0).by_the_clock(plan(c, 7, rates=NOTHING_ODD)) for c in sample}
    wrong = {
        c.customer_id: ends[c.customer_id].outcome
        for c in sample
        if ends[c.customer_id].outcome.result != expected_path(c)
    }
    assert wrong == {}
    assert {run.outcome.result for run in ends.values()} == set(ExpectedPath)


def test_a_plan_change_reaches_the_offer_exactly_once(good: Agent, sample: tuple[Customer, ...]) -> None:
    on_dsl = [p for p in (plan(c, 7, rates=NOTHING_ODD) for c in sample) if p.case.plan == "DSL"]
    seen = 0
    for case_plan in on_dsl[:30]:
        run = Player(good, 0).by_the_clock(case_plan)
        offers = run.fired("make offer.propose")
        if offers:
            seen += 1
            assert len(run.fired("absorb change")) == 1
            assert "Fiber basic" in offers[0].binding["r"][0][0]
            assert "DSL" not in offers[0].binding["r"][0][0]
    assert seen > 5


def test_a_second_window_event_is_refused(good: Agent, sample: tuple[Customer, ...]) -> None:
    twice = plan(sample[0], 7, rates=Rates(duplicate=1, silent=0, negotiates=0, merger=0, kill=0, absent=0))
    assert [e.event for e in twice.events].count("window.open") == 2
    assert len(Player(good, 0).by_the_clock(twice).fired("open window")) == 1


def test_who_is_silent_expires_and_everything_is_taken_back(
    good: Agent, sample: tuple[Customer, ...]
) -> None:
    silent = Rates(duplicate=0, silent=1, negotiates=0, merger=0, kill=0, absent=0)
    customer = next(c for c in sample if plan(c, 7).expected == ExpectedPath.RENEWED)
    run = Player(good, 3).by_the_clock(plan(customer, 7, rates=silent))
    assert (run.end, run.outcome.result, run.outcome.why) == ("called off", "expired", "no_reply")
    assert [e for e, _ in run.effects()] == [
        "crm.create_draft",
        "billing.apply_offer",
        "email.send_letter",
        "email.send_correction",
        "billing.revert_offer",
        "crm.withdraw_draft",
    ]


def test_absent_people_mean_no(sample: tuple[Customer, ...]) -> None:
    stubborn = Misbehaviour(greedy=0, wrong=0, malformed=0, crash=0, hang=0, stubborn=1)
    of = agent(proposers=Proposers.stand_in(seed=1, misbehaviour=stubborn))
    absent = Rates(duplicate=0, silent=0, negotiates=0, merger=0, kill=0, absent=1)
    customer = next(c for c in sample if plan(c, 7).expected == ExpectedPath.RENEWED_WITH_OFFER)
    run = Player(of, 1).by_the_clock(plan(customer, 7, rates=absent))
    assert (run.outcome.result, run.outcome.why) == ("denied", "offer_denied")
    assert len(run.fired("approve offer.timeout")) == 1


def test_the_kill_switch_stops_a_case(good: Agent, sample: tuple[Customer, ...]) -> None:
    killed = plan(sample[0], 7, rates=Rates(duplicate=0, silent=0, negotiates=0, merger=0, kill=1, absent=0))
    assert Player(good, 0).by_the_clock(killed).outcome.result in ("killed", str(killed.expected))
    assert any(e.event == "provenet.kill" for e in killed.events)


# the net as data


def test_it_builds_with_nothing_around_it_and_names_what_it_needs() -> None:
    of = agent()
    assert of.missing() == ()
    required = [r.kind for r in of.net.requirements]
    assert required[: len(CATALOGUE)] == list(CATALOGUE)
    assert required.count("never") == 2
    assert build().build() == of.net


def test_building_is_repeatable_across_processes() -> None:
    code = (
        "from provenet.examples.contract_renewal import agent\n"
        "from provenet.nets.formats.canonical import content_hash\n"
        "print(content_hash(agent().net))"
    )
    run = [sys.executable, "-c", code]
    hashes = {
        subprocess.run(run, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    }
    assert len(hashes) == 1


def test_every_wait_for_the_outside_has_a_timer() -> None:
    net = agent().net
    waits = {a.place for t in net.by_role(Role.EVENT, Role.APPROVE) for a in t.takes}
    timed = {a.place for t in net.by_role(Role.TIMER) for a in t.takes}
    assert waits <= timed


def test_only_two_transitions_reach_billing_and_the_requirement_names_their_effect() -> None:
    net = agent().net
    billing = [
        t.name
        for t in net.transitions
        if isinstance(t.trigger, Perform) and t.trigger.handler == "billing.apply_offer"
    ]
    assert billing == ["make offer.commit", "publish approved offer.commit"]
    assert all(r.arg("effect") == "billing.apply_offer" for r in net.requirements if r.kind == "never")


@given(
    offer=st.builds(
        Offer,
        customer=st.sampled_from(["C-001", "C-012", "C-2"]),
        discount_pct=st.integers(0, 100),
        term_months=st.just(12),
    )
)
def test_the_requirement_selects_what_policy_data_calls_over_the_ceiling(offer: Offer) -> None:
    net = wild().net
    where = net.requirements[len(CATALOGUE)].arg("where")
    over = compile_expr(where, {"payload": schema_of(Offer)})({"payload": to_value(offer, schema_of(Offer))})
    assert over == (offer.discount_pct > POLICY_V7.discount.ceiling(offer.customer))


# proposers, people, effects


@given(seed=st.integers(0, 99), key=st.text(max_size=20))
def test_the_stand_in_depends_on_seed_and_key_only(seed: int, key: str) -> None:
    def answer() -> object:
        try:
            return asyncio.run(
                Proposers.stand_in(seed=seed, misbehaviour=WILD).churn.propose(score_request(key))
            )
        except ProposalFault as fault:
            return fault.reject

    assert answer() == answer()


def test_the_stand_in_misbehaves_at_the_stated_rate() -> None:
    rates = Misbehaviour(greedy=0, wrong=0, malformed=0.1, crash=0.1, hang=0.1, stubborn=0)
    churn = Proposers.stand_in(seed=3, misbehaviour=rates).churn

    async def faults() -> Counter[str]:
        found: Counter[str] = Counter()
        for i in range(1_000):
            try:
                await churn.propose(score_request(str(i)))
            except ProposalFault as fault:
                found[fault.reject.rule] += 1
        return found

    found = asyncio.run(faults())
    assert 240 < sum(found.values()) < 360
    assert len(found) >= 2


@pytest.mark.parametrize("shares", [{"greedy": 1.5}, {"greedy": -0.1}, {"greedy": 0.7, "crash": 0.7}])
def test_shares_that_cannot_be_are_refused(shares: dict[str, float]) -> None:
    with pytest.raises(ProvenetError, match="share"):
        Misbehaviour(**shares)


def test_the_environment_chooses_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    from provenet.sdb.proposers import ModelProposer

    monkeypatch.setenv("PROVENET_RENEWAL_MODEL", "openai/gpt-5")
    assert isinstance(Proposers.from_environment().offer, ModelProposer)
    assert agent(proposers=Proposers.from_environment()).net == agent().net


@given(seed=st.integers(0, 10**6), at=st.integers(0, 199))
@settings(max_examples=60)
def test_a_plan_follows_from_customer_and_seed(seed: int, at: int) -> None:
    customer = customers()[at]
    one, two = plan(customer, seed), plan(customer, seed)
    assert one == two
    assert list(one.events) == sorted(one.events, key=lambda e: e.at)
    assert one.events[0].event == "window.open"
    first, last = one.events[0].at, one.events[-1].at
    assert one.case.day0 - timedelta(days=90) == first
    assert last < one.case.day0


def test_nobody_decides_on_an_unknown_task(sample: tuple[Customer, ...]) -> None:
    case = plan(sample[0], 1).case
    offer = Offer(customer=case.id, discount_pct=40, term_months=12)
    deal = Deal(case=case, aim="renewed_with_offer", offer=offer, sampled=True)
    with pytest.raises(ProvenetError, match="the tasks are"):
        decide(plan(sample[0], 1), "approve ofer", deal)


def test_draws_are_even() -> None:
    draws = [draw(1, i) for i in range(2_000)]
    assert all(0 <= d < 1 for d in draws)
    assert 0.45 < sum(draws) / len(draws) < 0.55


def test_effects_reach_the_outside_world_once_each(tmp_path: Path) -> None:
    with OutsideWorld(tmp_path / "outside.db") as world:
        asyncio.run(do_and_undo(Effects(world.url)))
    with Ledger(tmp_path / "outside.db") as ledger:
        done = [(e.kind, e.undoes) for e in ledger.effects()]
    assert done == [
        (("crm", "draft"), ""),
        (("billing", "offer"), ""),
        (("email", "send"), ""),
        (("billing", "revert"), "k2"),
        (("crm", "withdraw"), "k1"),
    ]


async def do_and_undo(effects: Effects) -> None:
    offer = Offer(customer="C-1", discount_pct=10, term_months=12)
    drafted = await perform(effects.create_draft, "k1", Draft(customer="C-1", plan="DSL", term_months=12))
    applied = await perform(effects.apply_offer, "k2", offer)
    # The same key again is the same effect.
    assert await perform(effects.apply_offer, "k2", offer) == applied
    await perform(effects.send_binding_letter, "k3", offer)
    assert await perform(effects.revert_offer, "k4", applied) != applied
    await perform(effects.withdraw_draft, "k5", drafted)
    await effects.close()


def test_a_refusal_for_good_is_told_apart(tmp_path: Path) -> None:
    async def refused() -> None:
        effects = Effects(world.url)
        with pytest.raises(EffectRefused):
            await perform(effects.apply_offer, "k1", Offer(customer="C-1", discount_pct=1, term_months=12))
        await effects.close()

    with OutsideWorld(tmp_path / "outside.db", faults=Faults(refuse=1.0)) as world:
        asyncio.run(refused())


def test_without_an_outside_world_an_effect_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OUTSIDE_URL, raising=False)
    offer = Offer(customer="C-1", discount_pct=1, term_months=12)
    with pytest.raises(ProvenetError, match=OUTSIDE_URL):
        asyncio.run(perform(Effects().apply_offer, "k1", offer))


async def perform(effect: Any, key: str, payload: Any) -> Done:
    done = await effect.run(Request("case", key, payload, effect.payload_type, effect.receipt_type))
    assert isinstance(done, Done)
    to_value(done, effect.receipt_type)
    return done


def score_request(key: str) -> Request:
    customer = customers()[0]
    case = case_of(customer, day0=plan(customer, 1).case.day0)
    return Request("case", key, case, schema_of(Case), schema_of(Score))


@lru_cache
def customers() -> tuple[Customer, ...]:
    return load_customers(SAMPLE).customers
