"""Databases in which nothing is real: effects there are played by stand-ins, whatever agent is given.

A fact in ``provenet_meta`` marks such a database, set when it is made and never taken away. An engine that
finds it puts a stand-in in the place of every effect, transactional ones included, so no path through it
reaches the outside.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from provenet.engine.clock import Clock, in_job
from provenet.engine.codec import clean, plain, text_hash
from provenet.engine.errors import EngineError
from provenet.engine.jobs import Job
from provenet.engine.program import Program
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.nets.models import to_value
from provenet.nets.net import Ask, Judge, Perform
from provenet.nets.schema import UNIT, UNIT_VALUE, from_json, plainest
from provenet.nets.secrets import hide
from provenet.sdb.handlers import Agent, Effect, EffectRefused, Proposal, ProposalFault, Request
from provenet.sdb.reject import REJECT, Reject

MARK = "simulation"
"""The fact that marks a database; its value says what it is of."""

At: TypeAlias = tuple[str, str, int]
"""Where work is done: case, transition, token."""


@dataclass(frozen=True, slots=True)
class Said:
    """What the outside said to a piece of work.

    Attributes:
        about: Hash of what the work was given.
        state: ``done``, ``failed`` or ``unknown``.
        text: A receipt, an answer or a reject signal, as canonical JSON.
        model: Which model answered.
        prompt: Hash of its prompt.
        handler: Name of the effect or proposer.
        took: How long the answer took, in microseconds.
        seq: Number of the entry that it made; 0 where it made none.
    """

    about: str
    state: str
    text: str | None = None
    model: str = ""
    prompt: str = ""
    handler: str = ""
    took: int = 0
    seq: int = 0


@dataclass(slots=True)
class Recording:
    """What the outside is known to say.

    Attributes:
        effects: To effects.
        answers: To proposals.
        given: Receipts by the effect's name, as JSON data, whatever was recorded.
        unknown: What a stand-in does where nobody knows a receipt: park the case, or make one up and say so.
    """

    effects: dict[At, Said] = field(default_factory=dict)
    answers: dict[At, Said] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)
    unknown: Literal["park", "make up"] = "park"

    def effect(self, at: At, about: str, handler: str = "") -> Said | None:
        """What was said to this effect, or to another call of it that was given the same."""
        known = self.effects.get(at)
        if known is not None and known.about == about:
            return known
        case, transition, _ = at
        for (c, t, _), said in self.effects.items():
            if (c, said.about) == (case, about) and (
                t == transition or (handler and said.handler == handler)
            ):
                return said
        return None

    def receipt_like(self, case: str, handler: str) -> str | None:
        """The receipt of another call of an effect by the same case, as text."""
        known = (
            s.text
            for (c, _, _), s in self.effects.items()
            if (c, s.handler, s.state) == (case, handler, "done")
        )
        return next((text for text in known if text is not None), None)

    def to_text(self, case: str) -> str:
        """What a database keeps of it, for one case: effects and given receipts."""
        rows = [
            [transition, token, s.about, s.state, s.text, s.handler, s.took, s.seq]
            for (of, transition, token), s in self.effects.items()
            if of == case
        ]
        return plain({"effects": rows, "given": self.given, "unknown": self.unknown})

    def add(self, case: str, text: str) -> None:
        """Add what ``to_text`` made."""
        data = json.loads(text)
        for transition, token, about, state, said, *rest in data["effects"]:
            handler, took, seq = [*rest, "", 0, 0][:3] if rest else ("", 0, 0)  # earlier releases kept less
            self.effects[case, transition, token] = Said(
                about, state, said, handler=handler, took=took, seq=seq
            )
        self.given |= data["given"]
        self.unknown = data.get("unknown", self.unknown)


def recording_of(rows: Sequence[tuple[str, str]]) -> Recording | None:
    """What a simulation knows, from the facts of its database; ``None`` where it is none."""
    facts = dict(rows)
    if MARK not in facts:
        return None
    found = Recording()
    for name, value in facts.items():
        if name.startswith("recorded:"):
            found.add(name.removeprefix("recorded:"), value)
    return found


class Stage:
    """Where stand-ins play.

    Args:
        store: The simulation's database, which keeps what they were given.
        runner: What moves its cases.
        recording: What the outside is known to say.
    """

    def __init__(self, store: Store, runner: Runner, recording: Recording) -> None:
        self._store, self._runner, self._recording = store, runner, recording

    def dressed(self, agent: Agent) -> Agent:
        """An agent with a stand-in in the place of every effect."""
        return replace(agent, handlers={name: self._dressed(h) for name, h in agent.handlers.items()})

    def _dressed(self, handler: object) -> object:
        match handler:
            case Effect():
                return self._stand_in(handler)
            case Recorded():
                return replace(handler, runner=self._runner)
        return handler

    def _stand_in(self, effect: Effect) -> Effect:
        def inside(request: Request) -> Any:
            return self._play(effect, request, transition="", token=0)

        async def outside(request: Request) -> Any:
            job = in_job.get()
            assert isinstance(job, Job)
            known = self._recording.effects.get((request.case, job.step.name, job.token))
            if known is not None:
                await in_turn(self._runner.clock, job, known, request.timeout)
            try:
                return self._play(effect, request, transition=job.step.name, token=job.token)
            except _NotKnown as error:
                self._runner.park(job.case, error.message, job.step.name)
                raise

        return replace(effect, run=outside if effect.external else inside)

    def _play(self, effect: Effect, request: Request, *, transition: str, token: int) -> Any:
        case = self._runner.cases[request.case]
        text = case.encoder(request.payload_type)(to_value(request.payload, request.payload_type))
        known = self._recording.effect((request.case, transition, token), text_hash(text), effect.name)
        receipt: Any = None
        how = "given"
        if effect.name in self._recording.given:
            receipt = from_json(self._recording.given[effect.name], effect.receipt_type)
        elif known is not None and known.state == "failed":
            self._played(effect, request, text, "refused, as recorded", known.text)
            why = Reject.of(from_json(json.loads(known.text or "null"), REJECT))
            if why.rule == "timeout":
                raise TimeoutError
            raise EffectRefused(why.got, hint=why.hint)
        elif known is not None and known.state == "done" and known.text is not None:
            receipt, how = case.decode(known.text, effect.receipt_type), "recorded"
        elif effect.receipt_type == UNIT:
            receipt, how = UNIT_VALUE, "recorded" if known is not None and known.state == "done" else "none"
        elif self._recording.unknown == "make up":
            other = self._recording.receipt_like(request.case, effect.name)
            of, how = effect.receipt_type, "made up"
            receipt = plainest(of) if other is None else case.decode(other, of)
        else:
            raise _NotKnown(
                f"a simulation does not know what {effect.name!r} would return: tell it, with --receipt"
                f" '{effect.name}=JSON' of provenet fork; it was given {_seen(request, text)}"
            )
        self._played(effect, request, text, how, case.encoder(effect.receipt_type)(receipt))
        return receipt

    def _played(self, effect: Effect, request: Request, payload: str, how: str, receipt: str | None) -> None:
        """Keep what an effect was given, and what it was told."""
        said = {
            "case": request.case,
            "effect": effect.name,
            "payload": json.loads(payload),
            "receipt": None if receipt is None else json.loads(receipt),
            "how": how,
        }
        name = f"played:{request.key}"
        self._store.put("provenet_meta", name, (name, clean(json.dumps(said, ensure_ascii=False))))


TURNS = 500
"""Turns of the event loop after which an answer is given although those before it have not come."""


async def in_turn(clock: Clock, job: Job, said: Said, within: timedelta) -> None:
    """Wait as long as an answer took when it was recorded, and until what came before it has come.

    Args:
        clock: By which the case runs.
        job: The work that is answered.
        said: What is recorded of it.
        within: How long it may take.
    """
    longest = within - timedelta(milliseconds=1)
    await clock.sleep(min(timedelta(microseconds=max(0, said.took)), longest))
    for _ in range(TURNS):
        if job.case.seq >= said.seq - 1:
            return
        await asyncio.sleep(0)


def _seen(request: Request, text: str) -> str:
    """What work was given, as people see it: a case's reason is no place for what is marked."""
    return plain(hide(json.loads(text), request.payload_type))[:200]


