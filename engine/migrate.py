"""Moving cases in flight to another version of their net, along a marking map that is checked for each.

Nothing moves that is not covered by what was proved of the new version (``provenet.engine.reaching``), and
nothing to where a case might never end. An effect in flight goes on under the key that it began with: its
token must go to where the same contract performs the same effect with the same payload. Each case moves in
one transaction, with an entry of its log that holds the map, so that the audit can move it again.

``provenet.engine.migrate_all`` is for cases that other processes run.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from provenet.engine.case import LiveCase
from provenet.engine.errors import EngineError, MigrationRefused, NotDeployed
from provenet.engine.marking_map import MarkingMap
from provenet.engine.moving import Fitting, Look, Mover, Scout
from provenet.engine.program import Program
from provenet.engine.reaching import EVIDENCE, Evidence
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.nets.errors import ProvenetError
from provenet.nets.formats.canonical import content_hash, loads
from provenet.nets.net import Ask, Judge, Net, Perform
from provenet.nets.schema import UNIT
from provenet.sdb.handlers import Agent, Effect
from provenet.verify.verdict import Report

Counts: TypeAlias = tuple[tuple[str, int], ...]

NO_EVIDENCE = "none"

SHORTLY, ALL_THAT = 3.0, 8.0
"""Seconds for a question about what can be reached, and for all of a request, while other cases wait."""

ELSEWHERE = "another process runs it: stop that one, or use `provenet migrate`, which asks it"


@dataclass(frozen=True, slots=True)
class Group:
    """Cases that stand alike and go the same way.

    Attributes:
        marking: How many tokens lie where.
        to: How many would lie where on the new net; empty where that is not known.
        evidence: What shows that the new net's proofs cover them there; ``none`` where they stay.
        why: Why they stay, or why the evidence is no better.
        cases: Their ids.
    """

    marking: Mapping[str, int]
    to: Mapping[str, int]
    evidence: str
    why: str
    cases: tuple[str, ...]

    @property
    def moves(self) -> bool:
        """Whether they go."""
        return self.evidence != NO_EVIDENCE

    def to_json(self) -> dict[str, Any]:
        """The group as JSON data."""
        return {
            "marking": dict(self.marking),
            "to": dict(self.to),
            "moves": self.moves,
            "evidence": self.evidence,
            "why": self.why,
            "cases": list(self.cases),
        }


@dataclass(frozen=True, slots=True)
class Migration:
    """What a migration did, or would do.

    Attributes:
        old: Content hash of the version that cases leave.
        new: Content hash of the version that they go to.
        groups: Cases that stand alike, those that go first.
        done: Whether it was done: ``no`` for a dry run.
    """

    old: str
    new: str
    groups: tuple[Group, ...]
    done: Literal["no", "yes"]

    @property
    def moving(self) -> int:
        """How many cases go."""
        return sum(len(g.cases) for g in self.groups if g.moves)

    @property
    def staying(self) -> int:
        """How many stay."""
        return sum(len(g.cases) for g in self.groups if not g.moves)

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Ids of cases that stay since another process runs them."""
        return tuple(case for g in self.groups if g.why == ELSEWHERE for case in g.cases)

    def to_json(self) -> dict[str, Any]:
        """The migration as JSON data."""
        return {
            "old": self.old,
            "new": self.new,
            "done": self.done == "yes",
            "moving": self.moving,
            "staying": self.staying,
            "groups": [g.to_json() for g in self.groups],
        }


def migrate(
    store: Store,
    runner: Runner,
    programs: Mapping[str, Program],
    versions: tuple[str, str],
    plan: MarkingMap,
    *,
    accept: Evidence,
    dry_run: Literal["no", "yes"],
    cases: Collection[str] | None,
    lift: Callable[[str], LiveCase | None],
) -> Migration:
    """Move the unfinished cases of a net version; see ``Engine.migrate``, which this is the body of.

    Args:
        store: Their database.
        runner: What moves them otherwise.
        programs: Net versions whose agents are at hand.
        versions: The version that they leave, and the one that they go to.
        plan: Where their tokens go.
        accept: The least evidence that will do.
        dry_run: ``yes`` to look only.
        cases: Only these.
        lift: A case in memory by its id; ``None`` where another process runs it.
    """
    store.flush()
    rows = store.rows("SELECT hash, name, content, report FROM provenet_net ORDER BY deployed")
    old, new = both([(r[0], r[1]) for r in rows], versions, programs)
    contents = {r[0]: r[2] for r in rows}
    report = report_of(next(r[3] for r in rows if r[0] == new), programs[new].net)

    def net_of(found: str) -> Net | None:
        return loads(contents[found]) if found in contents else None

    fitting = Fitting(store, programs[old], programs[new], plan)
    scout, mover = Scout(fitting, report, net_of, accept), Mover(store, runner, fitting)
    tally = Tally()
    ids = [case for (case,) in store.rows(UNFINISHED, (old,)) if cases is None or case in cases]
    for name, case in [(name, lift(name)) for name in ids]:
        if case is None:
            tally.stays(name, ELSEWHERE)
            continue
        found = scout.look(case)
        tally.add(name, counts(case.marking), found)
        if dry_run == "no" and found.evidence != NO_EVIDENCE:
            mover.move(case, found)
    return tally.migration(old, new, "no" if dry_run == "yes" else "yes")


