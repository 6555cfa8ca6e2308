"""A case in memory: its marking with the tokens' ids, and the one place where a firing changes it.

The marking is the firing rule's own; beside each place's tokens lie their ids, in the same order. ``fire``
asks the rule for the next marking, works out
which tokens came and went, and writes event, tokens and head to the store's next commit. Replaying a log
(``provenet.engine.audit``) runs
this very code and compares its texts.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from provenet.engine.codec import Encoder, clean, encoder, plain, quote
from provenet.engine.early import Kept
from provenet.engine.personal import Seal
from provenet.engine.program import Program, Step
from provenet.nets.marking import Marking
from provenet.nets.schema import Type, Value, from_json

if TYPE_CHECKING:
    from provenet.engine.people import Said

Status: TypeAlias = Literal["running", "waiting", "done", "killed", "parked", "failed"]
"""``running`` has work in flight, ``waiting`` waits for time, a person or an event; others do not move."""

LIVE: tuple[Status, ...] = ("running", "waiting")
"""The statuses of a case that moves by itself."""

GENESIS = bytes(32)
"""What the first entry of every log is chained to."""


class Book(Protocol):
    """Where a case's changes are written: the store, or a replay."""

    def append(self, table: str, row: tuple[object, ...]) -> None:
        """Add a row that is never touched again."""
        ...

    def put_token(self, key: tuple[int, int], place: str, value: Value, text: Encoder | str, at: int) -> None:
        """Add a token; a text that is not known is made if the token is still there at the next commit."""
        ...

    def drop_token(self, key: tuple[int, int]) -> None:
        """Remove a token."""
        ...

    def move_case(
        self, no: int, expected: int, moved: tuple[object, ...], turned: tuple[object, ...] | None
    ) -> None:
        """Change the case's own row: what every step changes, and the rest where that changed as well."""
        ...


@dataclass(slots=True)
class OpenTask:
    """A decision that a person is asked for."""

    task: str
    token: int
    steps: dict[str, Step]
    role: str
    about: str
    about_hash: str
    opened: int
    deadline: int | None


@dataclass(slots=True)
class Fired:
    """What a firing did to the tokens: ids taken or reset, and tokens put as (id, place)."""

    gone: tuple[int, ...]
    put: tuple[tuple[int, str], ...]


