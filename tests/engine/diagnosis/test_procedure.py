"""The procedure: failures that are the agent's, the model's, chance, or nobody knows whose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provenet.engine.diagnosis.procedure import Procedure, examine
from provenet.engine.diagnosis.rerun import Version
from provenet.engine.testing import Bench
from provenet.nets.build import NetBuilder
from provenet.nets.models import Token
from provenet.sdb.contract import Contract
from provenet.sdb.handlers import Agent, Effect, Proposal, Request
from provenet.sdb.policy import within
from provenet.sdb.proposers import function


class Asked(Token):
    id: int


class Deal(Token):
    discount: int


class Receipt(Token):
    number: str


PERFORMED: list[str] = []


def publish(request: Request) -> Receipt:
    """Must never be called by a procedure."""
    PERFORMED.append(request.case)
    return Receipt(number=request.key[:8])


def deals(answer: Callable[[Request], Any]) -> Agent:
    """One contract, and an effect when the policy lets its proposal pass."""
    net = NetBuilder("deals")
    asked, done, refused = net.entry("asked", Asked), net.final("done", Deal), net.final("refused", Asked)
    net.add(
        Contract(
            "deal",
            takes=asked,
            gives=done,
            otherwise=refused,
            escalate="inputs",
            attempts=2,
            propose=function(answer),
            returns=Deal,
            verify=within(Deal, lambda it: it.discount <= 30, name="thirty"),
            commit=Effect("crm.publish", publish, payload=Deal, receipt=Receipt),
        )
    )
    net.require("DATA-2")
    return Agent.of(net)


def old(request: Request) -> Proposal:
    """The model before: asks too much for case 3, and for nothing else."""
    return Proposal((50 if request.payload.id == 3 else 10,), model="m-1", prompt_hash="aa")


def new(request: Request) -> Proposal:
    """The model now: asks too much for odd cases."""
    return Proposal((50 if request.payload.id % 2 else 10,), model="m-2", prompt_hash="aa")


def ran(path: Path, *models: Callable[[Request], Proposal], cases: int = 6) -> Path:
    """A log of some cases on each model."""
    with Bench(deals(old), database=path) as bench:
        for turn, model in enumerate(models):
            bench.proposer("deal").always(lambda r, m=model: m(r))
            for n in range(cases):
                bench.start(Asked(id=n), case_id=f"{turn}-{n}")
            bench.run()
    return path


def by_case(found: Procedure) -> dict[str, str]:
    return {f.case: f.verdict for f in found.sample}


def test_what_fails_before_as_well_is_functional_the_rest_diverges(tmp_path: Path) -> None:
    path = ran(tmp_path / "deals.db", new)
    PERFORMED.clear()
    found = examine(path, prior=Version("m-1", deals(old)))
    assert by_case(found) == {"0-1": "replay divergence", "0-3": "functional", "0-5": "replay divergence"}
    assert (found.failures, found.cases, found.current) == (3, 6, "as recorded")
    assert not PERFORMED
    low, high = found.share("functional")
    assert low < 1 / 3 < high


def test_a_receipt_that_nobody_knows_is_named(tmp_path: Path) -> None:
    path = ran(tmp_path / "deals.db", new)
    found = examine(path, prior=Version("m-1", deals(old)))
    told = {f.case: f.made_up for f in found.sample}
    assert told == {"0-1": ("crm.publish",), "0-3": (), "0-5": ("crm.publish",)}


def test_what_fails_on_neither_is_variance(tmp_path: Path) -> None:
    path = ran(tmp_path / "deals.db", new)
    found = examine(path, prior=Version("old", deals(old)), current=Version("good day", deals(old)))
    assert by_case(found) == {"0-1": "variance", "0-3": "functional", "0-5": "variance"}


def test_more_runs_find_what_fails_seldom(tmp_path: Path) -> None:
    path = ran(tmp_path / "deals.db", new)
    asked: list[int] = []

    def moody(request: Request) -> Proposal:
        asked.append(request.payload.id)
        return Proposal((50 if len(asked) > 8 else 10,), model="m-3")

    steady = Version("old", deals(lambda _: Deal(discount=1)))
    found = examine(path, repeat=5, prior=steady, current=Version("m-3", deals(moody)))
    assert set(by_case(found).values()) == {"replay divergence"}
    assert all(f.prior == (0, 5) and f.current is not None and f.current[1] == 5 for f in found.sample)
    assert all(f.current is not None and 0 < f.current[0] < 5 for f in found.sample)


def test_a_model_of_the_log_answers_as_it_did_elsewhere(tmp_path: Path) -> None:
    path = ran(tmp_path / "deals.db", old, new)
    found = examine(path, prior="m-1")
    assert by_case(found) == {
        "0-3": "functional",
        "1-1": "replay divergence",
        "1-3": "functional",
        "1-5": "replay divergence",
    }


def test_blocked_where_the_version_before_cannot_be_asked(tmp_path: Path) -> None:
    path = ran(tmp_path / "deals.db", new)
    nobody = examine(path)
    assert {(f.verdict, f.why) for f in nobody.sample} == {("blocked", "no version before was given")}
    stranger = examine(path, prior="m-0")
    assert {f.why for f in stranger.sample} == {"the log has no answers of 'm-0'; it has some of 'm-2'"}
    # The model of another log has answered some of what is asked, and not all.
    part = ran(tmp_path / "part.db", old, cases=2)
    with Bench(deals(old), database=part) as bench:
        bench.proposer("deal").always(new)
        bench.start(Asked(id=5), case_id="late")
        bench.run()
    silent = examine(part, prior="m-1")
    assert [(f.case, f.verdict) for f in silent.sample] == [("late", "blocked")]
    assert "was never asked what 'deal.propose' asks here" in silent.sample[0].why


def test_a_parked_case_counts_as_failed_and_is_blocked(tmp_path: Path) -> None:
    path = tmp_path / "deals.db"
    with Bench(deals(old), database=path) as bench:
        bench.proposer("deal").always(Deal(discount=3))
        bench.effect("crm.publish").always("no receipt")
        case = bench.start(Asked(id=1))
        case.run_until("parked")
    found = examine(path, prior=Version("m-1", deals(old)))
    assert [(f.verdict, f.why) for f in found.sample] == [
        ("blocked", "it is parked: only what has ended can be compared")
    ]


def test_failures_are_what_the_user_says(tmp_path: Path) -> None:
    path = ran(tmp_path / "deals.db", new)
    assert examine(path, places=["done"]).failures == 3
    assert {f.case for f in examine(path, places=["done"]).sample} == {"0-0", "0-2", "0-4"}


def test_the_sample_is_the_seeds(tmp_path: Path) -> None:
    path = ran(tmp_path / "deals.db", new, cases=30)
    samples = [[f.case for f in examine(path, sample=4, seed=seed).sample] for seed in (1, 1, 2)]
    assert samples[0] == samples[1] != samples[2]
    assert all(len(s) == 4 for s in samples)


@pytest.mark.parametrize("k", [0, 3])
def test_shares_are_those_of_the_sample(tmp_path: Path, k: int) -> None:
    path = ran(tmp_path / "deals.db", new)
    found = examine(path, prior=Version("m-1", deals(new if k else lambda _: Deal(discount=1))))
    assert found.count("functional") == k
    data = found.to_json()
    assert data["classes"]["functional"]["count"] == k
    assert data["sampled"] == 3


def judged(answer: Callable[[Request], Any]) -> Agent:
    """The same, with a verifier that is a function."""

    def thirty(proposal: Deal, inputs: Asked) -> bool:
        return proposal.discount <= 30

    net = NetBuilder("judged deals")
    asked, done, refused = net.entry("asked", Asked), net.final("done", Deal), net.final("refused", Asked)
    parts: dict[str, Any] = {"escalate": "inputs", "attempts": 1, "returns": Deal, "verify": thirty}
    propose = function(answer)
    net.add(Contract("deal", takes=asked, gives=done, otherwise=refused, propose=propose, **parts))
    net.require("DATA-2")
    return Agent.of(net)


def test_a_verifier_that_is_a_function_needs_its_agent(tmp_path: Path) -> None:
    path = tmp_path / "deals.db"
    with Bench(judged(old), database=path) as bench:
        for n, model in enumerate((old, new)):
            bench.proposer("deal").always(model)
            bench.start(Asked(id=5), case_id=f"{n}")
            bench.run()
    recorded = examine(path, prior="m-1")
    assert [(f.case, f.verdict) for f in recorded.sample] == [("1", "blocked")]
    assert "a verifier that is a function" in recorded.sample[0].why
    asked = examine(path, prior=Version("m-1", judged(old)))
    assert by_case(asked) == {"1": "replay divergence"}
