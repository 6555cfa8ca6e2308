"""Moving one case to another version of its net: whether it may go, and how it goes.

A case that is looked at need not be this process's: ``Scout`` reads, ``Mover`` writes. Between the two the
case may have moved on; its last entry tells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from provenet.engine.case import LIVE, LiveCase
from provenet.engine.codec import text_hash
from provenet.engine.early import unused
from provenet.engine.hiding import hidden
from provenet.engine.history import ENTRIES, Entry
from provenet.engine.in_force import contract_of
from provenet.engine.jobs import Job
from provenet.engine.marking_map import BoundMap, MarkingMap, Moved, Unmapped, apply, moved
from provenet.engine.program import Program, Step
from provenet.engine.reaching import EVIDENCE, Evidence, Nets, Reach, retraced
from provenet.engine.recovery import Source
from provenet.engine.runner import Runner
from provenet.engine.store.store import Store
from provenet.nets.net import Perform
from provenet.verify.verdict import Report

Standing: TypeAlias = Literal["history", "state", "assumed", "none"]
"""What shows that the new net's proofs cover a case; ``none`` where it stays."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """An effect in flight, as the store has it."""

    token: int
    transition: str
    key: str
    state: str
    payload: str
    tries: int
    receipt: str | None


@dataclass(slots=True)
class Look:
    """What was found of one case.

    Attributes:
        to: Where its tokens would lie.
        evidence: What shows that the new net's proofs cover it there.
        why: Why it stays, or why the evidence is no better.
        effects: Effects in flight, and what goes on with them.
    """

    to: Moved | None = None
    evidence: Standing = "none"
    why: str = ""
    effects: list[tuple[InFlight, Step]] = field(default_factory=list)


class Fitting:
    """Where a case's tokens would go, and whether they and its effects in flight fit there.

    Args:
        source: Where cases are read from.
        old: The version that they leave.
        new: The version that they go to.
        plan: Where their tokens go.

    Raises:
        MigrationRefused: The map names what there is not, or does not type-check.
    """

    def __init__(self, source: Source, old: Program, new: Program, plan: MarkingMap) -> None:
        self.old, self.new, self.plan = old, new, plan
        self.bound = BoundMap(plan, old.net, new.net)
        self._source = source

    def fit(self, case: LiveCase) -> Look:
        """Where a case would go; why it cannot, whatever was proved of the new version."""
        found = Look()
        if self.new.personal and case.seal is None:
            found.why = "the new net has personal fields, and what the case holds was stored without a key"
            return found
        try:
            found.to = to = moved(case, self.bound, self.new)
        except Unmapped as error:
            found.why = hidden(case, error.message)
            return found
        found.why = self._refused(case, found, to)
        return found

    def log(self, case: LiveCase) -> list[Entry]:
        """The case's log."""
        rows = self._source.rows(ENTRIES, (case.no,))
        return [(e[0], e[1], e[2], e[3], e[4], bytes(e[5]), bytes(e[6])) for e in rows]

    def _refused(self, case: LiveCase, found: Look, to: Moved) -> str:
        """Why a case cannot go whatever the new net can do; finds its effects in flight."""
        if any(
            isinstance(j, Job) and j.kind == "perform" and j.state == "running" for j in case.jobs.values()
        ):
            return "an effect is being performed: try again when it has ended"
        there = LiveCase(case.no, case.id, self.new, case.created, seal=case.seal)
        there.arrived = dict(case.arrived)
        apply(there, to, self.new, case.created)
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
            for step in _performing(self.new, place):
                if not busy.issuperset(tokens):
                    return f"it would begin effect {_handler(step)!r}, which the old net had not begun"
        return ""

    def _heir(self, step: Step, token: int, place: str, there: LiveCase) -> Step | str:
        """The transition that goes on with an effect in flight, or why there is none."""
        for heir in _performing(self.new, place):
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

    def _in_flight(self, case: LiveCase) -> list[InFlight]:
        rows = self._source.rows(
            "SELECT token, transition, key, state, payload_hash, tries, receipt FROM provenet_effect"
            " WHERE case_no = ? AND state IN ('intended', 'performed')",
            (case.no,),
        )
        return [InFlight(*row) for row in rows if row[0] in case.arrived]


