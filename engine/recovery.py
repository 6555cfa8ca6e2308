"""Reading unfinished cases back: the store is the truth, memory is a cache of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from provenet.engine.case import LiveCase
from provenet.engine.early import KEPT, Kept
from provenet.engine.errors import StoreCorrupt
from provenet.engine.people import Said
from provenet.engine.personal import Seal
from provenet.engine.program import Program
from provenet.engine.store.database import Location
from provenet.nets.errors import ProvenetError
from provenet.nets.marking import Marking
from provenet.nets.schema import Value

CHUNK = 500
"""Cases read with one statement."""


class Source(Protocol):
    """Something that cases can be read from: a store, or one moment of a database."""

    @property
    def location(self) -> Location:
        """Where the database is."""
        ...

    def rows(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query."""
        ...


def load_cases(
    store: Source,
    programs: Mapping[str, Program],
    numbers: Sequence[int],
    seal: Callable[[str, str], Seal | None],
) -> Iterator[LiveCase]:
    """Unfinished cases, by their numbers; those whose net's agent is not at hand are left alone.

    Args:
        store: Where they are.
        programs: The net versions whose agents are at hand.
        numbers: The cases' numbers.
        seal: What reads personal values, by a case and its key; ``None`` to leave the case alone.

    Raises:
        StoreCorrupt: A token does not fit its place.
        NoKeys: A case has personal values, and no key at hand opens them.
    """
    for first in range(0, len(numbers), CHUNK):
        yield from _load(store, programs, numbers[first : first + CHUNK], seal)


def _load(
    store: Source,
    programs: Mapping[str, Program],
    numbers: Sequence[int],
    seal: Callable[[str, str], Seal | None],
) -> Iterator[LiveCase]:
    these = f"IN ({','.join('?' * len(numbers))})"
    tokens = _grouped(
        store,
        f"SELECT case_no, id, place, value, arrived FROM provenet_token WHERE case_no {these}"  # noqa: S608
        " ORDER BY case_no, id",
        numbers,
    )
    effects = _grouped(
        store,
        "SELECT e.case_no, e.token, e.transition, e.state, e.tries, e.receipt, e.key, e.uncalled"  # noqa: S608
        " FROM provenet_effect e JOIN provenet_token t ON t.case_no = e.case_no AND t.id = e.token"
        f" WHERE e.case_no {these}",
        numbers,
    )
    timers = _grouped(
        store,
        f"SELECT case_no, token, transition, due FROM provenet_timer WHERE case_no {these}",  # noqa: S608
        numbers,
    )
    keeps = any(p.keeps for p in programs.values())
    kept = _grouped(store, f"{KEPT} AND case_no {these} ORDER BY case_no, id", numbers) if keeps else {}
    answers = _grouped(
        store,
        "SELECT case_no, token, transition, value FROM provenet_proposal"  # noqa: S608
        f" WHERE state = 'kept' AND case_no {these}",
        numbers,
    )
    people = _grouped(
        store,
        "SELECT case_no, token, task, people FROM provenet_task"  # noqa: S608
        f" WHERE status = 'open' AND case_no {these}",
        numbers,
    )
    cases = store.rows(
        "SELECT no, id, net, status, version, tokens, head, created, reason, killed, tenant, data_key,"  # noqa: S608
        # The largest set of its keys is all of them.
        " (SELECT about FROM provenet_about a WHERE a.case_no = no ORDER BY length(about) DESC LIMIT 1)"
        f" FROM provenet_case WHERE no {these} ORDER BY no",
        numbers,
    )
    for no, case_id, net, status, version, next_token, head, created, reason, killed, tenant, *more in cases:
        data_key, about = more
        program = programs.get(net)
        if program is None:
            continue
        case = LiveCase(no, case_id, program, created, tenant)
        case.status, case.seq, case.next_token, case.head = status, version, next_token, head
        case.reason, case.killed = reason, killed
        case.seal = seal(case_id, data_key) if data_key else None
        if data_key and case.seal is None:
            continue
        marking: dict[str, tuple[Value, ...]] = {}
        for token, place, text, arrived in tokens.get(no, ()):
            try:
                value = (
                    program.decoders[place](text)
                    if case.seal is None
                    else case.seal.decode(text, program.types[place])
                )
            except (KeyError, ValueError, ProvenetError) as error:
                raise StoreCorrupt(
                    f"token {token} of case {case_id!r} does not fit place {place!r}: {error}",
                    where=str(store.location),
                    hint="somebody changed the database; run `provenet audit` and restore a copy",
                ) from None
            marking[place] = (*marking.get(place, ()), value)
            case.ids.setdefault(place, []).append(token)
            case.arrived[token] = arrived
        case.marking = Marking(marking)
        for token, transition, state, tries, receipt, key, uncalled in effects.get(no, ()):
            if transition in program.by_name and state in {"intended", "performed"}:
                at = program.by_name[transition].index, token
                case.receipts[at], case.keys[at] = (tries, receipt), key
                if uncalled:
                    case.uncalled |= {key}
        case.asleep = frozenset((task, token) for token, task, _ in people.get(no, ()))
        for token, task, text in people.get(no, ()):
            if not text:
                continue
            try:
                case.said[task, token] = Said.of(text)
            except (ValueError, KeyError, TypeError) as error:
                raise StoreCorrupt(
                    f"what people said of task {task!r} of case {case_id!r} cannot be read: {error}",
                    where=str(store.location),
                    hint="somebody changed the database; run `provenet audit` and restore a copy",
                ) from None
        for token, transition, due in timers.get(no, ()):
            if transition in program.by_name:
                index = program.by_name[transition].index
                case.timers[index, token] = due
                case.by_token.setdefault(token, []).append(index)
        case.kept = [Kept(*row) for row in kept.get(no, ())]
        case.known_by = json.loads(about) if about else {}
        for token, transition, value in answers.get(no, ()):
            if transition in program.by_name:
                case.answers[program.by_name[transition].index, token] = value
        yield case


def _grouped(store: Source, statement: str, numbers: Sequence[int]) -> dict[int, list[tuple[Any, ...]]]:
    found: dict[int, list[tuple[Any, ...]]] = {}
    for no, *rest in store.rows(statement, numbers):
        found.setdefault(no, []).append(tuple(rest))
    return found
