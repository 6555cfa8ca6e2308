"""P5: shared state machine. Work that loses its compare-and-swap, and timers that undo what people did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from provenet.engine.diagnosis.finding import Few, Finding, Signature
from provenet.engine.diagnosis.intervals import at_least
from provenet.engine.diagnosis.reading import CaseHistory, Firing
from provenet.engine.diagnosis.signatures import CONFLICTS, SELDOM, SIGNATURES, significant
from provenet.nets.expr.ast import Compare, Expr, Get, Not, Var, walk
from provenet.nets.expr.typing import type_of
from provenet.nets.net import After, Choice, Net, Transition
from provenet.nets.schema import DurationType


@dataclass(frozen=True, slots=True)
class Row:
    """A row that is moved by compare-and-swap.

    Attributes:
        about: What it is called.
        places: Where it is.
        lost: Transitions that meet another version than they came with.
        carriers: Places of what carries the version that was seen; any, where none is declared.
    """

    about: str
    places: frozenset[str]
    lost: frozenset[str]
    carriers: frozenset[str]


def rows_of(net: Net) -> list[Row]:
    """The rows of a net: declared ones, or what is compared by a field that two tokens have."""
    declared = [p for p in net.patterns if p.kind == "state machine" and p.part("row")]
    if declared:
        return [
            Row(p.id, frozenset(p.part("row")), frozenset(p.part("conflict")), frozenset(p.part("ticket")))
            for p in declared
        ]
    found: dict[str, set[str]] = {}
    for t in net.transitions:
        row = None if isinstance(t.trigger, After) else _differs(t)
        if row is not None:
            found.setdefault(row, set()).add(t.name)
    return [Row(place, frozenset((place,)), frozenset(lost), frozenset()) for place, lost in found.items()]


def _differs(t: Transition) -> str | None:
    """The place whose token has another version than the one that is taken: it stays, or is put back."""
    if t.guard is None:
        return None
    stays = {r.var: r.place for r in t.reads if r.var} | {
        x.var: x.place for x in t.takes if x.var and any(p.place == x.place for p in t.puts)
    }
    for expr in walk(t.guard):
        compare: Expr | None = expr if isinstance(expr, Compare) and expr.op == "!=" else None
        if isinstance(expr, Not) and isinstance(expr.of, Compare) and expr.of.op == "==":
            compare = expr.of
        if not isinstance(compare, Compare):
            continue
        sides = [x for side in (compare.left, compare.right) for x in _field(side)]
        if len(sides) == 2 and sides[0][1] == sides[1][1] and sides[0][0] != sides[1][0]:
            for var, _ in sides:
                if var in stays and any(x.var != var for x in t.takes if x.var):
                    return stays[var]
    return None


def _field(expr: Expr) -> list[tuple[str, str]]:
    """The variable and the field, where an expression is a field of one."""
    return [(expr.of.name, expr.field)] if isinstance(expr, Get) and isinstance(expr.of, Var) else []


@dataclass(slots=True)
class _Work:
    over: int = 0
    of: int = 0
    worst: int = 0
    seen: Few = field(default_factory=Few)


class Contention:
    """P5a: work loses its compare-and-swap again and again."""

    signature: Signature = SIGNATURES["P5a"]

    def __init__(self) -> None:
        self._work: dict[tuple[str, str], _Work] = {}
        self._rows: tuple[Net | None, list[Row]] = None, []

    def look(self, case: CaseHistory) -> None:
        """Count how often each piece of work found the row moved."""
        if self._rows[0] is not case.net:
            self._rows = case.net, rows_of(case.net)
        for row in self._rows[1]:
            self._pieces(case, row)

    def findings(self) -> list[Finding]:
        """One for each row."""
        found = []
        for (net, row), w in self._work.items():
            chance = at_least(w.over, w.of, SELDOM)
            if significant(chance, len(self._work)):
                said = (
                    f"{w.over} of {w.of} pieces of work on {row!r} lost their compare-and-swap more than "
                    f"{CONFLICTS} times, up to {w.worst} times"
                )
                numbers = {"pieces": w.of, "over": w.over, "worst": w.worst, "chance": chance}
                found.append(self.signature.found(net, row, said, w.seen, **numbers))
        return found

    def _pieces(self, case: CaseHistory, row: Row) -> None:
        lost: dict[int, tuple[int, ...]] = {}
        carried = {
            x.place
            for t in case.net.transitions
            if t.name in row.lost
            for x in t.takes
            if x.place not in row.places and (not row.carriers or x.place in row.carriers)
        }
        for firing in case.firings:
            before = next((lost.pop(token) for token in firing.took if token in lost), ())
            name, takes = firing.transition.name, {x.place for x in firing.transition.takes}
            if name in row.lost:
                before = (*before, firing.seq)
                on = [h.id for h in firing.put if h.place not in row.places and _carries(row, h.place)]
                if on:
                    lost.update(dict.fromkeys(on, before))
                else:
                    self._ended(case, row, before)
            elif takes & carried and takes & row.places:
                self._ended(case, row, before)
            elif before:
                lost.update({h.id: before for h in firing.put if _carries(row, h.place)})
        for before in dict.fromkeys(lost.values()):
            self._ended(case, row, before)

    def _ended(self, case: CaseHistory, row: Row, lost: tuple[int, ...]) -> None:
        work = self._work.setdefault((case.net.name, row.about), _Work())
        work.of += 1
        work.worst = max(work.worst, len(lost))
        if len(lost) > CONFLICTS:
            work.over += 1
            work.seen.add(case.id, lost, f"one piece of work lost {len(lost)} times")


def _carries(row: Row, place: str) -> bool:
    return not row.carriers or place in row.carriers


class Overruled:
    """P5b: a timer moves what a person has moved since it was set."""

    signature: Signature = SIGNATURES["P5b"]

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], Few] = {}
        self._count: dict[tuple[str, str], int] = {}
        self._fired: dict[tuple[str, str], int] = {}

    def look(self, case: CaseHistory) -> None:
        """Look at the timers that fired, and at who moved what they take."""
        overrides = {
            name for p in case.net.patterns if p.kind == "state machine" for name in p.part("override")
        }
        for firing in case.firings:
            if not firing.timed or not firing.took or not _since_arrival(firing):
                continue
            at = case.net.name, firing.transition.name
            self._fired[at] = self._fired.get(at, 0) + 1
            clock = _clock(firing)
            since = case.arrived.get(clock, firing.at)
            for token in firing.took:
                moved = None if token == clock else _moved(case, firing, token, since, overrides)
                if moved is None:
                    continue
                self._count[at] = self._count.get(at, 0) + 1
                says = f"{firing.transition.name} moves what {moved.transition.name} had moved"
                self._seen.setdefault(at, Few()).add(case.id, (moved.seq, firing.seq), says)
                break

    def findings(self) -> list[Finding]:
        """One for each timer."""
        return [
            self.signature.found(
                net,
                timer,
                f"{timer!r} fired {self._fired[net, timer]} times, {self._count[net, timer]} of them after a "
                "person had moved what it takes",
                seen,
                fired=self._fired[net, timer],
                overruled=self._count[net, timer],
            )
            for (net, timer), seen in self._seen.items()
        ]


def _since_arrival(firing: Firing) -> bool:
    """Whether a timer counts from when its token was put: a point in time means itself, whatever moved."""
    trigger = firing.transition.trigger
    assert isinstance(trigger, After)
    t, net = firing.transition, firing.net
    types = {x.var: net.place(x.place).type for x in t.takes if x.var}
    types |= {x.var: net.place(x.place).type for x in t.reads if x.var}
    return isinstance(type_of(trigger.delay, types), DurationType)


def _clock(firing: Firing) -> int:
    """The token that a timer counts from: the first that it takes."""
    first = firing.transition.takes[0]
    return firing.tokens.get(first.var, firing.took[0]) if first.var else firing.took[0]


def _moved(case: CaseHistory, timer: Firing, token: int, since: int, overrides: set[str]) -> Firing | None:
    """What a person did to a token of a timer after its clock was set, where the timer changes it."""
    place = _place(case, token)
    if place is None or _unchanged(case, timer, token, place):
        return None
    declared = next((row.places for row in rows_of(case.net) if place in row.places and row.carriers), None)
    same = declared or frozenset((place,))
    at: int | None = token
    while at is not None and case.arrived.get(at, 0) > since:
        made = case.maker.get(at)
        if made is None:
            return None
        at = next((t for t in made.took if _place(case, t) in same), None)
        # What a person has only just let in there is no row that the timer was set for.
        if at is not None and (
            made.transition.name in overrides
            or _decided_on(made, same)
            or (declared is not None and _passes_on(case, made))
        ):
            return made
    return None


def _decided_on(firing: Firing, places: frozenset[str]) -> bool:
    """Whether a person decided on what is in some places; a trail that it is noted in is not meant."""
    takes = firing.transition.takes
    return isinstance(firing.transition.trigger, Choice) and bool(takes) and takes[0].place in places


def _passes_on(case: CaseHistory, firing: Firing) -> bool:
    """Whether a move makes a person's answer the next version of a declared row."""
    makers = (case.maker.get(token) for token in firing.took)
    return any(m is not None and isinstance(m.transition.trigger, Choice) for m in makers)


def _place(case: CaseHistory, token: int) -> str | None:
    made = case.maker.get(token)
    return None if made is None else next((h.place for h in made.put if h.id == token), None)


def _unchanged(case: CaseHistory, timer: Firing, token: int, place: str) -> bool:
    """Whether a timer puts back what it took."""
    values: Mapping[str, object] = {h.place: h.value for h in timer.put}
    made = case.maker[token]
    return place in values and values[place] == next(h.value for h in made.put if h.id == token)
