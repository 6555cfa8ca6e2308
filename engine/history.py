"""A case's log fired again, entry by entry, by the code that fired it first: any moment of it, and what came.

The log alone is read: where it leads is what the tables have to say, which is for the audit to compare.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias, TypeVar

from provenet.engine.case import LIVE, LiveCase
from provenet.engine.clock import from_micros, to_micros
from provenet.engine.codec import Encoder, plain, text_hash
from provenet.engine.errors import StoreCorrupt
from provenet.engine.marking_map import BoundMap, MarkingMap, apply, moved
from provenet.engine.people import SAID, Said, choices_of, follow, heard
from provenet.engine.personal import ERASED, Seal, known_text, locked
from provenet.engine.program import Program, Step
from provenet.engine.snapshots import restored, text_of
from provenet.engine.unread import either, follow_firing, follow_move, follow_snapshot, is_unread
from provenet.nets.erased import Unreadable
from provenet.nets.errors import ProvenetError
from provenet.nets.marking import Marking, is_final
from provenet.nets.net import After, Ask, Choice, Perform, Role
from provenet.nets.schema import Value, microseconds

T = TypeVar("T")

Entry: TypeAlias = tuple[int, str, str, int, str, bytes, bytes]
"""An entry as the table has it: number, kind, transition, time, data, hash before, hash."""

ENTRIES = (
    "SELECT seq, kind, transition, at, data, prev, hash FROM provenet_event WHERE case_no = ? ORDER BY seq"
)
"""A case's log, by the case's number."""


class NotReplayed(StoreCorrupt):
    """An entry of a log cannot follow those before it."""


@dataclass(slots=True)
class Replayed:
    """Where a replay writes: the token table that it leads to, and the entry just made."""

    tokens: dict[int, tuple[str, Value, Encoder | str, int]] = field(default_factory=dict)
    last: tuple[Any, ...] = ()

    def text(self, token: int) -> str | None:
        """The text of a token's value; ``None`` where it depends on what cannot be read."""
        _, value, text, _ = self.tokens[token]
        return text if isinstance(text, str) else known_text(value, text)

    def append(self, table: str, row: tuple[Any, ...]) -> None:  # noqa: ARG002  the log is the only such table here
        """Keep the entry just made."""
        self.last = row

    def put_token(self, key: tuple[int, int], place: str, value: Value, text: Encoder | str, at: int) -> None:
        """Add a token."""
        self.tokens[key[1]] = place, value, text, at

    def drop_token(self, key: tuple[int, int]) -> None:
        """Remove a token."""
        self.tokens.pop(key[1], None)

    def move_case(
        self, no: int, expected: int, moved: tuple[Any, ...], turned: tuple[Any, ...] | None
    ) -> None:
        """Never called."""
        raise AssertionError(f"a replay saves no case: {no}, {expected}, {moved}, {turned}")


@dataclass(frozen=True, slots=True)
class Again:
    """A firing about to be fired again.

    Attributes:
        seq: Number of its entry.
        at: Its time.
        step: The transition.
        binding: Values of all its variables.
        said: What the entry says.
    """

    seq: int
    at: int
    step: Step
    binding: dict[str, Value]
    said: dict[str, Any]

    @property
    def token(self) -> int:
        """The first token that it takes; 0 where it takes none."""
        return int(self.said["took"][0]) if self.said["took"] else 0

    def payload(self, case: LiveCase) -> str:
        """The canonical text of what its handler is given."""
        anchor = self.binding[self.step.anchor_var] if self.step.anchor_var is not None else ()
        value, of, *_ = case.program.payload(self.step, self.binding, anchor)
        return case.encoder(of)(value)


