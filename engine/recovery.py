"""Reading unfinished cases back: the store is the truth, memory is a cache of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from provenet.engine.case import LiveCase
from provenet.engine.errors import StoreCorrupt
from provenet.engine.program import Program
from provenet.engine.store import Store
from provenet.nets.errors import ProvenetError
from provenet.nets.marking import Marking
from provenet.nets.schema import Value

_CASES = (
    "SELECT no, id, net, status, version, tokens, head, created, reason, killed FROM provenet_case"
    " WHERE status IN ('running', 'waiting', 'parked') ORDER BY no"
)


def load_cases(store: Store, programs: Mapping[str, Program]) -> Iterator[LiveCase]:
    """The unfinished cases of a database whose net's agent is at hand; cases of other nets are left alone.

    Raises:
        StoreCorrupt: A token does not fit its place.
    """
    tokens = _grouped(
        store,
        "SELECT t.case_no, t.id, t.place, t.value, t.arrived FROM provenet_token t JOIN provenet_case c"
        " ON c.no = t.case_no"
        " WHERE c.status IN ('running', 'waiting', 'parked') ORDER BY t.case_no, t.id",
    )
    effects = _grouped(
        store,
        "SELECT e.case_no, e.token, e.transition, e.state, e.tries, e.receipt FROM provenet_effect e"
        " JOIN provenet_token t ON t.case_no = e.case_no AND t.id = e.token",
    )
    timers = _grouped(store, "SELECT case_no, token, transition, due FROM provenet_timer")
    answers = _grouped(
        store, "SELECT case_no, token, transition, value FROM provenet_proposal WHERE state = 'kept'"
    )
    for no, case_id, net, status, version, next_token, head, created, reason, killed in store.rows(_CASES):
        program = programs.get(net)
        if program is None:
            continue
        case = LiveCase(no, case_id, program, created)
        case.status, case.seq, case.next_token, case.head = status, version, next_token, head
        case.reason, case.killed = reason, killed
        marking: dict[str, tuple[Value, ...]] = {}
        for token, place, text, arrived in tokens.get(no, ()):
            try:
                value = program.decoders[place](text)
            except (KeyError, ValueError, ProvenetError) as error:
                raise StoreCorrupt(
                    f"token {token} of case {case_id!r} does not fit place {place!r}: {error}",
                    where=str(store.path or ":memory:"),
                    hint="somebody changed the database; run `provenet audit` and restore a copy",
                ) from None
            marking[place] = (*marking.get(place, ()), value)
            case.ids.setdefault(place, []).append(token)
            case.arrived[token] = arrived
        case.marking = Marking(marking)
        for token, transition, state, tries, receipt in effects.get(no, ()):
            if transition in program.by_name and state in {"intended", "performed"}:
                case.receipts[program.by_name[transition].index, token] = tries, receipt
        for token, transition, due in timers.get(no, ()):
            if transition in program.by_name:
                index = program.by_name[transition].index
                case.timers[index, token] = due
                case.by_token.setdefault(token, []).append(index)
        for token, transition, value in answers.get(no, ()):
            if transition in program.by_name:
                case.answers[program.by_name[transition].index, token] = value
        yield case


def _grouped(store: Store, statement: str) -> dict[int, list[tuple[Any, ...]]]:
    found: dict[int, list[tuple[Any, ...]]] = {}
    for no, *rest in store.rows(statement):
        found.setdefault(no, []).append(tuple(rest))
    return found
