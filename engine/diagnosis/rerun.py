"""A recorded run under another model, prompt or policy: a new run, in a database where nothing is real.

The cases start anew from their recorded inputs, at their recorded times, on a virtual clock. Events come and
people decide as they did, as far as they are asked the same; effects are never performed again: stand-ins
give the recorded receipts. Where the new run asks for something that the record knows nothing of, a stand-in
makes a receipt up and says so: what comes after it is counterfactual. The record is never written to.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from provenet.engine.case import LIVE
from provenet.engine.clock import Clock, VirtualClock, from_micros, in_job
from provenet.engine.codec import text_hash
from provenet.engine.diagnosis.telling import NO_ANSWER, Told, tell
from provenet.engine.engine import Engine
from provenet.engine.errors import CaseClosed, EngineError, NoKeys, NoSuchEntry
from provenet.engine.fork import make_simulation, refuse_real
from provenet.engine.jobs import Job
from provenet.engine.keys import Keys
from provenet.engine.past import Act, Event, Past, past_of
from provenet.engine.people import Delegation
from provenet.engine.program import Program
from provenet.engine.reader import Reader
from provenet.engine.simulation import MARK, At, Recording, in_turn, recorded_agent
from provenet.engine.store.database import snapshot
from provenet.engine.store.store import Store
from provenet.engine.workers import Decision, People, Task
from provenet.nets.formats.canonical import content_hash
from provenet.nets.models import to_value
from provenet.nets.schema import Value, from_json, to_json
from provenet.sdb.handlers import Agent, Proposal, ProposalFault, Proposer, Request
from provenet.sdb.reject import REJECT, Reject
from provenet.verify.verdict import Report

DAYS = 3650.0
"""How far the virtual clock goes at most after the last thing that is recorded."""


@dataclass(frozen=True, slots=True)
class Story:
    """What the outside said to a case, from its start to its end.

    Attributes:
        case: Its id.
        net: Content hash of the net version that it started on.
        inputs: What it was started with.
        tenant: For whom.
        at: When.
        past: All of the rest.
    """

    case: str
    net: str
    inputs: dict[str, Value]
    tenant: str
    at: int
    past: Past

    @property
    def program(self) -> Program:
        """The net version that it started on."""
        return self.past.replay.case.program


@dataclass(frozen=True, slots=True)
class Version:
    """Who is asked in a run.

    Attributes:
        name: What people call it.
        agent: The net with its handlers; ``None`` for the record itself, whose proposers answer as recorded.
        report: What is proved of the agent's net; of one that is deployed to the database it need not be
            given.
    """

    name: str
    agent: Agent | None = None
    report: Report | None = None


def story_of(reader: Reader, case: str) -> Story | str:
    """What the outside said to a case; why its run cannot be made anew, where it cannot.

    Raises:
        NoSuchCase: There is none of that id.
        StoreCorrupt: Its log does not replay.
    """
    try:
        past = past_of(reader, case, 1)
    except NoSuchEntry:
        return "its log was trimmed: nobody knows its inputs"
    except (NoKeys, CaseClosed) as error:
        return error.message
    status = past.row["status"]
    if status in (*LIVE, "parked"):
        return f"it is {status}: only what has ended can be compared"
    if len(past.nets) > 1:
        return "it moved to another version of its net on the way"
    said = json.loads(past.log[0][4])
    live = past.replay.case
    entries = {e.place for e in live.program.net.entries}
    inputs = {p: live.read(v, live.program.types[p], p) for _, p, v in said["put"] if p in entries}
    return Story(case, live.program.hash, inputs, said.get("tenant", ""), past.log[0][3], past)


async def rerun(
    reader: Reader,
    stories: Sequence[Story],
    version: Version,
    *,
    to: str | Path | None = None,
    receipts: Mapping[str, Any] | None = None,
    keys: Keys | None = None,
    days: float = DAYS,
) -> dict[str, Told]:
    """Run recorded cases anew.

    Args:
        reader: Of the database that they are in.
        stories: The cases, all of one net version.
        version: Who is asked.
        to: The new run's database: one that does not exist yet, or is a simulation already; by default it is
            kept no longer than this call.
        receipts: Receipts by effect, as JSON data, whatever was recorded.
        keys: Master keys, where there are personal values.
        days: How far the virtual clock goes at most after the last thing that is recorded.

    Returns:
        For each case, what came.

    Raises:
        NotSimulation: ``to`` is a database, and no simulation.
        DeployRefused: Not all that the agent's net requires is proved.
        InputRefused: The recorded inputs do not fit the agent's net.
        EngineError: The record's net runs a verifier that is a function, and no agent was given.
    """
    if to is None:
        with tempfile.TemporaryDirectory(prefix="provenet-rerun-") as folder:
            return await _rerun(reader, stories, version, Path(folder) / "run.db", receipts, keys, days)
    refuse_real(to)
    make_simulation(to, reader)
    return await _rerun(reader, stories, version, to, receipts, keys, days)


async def _rerun(
    reader: Reader,
    stories: Sequence[Story],
    version: Version,
    to: str | Path,
    receipts: Mapping[str, Any] | None,
    keys: Keys | None,
    days: float,
) -> dict[str, Told]:
    if not stories:
        return {}
    program = stories[0].program
    _furnish(to, stories, receipts or {})
    clock = VirtualClock(from_micros(min(s.at for s in stories)))
    agent, recalled = _paced(version.agent, program, stories, clock)
    report = version.report
    if report is None:
        known = reader.report(content_hash(agent.net))
        if known is None:
            raise EngineError(
                f"nothing is known to be proved of net {agent.net.name!r}",
                where=version.name,
                hint="give the report: Version(name, agent, prove(agent.net))",
            )
        report = Report.from_json(known, agent.net)
    acts = {s.case: s.past.acts for s in stories}
    engine = Engine.open(
        to, agents=[agent], clock=clock, people=_people(acts, clock), snapshot_every=0, keys=keys
    )
    refused: dict[str, list[str]] = {}
    async with engine:
        engine.deploy(agent, report)
        for at, _, story, event in _timeline(stories):
            await engine.run_until_idle(until=from_micros(at))
            if event is None:
                subject = str(story.past.row["data_key"] or "")
                await engine.start_case(
                    agent.net.name,
                    inputs=_inputs(story, agent),
                    case_id=story.case,
                    tenant=story.tenant,
                    subject=subject,
                )
                continue
            try:
                await _happen(engine, story.case, event)
            except EngineError as error:
                refused.setdefault(story.case, []).append(f"{event.name or 'kill'}: {error.message}")
        await engine.run_until_idle(until=clock.now() + timedelta(days=days))
        read = engine.read
        played = _played(read)
        for case, contract in recalled.unknown:
            played.setdefault(case, []).append((contract, NO_ANSWER))
        programs: dict[str, Program] = {}
        found = {s.case: tell(read, s.case, seals=reader.seal, programs=programs) for s in stories}
    return {
        case: replace(told, played=tuple(played.get(case, ())), refused=tuple(refused.get(case, ())))
        for case, told in found.items()
    }


async def _happen(engine: Engine, case: str, event: Event) -> None:
    if event.name:
        own = None if event.event_at is None else from_micros(event.event_at)
        await engine.signal(case, event.name, event.payload, key=event.key, at=own)
    else:
        await engine.kill("case", case, who=event.who, reason=event.reason)


def _timeline(stories: Sequence[Story]) -> list[tuple[int, int, Story, Event | None]]:
    """Starts and events in the order in which they came."""
    found: list[tuple[int, int, Story, Event | None]] = [(s.at, i, s, None) for i, s in enumerate(stories)]
    found += [(e.at, len(stories) + e.seq, s, e) for s in stories for e in s.past.events]
    return sorted(found, key=lambda entry: entry[:2])


def _inputs(story: Story, agent: Agent) -> dict[str, Any]:
    """A case's inputs for a net: as JSON data has them, where its types are other ones."""
    case, own = story.past.replay.case, {p.name: p.type for p in agent.net.places}
    out: dict[str, Any] = {}
    for place, value in story.inputs.items():
        of = case.program.types[place]
        if own.get(place) == of:
            out[place] = value
        elif place in own:
            out[place] = from_json(to_json(value, of), own[place], place)
    return out


