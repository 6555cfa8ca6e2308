"""What detectors read: cases of a database, one after the other, each fired again from its log.

Nothing but the database is read: the log, the tables beside it, the nets that are stored in it. No handler is
called, so the code of the agent need not be at hand. One case is in memory at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provenet.engine.codec import encoder
from provenet.engine.history import ENTRIES, Again, Entry, NotReplayed, Replay, replayed
from provenet.engine.keys import Keys
from provenet.engine.reader import Reader
from provenet.engine.store.database import Rows, snapshot
from provenet.nets.net import After, Choice, ContractInfo, Net, Role, Signal, Transition
from provenet.nets.schema import Value

PAGE = 500
"""Case rows read at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A token that was put.

    Attributes:
        id: Its number in the case.
        place: Where.
        value: Its value; where it is personal and cannot be read, what stands for it.
    """

    id: int
    place: str
    value: Value


@dataclass(frozen=True, slots=True, eq=False)
class Firing:
    """A firing, as the log has it.

    Attributes:
        seq: Number of its entry.
        at: Its time, in microseconds.
        before: Time of the entry before it.
        net: The version of the net that it fired in.
        transition: What fired.
        binding: Values of its variables.
        tokens: The tokens behind its variables.
        took: Tokens that it took.
        reset: Tokens that it swept away.
        put: Tokens that it put.
        note: What else the entry says: the model that answered, who decided.
        payload: What its proposer was given, as canonical text; empty where it has none or cannot be read.
        attempt: Which attempt of its proposer's it was.
    """

    seq: int
    at: int
    before: int
    net: Net
    transition: Transition
    binding: Mapping[str, Value]
    tokens: Mapping[str, int]
    took: tuple[int, ...]
    reset: tuple[int, ...]
    put: tuple[Held, ...]
    note: Mapping[str, Any]
    payload: str = ""
    attempt: int = 1

    @property
    def role(self) -> Role:
        """What the transition means."""
        return self.transition.role

    @property
    def contract(self) -> str:
        """What it belongs to."""
        return self.transition.contract

    @property
    def brought(self) -> Value | None:
        """The value that came from outside; ``None`` where none did."""
        fresh = self.transition.fresh
        return self.binding.get(fresh[0].var) if fresh else None

    @property
    def decided(self) -> bool:
        """Whether a person or the outside made it fire, and not the net."""
        return isinstance(self.transition.trigger, Choice | Signal)

    @property
    def timed(self) -> bool:
        """Whether a deadline made it fire."""
        return isinstance(self.transition.trigger, After)


@dataclass(frozen=True, slots=True)
class Other:
    """An entry that is no firing."""

    seq: int
    kind: str
    at: int
    said: Mapping[str, Any]


@dataclass(slots=True)
class CaseHistory:
    """A case and all that happened to it.

    Attributes:
        id: Its id.
        net: Its net, the last one where it moved.
        status: Its status.
        place: Where it ended, if it did.
        created: When it started.
        tenant: For whom it runs.
        firings: Its firings, in their order.
        others: Its other entries.
        inbox: What came from outside: entry, event, own time, status.
        kills: Pulls of the kill switch that were about it: time, who, scope.
        maker: The firing that put a token.
        arrived: When a token was put.
    """

    id: str
    net: Net
    status: str
    place: str | None
    created: int
    tenant: str
    firings: list[Firing] = field(default_factory=list)
    others: list[Other] = field(default_factory=list)
    inbox: Sequence[tuple[int | None, str, int | None, str]] = ()
    kills: Sequence[tuple[int, str, str]] = ()
    maker: dict[int, Firing] = field(default_factory=dict)
    arrived: dict[int, int] = field(default_factory=dict)

    def contract(self, name: str) -> ContractInfo | None:
        """What its net declares of a contract."""
        return next((c for c in self.net.contracts if c.id == name), None)

    @property
    def over(self) -> bool:
        """Whether nothing happens to it any more."""
        return self.status in {"done", "killed", "failed"}


@dataclass(slots=True)
class Read:
    """What was read.

    Attributes:
        cases: How many cases.
        entries: How many entries of their logs.
        skipped: Cases whose log does not replay, with what is wrong.
        pruned: How many cases are gone but for a row in the archive.
    """

    cases: int = 0
    entries: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    pruned: int = 0


class Log:
    """The log of a database, for reading.

    Args:
        source: Its name.
        keys: Master keys, for personal values; those of the environment unless given.
        net: Only cases of this net, by name.
    """

    def __init__(self, source: str | Path, *, keys: Keys | None = None, net: str | None = None) -> None:
        self.reader = Reader(source, keys=keys or Keys.from_env())
        self.read = Read()
        self._net = net

    def cases(self) -> Iterator[CaseHistory]:
        """The cases, in the order they were started, all of one moment of the database."""
        reader, self.read = self.reader, Read()
        with snapshot(reader.engine, reader.location, lambda raw: raw.decode("utf-8", "replace")) as rows:
            pulls = [
                (int(at), str(who), str(scope), str(target))
                for at, who, scope, target in rows("SELECT at, who, scope, target FROM provenet_kill")
            ]
            ((self.read.pruned,),) = rows("SELECT COUNT(*) FROM provenet_archive WHERE kind = 'pruned'")
            last = 0
            while page := list(rows(f"{_CASES} LIMIT {PAGE}", last)):
                for row in page:
                    last = row[0]
                    case = self._case(rows, row, pulls)
                    if case is not None:
                        yield case

    def _case(
        self, rows: Rows, row: Sequence[Any], pulls: list[tuple[int, str, str, str]]
    ) -> CaseHistory | None:
        no, name, found, status, place, created, tenant = row
        net = self.reader.net(found)
        if net is not None and self._net not in {None, net.name}:
            return None
        self.read.cases += 1
        if net is None:
            self.read.skipped.append((name, f"its net {found[:12]} cannot be read"))
            return None
        history = CaseHistory(name, net, status, place, created, tenant)
        history.inbox = [
            (seq, event, at, became)
            for seq, event, at, became in rows(
                "SELECT seq, event, event_at, status FROM provenet_inbox WHERE case_no = ? ORDER BY id", no
            )
        ]
        history.kills = [
            (at, who, scope)
            for at, who, scope, target in pulls
            if at >= created and (scope == "all" or (scope, target) in {("case", name), ("net", net.name)})
        ]
        log: list[Entry] = [(e[0], e[1], e[2], e[3], e[4], e[5], e[6]) for e in rows(ENTRIES, no)]
        self.read.entries += len(log)
        try:
            replayed(_Telling(self.reader, (no, name, created), history), log, len(log))
        except NotReplayed as error:
            self.read.skipped.append((name, error.message))
            return None
        return history


_CASES = (
    "SELECT no, id, net, status, outcome_place, created, tenant FROM provenet_case WHERE no > ? ORDER BY no"
)


class _Telling(Replay):
    """A replay that keeps what it fires."""

    def __init__(self, reader: Reader, of: tuple[int, str, int], history: CaseHistory) -> None:
        super().__init__(reader.program, *of, reader.seal)
        self._history = history
        self._fired: list[Again] = []
        self._asked = "", 1
        self._before = 0

    def follow(self, entry: Entry) -> None:
        """Keep the entry once it has followed."""
        seq, kind, _, at, data, *_ = entry
        first, self._fired = not self.last, []
        super().follow(entry)
        history, said = self._history, json.loads(data)
        for again in self._fired:
            self._keep(again, said)
        if kind != "fire":
            history.others.append(Other(seq, kind, at, said))
            if first or kind == "migrate":
                history.arrived |= self.case.arrived
        self._before = at

    def _keep(self, again: Again, said: Mapping[str, Any]) -> None:
        history, tokens = self._history, self.book.tokens
        put = tuple(
            Held(token, place, tokens[token][1] if token in tokens else None) for token, place in said["put"]
        )
        fired = Firing(
            seq=again.seq,
            at=again.at,
            before=self._before,
            net=self.case.program.net,
            transition=again.step.transition,
            binding=again.binding,
            tokens=said["bind"],
            took=tuple(said["took"]),
            reset=tuple(said.get("reset", ())),
            put=put,
            note=said.get("note", {}),
            payload=self._asked[0],
            attempt=self._asked[1],
        )
        history.firings.append(fired)
        for held in put:
            history.maker[held.id] = fired
            history.arrived[held.id] = again.at

    def firing(self, again: Again) -> None:
        """Keep what is about to be fired, and what its handler was given."""
        self._asked = "", 1
        self._fired.append(again)
        if again.step.transition.role is Role.PROPOSE:
            try:
                anchor = again.binding[again.step.anchor_var] if again.step.anchor_var is not None else ()
                value, of, attempt, _ = self.case.program.payload(again.step, again.binding, anchor)
                # As it is, not as it is stored: each case has a key of its own.
                self._asked = encoder(of, personal="plain")(value), attempt
            except Exception:  # noqa: BLE001  values that cannot be read may fail in any way
                self._asked = "", 1
