"""Progress without the graph, against explicit search: what is said of all markings holds in each."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from provenet.nets.expr.evaluate import evaluate
from provenet.nets.marking import Marking
from provenet.nets.net import Net, Transition
from provenet.nets.schema import RecordType, Value
from provenet.verify.abstraction import Path
from provenet.verify.context import Context
from provenet.verify.hope import from_outside, kills
from provenet.verify.inequalities import Inequality
from provenet.verify.measures import Dimension
from provenet.verify.progress import Known, Progress, ends_properly, known, progress
from tests.verify.explicit import Explicit
from tests.verify.small_contracts import contract_nets
from tests.verify.small_machines import machine_nets
from tests.verify.small_nets import small_nets


def number(net: Net, place: str, token: Value, path: Path) -> int:
    """The whole number at a path of a token."""
    of = net.place(place).type
    for name in path:
        assert isinstance(of, RecordType)
        at = of.index(name)
        assert at is not None
        token, of = token[at], of.fields[at].type
    assert isinstance(token, int)
    return token


def amount(net: Net, marking: Marking, dimension: Dimension) -> int:
    place, path = dimension
    tokens = marking[place]
    return len(tokens) if path is None else sum(number(net, place, token, path) for token in tokens)


def weighed(net: Net, marking: Marking, found: Inequality) -> int:
    return sum(w * amount(net, marking, d) for d, w in found.weights.items())


def check_known(seen: Explicit, here: Known) -> None:
    """What is said to hold everywhere holds in every marking that was reached."""
    net = seen.net
    for marking in seen.markings:
        for inequality in here.inequalities.known:
            assert weighed(net, marking, inequality) >= inequality.least, inequality
        for (place, path), between in here.intervals.items():
            for token in marking[place]:
                value = number(net, place, token, path)
                assert between.lo is None or between.lo <= value
                assert between.hi is None or value <= between.hi
        for place, facts in here.facts.places.items():
            for token in marking[place]:
                assert all(evaluate(fact, {"it": token}, {"it": net.place(place).type}) for fact in facts)
        for numbered in here.numbered.values():
            depths = [number(net, p, t, path) for p, path in numbered.scope for t in marking[p]]
            numbers = sorted(number(net, p, t, path) for p, path in numbered.numbers for t in marking[p])
            assert numbers == [n for n in range(1, 100) for depth in depths if depth >= n]


def check_progress(seen: Explicit, found: Progress, allowed: Callable[[Transition], bool]) -> None:
    """Each firing of a progress transition lowers the rank, and each marking has a run to a final one."""
    net = seen.net

    def rank(marking: Marking) -> int:
        return sum(w * amount(net, marking, d) for d, w in found.weights.items())

    for marking, steps in zip(seen.markings, seen.steps, strict=True):
        assert rank(marking) >= 0
        for step in steps:
            if step.transition in found.transitions:
                assert rank(seen.markings[step.target]) < rank(marking)
    if seen.complete:
        finals = {at for at in range(len(seen.markings)) if seen.is_final(at)}
        assert len(seen.leading_to(finals, allowed)) == len(seen.markings)


def improper(seen: Explicit, at: int) -> bool:
    here = seen.counts(at)
    return here not in seen.finals() and any(
        all(here.get(p, 0) >= n for p, n in f.items()) for f in seen.finals()
    )


def examine(net: Net) -> tuple[bool, bool]:
    """Holds what is found of a net against explicit search; whether progress and a proper end were found."""
    seen = Explicit(net)
    ctx = Context(net, deadline=time.monotonic() + 10)
    alone = progress(ctx, lambda t: not from_outside(t))
    helped = progress(ctx, lambda t: not kills(t))
    proper = bool(net.finals) and ends_properly(ctx)
    check_known(seen, known(ctx))
    if isinstance(alone, Progress):
        check_progress(seen, alone, lambda t: not from_outside(t))
    if isinstance(helped, Progress):
        check_progress(seen, helped, lambda t: not kills(t))
    if proper:
        assert not any(improper(seen, at) for at in range(len(seen.markings)))
    ctx.memo.clear()
    return isinstance(helped, Progress), proper


@pytest.mark.parametrize("nets", [small_nets, contract_nets, machine_nets])
def test_what_is_found_holds_in_every_marking(nets: Callable[[], st.SearchStrategy[Net]]) -> None:
    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(nets())
    def check(net: Net) -> None:
        examine(net)

    check()
