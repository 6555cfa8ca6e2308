"""Runs that end in a loop, sampled: what refutes most linear formulas on nets too large to explore.

A scheduler without memory, or with little, soon repeats itself where a random walk never comes back to a
marking: so each sample walks at random for a while, and then follows fixed priorities, or takes turns, until
a marking returns or nothing is enabled. All open formulas are evaluated on the run. A run that breaks
``A path`` refutes it, and every formula of CTL with no other quantifier than ``A`` as well, since the formula
without the quantifiers within is weaker (Maidl, "The common fragment of CTL and LTL", FOCS 2000); likewise
for ``E``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Literal

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.hints import at_the_end
from provenet.verify.plain.logic import holds
from provenet.verify.plain.net import Counts, PTNet
from provenet.verify.plain.packed import Fields
from provenet.verify.plain.paths import Path, evaluated
from provenet.verify.plain.settled import Settled, wanted_path

PREFIXES = (0, 10, 0, 50, 3, 200, 25, 1000)
"""Firings taken at random, in turn."""

LONGEST = 2_500
"""Firings after which a sample is given up."""

Scheduler = Literal["priorities", "turns"]


@dataclass(frozen=True, slots=True)
class Lassos:
    """Sample runs until the time is over.

    Attributes:
        seed: The same seed takes the same runs.
        samples: Stop after so many; ``None``: only the budget ends it.
        name: Appears in verdicts.
    """

    seed: int = 1
    samples: int | None = None
    name: str = "lassos"

    def run(
        self, net: PTNet, formulas: Sequence[tl.Temporal], budget: Budget
    ) -> Iterator[tuple[int, Settled]]:
        """Answer formulas that one run answers."""
        wanted = {i: asked for i, f in enumerate(formulas) if (asked := wanted_path(f)) is not None}
        ends = {i: goal for i, f in enumerate(formulas) if (goal := at_the_end(f)) is not None}
        random = Random(self.seed)  # noqa: S311
        walker = _Walker(net, random)
        for n in count():
            wanted = {i: asked for i, asked in wanted.items() if not budget.answered(i)}
            ends = {i: goal for i, goal in ends.items() if not budget.answered(i)}
            if not (wanted or ends) or not budget.left() or n == self.samples or not net.transitions:
                return
            scheduler: Scheduler = "priorities" if n % 3 else "turns"
            path = walker.sample(PREFIXES[n % len(PREFIXES)], scheduler, budget)
            if path is None:
                continue
            markings, back = _word(net, path)
            if path.end == "deadlock":
                for i in [i for i, goal in ends.items() if holds(goal, markings[-1])]:
                    wanted.pop(i, None)
                    del ends[i]
                    yield i, Settled(isinstance(formulas[i], tl.E), self.name, path=path)
            for i, formula in list(wanted.items()):
                if not budget.left():
                    return
                if evaluated(formula, markings, back):
                    del wanted[i]
                    ends.pop(i, None)
                    yield i, Settled(isinstance(formulas[i], tl.E), self.name, path=path)


class _Walker:
    def __init__(self, net: PTNet, random: Random) -> None:
        self._net, self._random = net, random
        self._most = max((7, *net.initial, *(2 * w for arcs in (*net.pre, *net.post) for _, w in arcs)))
        self._lay()

    def _lay(self) -> None:
        net = self._net
        fields = self._fields = Fields.of(len(net.places), self._most)
        self._moves = [
            (t, fields.arcs(net.pre[t]), fields.arcs(net.effect[t])) for t in range(len(net.transitions))
        ]
        self._initial = fields.pack(net.initial)

    def sample(self, prefix: int, scheduler: Scheduler, budget: Budget) -> Path | None:
        """A run with a loop or a deadlock at its end; ``None`` where none came in time."""
        guard = self._fields.guard
        at = self._initial
        fired: list[int] = []
        moves = list(self._moves)
        self._random.shuffle(moves)
        seen: dict[tuple[int, int], int] = {}
        turn = 0
        for step in range(prefix + LONGEST):
            raised = at | guard
            if step < prefix:
                ready = [m for m in moves if (raised - m[1]) & guard == guard]
                chosen = self._random.choice(ready) if ready else None
            else:
                key = (at, turn)
                if key in seen:
                    return Path(tuple(fired[: seen[key]]), tuple(fired[seen[key] :]))
                seen[key] = step
                chosen = None
                for k in range(len(moves)):
                    move = moves[(turn + k) % len(moves)]
                    if (raised - move[1]) & guard == guard:
                        chosen = move
                        if scheduler == "turns":
                            turn = (turn + k + 1) % len(moves)
                        break
            if chosen is None:
                return Path(tuple(fired), end="deadlock")
            fired.append(chosen[0])
            at += chosen[2]
            if at & guard:
                self._most *= 4
                self._lay()
                return None
            if step % 256 == 0 and not budget.left():
                return None
        return None


def _word(net: PTNet, path: Path) -> tuple[list[Counts], int]:
    """The markings of a path until they repeat, and the position that they go back to."""
    markings = [net.initial]
    for t in (*path.first, *path.loop):
        markings.append(net.fire(markings[-1], t))
    if path.end == "loop":
        markings.pop()
        return markings, len(path.first)
    return markings, len(markings) - 1
