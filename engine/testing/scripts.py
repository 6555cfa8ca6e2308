"""Scripts: what proposers answer, what effects do, what people decide, in the place of the agent's handlers.

All three are told in the same two words. ``answers(a, b, c)`` is used up in the order of calls, in each case
anew; ``always(a)`` is for every call after that. A call that is repeated with the key of one that was
answered (after a crash, say) gets that answer again; one that is repeated after a failure gets the next.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Protocol, Self, TypeAlias

from provenet.engine.testing.failures import BenchError
from provenet.engine.workers import Decision, Task
from provenet.nets import schema
from provenet.nets.schema import Type
from provenet.sdb.handlers import Effect, EffectRefused, Proposal, Proposer, Request, settle
from provenet.sdb.proposers import scripted
from provenet.sdb.reject import Reject

Answer: TypeAlias = Any
"""A value, a ``Reject``, an exception, ``Late``, ``Hang``, ``Lost``, or a function that gives one of them."""

FOREVER = timedelta(days=36_500)


@dataclass(frozen=True, slots=True)
class Late:
    """An answer that takes its time, by the bench's clock.

    Attributes:
        answer: What comes in the end.
        after: How long it takes.
    """

    answer: Answer
    after: timedelta


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer ever: what the call is for runs into its time-out."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Of an effect: it is performed, and the answer is lost on the way back.

    Attributes:
        answer: The receipt that was lost; the repeated call gets it.
    """

    answer: Answer = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a handler, as the outside saw it.

    Attributes:
        case: Id of the case.
        key: Idempotency key.
        payload: What it was given.
        attempt: Number of the attempt (of a proposal), or of the try (of an effect).
        at: When, by the bench's clock.
        request: All of it.
    """

    case: str
    key: str
    payload: Any
    attempt: int
    at: datetime
    request: Request = field(repr=False)


class World(Protocol):
    """What scripts need of the bench that they belong to."""

    def now(self) -> datetime:
        """The bench's time."""
        ...

    async def sleep(self, span: timedelta) -> None:
        """Wait by the bench's clock."""
        ...

    def mistake(self, error: BenchError) -> None:
        """Stop the run: the test lacks something."""
        ...

    def is_closing(self) -> bool:
        """Whether what is cancelled now is cancelled by a crash or a restart."""
        ...


class Script:
    """What one handler answers; see the module's docstring.

    Args:
        name: The handler's name.
        world: The bench.
    """

    what = "handler"

    def __init__(self, name: str, world: World) -> None:
        self.name, self._world = name, world
        self._lines: dict[str | None, list[Answer]] = {}
        self._always: dict[str | None, Answer] = {}
        self._turns: defaultdict[str, int] = defaultdict(int)
        self._given: dict[str, Answer] = {}

    def answers(self, *answers: Answer, case: str | None = None) -> Self:
        """The answers of the next calls, in each case from the first on.

        Args:
            answers: In the order of calls.
            case: For this case only; it goes before what is said for all.
        """
        self._lines.setdefault(case, []).extend(answers)
        return self

    def always(self, answer: Answer, *, case: str | None = None) -> Self:
        """The answer of every call that ``answers`` has none for.

        Args:
            answer: The answer.
            case: For this case only.
        """
        self._always[case] = answer
        return self

    def is_silent(self, case: str) -> bool:
        """Whether there is no answer for a call to come."""
        lines = self._lines.get(case, self._lines.get(None, ()))
        return self._turns[case] >= len(lines) and not {case, None} & self._always.keys()

    def _next(self, case: str, key: str, default: Callable[[], Answer]) -> Answer:
        if key in self._given:
            return self._given.pop(key)
        lines: Sequence[Answer] = self._lines.get(case, self._lines.get(None, ()))
        turn = self._turns[case]
        if turn < len(lines):
            self._turns[case] += 1
            return lines[turn]
        for at in (case, None):
            if at in self._always:
                return self._always[at]
        return default()

    async def _come(
        self, answer: Answer, key: str, asked: Any, *, asked_at: datetime | None = None
    ) -> Answer:
        """Wait for what comes late or never; what a crash interrupts will come again."""
        while True:
            if isinstance(answer, Late | Hang):
                span = answer.after if isinstance(answer, Late) else FOREVER
                waited = timedelta(0) if asked_at is None else self._world.now() - asked_at
                try:
                    await self._world.sleep(span - waited)
                except asyncio.CancelledError:
                    if self._world.is_closing():
                        self._given[key] = answer
                    raise
                answer = answer.answer if isinstance(answer, Late) else None
            elif callable(answer) and not isinstance(answer, type):
                answer = await settle(answer(asked))
            else:
                return answer


