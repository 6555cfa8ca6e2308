"""Which mends to try for what is refuted: the causes that are recognized, by property."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from typing import TypeAlias

from provenet.verify.mending import boundary, flow, policies, waiting
from provenet.verify.mending.surgery import Candidate, Case

Cause: TypeAlias = Callable[[Case], Iterator[Candidate]]
"""Mends for one cause, the likeliest first; none where it is not the cause."""

CAUSES: Mapping[str, tuple[Cause, ...]] = {
    "SDB-1": (policies.own_rules, boundary.past_verifier, flow.removed),
    "SDB-2": (boundary.swallowed, boundary.uncovered, boundary.reported),
    "SDB-3": (boundary.undecided, policies.own_verifier),
    "SDB-4": (boundary.endless,),
    "SDB-5": (flow.single_puts, boundary.past_verifier),
    "SAGA-1": (flow.single_puts,),
    "SAGA-2": (boundary.last_first,),
    "SAGA-3": (flow.single_puts,),
    "SAGA-4": (boundary.tries,),
    "CTL-1": (waiting.silence, policies.as_approved, flow.removed),
    "CTL-2": (boundary.emptied,),
    "CTL-3": (waiting.timer,),
    "CTL-4": (boundary.past_verifier, flow.fewer_puts),
    "STATE-1": (flow.dead, flow.single_puts, flow.cleared),
    "STATE-2": (flow.single_puts, flow.fewer_puts, flow.capacity),
    "STATE-3": (flow.dead_end,),
    "STATE-4": (flow.removed,),
    "FLOW-1": (waiting.silence,),
    "EVT-1": (waiting.heard, waiting.ignored),
    "EVT-2": (waiting.keyed,),
    "DATA-1": (policies.gap, policies.overlap),
    "DATA-2": (policies.fewer_rules,),
    "DATA-3": (policies.precondition,),
    "DATA-4": (policies.older_rules,),
    "never": (
        *(policies.own_rules, waiting.silence, policies.forbidden, policies.as_approved),
        *(boundary.past_verifier, policies.guarded, flow.removed),
    ),
    "always": (policies.everywhere, flow.removed),
    "precedes": (waiting.silence, flow.removed),
    "mutex": (flow.single_puts, flow.fewer_puts, flow.removed),
    "bound": (flow.single_puts, flow.fewer_puts, flow.removed),
    "eventually": (waiting.timer,),
    "responds": (waiting.timer,),
}
"""The causes of each property. Who may vouch for what steers a sink (FLOW-1) is for people to say: a label is
never proposed."""


def candidates(case: Case) -> Iterator[Candidate]:
    """The mends to try for a refutation, the likeliest first."""
    return chain.from_iterable(cause(case) for cause in CAUSES.get(case.verdict.property, ()))
