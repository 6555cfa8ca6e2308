"""CTL and LTL formulas on the state graph, while it grows and when it is whole.

Many formulas are decided by a small part of the graph; so it is explored in rounds, each longer than the
last, and the open formulas are looked at after each.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.engines.compiled import compilable, small_enough
from provenet.verify.plain.engines.ctl import Labelling, state_parts
from provenet.verify.plain.engines.ltl import some_path
from provenet.verify.plain.engines.space import Space, Stop
from provenet.verify.plain.engines.state_graph import so_far
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.paths import Path, shows
from provenet.verify.plain.settled import Settled

FIRST_ROUND = 0.3
LONGER = 2.5
"""Seconds of the first round, and how much longer each is than the one before."""

EXPLORING = 0.65
"""Part of the time that is left which a round may spend before the formulas are looked at."""

SEARCHES = 3
"""How often the product is searched for longer when no more markings come."""

WITNESSED = 100_000
"""Markings up to which a path is looked for that shows the answer to a CTL formula."""

SPACE_SHARE = 0.4
PRODUCT_SHARE = 0.25
"""Parts of the memory for the graph, and for the product of graph and automaton."""


@dataclass(frozen=True, slots=True)
class TemporalGraph:
    """Explore, and evaluate what is open.

    Attributes:
        name: Appears in verdicts.
    """

    name: str = "graph"

    def prepare(self) -> None:
        """Load, or compile, the kernels."""
        from provenet.verify.plain.engines import explore_kernel, graph_kernel, product_kernel  # noqa: F401

    def run(
        self, net: PTNet, formulas: Sequence[tl.Temporal], budget: Budget
    ) -> Iterator[tuple[int, Settled]]:
        """Answer formulas that quantify over paths, each as soon as the graph known tells."""
        open_ = {
            i: f
            for i, f in enumerate(formulas)
            if (tl.is_ctl(f) or _path_of(f) is not None)
            and all(compilable(n.formula) for n in state_parts(f))
        }
        if not open_ or not small_enough(net):
            return
        space = Space(net, (), replace(budget, memory=int(budget.memory * SPACE_SHARE)), edges="kept")
        pause = FIRST_ROUND
        stop = Stop.TIME
        again = 0
        while open_ and budget.left():
            if stop is Stop.TIME:
                spent = min(pause, EXPLORING * budget.left())
                space.budget = replace(space.budget, deadline=time.monotonic() + spent)
                stop, _ = space.advance()
            labelling = Labelling(so_far(space, stop))
            began = time.monotonic()
            for i, formula in list(open_.items()):
                if budget.answered(i):
                    del open_[i]
                    continue
                if not budget.left():
                    return
                found = self._settled(labelling, formula, seconds=max(pause, 1.0), memory=budget.memory)
                if found is not None:
                    del open_[i]
                    yield i, found
            # What took long to look at is not looked at again soon.
            pause = max(LONGER * pause, LONGER * (time.monotonic() - began))
            if stop is not Stop.TIME:
                # No more markings will come: only longer searches of the product can still tell.
                open_ = {i: f for i, f in open_.items() if not tl.is_ctl(f)}
                again += 1
                if again > SEARCHES:
                    return
                pause = max(pause, budget.left() / (len(open_) + 1))

    def _settled(
        self, labelling: Labelling, formula: tl.Temporal, *, seconds: float, memory: int
    ) -> Settled | None:
        graph = labelling.graph
        if tl.is_ctl(formula):
            holds = labelling.value(formula)
            broken = labelling.counterexample(formula) if holds is False else None
            labelling.forget()
            if holds is None:
                return None
            path = None if broken else _witness(labelling, formula, holds=holds, memory=memory)
            return Settled(holds, self.name, graph.count, path=path, breaks=broken)
        every = isinstance(formula, tl.A)
        inner = _path_of(formula)
        assert inner is not None
        wanted = tl.simplified(inner, negated=every)
        found = some_path(graph, wanted, seconds=seconds, memory=int(memory * PRODUCT_SHARE))
        if found.exists is None:
            return None
        return Settled(found.exists != every, self.name, graph.count, path=found.path)


def _witness(labelling: Labelling, formula: tl.Temporal, *, holds: bool, memory: int) -> Path | None:
    """A path for an answer that one path shows, where it costs little."""
    inner = _path_of(formula)
    if inner is None or holds != isinstance(formula, tl.E) or labelling.graph.count > WITNESSED:
        return None
    wanted = inner if holds else tl.simplified(inner, negated=True)
    found = some_path(labelling.graph, wanted, seconds=0.1, memory=int(memory * PRODUCT_SHARE))
    # A run that ends has no next marking for CTL, and stays for LTL.
    agrees = found.path is None or shows(labelling.graph.net, wanted, found.path)
    return found.path if agrees and not isinstance(inner, tl.X) else None


def _path_of(formula: tl.Temporal) -> tl.Temporal | None:
    """What an LTL formula says of paths."""
    return formula.of if isinstance(formula, tl.A | tl.E) and tl.is_ltl(formula) else None