async def move_found(
    store: Store, runner: Runner, programs: Mapping[str, Program], command: Mapping[str, Any]
) -> dict[str, Any]:
    """Move cases that this process runs, as another one has found that they may go.

    Their word is not taken for it: whoever may post requests could say anything. Each case is looked at here
    as it was there, within some seconds. One that has moved on since stays, to be looked at again; so does
    what there was no time for. Where the new version's agent is not at hand, a case is let go of, and
    whoever has that agent takes it up.

    Args:
        store: Their database.
        runner: What runs them.
        programs: Net versions whose agents are at hand.
        command: ``old``, ``new``, ``map``, and ``cases``: ids with their last entry's number and hash, and
            the evidence.

    Returns:
        ``moved``: ids; ``stays``: why others could not go.

    Raises:
        EngineError: None of them can.
    """
    old, new = str(command["old"]), str(command["new"])
    if old not in programs:
        raise NotDeployed(f"the agent of net {old[:12]} is not at hand", hint="open the engine with it")
    heir = programs.get(new)
    fitting = Fitting(store, programs[old], heir or _without_agent(store, new), MarkingMap.of(command["map"]))
    ((text,),) = store.rows("SELECT report FROM provenet_net WHERE hash = ?", (new,)) or [("",)]
    report = report_of(text, fitting.new.net)

    def net_of(found: str) -> Net | None:
        rows = store.rows("SELECT content FROM provenet_net WHERE hash = ?", (found,))
        return loads(rows[0][0]) if rows else None

    scout = Scout(fitting, report, net_of, "assumed", seconds=SHORTLY)
    mover = Mover(store, runner, fitting, then="here" if heir is not None else "elsewhere")
    moved: list[str] = []
    stays: dict[str, str] = {}
    until = time.monotonic() + ALL_THAT
    for name, seq, head, evidence in _looked_at(command["cases"]):
        if runner.jobs.runs == "elsewhere" and name != command["case"]:
            continue  # it is in the hands of another turn
        if time.monotonic() > until:
            break
        case = runner.cases.get(name)
        if case is None or (case.program.hash, case.seq, case.head.hex()) != (old, seq, head):
            continue
        found = scout.again(case, evidence)
        if found.evidence == NO_EVIDENCE:
            stays[name] = found.why
            continue
        mover.move(case, found)
        moved.append(name)
        await asyncio.sleep(0)
    await store.durable()
    return {"done": f"moved: {len(moved):,}", "moved": moved, "stays": stays}


def quiet(net: Net, needs: Literal["code", "nothing"]) -> Agent:
    """An agent for a net that does nothing by itself.

    Args:
        net: The net.
        needs: ``code`` for one that cases come to: what it runs inside a transaction cannot be left out.

    Raises:
        EngineError: It runs code inside a transaction, which is not at hand.
    """
    handlers: dict[str, object] = {}
    for step in Program(Agent(net)).steps:
        match step.transition.trigger:
            case Ask(handler=name):
                handlers[name] = _Silent()
            case Judge() | Perform(external=False) if needs == "code":
                raise EngineError(
                    f"net {net.name!r} runs code of its own inside the transaction ({step.name!r})",
                    hint="name its agent: add --agent TARGET",
                )
            case Perform(handler=name, external=external):
                receipt = step.fresh[0][1] if step.fresh else UNIT
                handlers[name] = Effect(name, _never, step.payload_type, receipt, external=external)
            case Judge(handler=name):
                handlers[name] = _never
    return Agent(net, handlers)


class _Silent:
    async def propose(self, request: object) -> Any:
        """Never called: nothing is asked while cases are moved."""
        raise AssertionError(f"asked while cases are moved: {request}")


def _never(*arguments: object) -> Any:
    raise AssertionError(f"called while cases are moved: {arguments}")


