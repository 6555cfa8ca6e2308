"""What the tokens of cases wait for: timers, tasks of people, work outside, and the end of what is kept.

All of it is set up when a token comes and taken down when it goes. Due times are one heap over all cases;
what is taken down leaves its entry there, which means nothing any more.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Literal, TypeAlias

from provenet.engine.case import LIVE, LiveCase, OpenTask
from provenet.engine.clock import Steady, to_micros
from provenet.engine.codec import text_hash
from provenet.engine.early import Kept
from provenet.engine.handover import Records, key_of
from provenet.engine.in_force import InForce, contract_of
from provenet.engine.jobs import Job, Jobs, Kind
from provenet.engine.program import Step
from provenet.engine.store.store import Store
from provenet.nets.net import Choice, Perform
from provenet.nets.schema import Value, microseconds

Due: TypeAlias = "tuple[int, int, int, int, Job | None]"
"""When something is due: time, case, token and transition of a timer, or a job to try again.

With token 0 it is the end of what the case keeps of early events.
"""


_ROOM = 1_000
"""Entries of the heap that are too few to look through for those that mean nothing any more."""


_WITHDRAWN = """
UPDATE provenet_task SET status = ?, decided = ?
WHERE case_no = ? AND token = ? AND task = ? AND status = 'open'"""


class Waiting:
    """What the tokens of one engine's cases wait for.

    Args:
        store: Where it is kept.
        records: Writes the rows of tasks and effects.
        jobs: The work.
        numbers: The cases in memory.
        now: The time in microseconds.
        alarm: Set when something is due that was not before.
        steady: Tells when the clock was set; nothing where the clock is virtual.

    Attributes:
        fate: What becomes of a task whose token goes.
        in_force: The policies that hold now, where they are asked.
    """

    def __init__(
        self,
        store: Store,
        records: Records,
        jobs: Jobs,
        numbers: Mapping[int, LiveCase],
        now: Callable[[], int],
        alarm: asyncio.Event,
        steady: Steady | None,
    ) -> None:
        self._store, self._records, self._numbers, self._now = store, records, numbers, now
        self._alarm, self.jobs, self._steady = alarm, jobs, steady
        self._due: list[Due] = []
        self._room = _ROOM
        self.fate: Literal["withdrawn", "expired"] = "withdrawn"
        self.in_force: InForce | None = None

    def arm(self, case: LiveCase, places: Iterable[str]) -> None:
        """Set up timers, tasks and work for the tokens of some places."""
        program = case.program
        places = [place for place in places if place in program.waits]
        if not places:
            return
        timed = {index for place in places for index in program.timed.get(place, ())}
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
                self._store.when_durable(partial(self.jobs.enqueue_all, jobs))
                self.jobs.check_quiet()

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
                self._push((due, case.no, token, step.index, None))
                self._store.put(
                    "provenet_timer", (case.no, token, step.name), (case.no, token, step.name, due)
                )
                self._alarm.set()

    def _arm_work(self, case: LiveCase, step: Step, token: int) -> list[Job]:
        binding = case.binding_for(step, token)
        if binding is None:
            return []
        job = self.job_of(case, step, token, binding)
        if job.kind == "perform":
            known = case.receipts.pop((step.index, token), None)
            if known is not None:
                job.tries, job.receipt = known
                job.called = "no" if job.key in case.uncalled else "maybe"
            else:
                job.called = "no"
                self._records.effect(job, "intended", uncalled=self._held_back(job))
        self.jobs.armed(job)
        return [job]

    def _held_back(self, job: Job) -> Literal["no", "yes"]:
        """Whether the policy in force is to be asked of an effect, also after a restart: by who calls it."""
        if self.in_force is None:
            return "no"
        if self.jobs.runs == "elsewhere":
            return "yes" if contract_of(job.case.program, job.step) is not None else "no"
        return "yes" if self.in_force.differs(job.case.program, job.step) else "no"

    def job_of(self, case: LiveCase, step: Step, token: int, binding: Mapping[str, Value]) -> Job:
        """The piece of work that a token stands for."""
        kind: Kind = "perform" if isinstance(step.transition.trigger, Perform) else "ask"
        return Job(kind, case, step, token, key_of(self._store, case, step, token), binding)

    def _arm_tasks(self, case: LiveCase, place: str, token: int) -> list[Job]:
        jobs: list[Job] = []
        groups: dict[str, dict[str, Step]] = {}
        for step in case.program.asks_people[place]:
            assert isinstance(step.transition.trigger, Choice)
            trigger = step.transition.trigger
            known = case.tasks.get((trigger.task, token))
            if known is not None and trigger.choice in known.steps:
                continue
            if case.binding_for(step, token) is None:
                continue
            if known is None:
                groups.setdefault(trigger.task, {})[trigger.choice] = step
            else:
                known.steps[trigger.choice] = step
                self._records.task(case, known, "open")
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
            if case.asleep:
                case.asleep -= {(task, token)}
            self._records.task(case, opened, "open")
            if "person" in self.jobs.asked:
                jobs.append(self._person(case, first, opened))
        return jobs

    def ask_person(self, case: LiveCase, step: Step, opened: OpenTask) -> None:
        """Ask the scripted person again, once what it said is durable: the task takes another one."""
        self._store.when_durable(partial(self.jobs.enqueue_all, [self._person(case, step, opened)]))

    def _person(self, case: LiveCase, step: Step, opened: OpenTask) -> Job:
        job = Job("person", case, step, opened.token, "", {}, opened=opened)
        self.jobs.armed(job)
        return job

    def _about(self, case: LiveCase, step: Step, token: int) -> str:
        if step.payload is None:
            return case.encoder_at(step.anchor)(case.value(step.anchor, token))
        return case.encoder(step.payload_type)(step.payload(case.binding_for(step, token) or {}))

    def let_go(self, case: LiveCase, tokens: Iterable[int]) -> None:
        """Take down what was set up for tokens that are gone."""
        if not (case.by_token or case.tasks or case.jobs or case.asleep):
            return
        gone = set(tokens)
        for token in gone & case.by_token.keys():
            for index in tuple(case.by_token[token]):
                self.drop_timer(case, index, token)
        if case.tasks:
            for key in [k for k in case.tasks if k[1] in gone]:
                self._records.task(case, case.tasks.pop(key), self.fate)
        for task, token in sorted(key for key in case.asleep if key[1] in gone):
            case.asleep -= {(task, token)}
            self._store.update(_WITHDRAWN, (self.fate, self._now(), case.no, token, task))
        if case.jobs:
            for at in [k for k in case.jobs if k[1] in gone]:
                job = case.jobs.pop(at)
                assert isinstance(job, Job)
                self.jobs.drop(job)

    def drop_timer(self, case: LiveCase, index: int, token: int) -> None:
        """Take down a timer."""
        del case.timers[index, token]
        case.by_token[token].remove(index)
        if not case.by_token[token]:
            del case.by_token[token]
        self._store.drop("provenet_timer", (case.no, token, case.program.steps[index].name))

    # due times

    def expect(self, case: LiveCase) -> None:
        """What a case that was taken up waits for is due here from now on."""
        for (index, token), due in case.timers.items():
            self._push((due, case.no, token, index, None))
        self.expect_kept(case)

    def expect_kept(self, case: LiveCase) -> None:
        """The same of the events that it keeps."""
        for kept in case.kept:
            self.await_kept(case, kept)

    def take_due(self, now: int) -> Iterator[Due]:
        """What is due, in the order of due time, case and token; what was taken down may be among it."""
        while self._due and self._due[0][0] <= now:
            yield heapq.heappop(self._due)

    def next_due(self) -> int | None:
        """When the next timer or retry is due."""
        while self._due and not self.awaits(self._due[0]):
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def awaits(self, entry: Due) -> bool:
        """Whether anything happens when an entry is due: what was taken down leaves its entry behind."""
        due, no, token, index, job = entry
        if job is not None:
            return job.state == "retrying"
        case = self._numbers.get(no)
        if case is not None and not token:
            return any(kept.until == due for kept in case.kept)
        return case is not None and case.status in LIVE and case.timers.get((index, token)) == due

    def await_kept(self, case: LiveCase, kept: Kept) -> None:
        """See to it that a kept event is let go of when it has waited long enough."""
        if kept.until is not None:
            self._push((kept.until, case.no, 0, 0, None))
            self._alarm.set()

    def retry(self, job: Job, after: timedelta) -> None:
        """Run a job again later; meanwhile it holds no place in the queue."""
        self.jobs.become(job, "retrying")
        self.notice_clock()  # or a jump that nobody has seen yet would be added to this pause
        job.due = self._now() + microseconds(after)
        self._push((job.due, job.case.no, job.token, -1 - job.step.index, job))
        self._alarm.set()

    def notice_clock(self) -> None:
        """See whether the clock was set: pauses between tries stay as long as they were."""
        by = 0 if self._steady is None else self._steady.moved(self._now())
        if by:
            self._due = [(d if j is None else d + by, n, t, i, j) for d, n, t, i, j in self._due]
            heapq.heapify(self._due)

    def _push(self, entry: Due) -> None:
        """Add an entry; where most may be of what is taken down, some of it due in months, forget those."""
        heapq.heappush(self._due, entry)
        if len(self._due) > self._room:
            self._due = [e for e in self._due if e is entry or self.awaits(e)]
            heapq.heapify(self._due)
            self._room = _ROOM + 2 * len(self._due)
