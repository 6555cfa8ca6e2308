"""Broken renewal nets: each one is refuted by the property that should catch it."""

from __future__ import annotations

from functools import lru_cache

import pytest

from provenet.examples.contract_renewal.mutants import MUTANTS, Mutant, mutant
from provenet.examples.contract_renewal.net import agent
from provenet.nets.check import check_net
from provenet.nets.formats.canonical import content_hash
from provenet.nets.net import Net
from provenet.verify.check import prove
from provenet.verify.verdict import Status

each_mutant = pytest.mark.parametrize("broken", MUTANTS, ids=lambda m: m.name)


@each_mutant
def test_a_mutant_is_caught_by_its_property_with_a_trace_that_replays(broken: Mutant) -> None:
    net = broken(good())
    seen = []
    for id_ in broken.caught_by:
        for verdict in prove(net, only=[id_], timeout=20).verdicts:
            seen.append(f"{verdict.property} {verdict.subject}: {verdict.status} {verdict.reason}")
            if verdict.status is Status.REFUTED:
                assert verdict.property == id_
                assert verdict.reason
                assert verdict.trace is None or verdict.trace.replays(net)
                assert verdict.trace is not None or verdict.property in ("DATA-2", "STATE-1")
                return
    pytest.fail("nothing refutes it:\n" + "\n".join(seen))


@each_mutant
def test_a_mutant_is_a_well_formed_net_of_its_own(broken: Mutant) -> None:
    net = broken(good())
    assert check_net(net) == ()
    assert content_hash(net) != content_hash(good())
    assert net.requirements == good().requirements
    assert broken(good()) == net


def test_mutants_are_many_and_told_apart() -> None:
    assert len(MUTANTS) >= 18
    assert len({m.name for m in MUTANTS}) == len(MUTANTS)
    assert len({content_hash(m(good())) for m in MUTANTS}) == len(MUTANTS)
    assert mutant("order swapped").caught_by == ("SAGA-2",)
    with pytest.raises(KeyError):
        mutant("no such mutant")


def test_every_property_that_is_required_has_a_mutant() -> None:
    assert {p for m in MUTANTS for p in m.caught_by} == {r.kind for r in good().requirements}


def test_the_net_itself_is_proved_in_all_its_properties() -> None:
    report = prove(good())
    assert [(v.property, v.subject, v.reason) for v in report.unproved()] == []
    assert [v.property for v in report.verdicts if v.vacuous] == []


def test_the_witness_of_a_loosened_policy_is_the_discount_that_slips_through() -> None:
    net = mutant("policy loosened to 40")(good())
    report = prove(net, only=["never"], timeout=20)
    (refuted,) = [v for v in report.verdicts if v.status is Status.REFUTED]
    assert refuted.trace is not None
    assert 30 < int(refuted.witness["proposal.discount_pct"]) <= 40


@lru_cache
def good() -> Net:
    net: Net = agent().net
    return net
