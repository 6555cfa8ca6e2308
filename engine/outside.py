"""What comes from outside: people's decisions and the kill switch; events are ``provenet.engine.inbox``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from provenet.engine.case import LIVE, LiveCase, OpenTask, brought
from provenet.engine.case import note as said
from provenet.engine.clock import from_micros
from provenet.engine.codec import clean
from provenet.engine.errors import DecisionRefused, NotSettled
from provenet.engine.faults import fault_point
from provenet.engine.handover import receipt_type
from provenet.engine.hiding import hidden
from provenet.engine.jobs import Job
from provenet.engine.people import (
    NOTHING,
    Approval,
    approve,
    brings,
    delegate,
    fallback_from,
    missing,
    refused,
    right,
)
from provenet.engine.program import Step
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.engine.watching.events import Decided
from provenet.nets.errors import ExprError, FiringError, TypeMismatch, did_you_mean
from provenet.nets.models import to_value
from provenet.nets.net import Choice, Net, Role
from provenet.nets.schema import UNIT, Value
from provenet.sdb.saga import KILL_SIGNAL


@dataclass(frozen=True, slots=True)
class Killed:
    """What a pull of the kill switch did.

    Attributes:
        cases: How many cases it reached.
        stopped: How many of them were stopped where they stood: their net has no kill transition.
        left: Places with undo tokens of those, with how many: committed steps that nobody takes back.
    """

    cases: int
    stopped: int
    left: Mapping[str, int]

    @classmethod
    def of(cls, reached: Iterable[LiveCase]) -> Killed:
        """What became of the cases that it reached."""
        cases = tuple(reached)
        stopped = [c for c in cases if c.status == "killed" and c.outcome_place is None]
        left: dict[str, int] = {}
        for case in stopped:
            for place, count in not_undone(case.program.net, dict(case.marking.items())).items():
                left[place] = left.get(place, 0) + count
        return cls(len(cases), len(stopped), left)

    def __str__(self) -> str:
        said = f"killed: {self.cases:,} case{'' if self.cases == 1 else 's'}"
        if not self.stopped:
            return said
        if self.cases == 1:
            said += ", stopped where it stands"
        elif self.stopped == self.cases:
            said += ", stopped where they stand"
        else:
            said += f", {self.stopped:,} of them stopped where they stand"
        return said + (f": {left_undone(self.left)}" if self.left else "")


def not_undone(net: Net, marking: Mapping[str, Any]) -> dict[str, int]:
    """Places with undo tokens, with how many: committed steps that are not taken back."""
    sagas = {s.id for s in net.sagas}
    states = {place for s in net.sagas for place in (s.open, s.aborting, s.completing)}
    # What a scope itself unwinds are steps that need no undoing.
    undo = {
        a.place
        for t in net.transitions
        if t.role is Role.COMPENSATE or (t.role is Role.UNWIND and t.contract not in sagas)
        for a in t.takes
    }
    return {p: len(tokens) for p, tokens in sorted(marking.items()) if p in undo - states and tokens}


def left_undone(left: Mapping[str, int]) -> str:
    """Committed steps that are not taken back, in words."""
    count = sum(left.values())
    steps = "1 committed step is" if count == 1 else f"{count:,} committed steps are"
    return f"{steps} not taken back: {', '.join(left)}"


class Outside:
    """How the outside moves cases.

    Args:
        store: Where they live.
        runner: What moves them.

    Attributes:
        kills: Pulled kill switches: scope and target, since when, and by whom.
    """

    def __init__(self, store: Store, runner: Runner) -> None:
        self._store, self._runner = store, runner
        self.kills: dict[tuple[str, str], tuple[int, str]] = {}

    def decide(
        self,
        case: LiveCase,
        task: OpenTask,
        choice: str,
        who: str,
        *,
        about_hash: str | None = None,
        note: Any = None,
    ) -> int:
        """Decide an open task.

        Returns:
            How many more people have to choose the same before anything happens.

        Raises:
            DecisionRefused: Wrong role, past the deadline, about something else, or not open.
        """
        who, where = clean(who), f"case {case.id!r}, task {task.task!r}"
        fault_point("decision")
        if case.tasks.get((task.task, task.token)) is not task:
            raise DecisionRefused("the task is no longer open", where=where)
        step = task.steps.get(choice)
        if step is None:
            raise DecisionRefused(
                f"there is no choice {choice!r}", where=where, hint=did_you_mean(choice, task.steps)
            )
        trigger, now = step.transition.trigger, self._runner.now()
        assert isinstance(trigger, Choice)
        heard = case.said.get((task.task, task.token), NOTHING)
        instead = right(trigger, task.opened, heard, who, now)
        if instead is None:
            hint = f"decide as NAME@{trigger.who or 'ROLE'}"
            if trigger.fallback and now < (later := fallback_from(trigger, task.opened)):
                hint += f"; {trigger.fallback} may from {from_micros(later).isoformat()}"
            raise DecisionRefused(
                f"{who or 'nobody'!r} may not decide this: it takes the role {trigger.who!r}",
                where=where,
                hint=hint,
            )
        if task.deadline is not None and now >= task.deadline:
            raise DecisionRefused(
                f"the deadline passed at {from_micros(task.deadline).isoformat()}",
                where=where,
                hint="the fallback takes its course",
            )
        if about_hash is not None and about_hash != task.about_hash:
            raise DecisionRefused("the task is about something else", where=where)
        binding = case.binding_for(step, task.token)
        if binding is None:
            raise DecisionRefused(f"{choice!r} cannot be chosen now", where=where)
        try:
            payload = to_value(note, step.fresh[0][1]) if step.fresh else ()
        except TypeMismatch as error:
            raise DecisionRefused(f"the note does not fit: {error.message}", where=where) from None
        binding = binding | brought(step, payload)
        also: dict[str, Any] = {"by": who, "for": instead, "about": task.about_hash}
        if trigger.eyes > 1:
            approval = Approval(choice, who, instead, task.about_hash, brings(case, step, binding))
            left = self._approved(case, task, step, approval, binding)
            if left:
                return left
            also["approved"] = [a.who for a in case.said[task.task, task.token].approving(*approval.of)]
        del case.tasks[task.task, task.token]
        try:
            self._runner.fire(case, step, binding, token=task.token, also=said(**also))
        except (FiringError, ExprError) as error:
            case.tasks[task.task, task.token] = task
            raise self._forbidden(case, error, where) from None
        self._runner.records.task(case, task, "decided", choice=choice, who=who)
        if self._runner.watch is not None:
            net, now = case.program.net.name, self._runner.now()
            self._runner.watch.later(Decided(case.id, net, task.task, choice, who, task.opened, now))
        return 0

    def delegate(self, case: LiveCase, task: OpenTask, who: str, to: str | None) -> None:
        """Let somebody decide a task in the place of another, or no longer.

        Raises:
            DecisionRefused: Who delegates may not decide it, or there is nobody to delegate to.
        """
        expected = case.seq
        delegate(case, self._store, task, clean(who), to, self._runner.now())
        self._runner.records.task(case, task, "open")
        case.save(self._store, expected)

    def _approved(
        self, case: LiveCase, task: OpenTask, step: Step, approval: Approval, binding: dict[str, Value]
    ) -> int:
        """Count one of several approvals; how many are still missing.

        Raises:
            DecisionRefused: It does not count, or nothing could come of it.
        """
        trigger, key, where = step.transition.trigger, (task.task, task.token), f"case {case.id!r}"
        assert isinstance(trigger, Choice)
        why = refused(trigger, case.said.get(key, NOTHING), approval)
        if why:
            raise DecisionRefused(why, where=f"{where}, task {task.task!r}")
        try:
            # What the net forbids shall not look approved: its rule is asked before anything is written.
            case.program.rule.fire(case.marking, step.name, binding)
        except (FiringError, ExprError) as error:
            raise self._forbidden(case, error, where) from None
        expected = case.seq
        approve(case, self._store, step, key, approval, self._runner.now())
        self._runner.records.task(case, task, "open")
        case.save(self._store, expected)
        return missing(trigger, case.said[key], approval.about)

    @staticmethod
    def _forbidden(case: LiveCase, error: FiringError | ExprError, where: str) -> DecisionRefused:
        return DecisionRefused(f"the net forbids it: {hidden(case, error.message)}", where=where)

    def kill(self, case: LiveCase, who: str, reason: str) -> None:
        """Let the net's own kill transitions fire; a net that has none stops where it stands."""
        parked = case.status == "parked"
        if parked:
            self.unpark(case)
        self._kill(case, who, reason)
        if parked and case.status in LIVE:
            self._runner.rearm(case, case.seq)

    def unsettled(self, case: LiveCase, effect: str) -> Job:
        """The call of an effect whose fate is unknown.

        Raises:
            NotSettled: There is none.
        """
        lost: dict[str, Job] = {}
        for (index, token), (tries, receipt) in case.receipts.items():
            step = case.program.steps[index]
            found = case.program.effect(step)
            binding = case.binding_for(step, token)
            if found.idempotent == "no" and tries and receipt is None and binding is not None:
                lost[found.name] = self._runner.waits.job_of(case, step, token, binding)
                lost[found.name].tries = tries
        if effect not in lost:
            raise NotSettled(
                f"no effect {effect!r} waits for somebody to say what became of it",
                where=f"case {case.id!r}",
                hint=did_you_mean(effect, lost) if lost else f"see `provenet case {case.id}`",
            )
        return lost[effect]

    def settle(self, job: Job, receipt: Any, who: str) -> None:
        """Take a person's word that an effect was performed.

        Raises:
            NotSettled: The receipt does not fit.
        """
        case, of = job.case, job.case.program.effect(job.step).receipt_type
        try:
            text = case.encoder(receipt_type(job))(to_value(receipt, of))
        except TypeMismatch as error:
            raise NotSettled(
                f"the receipt does not fit: {error.message}",
                where=f"case {case.id!r}",
                hint="give what the effect would have returned",
            ) from None
        self._runner.records.effect(job, "performed", receipt=text, reason=f"settled by {who}")
        case.receipts[job.step.index, job.token] = job.tries, text

    def unpark(self, case: LiveCase) -> None:
        """Let a parked case move again; it is not set in motion yet."""
        expected = case.seq
        case.log(self._store, "resume", "", self._runner.now(), "{}")
        case.reason = None
        self._runner.status(case, "running")
        case.save(self._store, expected)

    def obey(self, case: LiveCase) -> None:
        """Kill a case that the kill switch did not reach: its agent was missing, or a crash came between."""
        pulled = self.kills.get(("all", "")) or self.kills.get(("net", case.program.net.name))
        if pulled is not None and case.status in LIVE and not case.killed:
            self._kill(case, pulled[1], "the kill switch was on")

    def _kill(self, case: LiveCase, who: str, reason: str) -> None:
        steps: tuple[Step, ...] = case.program.signals.get(KILL_SIGNAL, ())
        if not steps:
            self._runner.stop(case, "killed", reason or "killed", who=who)
            return
        for step in steps:
            if case.status not in LIVE:
                return
            binding = next(case.program.rule.bindings(case.marking, step.name), None)
            if binding is not None:
                value = {f: to_value(None, of) for f, of in step.fresh if of == UNIT}
                try:
                    self._runner.fire(case, step, {**binding, **value}, also=said(by=who, reason=reason))
                except (FiringError, ExprError) as error:
                    self._runner.park(case, str(error), step.name)
