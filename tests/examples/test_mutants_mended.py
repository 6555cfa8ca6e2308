"""Broken renewal nets whose cause is recognized: the mend is proposed, and the mended net is proved."""

from __future__ import annotations

from functools import lru_cache

import pytest

from provenet.examples.contract_renewal.mutants import mutant
from provenet.examples.contract_renewal.net import agent
from provenet.nets.net import Net
from provenet.verify.check import prove
from provenet.verify.mending import mends
from provenet.verify.verdict import Report, Status

BESIDES = ("SDB-1", "DATA-1", "STATE-1")
"""What must stay proved beside the property that catches a mutant; with STATE-1 a mend may remove a step."""

QUICK = ("hard cap loosened to 60", "attempt not counted", "overlap in scoring")
MENDED = (
    *("verifier bypassed", "verifier accepts up to 40", "policy loosened to 40", "reject swallowed"),
    *("reject reported as completed", "retry without bound", "two commits for one accept"),
    *("a second model verifies", "another offer than the approved one", "silence counts as approval"),
    *("binding letter without approval", "no deadline for the person", "no idle expiry"),
    *("kill switch checked at the start only", "order swapped", "compensation tried for ever"),
    *("token left behind", "dead transition", "gap in scoring"),
)


@pytest.mark.parametrize("name", QUICK)
def test_a_mend_is_proposed_and_proved(name: str) -> None:
    check(name)


@pytest.mark.long
@pytest.mark.parametrize("name", MENDED)
def test_most_mutants_are_mended(name: str) -> None:
    check(name)


def check(name: str) -> None:
    broken = mutant(name)
    net = broken(good())
    only = list(dict.fromkeys([*broken.caught_by, *BESIDES]))
    report = mends(net, prove(net, only=only), only=only, timeout=60)
    found = [v for v in report.verdicts if v.mends and v.property in broken.caught_by]
    assert found, [v.told_mend() for v in report.verdicts if v.status is Status.REFUTED]
    for v in found:
        again = prove(v.mends[0].net, only=broken.caught_by)
        about = [w.status for w in again.verdicts if (w.property, w.title) == (v.property, v.title)]
        assert set(about) == {Status.PROVED}
        assert "re-verified: PROVED" in v.mend
    read = Report.from_json(report.to_json(net), net)
    assert [v.mends for v in read.verdicts] == [v.mends for v in report.verdicts]


@lru_cache
def good() -> Net:
    net: Net = agent().net
    return net
