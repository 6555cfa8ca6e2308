"""Reports as evidence: untouched ones are accepted, tampered ones are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest

from provenet.nets.build import NetBuilder
from provenet.nets.expr.build import make
from provenet.nets.models import Token
from provenet.nets.net import Net
from provenet.nets.requirements import always
from provenet.nets.schema import INT
from provenet.verify.certificate import recheck
from provenet.verify.check import prove
from provenet.verify.verdict import Certificate, Report, Status, Verdict
from tests.verify.nets import cap, selling, trip

ALL = ("SDB", "STATE", "CTL-3", "DATA")


@lru_cache
def good() -> Net:
    return selling(requirements=(*ALL, cap()))


@lru_cache
def report() -> Report:
    return prove(good())


def changed(edit: Callable[[Verdict], Verdict | None]) -> Report:
    edited = [edit(v) for v in report().verdicts]
    return replace(report(), verdicts=tuple(v for v in edited if v is not None))


def with_facts(edit: Callable[[dict[str, list[str]]], Any]) -> Report:
    """The report with the facts of its certificates edited; at least one certificate has facts."""
    met = 0

    def verdict(v: Verdict) -> Verdict:
        nonlocal met
        out = []
        for c in v.certificates:
            if c.kind == "facts" and c.data["facts"]:
                facts = {place: list(known) for place, known in c.data["facts"].items()}
                edit(facts)
                met += 1
                out.append(Certificate("facts", {**c.data, "facts": facts}))
            else:
                out.append(c)
        return replace(v, certificates=tuple(out))

    found = changed(verdict)
    assert met
    return found


def test_an_untouched_report_is_accepted() -> None:
    assert [(v.property, v.reason) for v in report().unproved()] == []
    assert recheck(good(), report()) == ()


def test_a_report_survives_json() -> None:
    text = json.dumps(report().to_json(good()))
    again = Report.from_json(json.loads(text), good())
    assert recheck(good(), again) == ()
    assert json.dumps(again.to_json(good())) == text


def test_a_saga_report_is_accepted() -> None:
    net = trip(requirements=("SDB", "SAGA", "STATE-2", "STATE-3", "DATA"))
    assert recheck(net, prove(net)) == ()


@pytest.mark.attack(
    "report of another net",
    "refused by the deploy gate and the re-check: it names a content hash",
)
def test_another_nets_report_is_refused() -> None:
    other = selling(most=31, requirements=(*ALL, cap(31)))
    (problem,) = recheck(other, report())
    assert "verify it again" in problem
    forged = replace(report(), net_hash=prove(other).net_hash)
    assert recheck(other, forged) != ()


@pytest.mark.attack("forged certificate", "refused: every obligation is put to the solver again")
def test_weaker_facts_are_refused() -> None:
    def weaken(facts: dict[str, list[str]]) -> None:
        for place in facts:
            facts[place] = ["true"]

    assert recheck(good(), with_facts(weaken)) != ()


def test_stronger_facts_are_refused() -> None:
    def strengthen(facts: dict[str, list[str]]) -> None:
        for known in facts.values():
            known.append("false")

    assert recheck(good(), with_facts(strengthen)) != ()


def test_facts_of_another_place_are_refused() -> None:
    def move(facts: dict[str, list[str]]) -> None:
        place = next(iter(facts))
        facts["sold"] = facts.pop(place)

    assert recheck(good(), with_facts(move)) != ()


@pytest.mark.parametrize("text", ["it.", "it.nothing == 1", "1 +", "it", "__import__('os')"])
@pytest.mark.attack("certificate of nonsense", "refused: it is no text of a formula")
def test_facts_that_are_none_are_refused(text: str) -> None:
    def spoil(facts: dict[str, list[str]]) -> None:
        for place in facts:
            facts[place] = [text]

    assert recheck(good(), with_facts(spoil)) != ()


def test_facts_of_no_place_are_refused() -> None:
    assert recheck(good(), with_facts(lambda facts: facts.update({"nowhere": ["true"]}))) != ()


@pytest.mark.attack("certificate left out", "refused: a proof without evidence is none")
def test_dropped_certificates_are_refused() -> None:
    assert recheck(good(), changed(lambda v: replace(v, certificates=()))) != ()


@pytest.mark.attack("verdict left out", "refused: each requirement of the net needs one")
def test_a_removed_verdict_is_missed() -> None:
    problems = recheck(good(), changed(lambda v: None if v.property == "STATE-1" else v))
    assert any("STATE-1" in p for p in problems)


@pytest.mark.parametrize("status", [Status.UNKNOWN, Status.REFUTED])
def test_a_verdict_that_is_no_proof_is_refused(status: Status) -> None:
    problems = recheck(good(), changed(lambda v: replace(v, status=status) if v.property == "never" else v))
    assert any(p.startswith("never") for p in problems)


@pytest.mark.attack("forged report", "refused: a verdict counts for what its evidence shows")
def test_a_refutation_edited_into_a_proof_is_refused() -> None:
    net = selling(most=31, requirements=(cap(),))
    found = prove(net)
    assert found.status() is Status.REFUTED
    painted = replace(
        found,
        verdicts=tuple(
            replace(v, status=Status.PROVED, trace=None, certificates=(Certificate("structure"),))
            for v in found.verdicts
        ),
    )
    assert recheck(net, painted) != ()


def test_a_trace_that_does_not_replay_is_refused() -> None:
    net = selling(most=31, requirements=(cap(),))
    found = prove(net)
    (verdict,) = [v for v in found.verdicts if v.trace is not None]
    assert verdict.trace is not None
    assert verdict.trace.replays(net)
    steps = list(verdict.trace.steps)
    index = next(i for i, s in enumerate(steps) if "proposal" in s.binding)
    steps[index] = replace(steps[index], binding={**steps[index].binding, "proposal": (99, False)})
    spoilt = replace(verdict.trace, steps=tuple(steps))
    assert not spoilt.replays(net)
    broken = replace(verdict, trace=spoilt)
    edited = replace(found, verdicts=tuple(broken if v is verdict else v for v in found.verdicts))
    assert any("does not replay" in p for p in recheck(net, edited))


def test_the_same_condition_about_two_places_has_two_proofs() -> None:
    net = NetBuilder("two")
    start, end = net.entry("start", INT, where=lambda it: it == 0), net.final("end", INT)
    net.route("go", takes={"n": start}, puts={end: lambda n: n})
    net.require(*(always(place, of=INT, where=lambda it: it == 0) for place in ("end", "start")))
    made = net.build()
    assert recheck(made, prove(made)) == ()


class Pair(Token):
    n: int
    b: bool


def test_a_fact_may_build_a_record_that_its_place_does_not_hold() -> None:
    net = NetBuilder("building")
    start, end = net.entry("start", INT), net.final("end", Pair)
    middle = net.place("middle", INT)
    net.route("go", takes={"n": start}, when=lambda n: n == 0, puts={middle: lambda n: n})
    net.route("build", takes={"n": middle}, puts={end: lambda n: make(Pair, n=n, b=False)})
    net.require(always("end", of=Pair, where=lambda it: it == make(Pair, n=0, b=False)))
    made = net.build()
    found = prove(made)
    facts = found.verdicts[0].certificates[0].data["facts"]
    assert any("Pair{" in text for text in facts["middle"])
    assert recheck(made, found) == ()
