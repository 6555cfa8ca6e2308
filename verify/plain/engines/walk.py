"""Random walk with restarts: the cheapest witness there is.

Thierry-Mieg, "Symbolic and structural model-checking", Fundamenta Informaticae 2021. All open goals are
looked at in every marking. Rounds grow and alternate between ways to choose the next firing: any enabled
transition alike; rather one that fired seldom; rather one that brings a certain goal nearer, where tokens on
the way to a place that should be marked count too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

from provenet.verify.plain.answer import Answer, Budget, Reachable, confirmed
from provenet.verify.plain.engines.compiled import (
    NetArrays,
    Nodes,
    compilable,
    lures,
    net_arrays,
    nodes,
    rows,
    tests,
)
from provenet.verify.plain.logic import And, Formula, Le, deadlock, holds
from provenet.verify.plain.net import PTNet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FIRST_ROUND = 20_000
LONGEST_ROUND = 2_000_000
"""Firings of a round: the first one's, doubled from cycle to cycle."""

SLICE = 200_000
"""Firings between two looks at the clock."""

LENGTHS = (100, 2_000, 500, 20_000)
LONGEST = 200_000
"""Firings of a run: these in turn, and longer ones later."""

FADE = 0.6
"""How much less a token counts one transition further from where it is wanted."""

SHORTENING = 1_000_000
"""Firings spent on making one witness shorter."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Walk at random until every goal is hit or the time is over; it can only ever say yes.

    Attributes:
        seed: The same seed takes the same runs.
        rounds: Stop after so many rounds; ``None``: only the budget ends it.
        name: Appears in verdicts.
    """

    seed: int = 1
    rounds: int | None = None
    name: str = "walk"

    def prepare(self) -> None:
        """Load, or compile, the kernels."""
        from provenet.verify.plain.engines import walk_kernel  # noqa: F401

    def run(self, net: PTNet, goals: Sequence[Formula], budget: Budget) -> Iterator[tuple[int, Answer]]:
        """Answer goals as they are hit."""
        open_: dict[int, Formula] = {}
        for g, goal in enumerate(goals):
            if holds(goal, net.initial):
                yield g, Reachable((), self.name)
            elif compilable(goal):
                open_[g] = goal
        arrays = net_arrays(net)
        if not open_ or arrays is None or not net.transitions:
            return
        walker = _Walker(net, arrays, tuple(open_.values()), self.seed)

        def needed(goal: Formula) -> bool:
            return any(wanted == goal and not budget.answered(g) for g, wanted in open_.items())

        for goal, firings in walker.run(budget, self.rounds, needed):
            answer = Reachable(firings, self.name)
            # Counts beyond 64 bits would wrap around; replaying is exact.
            if not confirmed(net, goal, answer):
                continue
            for g, wanted in tuple(open_.items()):
                if wanted == goal:
                    del open_[g]
                    yield g, answer


