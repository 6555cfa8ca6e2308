"""Moving cases in flight to another version of their net, along a marking map that is checked for each.

Nothing moves that is not covered by what was proved of the new version (``provenet.engine.reaching``), and
nothing to where a case might never end. An effect in flight goes on under the key that it began with: its
token must go to where the same contract performs the same effect with the same payload. Each case moves in
one transaction, with an entry of its log that holds the map, so that the audit can move it again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from provenet.engine.case import LIVE, LiveCase
from provenet.engine.codec import text_hash
from provenet.engine.early import unused
from provenet.engine.errors import EngineError, MigrationRefused, NotDeployed
from provenet.engine.history import ENTRIES, Entry
from provenet.engine.jobs import Job
from provenet.engine.marking_map import BoundMap, MarkingMap, Moved, Unmapped, apply, moved
from provenet.engine.program import Program, Step
from provenet.engine.reaching import EVIDENCE, Evidence, Nets, Reach, retraced
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.nets.errors import ProvenetError
from provenet.nets.formats.canonical import loads
from provenet.nets.net import Ask, Judge, Net, Perform
from provenet.nets.schema import UNIT
from provenet.sdb.handlers import Agent, Effect
from provenet.verify.verdict import Report

NO_EVIDENCE = "none"


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


@dataclass(frozen=True, slots=True)
class _InFlight:
    """An effect in flight, as the store has it."""

    token: int
    transition: str
    key: str
    state: str
    payload: str
    tries: int
    receipt: str | None


@dataclass(slots=True)
class _Verdict:
    """What was found of one case."""

    to: Moved | None = None
    evidence: str = NO_EVIDENCE
    why: str = ""
    effects: list[tuple[_InFlight, Step]] = field(default_factory=list)


def migrate(
    store: Store,
    runner: Runner,
    programs: Mapping[str, Program],
    versions: tuple[str, str],
    plan: MarkingMap,
    *,
    accept: Evidence,
    dry_run: Literal["no", "yes"],
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
        lift: A case in memory by its id; ``None`` where another process runs it.
    """
    store.flush()
    rows = store.rows("SELECT hash, name, content, report FROM provenet_net ORDER BY deployed")
    old, new = (
        version([(r[0], r[1]) for r in rows], asked, what)
        for asked, what in zip(versions, ("the old version", "the new version"), strict=True)
    )
    if old == new:
        raise MigrationRefused("the old version and the new one are the same", where=old[:12])
    for found in (old, new):
        if found not in programs:
            raise NotDeployed(f"the agent of net {found[:12]} was not given", hint="open the engine with it")
    contents = {r[0]: r[2] for r in rows}
    report = _report(next(r[3] for r in rows if r[0] == new), programs[new].net)

    def net_of(found: str) -> Net | None:
        return loads(contents[found]) if found in contents else None

    mover = Mover(store, runner, programs[old], programs[new], plan, report, net_of, accept)
    ids = store.rows(
        "SELECT id FROM provenet_case WHERE net = ? AND status IN ('running', 'waiting', 'parked')"
        " ORDER BY no",
        (old,),
    )
    return mover.run([(case, lift(case)) for (case,) in ids], dry_run=dry_run)