class ProposerScript(Script):
    """What a proposer answers.

    A value (a token, a mapping of its fields, JSON text) is its proposal. A ``Reject`` or an exception is a
    call without an answer.

    Attributes:
        calls: Every call so far.
    """

    what = "proposer"

    def __init__(self, name: str, world: World, real: Proposer) -> None:
        super().__init__(name, world)
        self._real = real
        self.calls: list[Call] = []

    def real(self) -> Self:
        """Ask the agent's own proposer."""
        return self.always(_REAL)

    async def propose(self, request: Request) -> Proposal:
        """Answer from the script."""
        self.calls.append(_call(request, self._world))
        answer = await self._come(
            self._next(request.case, request.key, lambda: _UNSCRIPTED), request.key, request
        )
        if answer is _REAL:
            return await self._real.propose(request)
        if answer is _UNSCRIPTED:
            self._world.mistake(
                BenchError(
                    f"proposer {self.name!r} was called, and its script has no answer left",
                    where=f"case {request.case!r}, attempt {request.attempt}",
                    hint=f"bench.proposer({self.name!r}).answers(...), .always(...) or .real()",
                )
            )
            await self._world.sleep(FOREVER)
        if isinstance(answer, Lost):
            self._world.mistake(_misplaced(self, answer))
            await self._world.sleep(FOREVER)
        given = await scripted({request.key: answer}).propose(request)
        self._given[request.key] = answer
        return given


class EffectScript(Script):
    """What an effect does, and what it has done: a service that honours its idempotency keys.

    With no script, it is performed and gives a receipt that is made up. A value is its receipt, fitting or
    not; an exception is a try that failed before anything was done (``EffectRefused`` for good). An effect
    in the transaction of its firing does what the agent's own does, unless the script says otherwise.

    Attributes:
        calls: Every call so far.
        performed: What was performed, by idempotency key; a key is performed once.
    """

    what = "effect"

    def __init__(self, name: str, world: World, real: Effect) -> None:
        super().__init__(name, world)
        self._real = real
        self.calls: list[Call] = []
        self.performed: dict[str, Call] = {}
        self._receipts: dict[str, Any] = {}

    @property
    def is_external(self) -> bool:
        """Whether it reaches outside the database."""
        return self._real.external

    def real(self) -> Self:
        """Perform the agent's own effect."""
        return self.always(_REAL)

    def count(self, key: str) -> int:
        """How often it was called with a key."""
        return sum(call.key == key for call in self.calls)

    def bound(self) -> Effect:
        """The effect as the engine calls it."""
        return replace(self._real, run=self._run if self._real.external else self._inside)

    async def _run(self, request: Request) -> Any:
        call = _call(request, self._world)
        self.calls.append(call)
        if request.key in self._receipts:
            return self._receipts[request.key]
        answer = await self._come(
            self._next(request.case, request.key, lambda: _MADE_UP), request.key, request
        )
        if answer is _REAL:
            answer = await settle(self._real.run(request))
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Reject):
            raise EffectRefused(f"{answer.rule}: {answer.got}", hint=answer.hint)
        lost = isinstance(answer, Lost)
        receipt = answer.answer if isinstance(answer, Lost) else answer
        if receipt is _MADE_UP or (lost and receipt is None):
            receipt = sample(self._real.receipt_type, self._world.now())
        self._receipts[request.key] = receipt
        self.performed[request.key] = call
        if lost:
            raise ConnectionError("the effect was performed, and its answer was lost")
        return receipt

    def _inside(self, request: Request) -> Any:
        self.calls.append(_call(request, self._world))
        answer = self._next(request.case, request.key, lambda: _REAL)
        if answer is _REAL:
            return self._real.run(request)
        if isinstance(answer, Late | Hang | Lost):
            raise _misplaced(self, answer)
        if callable(answer) and not isinstance(answer, type):
            answer = answer(request)
        if isinstance(answer, BaseException):
            raise answer
        return answer


