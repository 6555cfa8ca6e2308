"""CTL on a state graph, whole or in part: fixpoints over all markings at once.

Clarke, Emerson & Sistla, "Automatic verification of finite-state concurrent systems using temporal logic
specifications", TOPLAS 1986, each operator in time linear in the graph. Paths are maximal runs: in a deadlock
``EX`` is false, ``AX`` true, and what must hold for ever need only hold there.

Where only a part of the graph is known every formula gets two sets: markings that satisfy it whatever the
rest is, and markings that may satisfy it (three values after Bruns & Godefroid, "Model checking partial state
spaces", CAV 1999). On a whole graph they are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.engines.state_graph import StateGraph

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which markings satisfy a formula.

    Attributes:
        surely: They do.
        maybe: The others do not. The very same array where all is known.
    """

    surely: Flags
    maybe: Flags


@dataclass(slots=True)
class Labelling:
    """Formulas on one state graph; what formulas share is worked out once.

    Attributes:
        graph: The graph.
    """

    graph: StateGraph
    _known: dict[tl.Temporal, Bounds] = field(default_factory=dict)
    _turned: tuple[Any, Any] | None = None
    _dead: Flags | None = None
    _terminal: tuple[Any, int] | None = None

    def value(self, formula: tl.Temporal) -> bool | None:
        """Whether a formula holds in the initial marking; ``None`` where the graph known does not tell.

        Args:
            formula: A simplified CTL formula.
        """
        if (quick := self._always_possible(formula)) is not None:
            return quick
        bounds = self.bounds(formula)
        if bounds.surely[0]:
            return True
        return None if bounds.maybe[0] else False

    def forget(self) -> None:
        """Give the sets back that were kept for the formulas so far."""
        self._known.clear()

    def bounds(self, formula: tl.Temporal) -> Bounds:
        """Where a simplified CTL formula holds.

        Raises:
            OverflowError: The formula's sums do not fit into 64 bits.
            ValueError: It is no CTL formula.
        """
        if formula not in self._known:
            self._known[formula] = self._worked_out(formula)
        return self._known[formula]

    def counterexample(self, formula: tl.Temporal) -> tuple[tuple[int, ...], tl.Temporal] | None:
        """Firings to a marking that breaks ``AG``, with what does not hold there; ``None`` for others."""
        match formula:
            case tl.A(tl.G(inner)):
                wrong = ~self.bounds(inner).maybe
                if wrong.any():
                    # Markings are in breadth-first order: the first one is a nearest one.
                    return self.graph.trace_to(int(wrong.argmax())), inner
        return None

    def _worked_out(self, formula: tl.Temporal) -> Bounds:
        import numpy as np

        match formula:
            case tl.Now(of):
                here = self.graph.satisfying(of)
                return Bounds(here, here)
            case tl.Both(parts) | tl.Either(parts):
                join = np.logical_and if isinstance(formula, tl.Both) else np.logical_or
                found = [self.bounds(part) for part in parts]
                surely = join.reduce([b.surely for b in found])
                if all(b.surely is b.maybe for b in found):
                    return Bounds(surely, surely)
                return Bounds(surely, join.reduce([b.maybe for b in found]))
            case tl.E(path):
                return self._some(path)
            case tl.A(path):
                opposite = self._some(tl.simplified(path, negated=True))
                surely = ~opposite.maybe
                return Bounds(surely, surely if opposite.maybe is opposite.surely else ~opposite.surely)
        raise ValueError("no CTL formula")

    def _some(self, path: tl.Temporal) -> Bounds:
        """On some path."""
        match path:
            case tl.X(of):
                inner = self.bounds(of)
                return self._each(
                    lambda *, more: self._next(inner.maybe if more else inner.surely, more=more)
                )
            case tl.F(of):
                return self._until(None, self.bounds(of))
            case tl.U(before, goal):
                return self._until(self.bounds(before), self.bounds(goal))
            case tl.G(of):
                return self._stays(None, self.bounds(of))
            case tl.R(release, hold):
                return self._stays(self.bounds(release), self.bounds(hold))
        if tl.is_state(path):
            return self.bounds(path)
        raise ValueError("no CTL formula")

    def _each(self, work: Any) -> Bounds:
        surely = work(more=False)
        return Bounds(surely, surely) if self.graph.complete else Bounds(surely, work(more=True))

    def _next(self, of: Flags, *, more: bool) -> Flags:
        import numpy as np

        g = self.graph
        out = np.zeros(g.count, np.bool_)
        out[g.finished :] = more
        _k().some_next(g.edge_at, g.target, of, out)
        return out

    def _until(self, before: Bounds | None, goal: Bounds) -> Bounds:
        import numpy as np

        g = self.graph
        into_at, source = self._backwards()
        work = np.empty(g.count, np.int32)
        every = np.ones(g.count if before is None else 0, np.bool_)

        def part(*, more: bool) -> Flags:
            out = (goal.maybe if more else goal.surely).copy()
            held = every if before is None else before.maybe if more else before.surely
            if more:
                out[g.finished :] |= held[g.finished :]
            _k().leads_to(into_at, source, held, out, work)
            return out

        return self._each(part)

    def _stays(self, release: Bounds | None, hold: Bounds) -> Bounds:
        import numpy as np

        g = self.graph
        into_at, source = self._backwards()
        if self._dead is None:
            self._dead = np.zeros(g.count, np.bool_)
            self._dead[: g.finished] = g.edge_at[1:] == g.edge_at[:-1]
        dead = self._dead

        def part(*, more: bool) -> Flags:
            out = (hold.maybe if more else hold.surely).copy()
            anchored = dead.copy()
            if release is not None:
                anchored |= release.maybe if more else release.surely
            if more:
                anchored[g.finished :] = True
            left, work = np.zeros(g.count, np.int32), np.empty(g.count, np.int32)
            _k().stays_in(g.edge_at, g.target, into_at, source, anchored, out, left, work)
            return out

        return self._each(part)

    def _backwards(self) -> tuple[Any, Any]:
        import numpy as np

        if self._turned is None:
            g = self.graph
            into_at = np.zeros(g.count + 1, np.int64)
            source = np.empty(len(g.target), np.int32)
            _k().turned(g.edge_at, g.target, into_at, source)
            self._turned = into_at, source
        return self._turned

    def _always_possible(self, formula: tl.Temporal) -> bool | None:
        """``AG EF goal`` on a whole graph: each component that nothing leaves has a marking of the goal."""
        import numpy as np

        g = self.graph
        match formula:
            case tl.A(tl.G(tl.E(tl.F(tl.Now(goal))))) if g.complete:
                if self._terminal is None:
                    component = np.full(g.count, -1, np.int32)
                    terminal = np.ones(g.count, np.bool_)
                    n = _k().components(g.edge_at, g.target, component, terminal)
                    component[~terminal[component]] = -1
                    self._terminal = component, int(terminal[:n].sum())
                component, wanted = self._terminal
                hit = component[g.satisfying(goal)]
                return len(np.unique(hit[hit >= 0])) == wanted
        return None


def state_parts(formula: tl.Temporal) -> Iterator[tl.Now]:
    """The state formulas that are in a formula."""
    return (f for f in tl.subformulas(formula) if isinstance(f, tl.Now))


def _k() -> Any:
    from provenet.verify.plain.engines import graph_kernel

    return graph_kernel
