"""Events that came before anything waited for them: kept with their case, taken as soon as something does.

A kept event is a row of the inbox and a line in its case's memory. The firing that enables its transition is
followed by the event's own in the same commit, oldest first; so a crash finds it either kept or taken. One
that was published before its case was there waits under the keys that it is about, and goes with the case
that starts under them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from provenet.engine.clock import from_micros
from provenet.engine.codec import clean, plain
from provenet.engine.store.store import Store
from provenet.nets.errors import ExprError, FiringError, TypeMismatch
from provenet.nets.schema import Value

if TYPE_CHECKING:
    from provenet.engine.case import Fired, LiveCase
    from provenet.engine.program import Step

OPEN = "('accepted', 'buffered')"
"""Statuses of an event whose key is taken."""

KEPT = "SELECT case_no, id, event, key, payload, until FROM provenet_inbox WHERE status = 'buffered'"
"""Kept events; what follows says of which cases."""

MOST_KEYS = 4
"""Keys of one case: it is found under every set of them."""

MOST_WAITING = 10_000
"""Events of a name that wait for cases which have not started; and rows that are left of such as waited."""

Told = Callable[[str, str], object]
"""Told of an event and what became of it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An event that waits for something to take it.

    Attributes:
        id: Its row in the inbox.
        event: Its name.
        key: What tells it from others.
        text: Its payload as the case stores it; ``None`` where it brings none.
        until: When it has waited long enough.
    """

    id: int
    event: str
    key: str | None
    text: str | None
    until: int | None

    def over(self, now: int) -> bool:
        """Whether it has waited long enough."""
        return self.until is not None and self.until <= now


def ways(
    case: LiveCase, event: str, value: Callable[[Step], Value]
) -> Iterator[tuple[Step, dict[str, Value] | TypeMismatch | ExprError]]:
    """The ways in which a case may take an event now, in the net's order.

    Args:
        case: The case.
        event: Name of the event.
        value: Its payload as a transition wants it.

    Yields:
        A transition with values of all its variables, or with why there are none: the payload does not fit
        it, or its guard has no value.
    """
    for step in case.program.signals.get(event, ()):
        try:
            brings = {step.fresh[0][0]: value(step)} if step.fresh else {}
        except TypeMismatch as error:
            yield step, error
            continue
        bindings = case.program.rule.bindings(case.marking, step.name)
        while True:
            try:
                binding = next(bindings, None)
            except ExprError as error:
                yield step, error
                break
            if binding is None:
                break
            yield step, {**binding, **brings}


def take_first(
    case: LiveCase, now: int, store: Store, fire: Callable[[Step, dict[str, Value], str | None], Fired]
) -> tuple[Kept, Fired] | None:
    """Fire with the oldest kept event that something takes.

    Args:
        case: The case.
        now: The time.
        store: Where the inbox is.
        fire: Fires a transition with values of all its variables, for an event of that key.
    """
    for kept in case.kept:
        if kept.over(now):
            continue
        data = None if kept.text is None else json.loads(kept.text)
        for step, binding in ways(case, kept.event, lambda step, data=data: _read(case, step, data)):  # type: ignore[misc]
            if not isinstance(binding, dict):
                continue
            try:
                fired = fire(step, binding, kept.key)
            except (FiringError, ExprError):
                continue
            case.kept.remove(kept)
            store.update(_TAKEN, (case.seq, kept.id))
            return kept, fired
    return None


def takeable(case: LiveCase, event: str, text: str | None) -> bool:
    """Whether something would take a kept event now; nothing is changed."""
    data = None if text is None else json.loads(text)
    for step, binding in ways(case, event, lambda step: _read(case, step, data)):
        if not isinstance(binding, dict):
            continue
        try:
            case.program.rule.fire(case.marking, step.name, binding)
        except (FiringError, ExprError):
            continue
        return True
    return False


def age_out(case: LiveCase, now: int, store: Store, told: Told) -> None:
    """Let go of kept events that have waited long enough."""
    for kept in [k for k in case.kept if k.over(now)]:
        assert kept.until is not None
        _end(case, kept, store, "expired", f"nothing took it until {from_micros(kept.until).isoformat()}")
        told(kept.event, "expired")


def unused(
    case: LiveCase, store: Store, why: str, told: Told, which: Callable[[Kept], object] = lambda _: True
) -> None:
    """Let go of kept events that nothing will take any more."""
    for kept in [k for k in case.kept if which(k)]:
        _end(case, kept, store, "unused", why)
        told(kept.event, "unused")


def keep(store: Store, row: Mapping[str, Any]) -> int | None:
    """Write an event that waits, in the open transaction; its number, or ``None`` where its key is taken."""
    store.begin()
    marks = ", ".join("?" * len(row))
    found = store.rows(
        f"INSERT INTO provenet_inbox ({', '.join(row)}) VALUES ({marks})"  # noqa: S608  names of our own columns
        " ON CONFLICT DO NOTHING RETURNING id",
        [*row.values()],
    )
    return found[0][0] if found else None


# what was published before its case was there


def known_by(keys: Mapping[str, str]) -> list[str]:
    """The texts under which a case with these keys is found: one for every set of them."""
    names = sorted(keys)
    return [
        about_text({n: keys[n] for n in some})
        for size in range(1, len(names) + 1)
        for some in combinations(names, size)
    ]


def about_text(keys: Mapping[str, str]) -> str:
    """Keys as one text."""
    return plain(dict(keys))


def room(store: Store, event: str, now: int) -> int:
    """How many more events of a name may wait for cases that have not started.

    Those whose time is over are let go of before. Of what nobody took, the newest are kept for people to see.
    """
    store.run(
        "UPDATE provenet_inbox SET status = 'expired', reason = 'no case started in time'"
        " WHERE case_no = 0 AND status = 'buffered' AND until <= ?",
        (now,),
    )
    past = "case_no = 0 AND status IN ('expired', 'duplicate')"
    store.run(
        f"DELETE FROM provenet_inbox WHERE {past} AND id <="  # noqa: S608
        f" (SELECT id FROM provenet_inbox WHERE {past} ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (MOST_WAITING,),
    )
    ((waiting,),) = store.rows(
        "SELECT COUNT(*) FROM (SELECT 1 AS one FROM provenet_inbox"
        " WHERE case_no = 0 AND status = 'buffered' AND event = ? LIMIT ?) AS waiting",
        (clean(event), MOST_WAITING),
    )
    return MOST_WAITING - int(waiting)


def forget_published(store: Store, no: int) -> None:
    """Let go of what was published for a case that is about to be pruned, and for no other one."""
    store.run(
        "DELETE FROM provenet_inbox WHERE case_no = 0 AND status <> 'buffered' AND about IN"
        " (SELECT a.about FROM provenet_about a WHERE a.case_no = ? AND NOT EXISTS"
        " (SELECT 1 FROM provenet_about b WHERE b.about = a.about AND b.case_no <> a.case_no))",
        (no,),
    )


def any_waiting(store: Store) -> bool:
    """Whether anything that was published waits for a case."""
    return bool(store.rows("SELECT 1 FROM provenet_inbox WHERE case_no = 0 AND status = 'buffered' LIMIT 1"))


def take_along(case: LiveCase, now: int, store: Store) -> bool:
    """Take what was published for a case before it was there along with it; whether there was anything."""
    if not case.known_by or not case.program.keeps:
        return False
    texts = known_by(case.known_by)
    marks = ",".join("?" * len(texts))
    waiting = (
        "SELECT id, event, key, payload, until FROM provenet_inbox"  # noqa: S608  only marks are put in
        f" WHERE case_no = 0 AND status = 'buffered' AND about IN ({marks})"
        " AND (until IS NULL OR until > ?) ORDER BY +id"  # not by the way of all that was ever published
    )
    parameters = [*texts, now]
    if not store.rows(waiting, parameters):
        return False
    store.begin()
    store.flush_soon(unless_small="no")
    # Of two processes that start such a case at once, each takes what the other has not.
    alone = " FOR UPDATE SKIP LOCKED" if store.database.shared == "yes" else ""
    taken = False
    for number, event, key, text, until in store.rows(waiting + alone, parameters):
        delivery = case.program.deliveries.get(event)
        if delivery is None or delivery.early != "keep":
            continue
        taken = True
        if key is not None and key_taken(store, case.no, key):
            store.update(_ENDED, ("duplicate", f"case {case.id!r} had its key before", number))
            continue
        store.update(_MOVED, (case.no, case.seq, number))
        case.kept.append(Kept(number, event, key, text, until))
    return taken


def key_taken(store: Store, no: int, key: str) -> bool:
    """Whether a case has an event of that key, taken or kept."""
    found = f"SELECT 1 FROM provenet_inbox WHERE case_no = ? AND key = ? AND status IN {OPEN}"  # noqa: S608
    return bool(store.rows(f"{found} AND case_no <> 0", (no, key)))  # as the index has it


_TAKEN = """
UPDATE provenet_inbox SET status = 'accepted', seq = ?, reason = NULL WHERE id = ? AND status = 'buffered'"""
_ENDED = "UPDATE provenet_inbox SET status = ?, reason = ? WHERE id = ? AND status = 'buffered'"
_MOVED = "UPDATE provenet_inbox SET case_no = ?, came = ? WHERE id = ? AND case_no = 0"


def _read(case: LiveCase, step: Step, data: Any) -> Value:
    return case.read(data, step.fresh[0][1])


def _end(case: LiveCase, kept: Kept, store: Store, status: str, why: str) -> None:
    case.kept.remove(kept)
    store.update(_ENDED, (status, why, kept.id))
