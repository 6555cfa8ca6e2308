"""What a run comes to, for two of them to be compared: decisions, outcome, committed state, entries."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from provenet.engine.codec import encoder, plain
from provenet.engine.history import ENTRIES, Again, Replay, replayed
from provenet.engine.people import APPROVE
from provenet.engine.personal import Seal, locked
from provenet.engine.program import Program
from provenet.engine.reader import Reader
from provenet.engine.snapshots import SNAPSHOT
from provenet.engine.store.database import snapshot
from provenet.nets.net import Ask, Choice, Explain, Judge, OnFailure, Perform, Role
from provenet.nets.schema import Type, Value

NO_ANSWER: Final = "no answer"
"""How a recorded proposer plays what it was never asked."""


@dataclass(frozen=True, slots=True)
class Told:
    """One run of a case.

    Attributes:
        case: Its id.
        net: Content hash of its net version in the end.
        status: Where it stands.
        decisions: By who decides (a contract, or a person's task), hashes of what was decided, in their
            order: each proposal, what the boundary made of it, and what people chose.
        outcome: Hash of the place and the value that it ended with; empty where it has not ended with one.
        place: That place.
        state: Hash of what it has committed: effects with what they were given, in their order, and its
            tokens.
        effects: Those effects by name.
        essences: For each entry of its log, a hash of all that must be the same for the entry to be: no time,
            no key of a database, not which model said it.
        words: For each entry, what happened in a few words; what is marked is not in them.
        entries: Their numbers.
        played: Of a run in a simulation: effects that stand-ins played, and how; proposals of which no answer
            is recorded.
        refused: Of such a run: events of the record that it did not take.
    """

    case: str
    net: str
    status: str
    decisions: dict[str, tuple[str, ...]]
    outcome: str
    place: str
    state: str
    effects: tuple[str, ...]
    essences: tuple[str, ...] = field(repr=False)
    words: tuple[str, ...] = field(repr=False)
    entries: tuple[int, ...] = field(repr=False)
    played: tuple[tuple[str, str], ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def made_up(self) -> tuple[str, ...]:
        """Effects and proposals that the record knows nothing of: what comes after them is counterfactual."""
        return tuple(name for name, how in self.played if how in {"made up", "none", NO_ANSWER})


def tell(
    reader: Reader,
    case: str,
    *,
    seals: Callable[[str], Seal] | None = None,
    programs: dict[str, Program] | None = None,
) -> Told:
    """What a recorded run has come to.

    Args:
        reader: Of the database that it is in.
        case: Its id.
        seals: What reads its personal values; the reader's own unless given.
        programs: What was compiled for other cases of the same database; grows.

    Raises:
        NoSuchCase: There is none of that id.
        StoreCorrupt: Its log does not replay.
    """
    known = {} if programs is None else programs

    def program(found: str) -> Program | None:
        if found not in known and (read := reader.program(found)) is not None:
            known[found] = read
        return known.get(found)

    lines = reader.log(case)
    with snapshot(reader.engine, reader.location, lambda raw: raw.decode("utf-8", "replace")) as rows:
        ((no, created, place, status),) = rows(
            "SELECT no, created, outcome_place, status FROM provenet_case WHERE id = ?", case
        )
        log = [(e[0], e[1], e[2], e[3], e[4], e[5], e[6]) for e in rows(ENTRIES, no)]
    telling = _Telling(program, no, case, created, seals or reader.seal)
    replayed(telling, log, len(log))
    live = telling.case
    tokens = {
        p: sorted(_text(live.program.types[p], v) for v in values)
        for p, values in sorted(live.marking.items())
    }
    ended = tokens.get(str(place), [""])[0] if place else ""
    shown = [(x.seq, x.text) for x in lines if x.kind != SNAPSHOT]
    return Told(
        case=case,
        net=live.program.hash,
        status=str(status),
        decisions={who: tuple(found) for who, found in telling.decisions.items()},
        outcome=_hash([place, ended]) if place else "",
        place=str(place or ""),
        state=_hash([telling.effects, tokens]),
        effects=tuple(name for name, _ in telling.effects),
        essences=tuple(_essence(e) for e in log if e[1] != SNAPSHOT),
        words=tuple(text for _, text in shown),
        entries=tuple(seq for seq, _ in shown),
    )


class _Telling(Replay):
    """A replay that keeps what was decided, and what was committed."""

    def __init__(
        self,
        programs: Callable[[str], Program | None],
        no: int,
        case_id: str,
        created: int,
        seals: Callable[[str], Seal] = locked,
    ) -> None:
        super().__init__(programs, no, case_id, created, seals)
        self.decisions: dict[str, list[str]] = {}
        self.effects: list[tuple[str, str]] = []

    def firing(self, again: Again) -> None:
        """Keep a decision or an effect."""
        t = again.step.transition
        who = t.contract or t.name
        brought = [_text(of, again.binding[var]) for var, of in again.step.fresh if var in again.binding]
        match t.trigger:
            case Ask():
                self._decided(who, "proposes", *brought)
            case OnFailure(of=failed):
                of = self.case.program.by_name[failed].transition.trigger
                if isinstance(of, Ask):
                    self._decided(who, "no answer", *brought)
            case Explain() | Judge(accepts=False):
                self._decided(who, "refused")  # in which words is the policy's, and no other decision
            case Choice(task=task, choice=choice):
                self._decided(f"task {task}", choice, *brought)
            case Perform(handler=name):
                step, binding = again.step, again.binding
                anchor = binding[step.anchor_var] if step.anchor_var is not None else ()
                value, of_payload, *_ = self.case.program.payload(step, binding, anchor)
                self.effects.append((name, _text(of_payload, value)))
            case _ if t.role is Role.ACCEPT:
                self._decided(who, "accepted")

    def _decided(self, who: str, *what: str) -> None:
        self.decisions.setdefault(who, []).append(_hash(what))


def _essence(entry: tuple[Any, ...]) -> str:
    _, kind, transition, _, text, *_ = entry
    data = json.loads(text)
    said = {k: v for k, v in data.items() if k not in {"net", "key", "note"}}
    if kind == APPROVE:
        said = {**said, "note": data.get("note")}
    note = {k: v for k, v in data.get("note", {}).items() if k not in _OF_NO_MATTER} if kind == "fire" else {}
    return _hash([kind, transition, said, note])


_OF_NO_MATTER = {"key", "model", "prompt"}
"""What two runs may note differently and still do the same."""


def _text(of: Type, value: Value) -> str:
    return encoder(of, personal="plain")(value)


def _hash(data: Any) -> str:
    return sha256(plain(data).encode()).hexdigest()[:24]
