"""Verdicts against explicit search: a proof of what is broken, or a refutation of what holds, is a bug."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from provenet.nets.net import Net, Requirement
from provenet.verify.check import requirements_of
from provenet.verify.context import Context
from provenet.verify.verdict import Status, Verdict
from tests.verify.explicit import Explicit
from tests.verify.small_contracts import contract_nets
from tests.verify.small_nets import small_nets

TALLY: Counter[tuple[str, str]] = Counter()


def expected(seen: Explicit, r: Requirement, verdict: Verdict) -> bool | None:
    """What explicit search says of a verdict's property."""
    match r.kind:
        case "STATE-1":
            return seen.state_1() if seen.net.finals else None
        case "STATE-2":
            return seen.state_2(r.arg("k"))
        case "STATE-3":
            return seen.state_3()
        case "CTL-3":
            return seen.ctl_3()
        case "DATA-1":
            return seen.data_1()
        case "DATA-3":
            return seen.data_3(verdict.subject) if verdict.subject else True
        case "never":
            return seen.never(r.arg("transition"), r.arg("where"))
        case "always":
            return seen.always(r.arg("place"), r.arg("where"))
        case "precedes":
            return seen.precedes(r.arg("first"), r.arg("then"))
        case "bound":
            return seen.bound(r.arg("places"), r.arg("k"))
        case "mutex":
            return seen.mutex(r.arg("places"))
        case "SDB-1":
            if seen.net.has_transition(verdict.subject):  # an effect that no contract commits
                return seen.never_fires(verdict.subject)
            return seen.sdb_1(verdict.subject)
        case "SDB-4":
            return seen.sdb_4(verdict.subject)
        case "SDB-5":
            return seen.sdb_5(verdict.subject)
        case kind if kind.startswith("SAGA"):
            return seen.saga(verdict.subject)[kind]
        case kind:
            raise AssertionError(kind)


def disagreements(net: Net, *, timeout: float = 2) -> Iterator[str]:
    """Where verdicts and explicit search contradict each other."""
    seen = Explicit(net)
    ctx = Context(net, deadline=0, most_states=2_000)
    for prop, r in requirements_of(net):
        ctx.deadline = time.monotonic() + timeout
        verdicts = list(prop.check(ctx, r))
        for v in verdicts:
            TALLY[r.kind, v.status] += 1
            # A contract of several commits has a verdict for each of them.
            about = {other.status for other in verdicts if other.subject == v.subject}
            says = None if v.vacuous or len(about) > 1 else expected(seen, r, v)
            if (v.status, says) in ((Status.PROVED, False), (Status.REFUTED, True)):
                yield f"{r.kind} {v.subject}: {v.status} by {v.method} ({v.reason}), but it is {says}"
            if v.status is Status.REFUTED and v.trace is not None and not v.trace.replays(net):
                yield f"{r.kind}: the trace does not replay"


def examples(few: int) -> int:
    """A few by default; 10,000 where the thorough profile is asked for."""
    return 10_000 if settings().max_examples == 10_000 else few


@settings(max_examples=examples(80), suppress_health_check=[HealthCheck.too_slow])
@given(small_nets())
@pytest.mark.timeout(14_400)
def test_small_nets(net: Net) -> None:
    assert list(disagreements(net)) == []


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(contract_nets())
@pytest.mark.timeout(14_400)
def test_small_contracts(net: Net) -> None:
    assert list(disagreements(net)) == []


@pytest.fixture(scope="module", autouse=True)
def tally() -> Iterator[None]:
    """How much was decided, for ``pytest -s``."""
    yield
    kinds = sorted({k for k, _ in TALLY})
    for kind in kinds:
        counts = {s.value: TALLY[kind, s] for s in Status}
        print(f"{kind:10}", *(f"{name} {n:5}" for name, n in counts.items()))