def _furnish(to: str | Path, stories: Sequence[Story], receipts: Mapping[str, Any]) -> None:
    """Mark the new database as a simulation, and tell it what the outside is known to say."""
    store = Store(to)
    try:
        facts = {MARK: "yes", "clock": "virtual"}
        for story in stories:
            recording = story.past.recording
            recording.given, recording.unknown = dict(receipts), "make up"
            facts[f"recorded:{story.case}"] = recording.to_text(story.case)
        for name, value in facts.items():
            store.put("provenet_meta", name, (name, value))
        for each in {row["id"]: row for s in stories for row in s.past.keys}.values():
            # The case's own key, so that the same values have the same texts here.
            store.put("provenet_key", each["id"], tuple((each | {"subject": each["id"]}).values()))
    except BaseException:
        store.abandon()
        raise
    store.close()


def _played(reader: Reader) -> dict[str, list[tuple[str, str]]]:
    """For each case, the effects that stand-ins played, and how."""
    with snapshot(reader.engine, reader.location, lambda raw: raw.decode("utf-8", "replace")) as rows:
        facts = rows("SELECT value FROM provenet_meta WHERE name LIKE 'played:%' ORDER BY name")
    found: dict[str, list[tuple[str, str]]] = {}
    for (text,) in facts:
        said = json.loads(str(text))
        found.setdefault(said["case"], []).append((said["effect"], said["how"]))
    return found