class _NotKnown(EngineError):
    """The outside was never asked this."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A proposer that answers what is recorded, and parks the case where nothing is."""

    recording: Recording
    runner: Runner | None = None

    async def propose(self, request: Request) -> Proposal:
        """Answer as recorded."""
        job = in_job.get()
        assert isinstance(job, Job)
        text = job.case.encoder(request.payload_type)(to_value(request.payload, request.payload_type))
        known = self.recording.answers.get((request.case, job.step.name, job.token))
        if known is None or known.text is None or known.about != text_hash(text):
            unknown = _NotKnown(
                f"no answer of {job.step.name!r} is recorded: name an agent, the TARGET of provenet fork,"
                f" whose proposers can be asked; it was given {_seen(request, text)}"
            )
            if self.runner is not None:
                self.runner.park(job.case, unknown.message, job.step.name)  # which cancels this very job
                await asyncio.sleep(0)
            raise unknown
        if known.state == "failed":
            raise ProposalFault(Reject.of(from_json(json.loads(known.text), REJECT)))
        value = job.case.decode(known.text, request.returns)
        return Proposal(value, model=known.model, prompt_hash=known.prompt)


def recorded_agent(program: Program, recording: Recording) -> Agent:
    """An agent without code of its own: its proposers answer as they are recorded to have.

    Args:
        program: The net version; its handlers are not looked at.
        recording: What they answered.

    Raises:
        EngineError: The net runs a verifier that is a function.
    """
    handlers: dict[str, object] = {}
    for step in program.steps:
        match step.transition.trigger:
            case Ask(handler=name):
                handlers[name] = Recorded(recording)
            case Perform(handler=name, external=external):
                receipt = step.fresh[0][1] if step.fresh else UNIT
                handlers[name] = Effect(name, _nobody, step.payload_type, receipt, external=external)
            case Judge(handler=name):
                raise EngineError(
                    f"net {program.net.name!r} runs a verifier that is a function ({name!r})",
                    hint="name its agent, TARGET, after the case",
                )
    return Agent(program.net, handlers)


def _nobody(request: Request) -> None:
    raise EngineError(f"nobody stands in for an effect of case {request.case!r}")
