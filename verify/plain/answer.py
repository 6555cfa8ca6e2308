"""What is asked of an engine, and what it may say.

The one question is *reachability*: can the net reach a marking that satisfies a goal? ``AG safe`` asks it of
``negation(safe)``; a bound, a deadlock, a dead transition are goals too. An engine takes many goals on one
net, since a walk or an exploration looks at all of them in passing, and yields each answer as soon as it has
it.

``Reachable`` carries the firings: ``confirmed`` replays them before anybody believes them. ``Unreachable``
carries evidence that a separate checker can go through again. A goal that an engine says nothing about stays
open.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from provenet.verify.plain.logic import Formula, holds
from provenet.verify.plain.net import PTNet


@dataclass(frozen=True, slots=True)
class Inductive:
    """The goal contradicts an invariant that holds at first and that every firing keeps.

    Attributes:
        invariant: The invariant; ``invariant`` implies that the goal does not hold.
        steps: ``k`` of k-induction: 1 where one firing keeps it.
    """

    invariant: Formula
    steps: int = 1


@dataclass(frozen=True, slots=True)
class StateEquation:
    """No marking of the goal solves the state equation with these traps marked.

    Attributes:
        traps: Each is marked at first, so it stays marked (Esparza & Melzer, 2000).
        empty: Each is a set of places that is empty at first: what takes from it fires only if something
            that takes nothing from it puts into it.
        dead: Each can never fire, which is shown in the same way with the traps and empty sets, and with
            the dead transitions before it.
        numbers: Whether ``real`` firing counts already do, or only ``whole`` ones.
    """

    traps: tuple[frozenset[int], ...] = ()
    empty: tuple[frozenset[int], ...] = ()
    dead: tuple[int, ...] = ()
    numbers: Literal["real", "whole"] = "real"


@dataclass(frozen=True, slots=True)
class Explored:
    """Every reachable marking was looked at, or every one that stubborn sets for the goal leave.

    Attributes:
        markings: How many were looked at.
        firings: How many firings lead from one to another.
        reduced: By what; with ``none``, the numbers are those of the net's reachability graph.
    """

    markings: int
    firings: int
    reduced: Literal["none", "stubborn sets"] = "none"


@dataclass(frozen=True, slots=True)
class Reduced:
    """The goal was shown unreachable on a smaller net.

    Attributes:
        net: The smaller net.
        goal: The goal on it.
        rules: The reductions that led there, in order, each with what it was applied to.
        evidence: Why the smaller goal is unreachable.
    """

    net: PTNet
    goal: Formula
    rules: tuple[tuple[str, tuple[int, ...]], ...]
    evidence: Evidence


Evidence: TypeAlias = Inductive | StateEquation | Explored | Reduced
"""Why a goal is unreachable."""


@dataclass(frozen=True, slots=True)
class Reachable:
    """These firings, from the initial marking, lead to a marking of the goal.

    Attributes:
        firings: The transitions in order.
        engine: Who found them.
    """

    firings: tuple[int, ...]
    engine: str


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No reachable marking satisfies the goal.

    Attributes:
        evidence: Why.
        engine: Who found it.
    """

    evidence: Evidence
    engine: str


Answer: TypeAlias = Reachable | Unreachable
"""A definite answer; an open goal has none."""


LONGEST = 2e6
"""Seconds that solvers and processes can be told to take, whose limits are milliseconds in 31 bits."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What an engine may spend.

    Attributes:
        deadline: ``time.monotonic()`` value to stop at.
        memory: Bytes for its tables.
        answered: Whether a goal, by its number, has been answered elsewhere meanwhile: no need to go on.
    """

    deadline: float
    memory: int = 2 << 30
    answered: Callable[[int], bool] = field(default=lambda _: False, compare=False)

    @classmethod
    def seconds(cls, seconds: float, *, memory: int = 2 << 30) -> Budget:
        """A budget that begins now."""
        return cls(time.monotonic() + min(seconds, LONGEST), memory)

    def left(self) -> float:
        """Seconds left; not negative, and not endless."""
        return min(LONGEST, max(0.0, self.deadline - time.monotonic()))

    def share(self, part: float) -> Budget:
        """A budget for a part of the time that is left."""
        return replace(self, deadline=time.monotonic() + part * self.left())


class Engine(Protocol):
    """One technique.

    Attributes:
        name: Stable, short: it appears in verdicts.
    """

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def run(self, net: PTNet, goals: Sequence[Formula], budget: Budget) -> Iterator[tuple[int, Answer]]:
        """Answer what it can, goal numbers with answers, each at most once, and stop within the budget."""
        ...


@runtime_checkable
class Prepared(Protocol):
    """An engine that has something to load, or to compile once on a new machine, before it runs."""

    def prepare(self) -> None:
        """Get ready; this is no part of the engine's own seconds."""
        ...


def confirmed(net: PTNet, goal: Formula, answer: Reachable) -> bool:
    """Whether the firings are a run of the net that ends in a marking of the goal."""
    try:
        return holds(goal, net.replay(answer.firings))
    except ValueError:
        return False
