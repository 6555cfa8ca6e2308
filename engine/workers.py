"""Work outside any transaction: asking proposers, performing effects, letting scripted people decide.

A proposal may be repeated, an effect may not: its idempotency key is the same on every try and after every
restart. What a handler returns or raises is not trusted: a value that does not fit, an exception or a
time-out becomes the reject signal of the failure transition; where there is none, it is tried again, and then
the case is parked.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import random
import time
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

from provenet.engine.case import LIVE, LiveCase, OpenTask, brought, note
from provenet.engine.clock import Clock, from_micros, in_job
from provenet.engine.codec import clean
from provenet.engine.errors import DecisionRefused
from provenet.engine.faults import FaultInjected, fault_point
from provenet.engine.handover import anchor_of, failing, receipt_type, reject_of, request_of
from provenet.engine.hiding import hidden
from provenet.engine.in_force import contract_of, not_called
from provenet.engine.jobs import Job
from provenet.engine.outside import Outside
from provenet.engine.people import Delegation, approved
from provenet.engine.personal import shown_open
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.engine.threads import Threads
from provenet.engine.throttle import Throttles, countable
from provenet.engine.watching.context import traceparent
from provenet.engine.watching.events import Answered, Asked, Outcome
from provenet.nets.errors import Breach, ExprError, FiringError, NotEnabled, TypeMismatch
from provenet.nets.models import to_value
from provenet.nets.net import Ask, Perform
from provenet.nets.schema import check
from provenet.sdb.handlers import (
    Backoff,
    Effect,
    EffectRefused,
    NotFilledIn,
    Proposal,
    ProposalFault,
    Request,
)
from provenet.sdb.reject import Reject

ASK_TRIES = 5
"""Tries of a proposal that has no failure transition, before its case is parked."""

PROPOSALS = Backoff()
"""Pauses between tries of a proposal."""

UNKNOWN = "fate unknown"
"""Rule of the signal that says that nobody knows what became of an effect."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person decides.

    Attributes:
        choice: One of the task's choices.
        who: The person, with role: ``dana@pricing``.
        note: Payload for a choice that brings one.
    """

    choice: str
    who: str
    note: Any = None


@dataclass(frozen=True, slots=True)
class Task:
    """An open task as a person sees it.

    Attributes:
        case: Id of the case.
        task: Name of the task.
        token: The token it is about.
        choices: What can be chosen.
        role: Role that a person needs; empty for anybody.
        about: What is decided on, as JSON data.
        about_hash: Its hash: a decision that names it binds to this very proposal.
        opened: Since when.
        deadline: Until when, where there is a deadline.
        approved: Who has approved already, where it takes several people.
    """

    case: str
    task: str
    token: int
    choices: tuple[str, ...]
    role: str
    about: Any
    about_hash: str
    opened: datetime
    deadline: datetime | None
    approved: tuple[str, ...] = ()


People: TypeAlias = Callable[[Task], Awaitable[Decision | Delegation | None]]
"""A scripted person, asked once for each task that opens; ``None`` leaves the task alone. It is asked again
after each approval of its own where several people have to approve, and after each delegation.

