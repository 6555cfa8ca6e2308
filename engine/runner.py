"""What makes cases move: immediate firings, timers, tasks, and work outside any transaction.

Every change of a case takes the same way. A firing changes the marking; all immediate firings that it
enables follow in the same commit
(net order, oldest token first); what the new tokens wait for is set up (timers, tasks, work); the case's row
is saved; and only when
the commit is durable does the work start. Proposals and effects run as asyncio tasks, limited in number,
outside any transaction.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Literal, TypeAlias

from provenet.engine.case import LIVE, Fired, LiveCase, OpenTask, brought, note
from provenet.engine.clock import Clock, VirtualClock, to_micros
from provenet.engine.codec import encoder, plain, quote, text_hash
from provenet.engine.errors import EngineError
from provenet.engine.faults import fault_point
from provenet.engine.program import Step
from provenet.engine.store import Store
from provenet.nets.errors import Breach, ExprError, FiringError, ProvenetError
from provenet.nets.marking import is_final
from provenet.nets.models import from_value, to_value
from provenet.nets.net import Ask, Choice, Explain, Judge, Perform, Role
from provenet.nets.schema import Value, microseconds
from provenet.sdb.handlers import Request
from provenet.sdb.reject import Reject
from provenet.sdb.saga import KILL_SIGNAL

CHAIN_LIMIT = 10_000
"""Immediate firings after which a case that does not come to rest is parked."""

Kind: TypeAlias = Literal["ask", "perform", "person"]


@dataclass(slots=True, eq=False)
class Job:
    """One piece of work outside the database, bound to the token that stands for it."""

    kind: Kind
    case: LiveCase
    step: Step
    token: int
    key: str
    binding: Mapping[str, Value]
    state: Literal["armed", "queued", "running", "retrying", "over"] = "armed"
    tries: int = 0
    receipt: str | None = None
    opened: OpenTask | None = None
    task: asyncio.Task[None] | None = None


Work: TypeAlias = Callable[[Job], Awaitable[None]]


class Runner:
    """The machinery of one engine.

    Args:
        store: Where cases live.
        clock: The time.
        limits: Most proposals and effects at a time.
        work: What to do for each kind of job; persons are only asked where there is an entry for them.
    """

    def __init__(
        self, store: Store, clock: Clock, limits: Mapping[Kind, int], work: Mapping[Kind, Work]
    ) -> None:
        self.store, self.clock, self.work = store, clock, work
        self.cases: dict[str, LiveCase] = {}
        self.numbers: dict[int, LiveCase] = {}
        self.firings = 0
        self.statuses: Counter[str] = Counter()
        self.crash: BaseException | None = None
        self.closing: Literal["no", "yes"] = "no"
        self._prompt = not isinstance(clock, VirtualClock)
        self._limits = limits
        self._states: Counter[str] = Counter()
        self._queues: dict[Kind, list[Job]] = {"ask": [], "perform": [], "person": []}
        self._heads: Counter[Kind] = Counter()
        self._busy: Counter[Kind] = Counter()
        self._due: list[tuple[int, int, int, int, Job | None]] = []
        self._quiet = asyncio.Event()
        self.alarm = asyncio.Event()
        self._judged: dict[tuple[str, Value, Value], Reject | None] = {}
        self._fate = "withdrawn"
        self._now_at: datetime | None = None
        self._now = 0
        if isinstance(clock, VirtualClock):
            clock.on_change = self.check_quiet

    def now(self) -> int:
        """The time in microseconds."""
        at = self.clock.now()
        if at is not self._now_at:
            self._now_at, self._now = at, to_micros(at)
        return self._now

    # changes of a case

    def adopt(self, case: LiveCase) -> None:
        """Take a case into memory."""
        self.cases[case.id] = self.numbers[case.no] = case
        self.statuses[case.status] += 1

    def rearm(self, case: LiveCase, expected: int) -> None:
        """Set a case in motion again, after a restart or after it was parked."""
        for (index, token), due in case.timers.items():
            heapq.heappush(self._due, (due, case.no, token, index, None))
        case.tasks.clear()
        self.settle(case, expected, [], all_places=True)
        self.alarm.set()

    def fire(
        self,
        case: LiveCase,
        step: Step,
        binding: Mapping[str, Value],
        *,
        token: int | None = None,
        also: str = "",
    ) -> None:
        """Fire a transition, and everything that follows from it.

        Raises:
            FiringError: The rule forbids it; nothing has changed.
        """
        expected = case.seq
        fired = self._fire(case, step, binding, token, also)
        self.settle(case, expected, [fired])

    def settle(self, case: LiveCase, expected: int, fired: list[Fired], *, all_places: bool = False) -> None:
        """Fire what is immediately enabled, set up what the new tokens wait for, and save the case.

        Args:
            case: The case.
            expected: The version that the store has.
            fired: What has fired already.
            all_places: Look at the whole marking, as after a restart.
        """
        program = case.program
        if all_places:
            agenda = list(program.immediate)
        else:
            agenda = list({i for f in fired for _, place in f.put for i in program.wakes.get(place, ())})
        heapq.heapify(agenda)
        queued = set(agenda)
        self._judged.clear()
        while agenda:
            index = agenda[0]
            step = program.steps[index]
            try:
                found = self._immediate(case, step)
                if found is None:
                    heapq.heappop(agenda)
                    queued.discard(index)
                    continue
                last = self._fire(case, *found)
            except (FiringError, ExprError) as error:
                self._park(case, str(error), step.name)
                break
            fired.append(last)
            for _, place in last.put:
                for i in program.wakes.get(place, ()):
                    if i not in queued:
                        queued.add(i)
                        heapq.heappush(agenda, i)
            if len(fired) > CHAIN_LIMIT:
                self._park(
                    case, f"it fired {CHAIN_LIMIT} transitions in a row without coming to rest", step.name
                )
                break
        self._let_go(case, [t for f in fired for t in f.gone])
        if case.status in LIVE:
            if case.program.ending and is_final(program.net, case.marking):
                self._finish(case)
            else:
                new = list(case.ids) if all_places else [p for f in fired for _, p in f.put]
                try:
                    self._arm(case, dict.fromkeys(new))
                except ExprError as error:
                    # A deadline beyond the calendar, say: nothing sensible can be set up for it.
                    self._park(case, str(error), "")
                else:
                    self._rest(case)
        case.save(self.store, expected)
        # Never here and now: what the caller still has to write belongs to the same commit.
        self.store.flush_soon(unless_small="no" if self._prompt else "yes")

    def park(self, case: LiveCase, reason: str, transition: str = "") -> None:
        """Stop a case until somebody looks at it; its tokens stay where they are."""
        expected = case.seq
        self._park(case, reason, transition)
        case.save(self.store, expected)

    def stop(
        self, case: LiveCase, status: Literal["killed", "failed"], reason: str, *, who: str = ""
    ) -> None:
        """End a case where it stands."""
        expected = case.seq
        case.log(
            self.store, "kill" if status == "killed" else "fail", "", self.now(), note(reason=reason, who=who)
        )
        case.reason = reason
        self._over(case, status)
        case.save(self.store, expected)

    def status(self, case: LiveCase, status: Any) -> None:
        """Change a case's status, keeping count."""
        if status != case.status:
            self.statuses[case.status] -= 1
            self.statuses[status] += 1
            case.status = status

    # due times

    def next_due(self) -> int | None:
        """When the next timer or retry is due."""
        while self._due and not self._awaited(self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def fire_due(self) -> None:
        """Fire every timer that is due, in the order of due time, case and token."""
        now = self.now()
        while self._due and self._due[0][0] <= now:
            self.store.flush_if_large()
            due, no, token, index, job = heapq.heappop(self._due)
            if job is not None:
                if job.state == "retrying":
                    self._enqueue(job)
                continue
            case = self.numbers.get(no)
            if case is None or case.status not in LIVE or case.timers.get((index, token)) != due:
                continue
            fault_point("timer-due")
            self._ring(case, case.program.steps[index], token)

    def _awaited(self, entry: tuple[int, int, int, int, Job | None]) -> bool:
        """Whether anything happens when an entry is due: what was taken down leaves its entry behind."""
        due, no, token, index, job = entry
        if job is not None:
            return job.state == "retrying"
        case = self.numbers.get(no)
        return case is not None and case.status in LIVE and case.timers.get((index, token)) == due

    def _ring(self, case: LiveCase, step: Step, token: int) -> None:
        binding = self.binding_for(case, step, token)
        if binding is None:
            # Something besides the token is missing: the timer is set again as soon as the transition is
            # enabled.
            self._drop_timer(case, step.index, token)
            return
        self._fate = "expired"
        try:
            self.fire(case, step, binding, token=token)
        except (FiringError, ExprError) as error:
            self.park(case, str(error), step.name)
        finally:
            self._fate = "withdrawn"

    # work

    def finished(self, job: Job) -> None:
        """A job is over; its token may be consumed now."""
        job.case.jobs.pop((job.step.index, job.token), None)
        self._become(job, "over")

    def retry(self, job: Job, after: timedelta) -> None:
        """Run a job again later; meanwhile it holds no place in the queue."""
        self._become(job, "retrying")
        entry = (self.now() + microseconds(after), job.case.no, job.token, -1 - job.step.index, job)
        heapq.heappush(self._due, entry)
        self.alarm.set()

    def drop(self, job: Job) -> None:
        """Stop a job whose token is gone."""
        if job.state == "running" and job.task is not None and job.task is not asyncio.current_task():
            job.task.cancel()
        if isinstance(self.clock, VirtualClock):
            self.clock.forget(job)
        self._become(job, "over")

    def running(self) -> list[asyncio.Task[None]]:
        """The tasks of running jobs."""
        return [j.task for c in self.cases.values() for j in c.jobs.values() if isinstance(j, Job) and j.task]

    def check_quiet(self) -> None:
        """Notice whether anything is going on that time must wait for."""
        if self.is_quiet():
            self._quiet.set()
        else:
            self._quiet.clear()

    def is_quiet(self) -> bool:
        """Whether nothing happens before time passes or the outside speaks."""
        states = self._states
        if isinstance(self.clock, VirtualClock):
            return states["armed"] + states["running"] - self.clock.asleep() <= 0
        return states["armed"] + states["running"] + states["queued"] + states["retrying"] <= 0

    async def quiet(self) -> None:
        """Wait until nothing is going on, or the engine failed."""
        while not self.is_quiet() and self.crash is None and self.store.failure is None:
            self._quiet.clear()
            await self._quiet.wait()

    def fail(self, error: BaseException) -> None:
        """Stop the engine: nothing more is written."""
        self.crash = self.crash or error
        self._quiet.set()
        self.alarm.set()

    # bindings

    def binding_for(self, case: LiveCase, step: Step, token: int) -> dict[str, Value] | None:
        """A binding under which a transition takes that very token; ``None`` where it cannot."""
        if not case.holds(step.anchor, token):
            return None
        value = case.value(step.anchor, token) if step.anchor_var is not None else None
        for binding in case.program.rule.bindings(case.marking, step.name):
            if step.anchor_var is None or binding[step.anchor_var] == value:
                return dict(binding)
        return None

    def failing(self, case: LiveCase, step: Step, token: int, why: Reject) -> dict[str, Value]:
        """The binding of a failure transition."""
        binding = self.binding_for(case, step, token)
        if binding is None:
            raise Breach("it does not take the token whose work failed", where=f"transition {step.name!r}")
        return binding | brought(step, why.value())

    def key(self, case: LiveCase, step: Step, token: int) -> str:
        """The idempotency key of a piece of work: the same after any restart, different for any other."""
        text = f"[{quote(self.store.uid)},{quote(case.id)},{step.text},{token}]"
        return sha256(text.encode()).hexdigest()[:40]

    # inside

    def _fire(
        self,
        case: LiveCase,
        step: Step,
        binding: Mapping[str, Value],
        token: int | None = None,
        also: str = "",
    ) -> Fired:
        chosen = {step.anchor_var: token} if token is not None and step.anchor_var is not None else None
        loose = frozenset((token,)) if token is not None and step.anchor_var is None else frozenset()
        fired = case.fire(self.store, step, binding, self.now(), chosen=chosen, loose=loose, note=also)
        self.firings += 1
        if step.transition.role is Role.KILL:
            case.killed = 1
        return fired

    def _immediate(
        self, case: LiveCase, step: Step
    ) -> tuple[Step, Mapping[str, Value], int | None, str] | None:
        """The first way in which an immediate transition may fire now."""
        trigger = step.transition.trigger
        for binding in case.program.rule.bindings(case.marking, step.name):
            match trigger:
                case Explain():
                    said = case.program.explain(step, binding)
                    if said is None:
                        raise Breach(
                            "the policy lets pass what it was to refuse", where=f"transition {step.name!r}"
                        )
                    return step, {**binding, **brought(step, said.value())}, None, ""
                case Judge(handler, accepts):
                    at = (handler, *case.program.reading(step)(binding))
                    if at not in self._judged:
                        self._judged[at] = case.program.judge(step, binding)
                    said = self._judged[at]
                    if (said is None) is not accepts:
                        continue
                    return (
                        step,
                        {**binding, **({} if said is None else brought(step, said.value()))},
                        None,
                        "",
                    )
                case Perform():
                    return self._inside(case, step, binding)
                case _:
                    return step, binding, None, ""
        return None

    def _inside(
        self, case: LiveCase, step: Step, binding: Mapping[str, Value]
    ) -> tuple[Step, Mapping[str, Value], int | None, str]:
        """Run a transactional effect in the transaction that its firing is part of."""
        effect = case.program.effect(step)
        anchor = binding[step.anchor_var] if step.anchor_var is not None else ()
        token = case.ids[step.anchor][case.marking[step.anchor].index(anchor)]
        request = self.request(case, step, binding, self.key(case, step, token), anchor=anchor, tries=1)
        try:
            with self.store.joined():
                receipt = effect.run(request)
                if hasattr(receipt, "__await__"):
                    if hasattr(receipt, "close"):
                        receipt.close()
                    raise EngineError("a transactional effect is a plain function, not a coroutine")
                value = to_value(receipt, effect.receipt_type)
        except Exception as error:
            failure = case.program.on_failure.get(step.name)
            if self.store.failure is not None:
                raise self.store.failure from None
            if failure is None:
                raise Breach(
                    f"effect {effect.name!r} failed: {error}", where=f"transition {step.name!r}"
                ) from error
            return failure, self.failing(case, failure, token, reject_of(error, effect.name)), token, ""
        return step, {**binding, **brought(step, value)}, None, ""

    def request(
        self, case: LiveCase, step: Step, binding: Mapping[str, Value], key: str, *, anchor: Value, tries: int
    ) -> Request:
        """What a handler is told."""
        trigger = step.transition.trigger
        assert isinstance(trigger, Ask | Perform)
        value, of, attempt, signal = case.program.payload(step, binding, anchor)
        if isinstance(trigger, Perform):
            effect = case.program.effect(step)
            of, returns = effect.payload_type if step.payload is not None else of, effect.receipt_type
        else:
            returns = step.fresh[0][1]
        return Request(
            case=case.id,
            key=key,
            payload=from_value(value, of),
            payload_type=of,
            returns=returns,
            attempt=tries if isinstance(trigger, Perform) else attempt,
            signal=None if signal is None else Reject.of(signal),
            timeout=trigger.timeout,
        )

    def _arm(self, case: LiveCase, places: Iterable[str]) -> None:
        """Set up timers, tasks and work for the tokens of some places."""
        program = case.program
        timed: set[int] = set()
        for place in places:
            timed.update(program.timed.get(place, ()))
        for index in sorted(timed):
            self._arm_timer(case, program.steps[index])
        jobs: list[Job] = []
        asked: dict[str, None] = {}
        try:
            for place in places:
                for step in program.starts.get(place, ()):
                    for token in case.ids.get(place, ()):
                        if (step.index, token) not in case.jobs:
                            jobs += self._arm_work(case, step, token)
                asked.update(dict.fromkeys(program.decided.get(place, ())))
            for place in asked:
                for token in tuple(case.ids.get(place, ())):
                    jobs += self._arm_tasks(case, place, token)
        finally:
            # Also where a later one cannot be set up: these count as work until they are over.
            if jobs:
                self.store.when_durable(lambda: self._enqueue_all(jobs))
                self.check_quiet()

    def _arm_timer(self, case: LiveCase, step: Step) -> None:
        assert step.due is not None
        for binding in case.program.rule.bindings(case.marking, step.name):
            for value, token in zip(case.marking[step.anchor], tuple(case.ids[step.anchor]), strict=True):
                if (step.index, token) in case.timers or (
                    step.anchor_var is not None and value != binding[step.anchor_var]
                ):
                    continue
                delay = step.due(binding)
                due = (
                    to_micros(delay)
                    if isinstance(delay, datetime)
                    else case.arrived[token] + microseconds(delay)
                )
                case.timers[step.index, token] = due
                case.by_token.setdefault(token, []).append(step.index)
                heapq.heappush(self._due, (due, case.no, token, step.index, None))
                self.store.put(
                    "provenet_timer", (case.no, token, step.name), (case.no, token, step.name, due)
                )
                self.alarm.set()

    def _arm_work(self, case: LiveCase, step: Step, token: int) -> list[Job]:
        binding = self.binding_for(case, step, token)
        if binding is None:
            return []
        external = isinstance(step.transition.trigger, Perform)
        job = Job("perform" if external else "ask", case, step, token, self.key(case, step, token), binding)
        if external:
            known = case.receipts.pop((step.index, token), None)
            if known is not None:
                job.tries, job.receipt = known
            else:
                self.record_effect(job, "intended")
        case.jobs[step.index, token] = job
        self._states["armed"] += 1
        return [job]

    def _arm_tasks(self, case: LiveCase, place: str, token: int) -> list[Job]:
        jobs: list[Job] = []
        groups: dict[str, dict[str, Step]] = {}
        for step in case.program.asks_people[place]:
            assert isinstance(step.transition.trigger, Choice)
            trigger = step.transition.trigger
            known = case.tasks.get((trigger.task, token))
            if known is not None and trigger.choice in known.steps:
                continue
            if self.binding_for(case, step, token) is None:
                continue
            if known is None:
                groups.setdefault(trigger.task, {})[trigger.choice] = step
            else:
                known.steps[trigger.choice] = step
                self.record_task(case, known, "open")
        for task, steps in groups.items():
            first = next(iter(steps.values()))
            assert isinstance(first.transition.trigger, Choice)
            about = self._about(case, first, token)
            due = [case.timers[i, token] for i in case.by_token.get(token, ())]
            opened = OpenTask(
                task,
                token,
                steps,
                first.transition.trigger.who,
                about,
                text_hash(about),
                case.arrived[token],
                min(due, default=None),
            )
            case.tasks[task, token] = opened
            self.record_task(case, opened, "open")
            if "person" in self.work:
                job = Job("person", case, first, token, "", {}, opened=opened)
                case.jobs[first.index, token] = job
                self._states["armed"] += 1
                jobs.append(job)
        return jobs

    def _about(self, case: LiveCase, step: Step, token: int) -> str:
        if step.payload is None:
            return case.program.encoders[step.anchor](case.value(step.anchor, token))
        return encoder(step.payload_type)(step.payload(self.binding_for(case, step, token) or {}))

    def record_task(
        self,
        case: LiveCase,
        task: OpenTask,
        status: str,
        *,
        choice: str | None = None,
        who: str | None = None,
    ) -> None:
        """Write a task's row."""
        row = (
            case.no,
            task.token,
            task.task,
            plain(list(task.steps)),
            task.role,
            task.about,
            task.about_hash,
            task.opened,
            task.deadline,
            status,
            choice,
            who,
            None if status == "open" else self.now(),
        )
        self.store.put("provenet_task", row[:3], row)

    def record_effect(
        self, job: Job, state: str, *, receipt: str | None = None, reason: str | None = None
    ) -> None:
        """Write an effect's row."""
        payload = job.case.program.payload(job.step, job.binding, self._anchor(job))
        effect = job.case.program.effect(job.step)
        text = encoder(effect.payload_type if job.step.payload is not None else payload[1])(payload[0])
        row = (
            job.key,
            job.case.no,
            job.token,
            job.step.name,
            effect.name,
            text_hash(text),
            state,
            job.tries,
            receipt,
            reason,
            self.now(),
        )
        self.store.put("provenet_effect", job.key, row)

    def _anchor(self, job: Job) -> Value:
        return job.binding[job.step.anchor_var] if job.step.anchor_var is not None else ()

    def _let_go(self, case: LiveCase, tokens: Iterable[int]) -> None:
        """Take down what was set up for tokens that are gone."""
        gone = set(tokens)
        for token in gone & case.by_token.keys():
            for index in tuple(case.by_token[token]):
                self._drop_timer(case, index, token)
        if case.tasks:
            for key in [k for k in case.tasks if k[1] in gone]:
                self.record_task(case, case.tasks.pop(key), self._fate)
        if case.jobs:
            for at in [k for k in case.jobs if k[1] in gone]:
                job = case.jobs.pop(at)
                assert isinstance(job, Job)
                self.drop(job)

    def _drop_timer(self, case: LiveCase, index: int, token: int) -> None:
        del case.timers[index, token]
        case.by_token[token].remove(index)
        if not case.by_token[token]:
            del case.by_token[token]
        self.store.drop("provenet_timer", (case.no, token, case.program.steps[index].name))

    def _rest(self, case: LiveCase) -> None:
        """The status of a case that came to rest."""
        if any(job.kind != "person" for job in case.jobs.values() if isinstance(job, Job)):
            self.status(case, "running")
        elif case.jobs or case.timers or case.tasks or self._hears(case):
            self.status(case, "waiting")
        else:
            case.reason = "nothing can happen any more, and this is no final marking"
            self._over(case, "failed")

    def _hears(self, case: LiveCase) -> bool:
        """Whether some event from outside would move the case; the kill switch does not count."""
        rule = case.program.rule
        return any(
            rule.is_enabled(case.marking, step.name)
            for event, steps in case.program.signals.items()
            if event != KILL_SIGNAL
            for step in steps
        )

    def _finish(self, case: LiveCase) -> None:
        here = {p for p in case.marking if p not in case.program.net.resting}
        place = next(p for final in case.program.net.finals for p, _ in final if p in here)
        case.outcome_place = place
        case.outcome = case.program.encoders[place](case.marking[place][0])
        self._over(case, "killed" if case.killed else "done")

    def _over(self, case: LiveCase, status: Literal["done", "killed", "failed"]) -> None:
        case.finished = self.now()
        self.status(case, status)
        self._let_go(case, [*case.arrived])
        self.cases.pop(case.id, None)
        self.numbers.pop(case.no, None)

    def _park(self, case: LiveCase, reason: str, transition: str) -> None:
        case.log(self.store, "park", transition, self.now(), plain({"reason": reason}))
        case.reason = reason
        self.status(case, "parked")
        for at, job in tuple(case.jobs.items()):
            assert isinstance(job, Job)
            # An effect in flight is left to end: what it did must be known when somebody looks at the case.
            # One that has not begun, or waits for its next try, waits until the case is resumed.
            if job.kind == "perform" and job.state == "running":
                continue
            if job.kind == "perform":
                case.receipts[at] = job.tries, job.receipt
            del case.jobs[at]
            self.drop(job)

    def _enqueue_all(self, jobs: Iterable[Job]) -> None:
        for job in jobs:
            self._enqueue(job)

    def _enqueue(self, job: Job) -> None:
        if job.state == "over":
            return
        self._become(job, "queued")
        self._queues[job.kind].append(job)
        self._pump(job.kind)

    def _pump(self, kind: Kind) -> None:
        queue = self._queues[kind]
        if self.closing == "yes" or self.crash is not None:
            return
        while self._busy[kind] < self._limits.get(kind, 1_000_000) and self._heads[kind] < len(queue):
            job = queue[self._heads[kind]]
            self._heads[kind] += 1
            if job.state == "queued":
                self._busy[kind] += 1
                self._become(job, "running")
                job.task = asyncio.get_running_loop().create_task(self._run(job))
        if self._heads[kind] > 1_000 or self._heads[kind] == len(queue):
            del queue[: self._heads[kind]]
            self._heads[kind] = 0

    async def _run(self, job: Job) -> None:
        try:
            await self.work[job.kind](job)
        except asyncio.CancelledError:
            pass  # the token is gone, or the engine closes
        except BaseException as error:  # noqa: BLE001  whatever it is, the engine must not go on as if nothing had happened
            self.fail(error)
        finally:
            self._busy[job.kind] -= 1
            if job.state == "running":
                self._become(job, "over")
            job.task = None
            self._pump(job.kind)
            self.check_quiet()

    def _become(self, job: Job, state: Any) -> None:
        if job.state != "over":
            self._states[job.state] -= 1
            job.state = state
            if state != "over":
                self._states[state] += 1
        self.check_quiet()


def reject_of(error: BaseException, rule: str) -> Reject:
    """A handler's failure as a typed signal."""
    if isinstance(error, TimeoutError):
        return Reject(rule="timeout", expected="an answer in time", got="none")
    if isinstance(error, ProvenetError):
        return Reject(rule=rule, expected="success", got=error.message, hint=error.hint)
    return Reject(rule=rule, expected="success", got=f"{type(error).__name__}: {error}")
