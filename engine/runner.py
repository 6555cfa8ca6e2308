"""What makes cases move: immediate firings, timers, tasks, and work outside any transaction.

Every change of a case takes the same way. A firing changes the marking; all immediate firings that it
enables follow in the same commit (net order, oldest token first); what the new tokens wait for is set up
(``provenet.engine.waiting``); the case's row is saved; and only when the commit is durable does the work
start. Proposals and effects run as asyncio tasks, limited in number, outside any transaction.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Literal

from provenet.engine import early
from provenet.engine.case import LIVE, Fired, LiveCase, brought, note
from provenet.engine.clock import Clock, Steady, VirtualClock, to_micros
from provenet.engine.codec import clean, plain
from provenet.engine.errors import EngineError
from provenet.engine.faults import fault_point
from provenet.engine.handover import Records, failing, key_of, reject_of, request_of
from provenet.engine.hiding import hidden, hidden_reject
from provenet.engine.in_force import contract_of, not_called
from provenet.engine.jobs import Job, Jobs, Kind, Work
from provenet.engine.program import Step
from provenet.engine.snapshots import EVERY, first_due, take
from provenet.engine.store.store import Store
from provenet.engine.waiting import Waiting
from provenet.engine.watching.events import CaseTurned, Rung, Signalled
from provenet.engine.watching.events import Fired as HasFired
from provenet.engine.watching.watch import Watch
from provenet.nets.errors import Breach, ExprError, FiringError
from provenet.nets.marking import is_final
from provenet.nets.models import to_value
from provenet.nets.net import Explain, Judge, Perform, Role
from provenet.nets.schema import Value
from provenet.sdb.reject import REJECT, Reject
from provenet.sdb.saga import KILL_SIGNAL

CHAIN_LIMIT = 10_000
"""Immediate firings after which a case that does not come to rest is parked."""


class Runner:
    """The machinery of one engine.

    Args:
        store: Where cases live.
        clock: The time.
        limits: Most proposals and effects at a time.
        work: What to do for each kind of job; persons are only asked where there is an entry for them.
        watch: Who is told what happens.
        snapshot_every: Entries of a log from one snapshot to the next; 0 for none.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        limits: Mapping[Kind, int],
        work: Mapping[Kind, Work],
        *,
        watch: Watch | None = None,
        snapshot_every: int = EVERY,
    ) -> None:
        self.store, self.clock, self.watch = store, clock, watch
        self.snapshot_every = snapshot_every
        self.records = Records(store, self.now, watch)
        self.cases: dict[str, LiveCase] = {}
        self.numbers: dict[int, LiveCase] = {}
        self.firings = 0
        self.statuses: Counter[str] = Counter()
        self._prompt = not isinstance(clock, VirtualClock)
        self.alarm = asyncio.Event()
        self.jobs = Jobs(store, clock, limits, work, on_crash=self.alarm.set)
        steady = Steady() if self._prompt else None
        self.waits = Waiting(store, self.records, self.jobs, self.numbers, self.now, self.alarm, steady)
        self._judged: dict[tuple[str, Value, Value], Reject | None] = {}
        self._now_at: datetime | None = None
        self._now = 0

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
        case.snapshot_at = first_due(case, self.snapshot_every)

    def uncount(self, case: str, status: str) -> None:
        """A case that was over is gone from the database."""
        del case
        self.statuses[status] -= self.statuses[status] > 0

    def forget(self, case: LiveCase) -> None:
        """Let a case out of memory; all of it is durable."""
        for job in case.jobs.values():
            assert isinstance(job, Job)
            self.jobs.become(job, "over")
        if self.cases.pop(case.id, None) is not None:
            self.statuses[case.status] -= 1
            del self.numbers[case.no]

    def rearm(self, case: LiveCase, expected: int) -> None:
        """Set a case in motion again, after a restart or after it was parked."""
        self.waits.expect(case)
        case.asleep |= case.tasks.keys()
        case.tasks.clear()
        self.settle(case, expected, [], all_places=True)
        self.alarm.set()

    def still(self, case: LiveCase) -> None:
        """Take down all that was set up for a case: timers, tasks, work that has not begun."""
        case.asleep = frozenset()  # the caller takes down what is not in memory
        self.waits.let_go(case, [*case.arrived])
        case.said = {}

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
        if agenda:
            heapq.heapify(agenda)
            self._judged.clear()
        queued = set(agenda)
        while agenda or (case.kept and self._take_kept(case, fired, agenda, queued)):
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
        self.waits.let_go(case, [t for f in fired for t in f.gone])
        if case.status in LIVE:
            if case.program.may_be_final(case.marking) and is_final(program.net, case.marking):
                self._finish(case)
            else:
                new = list(case.ids) if all_places else [p for f in fired for _, p in f.put]
                try:
                    self.waits.arm(case, dict.fromkeys(new))
                    self._rest(case)
                except ExprError as error:
                    # A deadline beyond the calendar, say: nothing sensible can be set up for it.
                    self._park(case, str(error), "")
                else:
                    if case.seq >= case.snapshot_at and case.status in LIVE:
                        take(case, self.store, self.now(), self.snapshot_every)
        case.save(self.store, expected)
        self._save_soon()

    def wake_kept(self, case: LiveCase) -> None:
        """Take what a case keeps, where something waits for it."""
        self.waits.expect_kept(case)
        if case.status in LIVE:
            self.settle(case, case.seq, [])

    def park(self, case: LiveCase, reason: str, transition: str = "") -> None:
        """Stop a case until somebody looks at it; its tokens stay where they are."""
        expected = case.seq
        self._park(case, reason, transition)
        case.save(self.store, expected)
        self._save_soon()

    def stop(
        self, case: LiveCase, status: Literal["killed", "failed"], reason: str, *, who: str = ""
    ) -> None:
        """End a case where it stands."""
        expected = case.seq
        case.log(
            self.store, "kill" if status == "killed" else "fail", "", self.now(), note(reason=reason, who=who)
        )
        case.reason = clean(reason)
        self._over(case, status)
        case.save(self.store, expected)
        self._save_soon()

    def status(self, case: LiveCase, status: Any) -> None:
        """Change a case's status, keeping count."""
        if status != case.status:
            self.statuses[case.status] -= 1
            self.statuses[status] += 1
            if self.watch is not None:
                self.watch.later(_turned(case, status, self.now()))
            case.status = status

    # due times

    def fire_due_of(self, case: LiveCase) -> None:
        """Fire every timer of one case that is due, in the order of due time and token."""
        if case.kept:
            early.age_out(case, self.now(), self.store, partial(self._became, case))
        while case.status in LIVE and case.timers:
            due, token, index = min((due, token, index) for (index, token), due in case.timers.items())
            if due > self.now():
                return
            fault_point("timer-due")
            self._ring(case, case.program.steps[index], token)

    def fire_due(self) -> None:
        """Fire every timer that is due, in the order of due time, case and token."""
        now = self.now()
        for due, no, token, index, job in self.waits.take_due(now):
            self.store.flush_if_large()
            if job is not None:
                if job.state == "retrying":
                    self.jobs.enqueue_all([job])
                continue
            case = self.numbers.get(no)
            if case is not None and not token:
                early.age_out(case, now, self.store, partial(self._became, case))
                self.store.flush_soon(unless_small="no" if self._prompt else "yes")
                continue
            if case is None or case.status not in LIVE or case.timers.get((index, token)) != due:
                continue
            fault_point("timer-due")
            self._ring(case, case.program.steps[index], token)

    def _ring(self, case: LiveCase, step: Step, token: int) -> None:
        binding = case.binding_for(step, token)
        if binding is None:
            # Something besides the token is missing: the timer is set again as soon as the transition is
            # enabled.
            self.waits.drop_timer(case, step.index, token)
            return
        self.waits.fate = "expired"
        due = case.timers[step.index, token]
        try:
            self.fire(case, step, binding, token=token)
            if self.watch is not None:
                self.watch.later(Rung(case.id, case.program.net.name, step.name, due, self.now()))
        except (FiringError, ExprError) as error:
            self.park(case, str(error), step.name)
        finally:
            self.waits.fate = "withdrawn"

    # work

    def finished(self, job: Job) -> None:
        """A job is over; its token may be consumed now."""
        job.case.jobs.pop((job.step.index, job.token), None)
        self.jobs.become(job, "over")

    def retry(self, job: Job, after: timedelta) -> None:
        """Run a job again later; meanwhile it holds no place in the queue."""
        self.waits.retry(job, after)
        self._save_soon()

    # inside

    def _save_soon(self) -> None:
        """Commit on the way back to the event loop: what the caller still has to write belongs to it."""
        self.store.flush_soon(unless_small="no" if self._prompt else "yes")

    def _fire(
        self,
        case: LiveCase,
        step: Step,
        binding: Mapping[str, Value],
        token: int | None = None,
        also: str = "",
    ) -> Fired:
        chosen: dict[str, int] | None = None
        loose: frozenset[int] = frozenset()
        if token is not None and step.anchor_var is not None:
            chosen = {step.anchor_var: token}
        elif token is not None:
            loose = frozenset((token,))
        fired = case.fire(self.store, step, binding, self.now(), chosen=chosen, loose=loose, note=also)
        self.firings += 1
        if self.watch is not None:
            self.watch.later(_told(case, step, binding, self.now()))
        if step.transition.role is Role.KILL:
            case.killed = 1
        return fired

    def _take_kept(self, case: LiveCase, fired: list[Fired], agenda: list[int], queued: set[int]) -> bool:
        """Fire with events that the case keeps, until a firing is due that follows at once."""
        if case.program.may_be_final(case.marking) and is_final(case.program.net, case.marking):
            return False

        def fire(step: Step, binding: Mapping[str, Value], key: str | None) -> Fired:
            return self._fire(case, step, binding, None, note(key=key))

        while not agenda:
            found = early.take_first(case, self.now(), self.store, fire)
            if found is None:
                return False
            kept, last = found
            self._became(case, kept.event, "accepted")
            fired.append(last)
            agenda += {i for _, place in last.put for i in case.program.wakes.get(place, ())}
            if case.program.may_be_final(case.marking) and is_final(case.program.net, case.marking):
                break
        heapq.heapify(agenda)
        queued.update(agenda)
        return bool(agenda)

    def _became(self, case: LiveCase, event: str, status: str) -> None:
        """What became of a kept event, for observers."""
        if self.watch is not None:
            self.watch.later(Signalled(case.id, event, status, self.now()))

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
                        {
                            **binding,
                            **({} if said is None else brought(step, hidden_reject(case, said).value())),
                        },
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
        refused = (
            None if self.waits.in_force is None else self.waits.in_force.refusal(case.program, step, binding)
        )
        if refused is not None:
            why, by = refused
            failure = case.program.on_failure.get(step.name)
            if failure is None:
                raise Breach(not_called(effect.name, why, by), where=f"transition {step.name!r}")
            return failure, failing(case, failure, token, why), token, note(policy=by)
        request = request_of(
            case, step, binding, key_of(self.store, case, step, token), anchor=anchor, tries=1
        )
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
            return failure, failing(case, failure, token, reject_of(error, effect.name)), token, ""
        return step, {**binding, **brought(step, value)}, None, ""

    def _rest(self, case: LiveCase) -> None:
        """The status of a case that came to rest."""
        if case.jobs and _at_work(case):
            self.status(case, "running")
        elif case.jobs or case.timers or case.tasks or self._hears(case):
            self.status(case, "waiting")
        else:
            case.reason = "nothing can happen any more, and this is no final marking"
            self._over(case, "failed")

    def _hears(self, case: LiveCase) -> bool:
        """Whether some event from outside would move the case; the kill switch does not count.

        Raises:
            ExprError: None would, and a guard has no value.
        """
        unclear: ExprError | None = None
        for event, steps in case.program.signals.items():
            for step in steps if event != KILL_SIGNAL else ():
                try:
                    if case.program.rule.is_enabled(case.marking, step.name):
                        return True
                except ExprError as error:
                    unclear = error
        if unclear is not None:
            raise unclear
        return False

    def _finish(self, case: LiveCase) -> None:
        here = {p for p in case.marking if p not in case.program.net.resting}
        place = next(p for final in case.program.net.finals for p, _ in final if p in here)
        case.outcome_place = place
        case.outcome = case.encoder_at(place)(case.marking[place][0])
        self._over(case, "killed" if case.killed else "done")

    def _over(self, case: LiveCase, status: Literal["done", "killed", "failed"]) -> None:
        case.finished = self.now()
        if case.kept:
            early.unused(case, self.store, f"its case is {status}", partial(self._became, case))
        self.status(case, status)
        self.waits.let_go(case, [*case.arrived])
        self.cases.pop(case.id, None)
        self.numbers.pop(case.no, None)

    def _park(self, case: LiveCase, reason: str, transition: str) -> None:
        reason = clean(hidden(case, reason))
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
                if job.called == "no" and contract_of(case.program, job.step) is not None:
                    self.records.effect(job, "intended", uncalled="yes")
            del case.jobs[at]
            self.jobs.drop(job)


def _told(case: LiveCase, step: Step, binding: Mapping[str, Value], at: int) -> HasFired:
    """A firing, for observers; of a reject signal the rule and the field, and none of its values."""
    t = step.transition
    why = next((Reject.of(binding[var]) for var, of in step.fresh if of == REJECT), None)
    rule, field = ("", "") if why is None else (why.rule, why.field)
    return HasFired(
        case.id,
        case.program.net.name,
        step.name,
        str(t.role or ""),
        t.contract or "",
        case.seq,
        at,
        rule,
        field,
    )


def _turned(case: LiveCase, status: str, at: int) -> CaseTurned:
    """A case that is about to change its status, for observers."""
    reason, place = case.reason or "", case.outcome_place or ""
    return CaseTurned(
        case.id, case.program.net.name, at, case.status, status, reason, place, case.created, case.seq
    )


def _at_work(case: LiveCase) -> bool:
    """Whether a case has work in flight; a scripted person is no work."""
    for job in case.jobs.values():
        assert isinstance(job, Job)
        if job.kind != "person":
            return True
    return False