One that raises, or gives something else than a decision, parks the case with what it said.
"""


class Workers:
    """What the runner calls for each kind of work.

    Args:
        store: For the journal of proposals.
        clock: For time-outs.
        people: Scripted people.
    """

    def __init__(self, store: Store, clock: Clock, *, people: People | None, throttles: Throttles) -> None:
        self._store, self._clock, self._people, self._throttles = store, clock, people, throttles
        self._threads = Threads()
        self._jitter = random.Random(0)  # noqa: S311  spreads retries; nothing rests on it
        self.runner: Runner
        self.outside: Outside

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.close()
        self._throttles.close()

    # proposals

    async def ask(self, job: Job) -> None:
        """Ask a proposer and fire with its answer."""
        (await self.asked(job))()

    async def asked(self, job: Job) -> Callable[[], None]:
        """Ask a proposer; what is to be done with its answer, while the job's case is in memory."""
        in_job.set(job)
        case, step = job.case, job.step
        trigger = step.transition.trigger
        assert isinstance(trigger, Ask)
        of = step.fresh[0][1]
        kept = case.answers.pop((step.index, job.token), None)
        if kept is not None:
            return partial(self._answered, job, Proposal(case.decode(kept, of)))
        if (wait := self._throttles.admit(job, self.runner.now())) is not None:
            return partial(self._later, job, wait)
        fault_point("before-ask")
        job.tries += 1
        trace = self._begun(job)
        request = request_of(
            case, step, job.binding, job.key, anchor=anchor_of(job), tries=job.tries, trace=trace
        )
        why: Reject
        spent: Proposal | None = None
        answer: Any = None
        try:
            proposer = case.program.proposer(step)
            answer = await self._within(proposer.propose(request), trigger.timeout)
            fault_point("after-answer")
            if isinstance(answer, Proposal):
                return partial(self._answered, job, countable(answer))
            why = Reject(rule="fault", expected="a Proposal", got=type(answer).__name__)
        except (asyncio.CancelledError, FaultInjected):
            raise
        except NotFilledIn as error:
            return partial(self._unfilled, job, error)
        except ProposalFault as error:
            why, spent = error.reject, countable(error.spent)
        except TypeMismatch as error:
            why = _schema(error)
        except TimeoutError:
            why = Reject(rule="timeout", expected=f"an answer within {trigger.timeout}", got="none")
        except Exception as error:  # noqa: BLE001  a proposer may raise anything; none of it may stop the case
            why = reject_of(error, "fault")
        return partial(self._unanswered, job, why, spent)

    def _unanswered(self, job: Job, why: Reject, spent: Proposal | None) -> None:
        self._told(job, spent, "failed", why.rule)
        if spent is not None and (spent.tokens_in or spent.tokens_out or spent.cost_usd):
            self._journal(job, spent, "failed", reason=why.rule)
        self._failed(job, why, permanent="no", tries=ASK_TRIES)

    def _answered(self, job: Job, answer: Proposal) -> None:
        try:
            self._use(job, answer)
        except FaultInjected:
            raise
        except TypeMismatch as error:
            self._unanswered(job, _schema(error), answer)
        except Exception as error:  # noqa: BLE001  an answer may be anything; none of it may stop the case
            self._unanswered(job, reject_of(error, "fault"), None)

    def _use(self, job: Job, answer: Proposal) -> None:
        case, runner = job.case, self.runner
        if not self._current(job):
            runner.finished(job)
            self._journal(job, answer, "late")
            return
        try:
            runner.fire(
                case,
                job.step,
                {**job.binding, **brought(job.step, answer.value)},
                token=job.token,
                also=note(model=answer.model, prompt=case.blind(answer.prompt_hash)),
            )
            self._journal(job, answer, "used")
        except NotEnabled:
            runner.finished(job)
            self._journal(job, answer, "late")
        except Breach as error:
            # A value that does not belong to its type is the proposer's failure, as a broken promise about
            # it is.
            check(answer.value, job.step.fresh[0][1], job.step.fresh[0][0])
            if job.step.transition.ensures is not None and "breaks ensures" in error.message:
                self._told(job, answer, "failed", "ensures")
                self._journal(job, answer, "failed", reason=error.message)
                why = Reject(rule="ensures", expected="what the net promises", got=error.message)
                self._failed(job, why, permanent="no", tries=ASK_TRIES)
                return
            self._journal(job, answer, "kept", reason=error.message)
            case.answers[job.step.index, job.token] = case.encoder(job.step.fresh[0][1])(answer.value)
            runner.park(case, str(error), job.step.name)

    def _journal(self, job: Job, answer: Proposal, state: Outcome, *, reason: str | None = None) -> None:
        """Keep what was paid for; the value of a used answer is in the event that used it."""
        self._told(job, answer, state)
        self._throttles.spent(job, answer, self.runner.now())
        if state == "used" and not (answer.model or answer.tokens_in or answer.tokens_out or answer.cost_usd):
            return
        text = None
        if state in {"kept", "late"}:
            text = job.case.encoder(job.step.fresh[0][1])(answer.value)
        # One that came late never takes the place of the one that was used.
        key = {"failed": f"{job.key}/{job.tries}", "late": f"{job.key}/late"}.get(state, job.key)
        row = (
            key,
            job.case.no,
            job.token,
            job.step.name,
            state,
            text,
            clean(answer.model),
            job.case.blind(clean(answer.prompt_hash)),
            answer.tokens_in,
            answer.tokens_out,
            str(answer.cost_usd),
            None if reason is None else clean(hidden(job.case, reason)),
            self.runner.now(),
        )
        self._store.put("provenet_proposal", key, row)

    # effects

    async def perform(self, job: Job) -> None:
        """Perform an external effect and fire with its receipt."""
        (await self.performed(job))()

    async def performed(self, job: Job) -> Callable[[], None]:
        """Perform an external effect; what is to be done with its outcome, while its case is in memory."""
        held = job.key in job.case.uncalled
        instead = self.admitted(job)
        if instead is not None:
            return instead
        if held or job.case.program.effect(job.step).idempotent == "no":
            await self._store.durable()
        return await self.called(job)

    def admitted(self, job: Job, *, by: str | None = None) -> Callable[[], None] | None:
        """Note that an effect is about to be called; what is to be done instead, where it may not be.

        Args:
            job: The effect's.
            by: Who calls it, where others may ask.
        """
        effect = job.case.program.effect(job.step)
        if job.receipt is not None:
            return partial(self._performed, job, job.receipt)
        in_force, held = self.runner.waits.in_force, job.key in job.case.uncalled
        if in_force is not None and job.called == "no":
            refused = in_force.refusal(job.case.program, job.step, job.binding, held=held)
            if refused is not None:
                return partial(self._refused, job, *refused)
        if (wait := self._throttles.admit(job, self.runner.now())) is not None:
            if job.called == "no" and not held and contract_of(job.case.program, job.step) is not None:
                # It may wait for long, also through a restart: the policy in force then shall be asked.
                self.runner.records.effect(job, "intended", uncalled="yes")
            return partial(self._later, job, wait)
        if effect.idempotent == "no" and job.tries:
            return partial(self.lost, job, "it was called before, and gave no receipt that is known")
        if effect.idempotent == "no":
            job.tries = 1
            # Before it is called: whoever comes after a crash must know that it may have been.
            self.runner.records.effect(job, "intended", reason=by)
        elif held:
            self.runner.records.effect(job, "intended")
        return None

    async def called(self, job: Job) -> Callable[[], None]:
        """Call an effect that was admitted; what is to be done with its outcome."""
        in_job.set(job)
        case, step = job.case, job.step
        trigger = step.transition.trigger
        assert isinstance(trigger, Perform)
        effect = case.program.effect(step)
        job.called = "maybe"
        if effect.idempotent != "no":
            job.tries += 1
        fault_point("after-intent")
        trace = self._begun(job)
        request = request_of(
            case, step, job.binding, job.key, anchor=anchor_of(job), tries=job.tries, trace=trace
        )
        try:
            receipt = await self._within(self._call(effect.run, request), trigger.timeout)
        except (asyncio.CancelledError, FaultInjected):
            raise
        except NotFilledIn as error:
            return partial(self._unfilled, job, error)
        except EffectRefused as error:
            why = reject_of(error, effect.name)
            return partial(self._failed, job, why, permanent="yes", tries=trigger.tries)
        except TimeoutError:
            why = Reject(rule="timeout", expected=f"{effect.name} within {trigger.timeout}", got="no answer")
            return self._again(job, effect, why)
        except Exception as error:  # noqa: BLE001  an effect may raise anything; it is tried again with the same key
            return self._again(job, effect, reject_of(error, effect.name))
        fault_point("after-effect")
        try:
            value = to_value(receipt, effect.receipt_type)
        except TypeMismatch as error:
            return partial(self._misfit, job, error.message)
        return partial(self._performed, job, case.encoder(receipt_type(job))(value))

    def _again(self, job: Job, effect: Effect, why: Reject) -> Callable[[], None]:
        """What is to be done about a call without an outcome."""
        if effect.idempotent == "no":
            return partial(self.lost, job, f"{why.rule}: {why.got}")
        trigger = job.step.transition.trigger
        assert isinstance(trigger, Perform)
        return partial(self._failed, job, why, permanent="no", tries=trigger.tries)

    def _misfit(self, job: Job, why: str) -> None:
        runner, effect = self.runner, job.case.program.effect(job.step)
        why = f"its receipt does not fit: {why}"
        runner.finished(job)
        runner.records.effect(job, "performed", reason=why)
        if effect.idempotent == "no":
            # Not even when the case is resumed: a person gives the receipt.
            job.case.receipts[job.step.index, job.token] = max(job.tries, 1), None
        runner.park(job.case, f"effect {effect.name!r} was performed, but {why}", job.step.name)

    def _performed(self, job: Job, receipt: str) -> None:
        case, runner = job.case, self.runner
        runner.records.effect(job, "performed", receipt=receipt)
        value = case.decode(receipt, receipt_type(job))
        if not self._current(job):
            runner.finished(job)
            case.receipts[job.step.index, job.token] = (job.tries, receipt)
            return
        try:
            runner.fire(
                case,
                job.step,
                {**job.binding, **brought(job.step, value)},
                token=job.token,
                also=note(key=job.key),
            )
        except (FiringError, ExprError) as error:
            runner.finished(job)
            case.receipts[job.step.index, job.token] = (job.tries, receipt)
            runner.park(case, str(error), job.step.name)

    async def _call(self, run: Callable[[Request], Any], request: Request) -> Any:
        """Call an effect; a plain function runs in a thread, so that a slow one holds nobody up."""
        if inspect.iscoroutinefunction(run) or inspect.iscoroutinefunction(type(run).__call__):
            return await run(request)
        context = copy_context()
        result = await self._threads.run(partial(context.run, run, request))
        return await result if inspect.isawaitable(result) else result

    # people

    async def person(self, job: Job) -> None:
        """Let a scripted person decide."""
        in_job.set(job)
        opened = job.opened
        assert opened is not None
        assert self._people is not None
        view = Task(
            case=job.case.id,
            task=opened.task,
            token=opened.token,
            choices=tuple(opened.steps),
            role=opened.role,
            about=shown_open(json.loads(opened.about), job.case.seal),
            about_hash=opened.about_hash,
            opened=from_micros(opened.opened),
            deadline=None if opened.deadline is None else from_micros(opened.deadline),
            approved=approved(job.case, opened),
        )
        try:
            decision = await self._people(view)
            why = "" if decision is None or _is_decision(decision) else f"it gave {type(decision).__name__}"
        except (asyncio.CancelledError, FaultInjected):
            raise
        except Exception as error:  # noqa: BLE001  a script may raise anything; it may not stop the engine
            decision, why = None, f"{type(error).__name__}: {error}"
        self.runner.finished(job)
        if why and self._current(job):
            said = f"the scripted person failed at task {opened.task!r}: expected a Decision or None, {why}"
            self.runner.park(job.case, said, job.step.name)
        if decision is None or why:
            return
        try:
            left = self._said(job.case, opened, decision)
        except DecisionRefused:
            return  # the deadline passed meanwhile, or the script chose what it may not: the task stays
        if left:
            self.runner.waits.ask_person(job.case, job.step, opened)

    def _said(self, case: LiveCase, task: OpenTask, said: Decision | Delegation) -> int:
        """Do as a scripted person says; how many have still to be asked."""
        if isinstance(said, Delegation):
            self.outside.delegate(case, task, said.by, said.to if said.state == "holds" else None)
            return 1
        return self.outside.decide(
            case, task, said.choice, said.who, about_hash=task.about_hash, note=said.note
        )

    # failures

    def _failed(self, job: Job, why: Reject, *, permanent: str, tries: int | None) -> None:
        """Fire the failure transition, or try again later, or park."""
        case, runner = job.case, self.runner
        failure = case.program.on_failure.get(job.step.name)
        external = job.kind == "perform"
        spent = permanent == "yes" or (tries is not None and job.tries >= tries)
        if not external and failure is not None:
            spent = True  # another proposal is the net's decision, not the engine's
        if not spent:
            if external:
                runner.records.effect(job, "intended", reason=why.got)
            backoff = case.program.effect(job.step).backoff if external else PROPOSALS
            self._later(job, backoff.pause(job.tries, self._jitter.random()))
            return
        runner.finished(job)
        if external:
            runner.records.effect(job, "failed", reason=f"{why.rule}: {why.got}")
        if not self._current(job):
            return
        if failure is None:
            runner.park(
                case, f"{job.step.name}: {why.rule}: expected {why.expected}, got {why.got}", job.step.name
            )
            return
        try:
            runner.fire(case, failure, failing(case, failure, job.token, why), token=job.token)
        except (FiringError, ExprError) as error:
            runner.park(case, str(error), failure.name)

    def _refused(self, job: Job, why: Reject, by: str) -> None:
        """Go on as after a failure: the policy in force does not let happen what nobody has called yet."""
        case, runner = job.case, self.runner
        failure = case.program.on_failure.get(job.step.name)
        said = not_called(case.program.effect(job.step).name, why, by)
        runner.finished(job)
        if failure is not None and self._current(job):
            runner.records.effect(job, "failed", reason=said)
            try:
                binding = failing(case, failure, job.token, why)
                runner.fire(case, failure, binding, token=job.token, also=note(policy=by))
            except (FiringError, ExprError) as error:
                runner.park(case, str(error), failure.name)
            return
        # Asked again when somebody lets the case go on: a looser policy may be in force by then.
        runner.records.effect(job, "intended", reason=said, uncalled="yes")
        case.receipts[job.step.index, job.token] = job.tries, None
        if self._current(job):
            runner.park(case, said, job.step.name)

    def _unfilled(self, job: Job, why: NotFilledIn) -> None:
        """There is no code behind a handler yet: nothing was asked or done, and no failure path says so."""
        case, runner = job.case, self.runner
        runner.finished(job)
        if job.kind == "perform":
            runner.records.effect(job, "intended", reason=why.message)
            case.receipts[job.step.index, job.token] = job.tries, None
        if self._current(job):
            runner.park(case, why.message, job.step.name)

    def lost(self, job: Job, why: str) -> None:
        """Nobody knows what became of an effect that may not be called twice: a person has to say."""
        case, runner = job.case, self.runner
        runner.finished(job)
        runner.records.effect(job, "intended", reason=f"{UNKNOWN}: {why}")
        case.receipts[job.step.index, job.token] = max(job.tries, 1), None
        if self._current(job):
            name = case.program.effect(job.step).name
            runner.park(
                case,
                f"the fate of effect {name!r} is unknown, and it may not be called twice: {why}; "
                "find out, and settle it",
                job.step.name,
            )

    def settle_failed(self, job: Job, why: str) -> None:
        """Go on as after a call that failed for good: a person says that the effect did not happen."""
        self._failed(job, Reject(rule=UNKNOWN, expected="an outcome", got=why), permanent="yes", tries=None)

    def _later(self, job: Job, wait: timedelta) -> None:
        """Run a job again after a while; one of a parked case when that is resumed."""
        if job.case.status == "parked":
            self.runner.finished(job)
            if job.kind == "perform":
                job.case.receipts[job.step.index, job.token] = job.tries, None
            return
        self.runner.retry(job, wait)

    async def _within(self, work: Awaitable[Any], span: timedelta) -> Any:
        """What a handler returns; one that answers at once needs no alarm."""
        begun = _own(work)
        try:
            awaited = begun.send(None)
        except StopIteration as done:
            return done.value
        return await self._clock.limit(_rest_of(begun, awaited), span)

    def _begun(self, job: Job) -> str:
        """Note that a try begins, where anybody watches; the header for what the handler calls."""
        watch = self.runner.watch
        if watch is None:
            return ""
        case, step, trigger = job.case, job.step, job.step.transition.trigger
        job.began = (at := self.runner.now()), time.monotonic()
        if isinstance(trigger, Ask):
            net = case.program.net.name
            watch.say(Asked(case.id, net, step.name, trigger.handler, job.key, job.tries, at))
        return traceparent(self._store.uid, case.id, job.key, job.tries)

    def _told(self, job: Job, answer: Proposal | None, outcome: Outcome, rule: str = "") -> None:
        """Tell what became of a try, once, with what it cost."""
        watch, trigger = self.runner.watch, job.step.transition.trigger
        if watch is None or job.began is None:
            return
        assert isinstance(trigger, Ask)
        (began, since), job.began = job.began, None
        paid = answer or Proposal(None)
        watch.later(
            Answered(
                job.case.id,
                job.case.program.net.name,
                job.step.name,
                trigger.handler,
                job.key,
                job.tries,
                began,
                self.runner.now(),
                time.monotonic() - since,
                outcome,
                rule,
                clean(paid.model),
                paid.tokens_in,
                paid.tokens_out,
                paid.cost_usd,
            )
        )

    def _current(self, job: Job) -> bool:
        """Whether the job's case still moves and its token is still there."""
        return job.case.status in LIVE and job.case.holds(job.step.anchor, job.token)


def _schema(error: TypeMismatch) -> Reject:
    return Reject(rule="schema", field=error.field, expected=error.expected, got=error.got)


def _is_decision(decision: object) -> bool:
    if isinstance(decision, Delegation):
        return True
    return (
        isinstance(decision, Decision) and isinstance(decision.choice, str) and isinstance(decision.who, str)
    )


async def _own(work: Awaitable[Any]) -> Any:
    """What a handler returns; one that cancels itself has failed, and was not stopped by the engine."""
    try:
        return await work
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise RuntimeError("the handler was cancelled from within") from None


@types.coroutine
def _rest_of(work: Coroutine[Any, Any, Any], awaited: Any) -> Generator[Any, Any, Any]:
    """What a coroutine that was begun has still to do."""
    while True:
        try:
            given = yield awaited
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:  # noqa: BLE001  whatever it is, it is for the coroutine to handle
            going_on = partial(work.throw, error)
        else:
            going_on = partial(work.send, given)
        try:
            awaited = going_on()
        except StopIteration as done:
            return done.value
