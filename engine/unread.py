"""Following a log whose personal values cannot be read: erased, or locked away from whoever looks.

An entry is fired again where nothing in it depends on such a value: they are copied as ciphertext, so most
texts come out as they were. Where a guard, a policy or a built token would have to look at one, the entry is
followed instead: its tokens must be there, in their places, as many as the net takes and puts, with the next
ids. What a token put that way holds is not known, until a snapshot says it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from provenet.engine.case import LiveCase
from provenet.engine.errors import StoreCorrupt
from provenet.engine.program import Program
from provenet.nets.erased import Erased
from provenet.nets.errors import ProvenetError
from provenet.nets.expr.ast import Build, Expr
from provenet.nets.marking import Marking
from provenet.nets.net import Role
from provenet.nets.schema import UNIT_VALUE, Value

if TYPE_CHECKING:
    from provenet.engine.history import Again, Replayed

ODD = (ProvenetError, KeyError, ValueError, TypeError, IndexError, AttributeError)
"""What looking at a value that cannot be read may raise, and what damage may."""


class NotFollowed(StoreCorrupt):
    """An entry cannot follow those before it, whatever the values are."""


def is_unread(case: LiveCase) -> bool:
    """Whether a case's personal values cannot be read here."""
    return case.seal is not None and case.seal.state != "open"


def either(
    case: LiveCase, book: Replayed, data: str, fire: Callable[[], object], follow: Callable[[], object]
) -> Literal[0, 1]:
    """Fire an entry again, or follow it where that does not lead to its text; 1 where it was followed.

    Raises:
        NotFollowed: It cannot be followed either.
    """
    before = _State(case, book)
    try:
        fire()
        if book.last[5] == data:
            return 0
    except ODD:
        pass
    before.restore()
    follow()
    return 1


def follow_firing(case: LiveCase, book: Replayed, again: Again, data: str) -> None:
    """Let an entry of a firing come true without looking at any value.

    Raises:
        NotFollowed: It takes or puts what the net does not.
    """
    step, said = again.step, again.said
    took, held = list(said["took"]), {place: set(ids) for place, ids in case.ids.items()}
    bound: dict[str, int] = {}
    at = 0
    for place, variables, count in step.consumes:
        these = took[at : at + len(variables) + count]
        at += len(variables) + count
        if len(these) < len(variables) + count or not set(these) <= held.get(place, set()):
            raise NotFollowed(f"it takes tokens that do not lie in {place!r}")
        held[place] -= set(these)
        bound |= dict(zip(variables, these, strict=False))
    for place, variables in step.looks:
        for var in variables:
            bound[var] = said["bind"].get(var, -1)
            if bound[var] not in held.get(place, set()) and bound[var] != 0:
                raise NotFollowed(f"it reads a token that does not lie in {place!r}")
    reset = [
        token for place in step.transition.resets for token in case.ids.get(place, ()) if token not in took
    ]
    fresh = {var for var, _ in step.fresh}
    if at != len(took) or len(set(took)) < at or bound != said["bind"] or reset != said.get("reset", []):
        raise NotFollowed("it takes other tokens than the net says")
    if set(said.get("bring", {})) != fresh:
        raise NotFollowed("it brings other values than the net says")
    puts = [
        (place, put.expr)
        for (place, weight, _, _), put in zip(step.puts, step.transition.puts, strict=True)
        for _ in range(weight)
    ]
    first = case.next_token
    if [[first + i, place] for i, (place, _) in enumerate(puts)] != said["put"]:
        raise NotFollowed("it puts other tokens than the net says")
    values = [
        UNIT_VALUE if expr is None else _value(case.program, step.name, expr, again.binding)
        for _, expr in puts
    ]
    _take(case, book, [*took, *reset])
    _put(case, book, [(place, value) for (place, _), value in zip(puts, values, strict=True)], again.at)
    if step.transition.role is Role.KILL:
        case.killed = 1
    case.log(book, "fire", step.name, again.at, data)


