"""The diagnostic procedure: is a failure the agent's, the new model's, or chance?

Sampled failures are run anew, on the version before and on the version now::

    fails on the version before as well   functional: the agent fails, whatever the model; see the detectors
    clean there, fails on the one now     replay divergence: the model's change made the difference
    fails on neither                      variance: chance made it; raise the number of runs, and observe
    no version before at hand             blocked

After Srinivasan's methodology (arXiv 2605.20173, 2026), which asks for the batch; the sample, the repetition
and the intervals are ours. Nothing is performed: the runs are made where effects are stand-ins that give
recorded receipts (``rerun``), and a receipt that had to be made up is named.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeAlias, get_args

from provenet.engine.clock import in_job
from provenet.engine.codec import encoder, text_hash
from provenet.engine.diagnosis.intervals import CONFIDENCE, Interval, clopper_pearson
from provenet.engine.diagnosis.lineage import has_failed
from provenet.engine.diagnosis.reading import CaseHistory, Log
from provenet.engine.diagnosis.rerun import Story, Version, rerun, story_of
from provenet.engine.errors import EngineError
from provenet.engine.jobs import Job
from provenet.engine.keys import Keys
from provenet.engine.program import Program
from provenet.engine.simulation import Recording, recorded_agent
from provenet.nets.errors import ProvenetError
from provenet.nets.models import to_value
from provenet.nets.net import Ask, Role
from provenet.nets.schema import Value
from provenet.sdb.handlers import Agent, Proposal, Request

Class: TypeAlias = Literal["functional", "replay divergence", "variance", "blocked"]
"""What a failure turns out to be."""

CLASSES: tuple[Class, ...] = get_args(Class)

MEANINGS: Mapping[Class, str] = {
    "functional": "fails before as well: see what the detectors found",
    "replay divergence": "fails only now: pin or record the answers, or make a row the truth",
    "variance": "fails on neither: raise --repeat, and observe",
    "blocked": "the version before cannot be asked",
}
"""What to do about each."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A sampled failure, and what became of it on both versions.

    Attributes:
        case: The case.
        verdict: What it turns out to be.
        prior: Runs on the version before that failed, of how many; ``None`` where there were none.
        current: The same of the version now.
        why: Why it is blocked.
        made_up: Effects whose receipts the record does not have: what came after them is counterfactual.
    """

    case: str
    verdict: Class
    prior: tuple[int, int] | None = None
    current: tuple[int, int] | None = None
    why: str = ""
    made_up: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The failure as JSON data."""
        return {
            "case": self.case,
            "verdict": self.verdict,
            "prior": None if self.prior is None else {"failed": self.prior[0], "runs": self.prior[1]},
            "current": None if self.current is None else {"failed": self.current[0], "runs": self.current[1]},
            "why": self.why,
            "made_up": list(self.made_up),
        }


@dataclass(frozen=True, slots=True)
class Procedure:
    """What the procedure found.

    Attributes:
        failures: How many cases of the log have failed.
        cases: How many it has.
        sample: Those that were looked at.
        prior: Name of the version before; empty where there is none.
        current: Name of the version now.
        repeat: How often each was run on each version.
        seed: Of the sample.
    """

    failures: int
    cases: int
    sample: tuple[Failure, ...]
    prior: str
    current: str
    repeat: int
    seed: int

    def count(self, verdict: Class) -> int:
        """How many of the sample are of a class."""
        return sum(f.verdict == verdict for f in self.sample)

    def share(self, verdict: Class, confidence: float = CONFIDENCE) -> Interval:
        """Which share of all failures is of a class: the exact interval that the sample gives."""
        return clopper_pearson(self.count(verdict), len(self.sample), confidence)

    def to_json(self) -> dict[str, Any]:
        """The procedure as JSON data."""
        return {
            "failures": self.failures,
            "cases": self.cases,
            "sampled": len(self.sample),
            "seed": self.seed,
            "prior": self.prior or None,
            "current": self.current,
            "repeat": self.repeat,
            "classes": {
                c: {"count": self.count(c), "low": self.share(c).low, "high": self.share(c).high}
                for c in CLASSES
            },
            "sample": [f.to_json() for f in self.sample],
        }


def examine(
    source: str | Path,
    *,
    prior: Version | str | None = None,
    current: Version | str | None = None,
    places: Sequence[str] = (),
    sample: int = 20,
    seed: int = 0,
    repeat: int = 1,
    net: str | None = None,
    keys: Keys | None = None,
) -> Procedure:
    """Sample failures of a database, and run them anew on two versions.

    Args:
        source: The database's name.
        prior: The version before: one whose proposers are asked, or the name of a model whose answers to the
            same inputs the log has. Without one, every failure is blocked.
        current: The version now; the record itself unless given, which has failed.
        places: Where a case that ended has failed.
        sample: Most failures to look at.
        seed: Of the sample.
        repeat: How often each is run on a version that is asked; any failed run counts.
        net: Only cases of this net, by name.
        keys: Master keys, where there are personal values.

    Raises:
        StoreError: It cannot be read.
    """
    log = Log(source, net=net, keys=keys)
    failed: list[str] = []
    answers = Answers()
    named = {v for v in (prior, current) if isinstance(v, str)}
    for case in log.cases():
        if has_failed(case, places):
            failed.append(case.id)
        if named:
            answers.add(case)
    chosen = sorted(Random(seed).sample(sorted(failed), min(sample, len(failed))))  # noqa: S311  a sample, no secret
    runs = _Runs(log, places, repeat, answers, keys)
    found = asyncio.run(_examined(runs, chosen, prior, current))
    name = [v if isinstance(v, str) else v.name if v is not None else "" for v in (prior, current)]
    return Procedure(
        len(failed), log.read.cases, tuple(found), name[0], name[1] or "as recorded", repeat, seed
    )