class PersonScript(Script):
    """What people decide on a task: a choice, a ``Decision``, or ``None`` to leave it alone.

    Where several people have to approve, each is a call: ``answers("approve", "approve")`` is two of them.

    Attributes:
        calls: Every task that they were asked about.
    """

    what = "task"

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name, world)
        self.calls: list[Task] = []
        self._asked: set[str] = set()
        self._deciding: set[str] = set()

    def leaves_alone(self, case: str, token: int, before: int = 0) -> bool:
        """Whether nobody but the test will decide a task that is open, and that some have approved before."""
        key = f"{case}/{token}/{before}"
        return key not in self._deciding if key in self._asked else self.is_silent(case)

    async def decide(self, task: Task) -> Decision | None:
        """Decide from the script."""
        key = f"{task.case}/{task.token}/{len(task.approved)}"  # one more person is one more call
        self.calls.append(task)
        self._asked.add(key)
        self._deciding.add(key)
        try:
            return await self._decide(task, key)
        finally:
            self._deciding.discard(key)

    async def _decide(self, task: Task, key: str) -> Decision | None:
        first = self._next(task.case, key, lambda: None)
        # Counted from when the task was opened, so that a restart in between changes nothing.
        answer = await self._come(first, key, task, asked_at=task.opened)
        if isinstance(answer, str):
            answer = Decision(answer, tester(task.role, len(task.approved)))
        if answer is not None and not isinstance(answer, Decision):
            self._world.mistake(_misplaced(self, answer))
            return None
        self._given[key] = first
        return answer


def tester(role: str, before: int) -> str:
    """Somebody of a role: another one for each who has approved before."""
    return f"tester{f'-{before + 1}' if before else ''}@{role}"


def sample(of: Type, now: datetime) -> Any:
    """A plain value of a type, for a receipt that nobody has said anything about."""
    match of:
        case schema.UnitType():
            return None
        case schema.BoolType():
            return False
        case schema.IntType(lo, hi):
            return _near(0, lo, hi)
        case schema.FloatType(lo, hi):
            return float(_near(0.0, lo, hi))
        case schema.DecimalType(lo, hi, _):
            return _near(Decimal(0), lo, hi)
        case schema.StrType(longest):
            return "made up"[:longest]
        case schema.EnumType(_, values):
            return values[0]
        case schema.DateTimeType():
            return now
        case schema.DurationType():
            return timedelta(0)
        case schema.OptionalType():
            return None
        case schema.ListType():
            return []
        case schema.RecordType(_, fields):
            return {f.name: sample(f.type, now) for f in fields}


def _near(zero: Any, lo: Any, hi: Any) -> Any:
    return lo if lo is not None and lo > zero else hi if hi is not None and hi < zero else zero


def _call(request: Request, world: World) -> Call:
    return Call(request.case, request.key, request.payload, request.attempt, world.now(), request)


def _misplaced(script: Script, answer: Answer) -> BenchError:
    return BenchError(
        f"{script.what} {script.name!r} cannot answer {answer!r}",
        hint="docs/testing.md lists what each of them can",
    )


class _Word:
    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


_REAL, _MADE_UP, _UNSCRIPTED = _Word("the real one"), _Word("a made-up receipt"), _Word("nothing")