class Scout:
    """Looks at cases; nothing is changed.

    Args:
        fitting: What fits.
        report: What was proved of the new version.
        nets: Net versions by hash.
        accept: The least evidence that will do.
        seconds: For each question about what can be reached.
    """

    def __init__(
        self, fitting: Fitting, report: Report, nets: Nets, accept: Evidence, *, seconds: float = 10.0
    ) -> None:
        self.fitting, self._nets = fitting, nets
        self._reach = Reach(fitting.new.net, report, seconds=seconds)
        self._accepted = EVIDENCE[: EVIDENCE.index(accept) + 1]

    def look(self, case: LiveCase) -> Look:
        """Whether a case may go, and where."""
        found = self.fitting.fit(case)
        if found.why or found.to is None:
            return found
        to = found.to
        why = self._retraced(case, to)
        kind: Standing = "history"
        if why:
            reach = self._reach.reached(to.marking)
            reached: dict[str, Standing] = {"state": "state", "unknown": "assumed"}
            kind = reached.get(reach.kind, "none")
            why = "; ".join(x for x in (why, reach.why) if x)
        if kind not in self._accepted:
            found.why = why
            if kind != "none":
                found.why += f"; --accept {kind} would let it go"
            return found
        stuck = self._reach.can_end(to.marking, kind)
        if stuck:
            found.why = stuck
            return found
        found.evidence, found.why = kind, why
        return found

    def again(self, case: LiveCase, said: Evidence) -> Look:
        """Whether a case may go as somebody else has found, whose word counts for nothing.

        Args:
            case: The case.
            said: The evidence that they say there is: less than that will not do.
        """
        found = self.look(case)
        if found.evidence != "none" and EVIDENCE.index(found.evidence) > EVIDENCE.index(said):
            found.evidence = "none"
            found.why += f"; it was said to be {said}"
        return found

    def _retraced(self, case: LiveCase, to: Moved) -> str:
        """Why its history is no run of the new net to where it would go."""
        fitting = self.fitting
        why = retraced(fitting.log(case), fitting.bound, fitting.new, to.marking, self._nets, case.seal)
        return f"its history is none of the new net ({hidden(case, why)})" if why else ""


class Mover:
    """Moves cases of one process.

    Args:
        store: Their database.
        runner: What moves them otherwise.
        fitting: Where they go.
        then: ``elsewhere`` where the new version's agent is not at hand: whoever has it takes them up.
    """

    def __init__(
        self,
        store: Store,
        runner: Runner,
        fitting: Fitting,
        *,
        then: Literal["here", "elsewhere"] = "here",
    ) -> None:
        self._store, self._runner, self._then = store, runner, then
        self._old, self._new, self._plan, self._bound = fitting.old, fitting.new, fitting.plan, fitting.bound

    def move(self, case: LiveCase, found: Look) -> None:
        """Move a case, with an entry in its log.

        Raises:
            StoreError: Somebody else has changed it.
        """
        assert found.to is not None
        store, no, at, expected = self._store, case.no, self._runner.now(), case.seq
        store.flush()
        # Nobody has called these yet: the policy in force is asked there as it would have been here.
        case.uncalled |= {
            job.key
            for job in case.jobs.values()
            if isinstance(job, Job) and job.kind == "perform" and job.called == "no"
            if contract_of(self._old, job.step) is not None
        }
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
            uncalled = int(effect.key in case.uncalled)
            store.run(
                "UPDATE provenet_effect SET transition = ?, uncalled = ? WHERE key = ?",
                (step.name, uncalled, effect.key),
            )
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
        if self._then == "elsewhere":
            self._runner.forget(case)
            store.give_back([no])
        store.flush()

    def _let_go_of_events(self, case: LiveCase) -> None:
        """Events that the case keeps, and its new version would not."""
        keeps = {d.event for d in self._new.net.deliveries if d.early == "keep"}
        why = f"its case moved to net {self._new.hash[:12]}, which does not keep it"
        unused(case, self._store, why, lambda *_: None, lambda kept: kept.event not in keeps)

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