async def _examined(
    runs: _Runs, chosen: Sequence[str], prior: Version | str | None, current: Version | str | None
) -> list[Failure]:
    if prior is None:
        return [Failure(case, "blocked", why="no version before was given") for case in chosen]
    stories: dict[str, list[Story]] = {}
    found: dict[str, Failure] = {}
    for case in chosen:
        story = story_of(runs.log.reader, case)
        if isinstance(story, str):
            found[case] = Failure(case, "blocked", why=story)
        else:
            stories.setdefault(story.net, []).append(story)
    for group in stories.values():
        before = await runs.of(group, prior)
        now = {s.case: _Fate(1, 1) for s in group} if current is None else await runs.of(group, current)
        found |= {s.case: _judged(s.case, before[s.case], now[s.case]) for s in group}
    return [found[case] for case in chosen]


@dataclass(slots=True)
class _Fate:
    """How a case fared on a version."""

    failed: int = 0
    runs: int = 0
    why: str = ""
    made_up: tuple[str, ...] = ()


def _judged(case: str, prior: _Fate, current: _Fate) -> Failure:
    counts = ((prior.failed, prior.runs), (current.failed, current.runs))
    made_up = tuple(dict.fromkeys((*prior.made_up, *current.made_up)))
    found = Failure(case, "blocked", *counts, made_up=made_up)
    if prior.why or (current.why and not prior.failed):
        return replace(found, why=prior.why or current.why)
    if prior.failed:
        return replace(found, verdict="functional")
    return replace(found, verdict="replay divergence" if current.failed else "variance")


@dataclass(slots=True)
class _Runs:
    """Runs of failures on a version."""

    log: Log
    places: Sequence[str]
    repeat: int
    answers: Answers
    keys: Keys | None

    async def of(self, stories: Sequence[Story], version: Version | str) -> dict[str, _Fate]:
        """How some cases of one net fare on a version."""
        fates = {s.case: _Fate() for s in stories}
        recorded = isinstance(version, str) or version.agent is None
        for _ in range(1 if recorded else self.repeat):
            try:
                await self._once(stories, version, fates)
            except ProvenetError as error:
                for fate in fates.values():
                    fate.why = error.message
                break
        return fates

    async def _once(self, stories: Sequence[Story], version: Version | str, fates: dict[str, _Fate]) -> None:
        asked = version
        silent: dict[str, str] = {}
        if isinstance(asked, str):
            asked = Version(asked, self.answers.agent(stories[0].program, asked, silent))
        with tempfile.TemporaryDirectory(prefix="provenet-diagnose-") as folder:
            to = Path(folder) / "run.db"
            told = await rerun(self.log.reader, stories, asked, to=to, keys=self.keys)
            ran = {case.id: has_failed(case, self.places) for case in Log(to, keys=self.keys).cases()}
        for case, fate in fates.items():
            fate.runs += 1
            fate.failed += ran.get(case, True)
            fate.made_up = tuple(dict.fromkeys((*fate.made_up, *told[case].made_up)))
            fate.why = fate.why or silent.get(case, "")


@dataclass(slots=True)
class Answers:
    """What the models of a log answered, by model, then by what was asked, and at which attempt."""

    known: dict[str, dict[tuple[str, str, int], tuple[Value, str]]] = field(default_factory=dict)

    def add(self, case: CaseHistory) -> None:
        """Keep what a case's proposers answered; of several answers to the same, the last."""
        for firing in case.firings:
            if firing.role is Role.PROPOSE and firing.payload and firing.note.get("model"):
                at = firing.transition.name, text_hash(firing.payload), firing.attempt
                answer = firing.brought, str(firing.note.get("prompt", ""))
                self.known.setdefault(str(firing.note["model"]), {})[at] = answer

    def agent(self, program: Program, model: str, silent: dict[str, str]) -> Agent:
        """The net with proposers that answer as a model did.

        Args:
            program: The net.
            model: Its name.
            silent: Is told of the cases in which something was asked that the model has never answered.

        Raises:
            EngineError: The log has no answer of that model, or the net runs a verifier that is a function.
        """
        if model not in self.known:
            names = ", ".join(repr(m) for m in self.known) or "none"
            raise EngineError(f"the log has no answers of {model!r}; it has some of {names}")
        agent = recorded_agent(program, Recording())
        asked = {t.trigger.handler for t in program.net.transitions if isinstance(t.trigger, Ask)}
        speaker = _Speaker(model, self.known[model], silent)
        return replace(agent, handlers={**agent.handlers, **dict.fromkeys(asked, speaker)})


@dataclass(frozen=True, slots=True)
class _Speaker:
    """A proposer that answers as a model did in another case."""

    model: str
    known: Mapping[tuple[str, str, int], tuple[Value, str]]
    silent: dict[str, str]

    async def propose(self, request: Request) -> Proposal:
        """Answer as recorded."""
        job = in_job.get()
        assert isinstance(job, Job)
        text = encoder(request.payload_type, personal="plain")(
            to_value(request.payload, request.payload_type)
        )
        said = self.known.get((job.step.name, text_hash(text), request.attempt))
        if said is None:
            self.silent[request.case] = f"{self.model!r} was never asked what {job.step.name!r} asks here"
            raise EngineError(self.silent[request.case])
        return Proposal(said[0], model=self.model, prompt_hash=said[1])
