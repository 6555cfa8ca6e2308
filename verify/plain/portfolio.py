"""Several engines on the same goals, in processes, under one time limit; the first answer to a goal counts.

Each stage of the plan is one engine with the seconds it may take; ``jobs`` stages run at once, each in a
process of its own, so that a limit is kept whatever a solver does, and its memory is given back. An answer
found by one is told to the others through shared flags. A run that an engine claims is replayed before it
counts. A stage's seconds begin when its engine is ready: on a new machine the first one to use a compiled
kernel compiles it, which takes seconds, and being stopped meanwhile would leave nothing for the next one. On
a net of few markings the processes run the same kernels as they are written, and compile nothing, but for
linear formulas whose automata are large.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import multiprocessing as mp
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Protocol

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import (
    Answer,
    Budget,
    Engine,
    Inductive,
    Prepared,
    Reachable,
    Unreachable,
    confirmed,
)
from provenet.verify.plain.logic import FALSE, TRUE, Formula, holds
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.settled import Settled, believed

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

_LOG = logging.getLogger(__name__)

_GRACE = 0.5
"""Seconds after its deadline at which an engine that did not stop is stopped."""

_FEW = 1_000
_LOOKS = 30_000
"""Markings up to which a net is small, and looks at a transition that finding that out may take."""

_OPERATORS = 6
"""Temporal operators of a linear formula up to which its automaton is small: it may double with each one."""

_READY = -1
"""Comes before the first answer, with the deadline of the stage that begins now."""


class TemporalEngine(Protocol):
    """One technique for temporal formulas, as ``Engine`` is one for reachability.

    Attributes:
        name: Stable, short: it appears in verdicts.
    """

    @property
    def name(self) -> str:
        """Its name."""
        ...

    def run(
        self, net: PTNet, formulas: Sequence[tl.Temporal], budget: Budget
    ) -> Iterator[tuple[int, Settled]]:
        """Answer what it can, each formula at most once, and stop within the budget."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """One engine and its share.

    Attributes:
        engine: The engine; all of a plan are for reachability, or for temporal formulas.
        seconds: How long it may run; the whole rest where that is less.
    """

    engine: Engine | TemporalEngine
    seconds: float


def answers(
    net: PTNet, goals: Sequence[Formula], budget: Budget, *, stages: Sequence[Stage], jobs: int = 1
) -> Iterator[tuple[int, Answer]]:
    """Answer goals by a plan of engines, each goal at most once, as soon as it is known.

    Args:
        net: The net.
        goals: What to reach.
        budget: Time for all of them; memory for each process.
        stages: The plan, in order.
        jobs: How many stages may run at once.
    """
    open_goals: list[int] = []
    for i, goal in enumerate(goals):
        if goal == FALSE:
            yield i, Unreachable(Inductive(TRUE), "logic")
        elif holds(goal, net.initial):
            yield i, Reachable((), "initial marking")
        else:
            open_goals.append(i)

    def counts(i: int, answer: Answer) -> bool:
        return not isinstance(answer, Reachable) or confirmed(net, goals[i], answer)

    if open_goals:
        yield from _Race(net, goals, budget, open_goals, counts).run(list(stages), jobs)


def settle(
    net: PTNet, formulas: Sequence[tl.Temporal], budget: Budget, *, stages: Sequence[Stage], jobs: int = 1
) -> Iterator[tuple[int, Settled]]:
    """Answer temporal formulas by a plan of engines, as ``answers`` does goals.

    Args:
        net: The net.
        formulas: Simplified formulas.
        budget: Time for all of them; memory for each process.
        stages: The plan, in order.
        jobs: How many stages may run at once.
    """

    def counts(i: int, settled: Settled) -> bool:
        return believed(net, formulas[i], settled)

    if formulas:
        yield from _Race(net, formulas, budget, list(range(len(formulas))), counts).run(list(stages), jobs)


@dataclass(slots=True)
class _Runner:
    process: BaseProcess
    pipe: Connection
    deadline: float


class _Race:
    """The processes at work on one net's questions, and what of their answers counts."""

    def __init__(
        self,
        net: PTNet,
        goals: Sequence[Any],
        budget: Budget,
        open_goals: list[int],
        counts: Callable[[int, Any], bool],
    ) -> None:
        self._net, self._goals, self._budget, self._counts = net, goals, budget, counts
        self._few = all(map(_small_automaton, goals)) and _few_markings(net)
        methods = mp.get_all_start_methods()
        self._context: Any = mp.get_context("fork" if "fork" in methods else "spawn")
        self._flags = self._context.RawArray(ctypes.c_bool, len(goals))
        self._open = set(open_goals)
        for i in set(range(len(goals))) - self._open:
            self._flags[i] = True

    def run(self, stages: list[Stage], jobs: int) -> Iterator[tuple[int, Any]]:
        runners: list[_Runner] = []
        try:
            while self._open and self._budget.left() > 0 and (stages or runners):
                while stages and len(runners) < max(1, jobs):
                    runners.append(self._start(stages.pop(0)))
                soonest = Budget(min(r.deadline for r in runners))
                ready = wait([r.pipe for r in runners], timeout=soonest.left())
                for runner in list(runners):
                    ended = time.monotonic() >= runner.deadline
                    if runner.pipe in ready:
                        try:
                            i, answer = runner.pipe.recv()
                        except (EOFError, OSError):
                            ended = True
                        else:
                            if i == _READY:
                                runner.deadline = answer + _GRACE
                                ended = False
                            elif i in self._open and self._counts(i, answer):
                                self._open.discard(i)
                                self._flags[i] = True
                                yield i, answer
                    if ended:
                        _stop(runner)
                        runners.remove(runner)
        finally:
            for runner in runners:
                _stop(runner)

    def _start(self, stage: Stage) -> _Runner:
        receive, send = self._context.Pipe(duplex=False)
        work = (
            send,
            stage,
            self._net,
            list(self._goals),
            self._flags,
            self._few,
            self._budget.deadline,
            self._budget.memory,
        )
        process = self._context.Process(target=_work, args=work, daemon=True)
        process.start()
        send.close()
        return _Runner(process, receive, self._budget.deadline + _GRACE)


