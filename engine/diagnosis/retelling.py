"""A recorded run told again: only what came from outside is taken from its log, all else is worked out anew.

What comes from outside is what nobody can work out: proposals, receipts of effects, people's decisions,
events, and when each of them came. What follows from it (which transition fires next and with which tokens,
what a policy says, the text of every entry and its hash) is computed by the code that computed it first, and
compared. So a run that is told again has zero divergence, always: one that has not was written by other code,
or changed.

Nothing is asked, nothing is performed, nothing is written.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from provenet.engine.case import brought
from provenet.engine.codec import plain
from provenet.engine.hiding import hidden_reject
from provenet.engine.history import ENTRIES, Again, Entry, NotReplayed, Replay
from provenet.engine.personal import Seal, locked
from provenet.engine.program import Program, Step
from provenet.engine.reader import Reader
from provenet.engine.store.database import snapshot
from provenet.engine.unread import is_unread
from provenet.nets.errors import ExprError, FiringError, ProvenetError
from provenet.nets.net import After, Ask, Auto, Choice, Explain, Judge, OnFailure, Perform, Role
from provenet.nets.schema import Value
from provenet.sdb.handlers import Agent


@dataclass(frozen=True, slots=True)
class Departure:
    """Where two runs part.

    Attributes:
        seq: Number of the first entry that differs.
        was: What the record has there, in words; empty where it has ended.
        now: What came instead; empty likewise.
    """

    seq: int
    was: str
    now: str

    def to_json(self) -> dict[str, Any]:
        """The departure as JSON data."""
        return {"seq": self.seq, "was": self.was, "now": self.now}


@dataclass(frozen=True, slots=True)
class Retold:
    """A case told again.

    Attributes:
        case: Its id.
        entries: How many entries its log has.
        first: Number of the first one: a later one than 1 where the log was trimmed.
        departure: Where the telling departs from the record; ``None`` where it does not.
        state: Hash of the tokens that the telling leads to.
        recorded: The same of the tokens that the database holds.
        followed: Entries that were taken as they are: they depend on personal values that cannot be read.
        unasked: Answers of verifiers that are functions, taken as they are: no agent was given to ask.
    """

    case: str
    entries: int
    first: int
    departure: Departure | None
    state: str
    recorded: str
    followed: int = 0
    unasked: int = 0

    @property
    def same(self) -> bool:
        """Whether entries, hashes and committed state are those of the record, bit for bit."""
        return self.departure is None and self.state == self.recorded

    def to_json(self) -> dict[str, Any]:
        """The telling as JSON data."""
        return {
            "case": self.case,
            "entries": self.entries,
            "first": self.first,
            "same": self.same,
            "departure": None if self.departure is None else self.departure.to_json(),
            "state": self.state,
            "recorded_state": self.recorded,
            "followed": self.followed,
            "unasked": self.unasked,
        }


def retell(
    reader: Reader, case: str, agents: Sequence[Agent] = (), *, programs: dict[str, Program] | None = None
) -> Retold:
    """Tell a case again from what came from outside.

    Args:
        reader: Of the database that it is in; with the keys, where it has personal values.
        case: Its id.
        agents: Whose verifiers are asked, where some are functions; policies need none.
        programs: What was compiled for other cases of the same database; grows.

    Raises:
        NoSuchCase: There is none of that id.
        StoreCorrupt: Its log cannot be read.
    """
    known = {} if programs is None else programs
    given = {program.hash: program for program in map(Program, agents) if program.hash not in known}
    known |= given

    def program(found: str) -> Program | None:
        if found not in known:
            read = reader.program(found)
            if read is None:
                return None
            known[found] = read
        return known[found]

    reader.must_have(case)
    with snapshot(reader.engine, reader.location, lambda raw: raw.decode("utf-8", "replace")) as rows:
        ((no, created),) = rows("SELECT no, created FROM provenet_case WHERE id = ?", case)
        log: list[Entry] = [(e[0], e[1], e[2], e[3], e[4], e[5], e[6]) for e in rows(ENTRIES, no)]
        tokens = rows("SELECT id, place, value, arrived FROM provenet_token WHERE case_no = ?", no)
    held = {int(token): (str(place), str(value), int(at)) for token, place, value, at in tokens}
    telling = _Telling(program, no, case, created, reader.seal)
    departure = telling.through(log)
    book = telling.book.tokens
    unread = [token for token in book if telling.book.text(token) is None]
    led = {
        token: (
            place,
            held.get(token, ("", ""))[1] if token in unread else telling.book.text(token) or "",
            at,
        )
        for token, (place, _, _, at) in book.items()
    }
    return Retold(
        case=case,
        entries=len(log),
        first=log[0][0] if log else 1,
        departure=departure,
        state=state_hash(led),
        recorded=state_hash(held),
        followed=telling.followed,
        unasked=telling.unasked,
    )


def state_hash(tokens: Mapping[int, tuple[str, str, int]]) -> str:
    """The hash of a case's tokens: for each its place, value's text and arrival."""
    return sha256(plain([[t, *tokens[t]] for t in sorted(tokens)]).encode()).hexdigest()


class _Departs(Exception):
    """The telling leaves the record at an entry."""

    def __init__(self, now: str) -> None:
        super().__init__(now)
        self.now = now


@dataclass(slots=True)
class _Due:
    """A firing: its binding and, where that is settled, which token it takes."""

    step: Step
    binding: dict[str, Value]
    token: int | None = None


class _Telling(Replay):
    """A replay that works out by itself what follows at once, in the order of the runner's agenda."""

    def __init__(
        self,
        programs: Callable[[str], Program | None],
        no: int,
        case_id: str,
        created: int,
        seals: Callable[[str], Seal] = locked,
    ) -> None:
        super().__init__(programs, no, case_id, created, seals)
        self._agenda: set[int] = set()
        self._parked: frozenset[int] = frozenset()  # what is looked at when a case that was parked goes on
        self._due: _Due | None = None
        self._fell = ""  # why nothing can follow: a guard that has no value parks the case
        self.unasked = 0

    def through(self, log: Sequence[Entry]) -> Departure | None:
        """Tell all entries; where the telling departs from them."""
        for entry in log:
            seq, kind, transition, *_ = entry
            try:
                self.follow(entry)
            except _Departs as found:
                return Departure(seq, _worded(kind, transition), found.now)
            except NotReplayed as error:
                made = self.book.last
                other = made and made[1] == seq and made[5] != entry[4]
                return Departure(
                    seq, f"{_worded(kind, transition)} {entry[4]}", made[5] if other else error.message
                )
            except (ProvenetError, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
                said = (
                    error.message if isinstance(error, ProvenetError) else f"{type(error).__name__}: {error}"
                )
                return Departure(seq, _worded(kind, transition), said)
            if self.book.last[7] != entry[6]:
                return Departure(seq, f"hash {entry[6].hex()[:12]}", f"hash {self.book.last[7].hex()[:12]}")
        unread = bool(log) and is_unread(self.case)
        self._agenda |= self._parked
        if self._agenda and not unread and (due := self._next("")) is not None:
            return Departure(log[-1][0] + 1, "", _worded("fire", due.step.name))
        return None

    def follow(self, entry: Entry) -> None:
        """Tell one entry, after having worked out what comes next."""
        _, kind, transition, _, data, *_ = entry
        self._due = None
        if self._parked and not self._before_it_goes_on(kind, transition):
            self._agenda, self._parked = {*self._agenda, *self._parked}, frozenset()
        if self._agenda and not is_unread(self.case):
            self._expect(kind, transition)
        elif kind == "fire" and self.last and not is_unread(self.case):
            self._only_from_outside(transition)
        super().follow(entry)
        self._woken(kind, data)

    # what follows at once

    def _expect(self, kind: str, transition: str) -> None:
        due = self._next(transition)
        if kind == "fire":
            if due is None:
                self._only_from_outside(transition)
            elif transition != due.step.name and not self._failed_inside(due.step, transition):
                raise _Departs(_worded("fire", due.step.name))
            else:
                self._due = due
        elif due is not None and kind != "snapshot" and not (kind == "park" and self._may_park(due.step)):
            raise _Departs(_worded("fire", due.step.name))

    def _before_it_goes_on(self, kind: str, transition: str) -> bool:
        """Whether an entry is what somebody does to a parked case: kill it, or say that its effect failed."""
        if kind != "fire":
            return kind == "kill"
        step = self.case.program.by_name[transition]
        if is_unread(self.case):
            return False
        asked = self.unasked
        follows = self._next(transition)
        self.unasked = asked
        if follows is not None:  # what follows from that at once comes first
            return True
        return step.transition.role is Role.KILL or isinstance(step.transition.trigger, OnFailure)

    def _next(self, recorded: str) -> _Due | None:
        """What the agenda has first: net order, oldest token first (``provenet.engine.runner``)."""
        case, self._fell = self.case, ""
        while self._agenda:
            index = min(self._agenda)
            step = case.program.steps[index]
            try:
                for binding in case.program.rule.bindings(case.marking, step.name):
                    found = self._ready(step, dict(binding), recorded)
                    if found is not None:
                        return found
            except (FiringError, ExprError) as error:
                self._fell = error.message
                return None
            self._agenda.discard(index)
        return None

    def _ready(self, step: Step, binding: dict[str, Value], recorded: str) -> _Due | None:
        case = self.case
        match step.transition.trigger:
            case Explain():
                why = case.program.explain(step, binding)
                return None if why is None else _Due(step, binding | brought(step, why.value()))
            case Judge(handler, accepts):
                if handler not in case.program.agent.handlers:
                    # Nobody can be asked: what the record says is what it said.
                    self.unasked += step.name == recorded
                    return _Due(step, binding) if step.name == recorded else None
                why = case.program.judge(step, binding)
                if (why is None) is not accepts:
                    return None
                signal = {} if why is None else brought(step, hidden_reject(case, why).value())
                return _Due(step, binding | signal)
            case Perform():
                anchor = binding[step.anchor_var] if step.anchor_var is not None else ()
                token = case.ids[step.anchor][case.marking[step.anchor].index(anchor)]
                return _Due(step, binding, token)
        return _Due(step, binding)

    def _failed_inside(self, step: Step, transition: str) -> bool:
        """Whether a firing says that a transactional effect failed."""
        other = self.case.program.by_name[transition].transition.trigger
        return isinstance(other, OnFailure) and other.of == step.name

    def _may_park(self, step: Step) -> bool:
        """Whether a case may be parked although something follows: its effect failed, or it never rests."""
        return isinstance(step.transition.trigger, Perform | Auto)

    def _only_from_outside(self, transition: str) -> None:
        step = self.case.program.by_name[transition]
        if self.case.program.is_immediate(step.transition) and not self._fell:
            raise _Departs("nothing follows at once: the case waits")

    def _woken(self, kind: str, data: str) -> None:
        """Look again at what takes or reads what has come."""
        match kind:
            case "fire":
                places: Iterable[str] = (place for _, place in json.loads(data)["put"])
                self._agenda |= {i for p in places for i in self.case.program.wakes.get(p, ())}
            case "start" | "migrate":
                self._agenda = set(self.case.program.immediate)
            case "resume":
                self._parked = frozenset(self.case.program.immediate)
            case "park" | "kill" | "fail":
                self._agenda, self._parked = set(), frozenset()

    # firing

    def _fire(self, said: dict[str, Any], transition: str, at: int, seq: int, data: str) -> None:
        step = self.case.program.by_name[transition]
        if is_unread(self.case):
            super()._fire(said, transition, at, seq, data)
            return
        due = self._due
        took = said["took"]
        match step.transition.trigger:
            case Ask() | Perform() | OnFailure() | After() | Choice() if due is None and took:
                token = int(took[0])
                found = self.case.binding_for(step, token)
                if found is None:
                    raise _Departs(f"token {token} cannot be taken: {_worded('fire', transition)}")
                due = _Due(step, found, token)
            case _ if due is None:  # an event, with the tokens that it found
                super()._fire(said, transition, at, seq, data)
                return
        self._fire_due(due, step, said, at)

    def _fire_due(self, due: _Due, step: Step, said: dict[str, Any], at: int) -> None:
        """Fire as the runner does; of the record only what came from outside, and what was noted of it."""
        case = self.case
        chosen = (
            {step.anchor_var: due.token} if due.token is not None and step.anchor_var is not None else None
        )
        loose = frozenset((due.token,)) if due.token is not None and step.anchor_var is None else frozenset()
        binding = due.binding
        if step is not due.step:  # a transactional effect has failed
            assert due.token is not None
            binding = case.binding_for(step, due.token) or {}
        types = dict(step.fresh)
        from_outside = {} if isinstance(step.transition.trigger, Explain) else said.get("bring", {})
        for var, data in from_outside.items():
            if var in types and var not in binding:
                binding = binding | {var: case.read(data, types[var], var)}
        self.firing(Again(case.seq + 1, at, step, binding, said))
        if step.transition.role is Role.KILL:
            case.killed = 1
        noted = plain(said["note"]) if "note" in said else ""
        case.fire(self.book, step, binding, at, chosen=chosen, loose=loose, note=noted)


def _worded(kind: str, transition: str) -> str:
    return transition if kind == "fire" else kind