def version(rows: Sequence[tuple[str, str]], asked: str, what: str) -> str:
    """The content hash of a deployed net version.

    Args:
        rows: Hashes and names, in the order of deployment.
        asked: A hash, the beginning of one, or a name for its latest version.
        what: What is asked for, for messages.

    Raises:
        MigrationRefused: None, or several, are called so.
    """
    found = [h for h, _ in rows if asked and h.startswith(asked)]
    if not found:
        found = [h for h, name in rows if name == asked][-1:]
    if len(found) != 1:
        known = ", ".join(f"{name} {h[:8]}" for h, name in rows) or "none"
        said = "several versions begin with" if found else "no deployed version is called"
        raise MigrationRefused(
            f"{said} {asked!r}", where=what, hint=f"deployed here: {known}; `provenet deploy` adds one"
        )
    return found[0]


def _looked_at(data: Any) -> list[tuple[str, int, str, Evidence]]:
    """Cases as somebody has looked at them.

    Raises:
        MigrationRefused: They are told in another form.
    """
    found: list[tuple[str, int, str, Evidence]] = []
    for each in data:
        match each:
            case [str(name), int(seq), str(head), str(evidence)] if evidence in EVIDENCE:
                found.append((name, seq, head, evidence))
            case _:
                raise MigrationRefused(
                    f"{each!r:.80} tells of no case", hint="both sides must be the same Provenet release"
                )
    return found


class Tally:
    """Cases that stand alike, and go the same way, counted together."""

    def __init__(self) -> None:
        self._groups: dict[tuple[Any, ...], list[str]] = {}

    def add(self, case: str, marking: Counts, found: Look) -> None:
        """A case that was looked at."""
        to = () if found.to is None else counts(found.to.marking)
        self._groups.setdefault((marking, to, found.evidence, found.why), []).append(case)

    def stays(self, case: str, why: str, marking: Counts = ()) -> None:
        """A case that stays for another reason than how it stands."""
        self._groups.setdefault((marking, (), NO_EVIDENCE, why), []).append(case)

    def merge(self, made: Migration) -> None:
        """What was done already; cases of other processes are not among it."""
        for g in made.groups:
            if g.why != ELSEWHERE:
                key = _sorted(g.marking), _sorted(g.to), g.evidence, g.why
                self._groups.setdefault(key, []).extend(g.cases)

    def migration(self, old: str, new: str, done: Literal["no", "yes"]) -> Migration:
        """All of them."""
        made = [
            Group(dict(marking), dict(to), evidence, why, tuple(ids))
            for (marking, to, evidence, why), ids in self._groups.items()
        ]
        made.sort(key=lambda g: (not g.moves, -len(g.cases), sorted(g.marking.items())))
        return Migration(old, new, tuple(made), done)


UNFINISHED = (
    # By status, since most cases of a net are over.
    "SELECT id FROM provenet_case"
    " WHERE net || '' = ? AND status IN ('running', 'waiting', 'parked') ORDER BY no"
)


def _without_agent(store: Store, found: str) -> Program:
    """A deployed version, to move cases to that others will run."""
    rows = store.rows("SELECT content FROM provenet_net WHERE hash = ?", (found,))
    if not rows:
        raise NotDeployed(f"net {found[:12]} is not deployed here", hint="deploy it first")
    net = loads(rows[0][0])
    if content_hash(net) != found:
        raise MigrationRefused(f"the stored net {found[:12]} is not the one that was deployed")
    return Program(quiet(net, "code"), found)


def both(
    rows: Sequence[tuple[str, str]], versions: tuple[str, str], programs: Mapping[str, Program]
) -> tuple[str, str]:
    """The hashes of two versions that are deployed and at hand."""
    old, new = (
        version(rows, asked, what)
        for asked, what in zip(versions, ("the old version", "the new version"), strict=True)
    )
    if old == new:
        hint = "`provenet deploy TARGET` first: a net's name stands for its latest version that is deployed"
        raise MigrationRefused("the old version and the new one are the same", where=old[:12], hint=hint)
    for found in (old, new):
        if found not in programs:
            raise NotDeployed(f"the agent of net {found[:12]} was not given", hint="open the engine with it")
    return old, new


def counts(marking: Any) -> Counts:
    """How many tokens lie where."""
    return _sorted(Counter({place: len(tokens) for place, tokens in marking.items()}))


def _sorted(counts: Mapping[str, int]) -> Counts:
    return tuple(sorted(counts.items()))


def report_of(text: str, net: Net) -> Report:
    """What was proved of a deployed net.

    Raises:
        MigrationRefused: It cannot be read.
    """
    try:
        return Report.from_json(json.loads(text), net)
    except (ProvenetError, ValueError, KeyError, TypeError) as error:
        raise MigrationRefused(f"the new version's report cannot be read: {error}") from None
