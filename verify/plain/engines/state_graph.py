"""The whole reachability graph as arrays, for what needs all of it: CTL, LTL, soundness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from provenet.verify.plain.answer import Budget
from provenet.verify.plain.engines.compiled import compilable, small_enough
from provenet.verify.plain.engines.space import Space, Stop
from provenet.verify.plain.logic import And, Formula, Le, Or
from provenet.verify.plain.net import Counts, PTNet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class StateGraph:
    """Markings by number, in breadth-first order from the initial one, 0, and what fires between them.

    The edges of marking ``i`` are ``edge_at[i]`` to ``edge_at[i + 1]`` of ``target`` and ``transition``.

    Attributes:
        net: The net.
        count: How many markings are known.
        finished: How many of them, the first ones, have all their edges.
        stop: Why no more is known; ``Stop.DONE`` where this is the whole graph.
        edge_at: Where the edges of each finished marking begin.
        target: The marking that each edge leads to.
        transition: The transition that fires.
    """

    net: PTNet
    count: int
    finished: int
    stop: Stop
    edge_at: NDArray[np.int64]
    target: NDArray[np.int32]
    transition: NDArray[np.int32]
    _space: Space

    @property
    def complete(self) -> bool:
        """Whether this is the whole graph."""
        return self.stop is Stop.DONE

    def tokens(self, place: int) -> NDArray[np.int64]:
        """The count of a place in every marking."""
        import numpy as np

        layout = self._space.layout
        words = self._space.words()[:, layout.word[place]]
        counts: NDArray[np.int64] = ((words >> layout.shift[place]) & layout.top[place]).astype(np.int64)
        return counts

    def marking(self, number: int) -> Counts:
        """One marking."""
        layout = self._space.layout
        words = self._space.words()[number].tolist()
        return tuple(
            words[w] >> shift & top
            for w, shift, top in zip(
                layout.word.tolist(), layout.shift.tolist(), layout.top.tolist(), strict=True
            )
        )

    def matrix(self) -> NDArray[np.int32]:
        """All markings, one a row: four bytes for each place of each."""
        import numpy as np

        out = np.empty((self.count, len(self.net.places)), np.int32)
        for p in range(len(self.net.places)):
            out[:, p] = self.tokens(p)
        return out

    def satisfying(self, formula: Formula) -> NDArray[np.bool_]:
        """Which markings satisfy a formula.

        Raises:
            OverflowError: Its sums do not fit into 64 bits.
        """
        if not compilable(formula):
            raise OverflowError("the formula's numbers are too large to compile")
        return self._satisfying(formula)

    def number_of(self, marking: Sequence[int]) -> int | None:
        """The number of a marking; ``None`` where it is not known."""
        import numpy as np

        layout = self._space.layout
        row = [0] * layout.width
        for p, n in enumerate(marking):
            if n > int(layout.top[p]):
                return None
            row[int(layout.word[p])] |= n << int(layout.shift[p])
        found = np.flatnonzero((self._space.words() == np.array(row, np.uint64)).all(axis=1))
        return int(found[0]) if len(found) else None

    def trace_to(self, number: int) -> tuple[int, ...]:
        """A shortest run from the initial marking to one of the markings."""
        return self._space.trace_to(number)

    def _satisfying(self, formula: Formula) -> NDArray[np.bool_]:
        import numpy as np

        match formula:
            case Le(((p, c),), bound) if abs(c) == 1:
                # One place: its field is compared where it lies.
                lay = self._space.layout
                shift, top = int(lay.shift[p]), int(lay.top[p])
                field = self._space.words()[:, lay.word[p]] & np.uint64(top << shift)
                least = bound if c > 0 else -bound
                if c > 0:
                    return (
                        field <= np.uint64(min(least, top) << shift) if least >= 0 else field < np.uint64(0)
                    )
                return field >= np.uint64(max(least, 0) << shift) if least <= top else field < np.uint64(0)
            case Le(terms, bound):
                total = np.zeros(self.count, np.int64)
                for p, c in terms:
                    total += c * self.tokens(p)
                return total <= bound
            case And(parts):
                out = np.ones(self.count, np.bool_)
                for part in parts:
                    out &= self._satisfying(part)
                return out
            case Or(parts):
                out = np.zeros(self.count, np.bool_)
                for part in parts:
                    out |= self._satisfying(part)
                return out


def state_graph(net: PTNet, budget: Budget) -> StateGraph | None:
    """Explore a net and keep the edges, as far as the budget goes.

    Returns:
        The graph, whole or in part; ``None`` where the net's numbers are too large to compile.
    """
    if not small_enough(net):
        return None
    space = Space(net, (), budget, edges="kept")
    stop, _ = space.advance()
    return so_far(space, stop)


def so_far(space: Space, stop: Stop) -> StateGraph:
    """What is known of a space that keeps its edges; good until it is advanced further."""
    edge_at, target, transition = space.edge_arrays()
    return StateGraph(space.net, space.count, space.finished, stop, edge_at, target, transition, space)