class Mover:
    """Moves the cases of one version.

    Args:
        store: Their database.
        runner: What moves them otherwise.
        old: The version that they leave.
        new: The version that they go to.
        plan: Where their tokens go.
        report: What was proved of the new version.
        nets: Net versions by hash.
        accept: The least evidence that will do.

    Raises:
        MigrationRefused: The map names what there is not, or does not type-check.
    """

    def __init__(
        self,
        store: Store,
        runner: Runner,
        old: Program,
        new: Program,
        plan: MarkingMap,
        report: Report,
        nets: Nets,
        accept: Evidence,
    ) -> None:
        self._store, self._runner, self._old, self._new, self._plan = store, runner, old, new, plan
        self._bound = BoundMap(plan, old.net, new.net)
        self._reach = Reach(new.net, report)
        self._nets = nets
        self._accepted = EVIDENCE[: EVIDENCE.index(accept) + 1]

    def run(
        self, cases: Iterable[tuple[str, LiveCase | None]], *, dry_run: Literal["no", "yes"]
    ) -> Migration:
        """Look at every case, and move those that may go."""
        groups: dict[tuple[Any, ...], list[str]] = {}
        for name, case in cases:
            if case is None:
                elsewhere = (), (), NO_EVIDENCE, "another process runs it: stop that one, or ask it"
                groups.setdefault(elsewhere, []).append(name)
                continue
            marking = _counts(case.marking)
            found = self.look(case)
            to = () if found.to is None else _counts(found.to.marking)
            groups.setdefault((marking, to, found.evidence, found.why), []).append(case.id)
            if dry_run == "no" and found.evidence != NO_EVIDENCE:
                self.move(case, found)
        made = [
            Group(dict(marking), dict(to), evidence, why, tuple(ids))
            for (marking, to, evidence, why), ids in groups.items()
        ]
        made.sort(key=lambda g: (not g.moves, -len(g.cases), sorted(g.marking.items())))
        done: Literal["no", "yes"] = "no" if dry_run == "yes" else "yes"
        return Migration(self._old.hash, self._new.hash, tuple(made), done)

    def look(self, case: LiveCase) -> _Verdict:
        """Whether a case may go, and where; nothing is changed."""
        found = _Verdict()
        if self._new.personal and case.seal is None:
            found.why = "the new net has personal fields, and what the case holds was stored without a key"
            return found
        try:
            found.to = to = moved(case, self._bound, self._new)
        except Unmapped as error:
            found.why = error.message
            return found
        found.why = self._refused(case, found, to)
        if found.why:
            return found
        why = retraced(self._log(case), self._bound, self._new, to.marking, self._nets, case.seal)
        kind = "history"
        if why:
            reach = self._reach.reached(to.marking)
            kind = {"state": "state", "unknown": "assumed"}.get(reach.kind, NO_EVIDENCE)
            why = "; ".join(x for x in (f"its history is none of the new net ({why})", reach.why) if x)
        if kind not in self._accepted:
            found.why = why
            if kind != NO_EVIDENCE:
                found.why += f"; --accept {kind} would let it go"
            return found
        stuck = self._reach.can_end(to.marking, kind)
        if stuck:
            found.why = stuck
            return found
        found.evidence, found.why = kind, why
        return found

    def move(self, case: LiveCase, found: _Verdict) -> None:
        """Move a case, with an entry in its log.

        Raises:
            StoreError: Somebody else has changed it.
        """
        assert found.to is not None
        store, no, at, expected = self._store, case.no, self._runner.now(), case.seq
        store.flush()
        self._runner.still(case)
        data = found.to.data(self._old.hash, self._new.hash, self._plan, found.evidence)
        kept = self._kept_answers(case)
        for token, place, _, text in found.to.changed:
            store.run(
                "UPDATE provenet_token SET place = ?, value = ? WHERE case_no = ? AND id = ?",
                (place, text, no, token),
            )
        for token in found.to.gone:
            store.run("DELETE FROM provenet_token WHERE case_no = ? AND id = ?", (no, token))
        for token, place, value, text in found.to.added:
            store.put_token((no, token), place, value, text, at)
        for effect, step in found.effects:
            store.run("UPDATE provenet_effect SET transition = ? WHERE key = ?", (step.name, effect.key))
        for token, transition in self._dropped_answers(case, kept):
            store.run(
                "UPDATE provenet_proposal SET state = 'late'"
                " WHERE case_no = ? AND token = ? AND transition = ? AND state = 'kept'",
                (no, token, transition),
            )
        # Those of a parked case are not in memory; what the new net asks is asked anew.
        store.run(
            "UPDATE provenet_task SET status = 'withdrawn', decided = ?"
            " WHERE case_no = ? AND status = 'open'",
            (at, no),
        )
        store.run("UPDATE provenet_case SET net = ? WHERE no = ?", (self._new.hash, no))
        apply(case, found.to, self._new, at)
        self._let_go_of_events(case)
        case.answers = {(self._new.by_name[name].index, token): text for (name, token), text in kept.items()}
        case.receipts = {(step.index, e.token): (e.tries, e.receipt) for e, step in found.effects}
        case.keys = {(step.index, e.token): e.key for e, step in found.effects}
        case.log(store, "migrate", "", at, data)
        if case.status in LIVE:
            self._runner.rearm(case, expected)
        else:
            case.save(store, expected)
        store.flush()

    def _let_go_of_events(self, case: LiveCase) -> None:
        """Events that the case keeps, and its new version would not."""
        keeps = {d.event for d in self._new.net.deliveries if d.early == "keep"}
        why = f"its case moved to net {self._new.hash[:12]}, which does not keep it"
        unused(case, self._store, why, lambda *_: None, lambda kept: kept.event not in keeps)

    def _refused(self, case: LiveCase, found: _Verdict, to: Moved) -> str:
        """Why a case cannot go whatever the new net can do; finds its effects in flight."""
        if any(
            isinstance(j, Job) and j.kind == "perform" and j.state == "running" for j in case.jobs.values()
        ):
            return "an effect is being performed: try again when it has ended"
        there = LiveCase(case.no, case.id, self._new, case.created, seal=case.seal)
        there.arrived = dict(case.arrived)
        apply(there, to, self._new, case.created)
        rows = {(e.token, e.transition): e for e in self._in_flight(case)}
        where = {token: place for place, tokens in to.ids.items() for token in tokens}
        busy: set[int] = set()
        for place in case.marking:
            for step in _performing(case.program, place):
                for token in case.ids[place]:
                    busy.add(token)
                    effect = rows.get((token, step.name))
                    heir = self._heir(step, token, where.get(token, ""), there)
                    if isinstance(heir, str):
                        return f"effect {_handler(step)!r} is in flight: {heir}"
                    if effect is None:
                        continue
                    if _payload(there, heir, token) != effect.payload:
                        return f"effect {_handler(step)!r} is in flight: its payload would be another"
                    found.effects.append((effect, heir))
        for place, tokens in to.ids.items():
            for step in _performing(self._new, place):
                if not busy.issuperset(tokens):
                    return f"it would begin effect {_handler(step)!r}, which the old net had not begun"
        return ""

    def _heir(self, step: Step, token: int, place: str, there: LiveCase) -> Step | str:
        """The transition that goes on with an effect in flight, or why there is none."""
        for heir in _performing(self._new, place):
            if _handler(heir) != _handler(step):
                return f"{place!r} is for effect {_handler(heir)!r}"
            if heir.transition.contract != step.transition.contract:
                return (
                    f"{place!r} is of contract {heir.transition.contract!r}, not {step.transition.contract!r}"
                )
            if heir.transition.role is not step.transition.role:
                return f"it is a {heir.transition.role} there, and was a {step.transition.role}"
            if [of for _, of in heir.fresh] != [of for _, of in step.fresh]:
                return "its receipt is of another type there"
            if there.binding_for(heir, token) is None:
                return f"{heir.name!r} cannot take its token"
            return heir
        return (
            f"its token would go to {place!r}, where nothing is performed" if place else "its token is let go"
        )

    def _in_flight(self, case: LiveCase) -> list[_InFlight]:
        rows = self._store.rows(
            "SELECT token, transition, key, state, payload_hash, tries, receipt FROM provenet_effect"
            " WHERE case_no = ? AND state IN ('intended', 'performed')",
            (case.no,),
        )
        return [_InFlight(*row) for row in rows if row[0] in case.arrived]

    def _log(self, case: LiveCase) -> list[Entry]:
        rows = self._store.rows(ENTRIES, (case.no,))
        return [(e[0], e[1], e[2], e[3], e[4], bytes(e[5]), bytes(e[6])) for e in rows]

    def _kept_answers(self, case: LiveCase) -> dict[tuple[str, int], str]:
        """Answers that were paid for and fit the same question on the new net."""
        found: dict[tuple[str, int], str] = {}
        for (index, token), text in case.answers.items():
            step = case.program.steps[index]
            heir = self._new.by_name.get(self._bound.transition(step.name))
            same = heir is not None and heir.name == step.name and heir.fresh == step.fresh
            if same and heir is not None and heir.anchor == self._bound.place(step.anchor):
                found[heir.name, token] = text
        return found

    def _dropped_answers(self, case: LiveCase, kept: Mapping[tuple[str, int], str]) -> list[tuple[int, str]]:
        names = [(case.program.steps[index].name, token) for index, token in case.answers]
        return [(token, name) for name, token in names if (name, token) not in kept]


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


def _counts(marking: Any) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter({place: len(tokens) for place, tokens in marking.items()}).items()))


def _performing(program: Program, place: str) -> list[Step]:
    return [s for s in program.starts.get(place, ()) if isinstance(s.transition.trigger, Perform)]


def _handler(step: Step) -> str:
    assert isinstance(step.transition.trigger, Perform)
    return step.transition.trigger.handler


def _payload(case: LiveCase, step: Step, token: int) -> str:
    """The hash of what an effect is given for a token."""
    binding = case.binding_for(step, token) or {}
    anchor = binding[step.anchor_var] if step.anchor_var is not None else ()
    value, of, *_ = case.program.payload(step, binding, anchor)
    return text_hash(case.encoder(of)(value))


def _report(text: str, net: Net) -> Report:
    """What was proved of a deployed net.

    Raises:
        MigrationRefused: It cannot be read.
    """
    try:
        return Report.from_json(json.loads(text), net)
    except (ProvenetError, ValueError, KeyError, TypeError) as error:
        raise MigrationRefused(f"the new version's report cannot be read: {error}") from None