class _Walker:
    """One net with the goals that are open on it."""

    def __init__(self, net: PTNet, arrays: NetArrays, goals: Sequence[Formula], seed: int) -> None:
        self.net = net
        self.arrays = arrays
        self.dead = deadlock(net)
        self.open = list(dict.fromkeys(goals))
        self.random = Random(seed)  # noqa: S311
        self.pulls: dict[Le, NDArray[np.float32]] = {}

    def run(
        self, budget: Budget, rounds: int | None, needed: Callable[[Formula], bool]
    ) -> Iterator[tuple[Formula, tuple[int, ...]]]:
        """Goals with firings that lead to them, until none is open or the budget is spent."""
        for cycle in count():
            self.open = [goal for goal in self.open if needed(goal)]
            if not self.open:
                return
            steps = min(FIRST_ROUND << cycle, LONGEST_ROUND)
            length = LENGTHS[cycle % len(LENGTHS)]
            if cycle >= 3 * len(LENGTHS):
                length = min(length << (cycle // len(LENGTHS) - 2), LONGEST)
            # Uniform, seldom fired first, and towards each goal in turn.
            target = self.open[cycle % len(self.open)]
            for tries, tiring, towards in (
                (1, 0.0, None),
                (2 + cycle % 3, 1.0, None),
                (2 + cycle % 4, 0.02, target),
            ):
                if rounds is not None:
                    if rounds == 0:
                        return
                    rounds -= 1
                yield from self._round(steps, length, tries, tiring, towards, budget)
                if not self.open or not budget.left():
                    return

    def _round(
        self, steps: int, length: int, tries: int, tiring: float, towards: Formula | None, budget: Budget
    ) -> Iterator[tuple[Formula, tuple[int, ...]]]:
        import numpy as np

        from provenet.verify.plain.engines import walk_kernel as k

        if towards not in self.open:
            towards = None
        goals = tuple(self.open)
        graph = nodes([goal for goal in goals if goal != self.dead])
        wanted = [g for g, goal in enumerate(goals) if goal != self.dead]
        places, transitions = self.arrays.places, self.arrays.transitions
        score, pull, puller = self._preference(graph, towards)
        goal_of = np.full(len(graph.need) + 1, -1, np.int32)
        goal_of[list(graph.roots)] = wanted
        start = self._start(graph)
        here = [part.copy() for part in start[:-1]]
        a = self.arrays
        path = np.zeros(length + 1, np.int32)
        hit_goal, hit_at = np.zeros(len(goals), np.int32), np.zeros(len(goals), np.int32)
        register = np.zeros(k.REGISTERS, np.int64)
        register[k.LENGTH] = -1
        register[k.DEAD_GOAL] = goals.index(self.dead) if self.dead in goals else -1
        register[k.LIMIT] = length
        register[k.TRIES] = tries
        register[k.OPEN] = len(goals)
        readers: list[list[tuple[int, int]]] = [[] for _ in range(places)]
        for n, atom in enumerate(graph.atoms):
            for p, c in atom.terms:
                readers[p].append((n, c))
        arguments = (
            a.effect_at, a.effect_place, a.effect_delta, a.consumer_at, a.consumer, a.consumer_weight,
            *rows([tuple(row) for row in readers]), np.array([atom.bound for atom in graph.atoms], np.int64),
            graph.need, graph.whole_at, graph.whole, goal_of,
            *start, *here,
            score.copy(), score, np.zeros(transitions, np.float32), tiring, pull, puller,
            path, hit_goal, hit_at, np.zeros(len(goals) + 1, np.int32),
            np.full(len(graph.need), -1, np.int64), np.zeros(len(graph.need) + 1, np.int32),
            np.array([self.random.getrandbits(63) | 1], np.uint64), register,
        )  # fmt: skip
        while register[k.STEPS] < steps and register[k.OPEN] and budget.left():
            register[k.UNTIL] = min(steps, register[k.STEPS] + SLICE)
            k.walk(*arguments)
            for h in range(register[k.HITS]):
                goal = goals[hit_goal[h]]
                self.open.remove(goal)
                yield goal, self._short(goal, path[: hit_at[h]].copy())

    def _start(self, graph: Nodes) -> tuple[Any, ...]:
        """The initial marking, and everything that is kept up to date with it."""
        import numpy as np

        initial = self.net.initial
        lacks = [sum(initial[p] < w for p, w in pre) for pre in self.net.pre]
        ready = [t for t, n in enumerate(lacks) if not n]
        enabled = np.zeros(len(lacks), np.int32)
        enabled[: len(ready)] = ready
        position = np.zeros(len(lacks), np.int32)
        position[ready] = range(len(ready))
        sums, _, held = graph.values(initial)
        return (
            self.arrays.initial, np.array(lacks, np.int32), enabled, position,
            np.array(sums, np.int64), np.array(held, np.int32), len(ready),
        )  # fmt: skip

    def _short(self, goal: Formula, path: NDArray[np.int32]) -> tuple[int, ...]:
        import numpy as np

        from provenet.verify.plain.engines import walk_kernel as k

        a = self.arrays
        test = tests([goal])
        length = k.shorten(
            a.pre_at, a.pre_place, a.pre_weight, a.effect_at, a.effect_place, a.effect_delta,
            test.atom, test.yes, test.no, test.term_at, test.term_factor, test.bound, test.term_place,
            a.initial, np.zeros(a.places, np.int64), path, int(test.start[0]), SHORTENING,
        )  # fmt: skip
        return tuple(path[:length].tolist())

    def _preference(
        self, graph: Nodes, towards: Formula | None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]:
        """What each transition is worth at first, what each atom adds while it fails, and its row there."""
        import numpy as np

        transitions = self.arrays.transitions
        puller = np.full(len(graph.atoms), -1, np.int32)
        score = np.zeros(transitions, np.float32)
        if towards is None:
            return score, np.zeros((1, transitions), np.float32), puller
        if towards == self.dead:
            consumers = [len(c) for c in self.net.consumers]
            for t, effect in enumerate(self.net.effect):
                score[t] = -sum(consumers[p] if d > 0 else -consumers[p] for p, d in effect)
            return score, np.zeros((1, transitions), np.float32), puller
        number = {atom: n for n, atom in enumerate(graph.atoms)}
        chosen = tuple(dict.fromkeys(self._one_way(towards)))
        pull = np.zeros((max(1, len(chosen)), transitions), np.float32)
        for row, atom in enumerate(chosen):
            pull[row] = self._pull(atom)
            puller[number[atom]] = row
            if not holds(atom, self.net.initial):
                score += pull[row]
        return score, pull, puller

    def _one_way(self, formula: Formula) -> Iterator[Le]:
        """Atoms that make a formula true together; one part of each disjunction, at random."""
        if isinstance(formula, Le):
            yield formula
        elif isinstance(formula, And):
            for part in formula.parts:
                yield from self._one_way(part)
        elif formula.parts:
            yield from self._one_way(self.random.choice(formula.parts))

    def _pull(self, atom: Le) -> NDArray[np.float32]:
        """What each firing is worth for an atom that fails; the best one is worth 1."""
        import numpy as np

        if atom in self.pulls:
            return self.pulls[atom]
        worth = lures(self.net, atom, fade=FADE)
        out = np.zeros(self.arrays.transitions, np.float32)
        for t, effect in enumerate(self.net.effect):
            out[t] = sum(d * worth.get(p, 0.0) for p, d in effect)
        largest = float(np.abs(out).max(initial=0.0))
        self.pulls[atom] = out / np.float32(largest or 1.0)
        return self.pulls[atom]