def _stop(runner: _Runner) -> None:
    runner.process.kill()
    runner.process.join()
    runner.pipe.close()


def _work(
    pipe: Connection,
    stage: Stage,
    net: PTNet,
    goals: list[Any],
    flags: Any,
    few: bool,  # noqa: FBT001
    latest: float,
    memory: int,
) -> None:
    """One stage, in its process: answers go down the pipe until it ends."""
    engine: Any = stage.engine
    _limit_memory(memory)
    numbers = [i for i in range(len(goals)) if not flags[i]]
    try:
        if few:
            from provenet.verify.plain.engines.jit import interpret

            interpret()
        if isinstance(engine, Prepared):
            engine.prepare()
        deadline = min(latest, time.monotonic() + stage.seconds)
        pipe.send((_READY, deadline))
        budget = Budget(deadline, memory, lambda n: bool(flags[numbers[n]]))
        for n, answer in engine.run(net, [goals[i] for i in numbers], budget):
            pipe.send((numbers[n], answer))
    except (MemoryError, BrokenPipeError):
        pass
    except Exception:  # noqa: BLE001  (one engine's mistake must not take the others' answers along)
        _LOG.warning("engine %r failed; the others go on", engine.name, exc_info=True)
    pipe.close()


def _small_automaton(asked: Formula | tl.Temporal) -> bool:
    """Whether the search for a path that breaks a formula is short on a small graph."""
    if not isinstance(asked, tl.Temporal) or tl.is_ctl(asked):
        return True
    return sum(isinstance(f, tl.X | tl.F | tl.G | tl.U | tl.R) for f in tl.subformulas(asked)) <= _OPERATORS


def _few_markings(net: PTNet) -> bool:
    """Whether the net has so few reachable markings that no kernel is worth being compiled for it."""
    known = {net.initial}
    open_ = [net.initial]
    looks = 0
    while open_:
        marking = open_.pop()
        looks += len(net.transitions)
        if looks > _LOOKS:
            return False
        for t in range(len(net.transitions)):
            if net.enabled(marking, t):
                after = net.fire(marking, t)
                if after not in known:
                    if len(known) == _FEW:
                        return False
                    known.add(after)
                    open_.append(after)
    return True


def _limit_memory(size: int) -> None:
    """Hold this process to about ``size`` bytes more than it has, where the system can."""
    try:
        import resource
    except ImportError:
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    have = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (size + size // 2 + have, hard))