@dataclass(slots=True, eq=False)
class LiveCase:
    """A case in memory; see the module's docstring.

    Attributes:
        no: Its number in the store.
        id: Its id.
        program: Its net version.
        tenant: For whom it runs; empty where that does not matter.
        marking: The current marking.
        ids: Per place, the ids of its tokens, in the marking's order.
        arrived: When each live token arrived.
        next_token: The next token's id.
        seq: Number of the last event; also the version of the case's row.
        head: Hash of the last event.
        jobs: Work in flight, by transition and token.
        timers: When each timer is due, by transition and token; ``by_token`` says which a token has.
        tasks: Open tasks, by task and token.
        asleep: Tasks that the store has as open and nobody can decide now, by task and token.
        receipts: Of effects that were begun before a restart: tries so far, and the receipt where it came.
        answers: Proposals that were paid for and not used yet.
        keys: Idempotency keys of effects that were begun under another name, by transition and token.
        known_by: Keys that the outside knows it by.
        kept: Events that came early, oldest first.
        saved: What of its row the store was told last, but for what every step changes.
        uncalled: Keys of effects that were intended, and that nobody has called for certain.
        said: What people have said of tasks that take more than one of them, by task and token
            (``provenet.engine.people``).
        seal: Writes and reads its personal values; ``None`` where its net has none.
        snapshot_at: Number of the entry after which the next snapshot is due.
    """

    no: int
    id: str
    program: Program
    created: int
    tenant: str = ""
    marking: Marking = field(default_factory=Marking)
    ids: dict[str, list[int]] = field(default_factory=dict)
    arrived: dict[int, int] = field(default_factory=dict)
    next_token: int = 1
    seq: int = 0
    head: bytes = GENESIS
    status: Status = "running"
    reason: str | None = None
    killed: Literal[0, 1] = 0
    finished: int | None = None
    outcome_place: str | None = None
    outcome: str | None = None
    jobs: dict[tuple[int, int], object] = field(default_factory=dict)
    timers: dict[tuple[int, int], int] = field(default_factory=dict)
    by_token: dict[int, list[int]] = field(default_factory=dict)
    tasks: dict[tuple[str, int], OpenTask] = field(default_factory=dict)
    receipts: dict[tuple[int, int], tuple[int, str | None]] = field(default_factory=dict)
    answers: dict[tuple[int, int], str] = field(default_factory=dict)
    keys: dict[tuple[int, int], str] = field(default_factory=dict)
    known_by: Mapping[str, str] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)
    saved: tuple[object, ...] | None = None
    uncalled: frozenset[str] = frozenset()
    said: dict[tuple[str, int], Said] = field(default_factory=dict)
    asleep: frozenset[tuple[str, int]] = frozenset()
    seal: Seal | None = None
    snapshot_at: int = sys.maxsize

    def start(self, book: Book, marking: Marking, at: int) -> None:
        """Log the start and put the first tokens."""
        self.marking = marking
        put = []
        for place, tokens in sorted(marking.items()):
            encode = self.encoder_at(place)
            put += [f"[{self._new(book, place, v, at)},{quote(place)},{encode(v)}]" for v in tokens]
        whose = f',"tenant":{quote(self.tenant)}' if self.tenant else ""
        if self.seal is not None:
            whose += f',"key":{quote(self.seal.key)}'
        if self.known_by:
            whose += f',"known_by":{plain(dict(self.known_by))}'
        data = f'{{"net":{quote(self.program.hash)},"put":[{",".join(put)}]{whose}}}'
        self.log(book, "start", "", at, data)

    def fire(
        self,
        book: Book,
        step: Step,
        binding: Mapping[str, Value],
        at: int,
        *,
        chosen: Mapping[str, int] | None = None,
        loose: frozenset[int] = frozenset(),
        note: str = "",
    ) -> Fired:
        """Fire a transition.

        Args:
            book: Where to write.
            step: The transition.
            binding: Values of all its variables.
            at: The time, in microseconds.
            chosen: For a taken variable, which token it stands for, where several are equal.
            loose: Which black tokens to take first.
            note: JSON object with what else the log should say.

        Raises:
            FiringError: The rule forbids it; nothing has changed.
        """
        before, ids = self.marking, self.ids
        after = self.program.rule.fire(before, step.transition.name, binding)
        gone: list[int] = []
        bound: list[str] = []
        for place, variables, count in step.consumes:
            here = ids[place]
            if len(here) == 1:
                # The usual case: one token, taken under a variable or as a black one.
                if variables:
                    bound.append(f"{step.labels[variables[0]]}{here[0]}")
                gone += here
                ids[place] = []
                continue
            values, rest = list(before[place]), list(here)
            for var in variables:
                first = values.index(binding[var])
                wanted = None if chosen is None else chosen.get(var)
                if wanted is not None and rest[first] != wanted and wanted in rest:
                    other = rest.index(wanted)
                    if values[other] == values[first]:
                        rest[first], rest[other] = rest[other], rest[first]
                bound.append(f"{step.labels[var]}{rest[first]}")
                gone.append(rest[first])
                del values[first], rest[first]
            if count:
                if loose and all(v == () for v in values):
                    rest.sort(key=lambda i: i not in loose)
                gone += rest[:count]
                del rest[:count]
            ids[place] = rest
        for place, variables in step.looks:
            values, here = list(after[place]) if place in before else [], ids.get(place, [])
            bound += [
                f"{step.labels[var]}{here[values.index(binding[var])] if binding[var] in values else 0}"
                for var in variables
            ]
        reset: list[int] = []
        for place in step.transition.resets:
            if ids.get(place):
                reset += ids[place]
                ids[place] = []
        self.marking = after
        if self.seal is None:
            texts = {var: encode(binding[var]) for var, encode in step.brings}
        else:
            texts = {var: self.seal.encoder(of)(binding[var]) for var, of in step.fresh}
        put: list[str] = []
        made: list[tuple[int, str]] = []
        at_place: dict[str, int] = {}
        for place, weight, label, same in step.puts:
            tokens = after[place]
            first = at_place.get(place, len(ids.get(place, ())))
            for value in tokens[first : first + weight]:
                token = self._new(book, place, value, at, texts.get(same))
                made.append((token, place))
                put.append(f"[{token},{label}]")
            at_place[place] = first + weight
        for token in gone:
            del self.arrived[token]
            book.drop_token((self.no, token))
        for token in reset:
            del self.arrived[token]
            book.drop_token((self.no, token))
        data = f'{{"bind":{{{",".join(bound)}}},"took":[{",".join(map(str, gone))}]'
        if reset:
            data += f',"reset":[{",".join(map(str, reset))}]'
        if texts:
            data += f',"bring":{{{",".join([step.labels[var] + text for var, text in texts.items()])}}}'
        data += f',"put":[{",".join(put)}]'
        self.log(book, "fire", step.name, at, f'{data},"note":{note}}}' if note else f"{data}}}")
        return Fired((*gone, *reset), tuple(made))

    def log(self, book: Book, kind: str, transition: str, at: int, data: str) -> None:
        """Append an entry to the log, chained to the one before."""
        seq, prev = self.seq + 1, self.head
        digest = chain(prev, self.id, seq, kind, transition=transition, at=at, data=data)
        book.append("provenet_event", (self.no, seq, kind, transition, at, data, prev, digest))
        self.seq, self.head = seq, digest

    def save(self, book: Book, expected: int) -> None:
        """Write the case's own row, where its version is still the expected one."""
        rest = (self.status, self.finished, self.outcome_place, self.outcome, self.reason, self.killed)
        turned = None if rest == self.saved else rest
        book.move_case(self.no, expected, (self.seq, self.next_token, self.head), turned)
        self.saved = rest

    def encoder(self, of: Type) -> Encoder:
        """A function from values of a type to their text, as this case stores it."""
        # What a net without personal fields is given holds none, whatever its handlers call it.
        return encoder(of, personal="plain") if self.seal is None else self.seal.encoder(of)

    def encoder_at(self, place: str) -> Encoder:
        """The same for the tokens of a place."""
        if self.seal is None:
            return self.program.encoders[place]
        return self.seal.encoder(self.program.types[place])

    def read(self, data: Any, of: Type, path: str = "") -> Value:
        """A value from JSON data as this case stores it; see ``provenet.nets.schema.from_json``."""
        return from_json(data, of, path) if self.seal is None else self.seal.read(data, of, path)

    def decode(self, text: str, of: Type) -> Value:
        """A value from its text."""
        return self.read(json.loads(text), of)

    def blind(self, digest: str) -> str:
        """A hash of what may hold personal values, so that nobody can try out what it is of."""
        return digest if self.seal is None else self.seal.blind(digest)

    def value(self, place: str, token: int) -> Value:
        """The value of a live token."""
        return self.marking[place][self.ids[place].index(token)]

    def holds(self, place: str, token: int) -> bool:
        """Whether a token is still in its place."""
        return token in self.arrived and token in self.ids.get(place, ())

    def binding_for(self, step: Step, token: int) -> dict[str, Value] | None:
        """A binding under which a transition takes that very token; ``None`` where it cannot."""
        if not self.holds(step.anchor, token):
            return None
        value = self.value(step.anchor, token) if step.anchor_var is not None else None
        if step.sole is not None:
            return {step.sole: value}
        for binding in self.program.rule.bindings(self.marking, step.name):
            if step.anchor_var is None or binding[step.anchor_var] == value:
                return dict(binding)
        return None

    def _new(self, book: Book, place: str, value: Value, at: int, text: str | None = None) -> int:
        token = self.next_token
        self.next_token = token + 1
        self.ids.setdefault(place, []).append(token)
        self.arrived[token] = at
        write = text or (self.program.encoders[place] if self.seal is None else self.encoder_at(place))
        book.put_token((self.no, token), place, value, write, at)
        return token


def chain(prev: bytes, case: str, seq: int, kind: str, *, transition: str, at: int, data: str) -> bytes:
    """The hash of a log entry: SHA-256 over the previous hash and the entry's canonical text."""
    head = f"[{quote(case)},{seq},{quote(kind)},{quote(transition)},{at},{data}]"
    return sha256(prev + head.encode()).digest()


def note(**parts: object) -> str:
    """What a firing's log entry says besides the firing itself."""
    if not any(parts.values()):
        return ""
    said = {k: clean(v) if isinstance(v, str) else v for k, v in parts.items() if v not in (None, "")}
    return plain(said) if said else ""


def brought(step: Step, value: Value) -> dict[str, Value]:
    """A value from outside, bound to the transition's first variable for such; empty where it has none."""
    return {step.fresh[0][0]: value} if step.fresh else {}


__all__ = [
    "GENESIS",
    "LIVE",
    "Book",
    "Encoder",
    "Fired",
    "LiveCase",
    "OpenTask",
    "Status",
    "brought",
    "chain",
    "note",
]