def follow_move(
    case: LiveCase, book: Replayed, said: dict[str, Any], new: Program, entry: tuple[int, str]
) -> None:
    """Let a move to another net come true: tokens lie where the entry says, and hold what it says.

    Args:
        case: The case.
        book: Its token table.
        said: What the entry says.
        new: The net that it goes to.
        entry: When it was, and its text.

    Raises:
        NotFollowed: It moves tokens that there are not.
    """
    at, data = entry
    changed = {token: (place, value) for token, place, value in said["moved"]}
    gone = said.get("gone", [])
    if not {*changed, *gone} <= case.arrived.keys() or set(changed) & set(gone):
        raise NotFollowed("it moves tokens that there are not")
    kept = {
        token: (place, value)
        for place, values in case.marking.items()
        for token, value in zip(case.ids[place], values, strict=True)
        if token not in changed
    }
    _take(case, book, [*case.arrived], keep=True)
    for token in gone:
        del case.arrived[token], kept[token]
    case.program = new
    for token, (place, data_of) in changed.items():
        kept[token] = place, case.read(data_of, new.types[place], place)
    for token in sorted(kept):
        _lay(case, book, token, *kept[token], case.arrived[token])
    added = said.get("put", [])
    if [token for token, *_ in added] != list(range(case.next_token, case.next_token + len(added))):
        raise NotFollowed("it adds tokens under other ids than the next ones")
    _put(case, book, [(p, case.read(v, new.types[p], p)) for _, p, v in added], at)
    case.log(book, "migrate", "", at, data)


def follow_snapshot(case: LiveCase, book: Replayed, said: dict[str, Any], at: int, data: str) -> None:
    """Take a snapshot's word for what tokens hold, where it has them in their places.

    Raises:
        NotFollowed: It is of another state.
    """
    here = {token: place for place, ids in case.ids.items() for token in ids}
    told = {token: (place, value) for token, place, value in said["put"]}
    arrived = {token: when for (token, *_), when in zip(said["put"], said["arrived"], strict=True)}
    same = {t: p for t, (p, _) in told.items()} == here and arrived == case.arrived
    if not same or said["next"] != case.next_token or said["net"] != case.program.hash:
        raise NotFollowed("it is a snapshot of another state")
    _take(case, book, [*here], keep=True)
    for token, (place, value) in told.items():
        _lay(case, book, token, place, case.read(value, case.program.types[place], place), arrived[token])
    case.log(book, "snapshot", "", at, data)


class _State:
    """What an entry changes."""

    def __init__(self, case: LiveCase, book: Replayed) -> None:
        self._case, self._book = case, book
        self._of_case = (case.program, case.marking, case.next_token, case.seq, case.head, case.killed)
        self._ids = {place: list(ids) for place, ids in case.ids.items()}
        self._arrived, self._tokens, self._last = dict(case.arrived), dict(book.tokens), book.last

    def restore(self) -> None:
        """Let the case be as it was."""
        case = self._case
        case.program, case.marking, case.next_token, case.seq, case.head, case.killed = self._of_case
        case.ids, case.arrived = self._ids, self._arrived
        self._book.tokens, self._book.last = self._tokens, self._last


def _value(program: Program, name: str, expr: Expr, binding: dict[str, Value]) -> Value:
    """As much of a built token as is known."""
    if isinstance(expr, Build):
        return tuple(_value(program, name, part, binding) for part in expr.parts)
    try:
        return program.rule.evaluate(name, expr, binding)
    except ODD:
        return Erased("")


def _take(case: LiveCase, book: Replayed, tokens: list[int], *, keep: bool = False) -> None:
    gone = set(tokens)
    left: dict[str, tuple[Value, ...]] = {}
    for place, values in case.marking.items():
        pairs = [(t, v) for t, v in zip(case.ids[place], values, strict=True) if t not in gone]
        case.ids[place] = [t for t, _ in pairs]
        left[place] = tuple(v for _, v in pairs)
    case.marking = Marking(left)
    for token in tokens:
        if not keep:
            del case.arrived[token]
        book.drop_token((case.no, token))


def _put(case: LiveCase, book: Replayed, tokens: list[tuple[str, Value]], at: int) -> None:
    for place, value in tokens:
        token = case.next_token
        case.next_token = token + 1
        case.arrived[token] = at
        _lay(case, book, token, place, value, at)
        capacity = case.program.net.place(place).capacity
        if capacity is not None and len(case.ids[place]) > capacity:
            raise NotFollowed(f"place {place!r} holds more than {capacity} tokens")


def _lay(case: LiveCase, book: Replayed, token: int, place: str, value: Value, at: int) -> None:
    case.ids.setdefault(place, []).append(token)
    case.marking = case.marking.replace({place: (*case.marking[place], value)})
    book.put_token((case.no, token), place, value, case.encoder_at(place), at)