class Replay:
    """A case on the way through its log, from the start or from a snapshot on.

    Args:
        programs: A net version by its hash.
        no: The case's number.
        case_id: Its id.
        created: When it was started.
        seals: What reads its personal values, by the name of their key.

    Attributes:
        case: The case as it was after the last entry.
        book: Its token table then.
        stopped: ``parked``, ``killed`` or ``failed``, where its log said so last.
        reason: Why.
        void: What people had said of tasks when the case moved to another version, which ends them.
        last: Number of the last entry; 0 before the first.
        followed: How many entries could not be fired again, since personal values cannot be read.
        unsure: Tasks, by token and name, of which nobody can tell here what people might say of them.
        gone: What its log says of the erasure of its personal values, if it does.
    """

    def __init__(
        self,
        programs: Callable[[str], Program | None],
        no: int,
        case_id: str,
        created: int,
        seals: Callable[[str], Seal] = locked,
    ) -> None:
        self._programs, self._seals = programs, seals
        self._start = (no, case_id, created)
        self.book = Replayed()
        self.case: LiveCase
        self.stopped = ""
        self.reason: str | None = None
        self.void: dict[tuple[str, int], Said] = {}
        self.last = 0
        self.followed = 0
        self.unsure: set[tuple[int, str]] = set()
        self.gone: dict[str, Any] | None = None

    def follow(self, entry: Entry) -> None:
        """Fire one entry again.

        Raises:
            NotReplayed: It cannot follow, or leads to another text than it has.
            ProvenetError, KeyError: Likewise, as the firing rule says it.
        """
        seq, kind, transition, at, data, prev, digest = entry
        said = json.loads(data)
        if not self.last and kind not in {"start", "snapshot"}:
            raise NotReplayed("a log begins with a start, or with a snapshot where it was trimmed")
        match kind:
            case "start":
                self._begin(said, at)
            case "fire":
                self._fire(said, transition, at, seq, data)
            case "migrate":
                self._either(
                    data, partial(self._move, said, at), partial(self._moved_as_said, said, at, data)
                )
            case "snapshot":
                if self.last == 0:
                    program, seal = self.program(said["net"]), self._seal(said)
                    self.case = restored(self._start, (seq, prev), said, program, self.book, seal)
                    self.resumed(self.case)
                self._either(
                    data,
                    lambda: self.case.log(self.book, kind, transition, at, text_of(self.case)),
                    lambda: follow_snapshot(self.case, self.book, said, at, data),
                )
            case _:
                why = self._heard(kind, transition, said, at) if kind in SAID else ""
                if why:
                    raise NotReplayed(why)
                self.case.log(self.book, kind, transition, at, data)
        if self.book.last[5] != data:
            raise NotReplayed("it replays to something else than the log says")
        # Follow the stored chain, so that one changed entry is told once and not for all that come after.
        self.case.head, self.last = digest, seq
        if kind == "erase":
            self.gone = {**said, "at": at}
        if kind in _STOPS:
            self.stopped, self.reason = _STOPS[kind], said.get("reason")
        elif kind == "resume":
            self.stopped, self.reason = "", None

    @property
    def status(self) -> str:
        """The case's status after the last entry."""
        case = self.case
        if self.stopped in {"killed", "failed"}:
            return self.stopped
        if is_final(case.program.net, case.marking):
            return "killed" if case.killed else "done"
        if self.stopped:
            return self.stopped
        try:
            return "running" if at_work(case) else "waiting"
        except Unreadable:
            return "waiting"

    def firing(self, again: Again) -> None:
        """Told of each firing before it is fired; for whoever wants to look at it."""

    def starting(self, marking: Marking, program: Program) -> None:
        """Told of the start, before it is logged."""

    def resumed(self, case: LiveCase) -> None:
        """Told of the state that it begins with, where its first entry is a snapshot."""

    def program(self, found: str) -> Program:
        """A net version.

        Raises:
            NotReplayed: It is not at hand.
        """
        program = self._programs(found)
        if program is None:
            raise NotReplayed(f"its net {found[:12]} is not among the deployed ones")
        return program

    def _begin(self, said: dict[str, Any], at: int) -> None:
        program = self.program(said["net"])
        no, case_id, created = self._start
        self.case = LiveCase(no, case_id, program, created, said.get("tenant", ""), seal=self._seal(said))
        self.case.known_by = said.get("known_by", {})
        tokens: dict[str, tuple[Value, ...]] = {}
        for _, place, value in said["put"]:
            tokens[place] = (*tokens.get(place, ()), self.case.read(value, program.types[place], place))
        marking = Marking(tokens)
        self.starting(marking, program)
        self.case.start(self.book, marking, at)

    def _move(self, said: dict[str, Any], at: int) -> None:
        case, book = self.case, self.book
        if said["from"] != case.program.hash:
            raise NotReplayed(f"it leaves net {said['from'][:12]}, and was on {case.program.hash[:12]}")
        new, plan = self.program(said["to"]), MarkingMap.of(said["map"])
        found = moved(case, BoundMap(plan, case.program.net, new.net), new)
        for token in found.gone:
            book.drop_token((case.no, token))
        for token, place, value, text in found.changed:
            book.put_token((case.no, token), place, value, text, case.arrived[token])
        for token, place, value, text in found.added:
            book.put_token((case.no, token), place, value, text, at)
        old = case.program.hash
        self._void()
        apply(case, found, new, at)
        case.log(book, "migrate", "", at, found.data(old, new.hash, plan, said["reached"]))

    def _void(self) -> None:
        """Another version's people have said nothing; of what was decided before, they have."""
        case = self.case
        self.void |= {at: said for at, said in case.said.items() if at[1] in case.arrived}
        case.said = {at: said for at, said in case.said.items() if at[1] not in case.arrived}

    def _heard(self, kind: str, transition: str, said: dict[str, Any], at: int) -> str:
        """Count what a person said; why it cannot have been said."""
        try:
            return follow(self.case, kind, transition, said, at)
        except Unreadable:
            self.followed += 1
            self.unsure.add((said["token"], said["task"]))
            return ""

    def _moved_as_said(self, said: dict[str, Any], at: int, data: str) -> None:
        self._void()
        follow_move(self.case, self.book, said, self.program(said["to"]), (at, data))

    def _seal(self, said: dict[str, Any]) -> Seal | None:
        return self._seals(said["key"]) if "key" in said else None

    def _either(self, data: str, fire: Callable[[], object], follow: Callable[[], object]) -> None:
        """Fire an entry again; where personal values cannot be read, it may have to be followed instead."""
        if is_unread(self.case):
            self.followed += either(self.case, self.book, data, fire, follow)
        else:
            fire()

    def _fire(self, said: dict[str, Any], transition: str, at: int, seq: int, data: str) -> None:
        case = self.case
        step = case.program.by_name[transition]
        places = {var: place for place, variables, _ in step.consumes for var in variables}
        places |= {var: place for place, variables in step.looks for var in variables}
        binding = {var: case.value(places[var], token) for var, token in said["bind"].items()}
        types = dict(step.fresh)
        binding |= {var: case.read(value, types[var], var) for var, value in said.get("bring", {}).items()}
        again = Again(seq, at, step, binding, said)
        self.firing(again)
        if step.transition.role is Role.KILL:
            case.killed = 1
        fire = partial(
            case.fire,
            self.book,
            step,
            binding,
            at,
            chosen=said["bind"],
            loose=frozenset(set(said["took"]) - set(said["bind"].values())),
            note=plain(said["note"]) if "note" in said else "",
        )
        self._either(data, fire, lambda: follow_firing(case, self.book, again, data))