# people and proposers of the record


def _people(acts: Mapping[str, Mapping[tuple[str, int], list[Act]]], clock: VirtualClock) -> People:
    """People who decide as they did about the very same thing, and leave alone what they never saw."""
    used: set[tuple[str, str, int, int]] = set()

    async def decide(task: Task) -> Decision | Delegation | None:
        told = [(at, acts.get(task.case, {})[at]) for at in acts.get(task.case, {}) if at[0] == task.task]
        told.sort(key=lambda entry: entry[0][1] != task.token)  # of this very token first
        for (name, token), said in told:
            for number, act in enumerate(said):
                at = task.case, name, token, number
                if at not in used and act.about in {"", task.about_hash}:
                    used.add(at)
                    await clock.sleep(from_micros(act.at) - clock.now())
                    return act.said
        return None

    return decide


@dataclass(frozen=True, slots=True)
class _Paced:
    """A proposer whose answers come when the recorded ones came; without one to ask, they are those.

    Attributes:
        asked: Who is asked; nobody, where the record answers.
        recording: What is recorded of all cases.
        clock: By which they run.
        unknown: Case and contract of what the record has no answer to.
        used: Recorded answers that were given.
    """

    asked: Proposer | None
    recording: Recording
    clock: Clock
    unknown: list[tuple[str, str]]
    used: set[At]

    async def propose(self, request: Request) -> Proposal:
        job = in_job.get()
        assert isinstance(job, Job)
        at = job.case.id, job.step.name, job.token
        if self.asked is None:
            at = self._known(request, job) or at
        try:
            if self.asked is None:
                answer = self._recalled(job, request, at)
            else:
                answer = await self.asked.propose(request)
        except Exception:
            await self._in_turn(job, request, at)
            raise
        await self._in_turn(job, request, at)
        return answer

    async def _in_turn(self, job: Job, request: Request, at: At) -> None:
        known = self.recording.answers.get(at)
        if known is not None:
            await in_turn(self.clock, job, known, request.timeout)

    def _known(self, request: Request, job: Job) -> At | None:
        """The recorded answer to this: to this very token, or else the first to the same that is not used."""
        text = job.case.encoder(request.payload_type)(to_value(request.payload, request.payload_type))
        about, own = text_hash(text), (job.case.id, job.step.name, job.token)
        answers = self.recording.answers
        likely = [own, *(at for at in answers if at[:2] == own[:2])]
        return next(
            (at for at in likely if at in answers and at not in self.used and answers[at].about == about),
            None,
        )

    def _recalled(self, job: Job, request: Request, at: At) -> Proposal:
        known = self.recording.answers.get(at)
        if known is None or known.text is None or at in self.used:
            self.unknown.append((job.case.id, job.step.transition.contract or job.step.name))
            raise EngineError("the record has no answer to this")
        self.used.add(at)
        if known.state == "failed":
            raise ProposalFault(Reject.of(from_json(json.loads(known.text), REJECT)))
        value = job.case.decode(known.text, request.returns)
        return Proposal(value, model=known.model, prompt_hash=known.prompt)


def _paced(
    agent: Agent | None, program: Program, stories: Iterable[Story], clock: Clock
) -> tuple[Agent, _Paced]:
    """An agent whose answers come when the recorded ones came; that of the record, where none is given."""
    recording = Recording()
    for story in stories:
        recording.answers |= story.past.recording.answers
    recalled = _Paced(None, recording, clock, [], set())
    found = agent or recorded_agent(program, recording)
    handlers = dict(found.handlers)
    for name, handler in found.handlers.items():
        if isinstance(handler, Proposer):
            handlers[name] = recalled if agent is None else replace(recalled, asked=handler)
    return Agent(found.net, handlers), recalled