_STOPS = {"park": "parked", "kill": "killed", "fail": "failed"}
"""Entries after which a case does not move."""


def replayed(replay: Replay, log: Sequence[Entry], upto: int) -> Replay:
    """A replay led through the first entries of a log.

    Raises:
        NotReplayed: An entry does not replay; the message says which.
    """
    for entry in log[:upto]:
        try:
            replay.follow(entry)
        except (ProvenetError, KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            said = error.message if isinstance(error, ProvenetError) else f"{type(error).__name__}: {error}"
            raise NotReplayed(
                f"entry {entry[0]}, {entry[2] or entry[1]}, does not replay: {said}",
                where=f"case {replay_id(replay)!r}",
                hint="`provenet audit` says what else is wrong; keep the database, restore a copy",
            ) from None
    return replay


def replay_id(replay: Replay) -> str:
    """The id of the case that is replayed."""
    return replay._start[1]  # noqa: SLF001  before the first entry there is no case


# what waits in a marking


def enabled(case: LiveCase, step: Step, token: int) -> list[dict[str, Value]]:
    """All bindings under which a transition takes that very token."""
    value = case.value(step.anchor, token)
    return [
        dict(b)
        for b in case.program.rule.bindings(case.marking, step.name)
        if step.anchor_var is None or b[step.anchor_var] == value
    ]


def due(case: LiveCase, step: Step, token: int) -> set[int]:
    """When a timer of a token may be due, over all bindings that take it."""
    assert step.due is not None
    found: set[int] = set()
    for binding in enabled(case, step, token):
        delay = step.due(binding)
        found.add(
            to_micros(delay) if isinstance(delay, datetime) else case.arrived[token] + microseconds(delay)
        )
    return found


def at_work(case: LiveCase) -> bool:
    """Whether the next firing follows at once, or a proposal or an effect is in flight."""
    program = case.program
    if any(program.rule.is_enabled(case.marking, program.steps[i].name) for i in program.immediate):
        return True
    return any(
        enabled(case, step, token)
        for place in case.marking
        for step in program.starts.get(place, ())
        for token in case.ids.get(place, ())
    )


@dataclass(frozen=True, slots=True)
class Moment:
    """A case as it was after an entry of its log.

    Attributes:
        case: Its id.
        seq: Number of the entry.
        entries: How many entries the log has now.
        at: When it was.
        net: Content hash of its net version then.
        status: Its status then; ``running`` where work was in flight, or the next firing came at once.
        reason: Why it was parked, killed or failed.
        marking: Tokens by place: id, value as JSON data, arrival.
        tasks: What people could decide: task, token, choices, role, what it was about, its hash, deadline.
        timers: What was to ring: transition, token, when.
        work: What was in flight: transition, token, ``ask`` or ``perform``.
    """

    case: str
    seq: int
    entries: int
    at: datetime
    net: str
    status: str
    reason: str | None
    marking: dict[str, list[tuple[int, Any, datetime]]]
    tasks: tuple[dict[str, Any], ...]
    timers: tuple[tuple[str, int, datetime], ...]
    work: tuple[tuple[str, int, str], ...]

    def to_json(self) -> dict[str, Any]:
        """The moment as JSON data."""
        return {
            "case": self.case,
            "seq": self.seq,
            "entries": self.entries,
            "at": self.at.isoformat(),
            "net_hash": self.net,
            "status": self.status,
            "reason": self.reason,
            "marking": {
                place: [
                    {"token": token, "value": value, "arrived": at.isoformat()} for token, value, at in here
                ]
                for place, here in self.marking.items()
            },
            "tasks": list(self.tasks),
            "timers": [
                {"transition": name, "token": token, "due": when.isoformat()}
                for name, token, when in self.timers
            ],
            "work": [{"transition": name, "token": token, "kind": kind} for name, token, kind in self.work],
        }


def moment(replay: Replay, entries: int) -> Moment:
    """What a replay has come to."""
    case, book, status = replay.case, replay.book, replay.status
    live = status in LIVE
    return Moment(
        case=case.id,
        seq=case.seq,
        entries=entries,
        at=from_micros(book.last[4]),
        net=case.program.hash,
        status=status,
        reason=replay.reason,
        marking={
            place: [
                (token, _data(book.text(token)), from_micros(case.arrived[token]))
                for token in case.ids[place]
            ]
            for place in case.marking
        },
        tasks=_all(tasks_in(case)) if live else (),
        timers=tuple((n, token, from_micros(at)) for n, token, at in _all(_timers(case))) if live else (),
        work=_all(_work(case)) if live or status == "parked" else (),
    )


def _all(found: Iterator[T]) -> tuple[T, ...]:
    """As much of it as does not depend on what cannot be read."""
    made: list[T] = []
    try:
        made.extend(found)
    except Unreadable:
        return tuple(made)
    return tuple(made)


def _data(text: str | None) -> Any:
    return ERASED if text is None else json.loads(text)


def _timers(case: LiveCase) -> Iterator[tuple[str, int, int]]:
    for step in case.program.steps:
        if isinstance(step.transition.trigger, After):
            for token in case.ids.get(step.anchor, ()):
                yield from ((step.name, token, at) for at in sorted(due(case, step, token)))


def _work(case: LiveCase) -> Iterator[tuple[str, int, str]]:
    for place in case.marking:
        for step in case.program.starts.get(place, ()):
            kind = "ask" if isinstance(step.transition.trigger, Ask) else "perform"
            assert isinstance(step.transition.trigger, Ask | Perform)
            for token in case.ids.get(place, ()):
                if enabled(case, step, token):
                    yield step.name, token, kind


def tasks_in(case: LiveCase) -> Iterator[dict[str, Any]]:
    """What people could decide in a case's marking."""
    program = case.program
    for place, steps in program.asks_people.items():
        for token in case.ids.get(place, ()):
            groups: dict[str, list[Step]] = {}
            for step in steps:
                assert isinstance(step.transition.trigger, Choice)
                if enabled(case, step, token):
                    groups.setdefault(step.transition.trigger.task, []).append(step)
            rings = [at for s in program.timers_of.get(place, ()) for at in due(case, s, token)]
            for task, choices in groups.items():
                first = choices[0]
                assert isinstance(first.transition.trigger, Choice)
                about = about_text(case, first, token)
                yield {
                    "task": task,
                    "token": token,
                    "choices": [s.transition.trigger.choice for s in choices],  # type: ignore[union-attr]
                    "role": first.transition.trigger.who,
                    "about": json.loads(about),
                    "about_hash": text_hash(about),
                    "deadline": from_micros(min(rings)).isoformat() if rings else None,
                    "eyes": max(c.eyes for c in choices_of(choices)),
                    **heard(case, task, token, text_hash(about)),
                }


def about_text(case: LiveCase, step: Step, token: int) -> str:
    """The canonical text of what a person decides on."""
    if step.payload is None:
        return case.encoder_at(step.anchor)(case.value(step.anchor, token))
    return case.encoder(step.payload_type)(step.payload(case.binding_for(step, token) or {}))
