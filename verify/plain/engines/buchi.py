"""Linear temporal logic to Büchi automata with marks on their moves.

The tableau of Couvreur, "On-the-fly verification of linear temporal logic", FM 1999: a state is the set of
formulas that hold from here on; a move takes what they ask of the marking at hand, leaves what they ask of
the rest, and carries the mark of each ``U`` that it does not put off. A run is accepted where each mark comes
again and again. Formulas are rewritten first (Etessami & Holzmann, "Optimizing Büchi automata", CONCUR 2000),
moves that ask for more than another one are dropped, states without an accepted run too, and states with the
same moves become one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.logic import Formula

MAX_STATES = 3_000
MAX_MOVES = 20_000
MAX_MOVES_OF_A_STATE = 1_000
MAX_ATOMS = 62
"""An automaton beyond any of these is not made."""


@dataclass(frozen=True, slots=True)
class Move:
    """One way on.

    Attributes:
        need: The atoms that the marking at hand satisfies, by number.
        to: The next state.
        marks: The marks that it carries, by number.
    """

    need: frozenset[int]
    to: int
    marks: frozenset[int]


@dataclass(frozen=True, slots=True)
class Automaton:
    """Accepts the sequences of markings that satisfy a formula. The first state is 0.

    Attributes:
        atoms: What moves ask for.
        moves: The moves of each state.
        marks: How many marks there are.
        sink: The state that accepts whatever comes, or -1.
    """

    atoms: tuple[Formula, ...]
    moves: tuple[tuple[Move, ...], ...]
    marks: int
    sink: int


class TooLarge(Exception):
    """The automaton exceeds a limit."""


def automaton(formula: tl.Temporal) -> Automaton:
    """The automaton of a simplified formula without path quantifiers.

    Raises:
        TooLarge: It exceeds a limit.
    """
    return _Tableau().build(rewritten(formula))


def rewritten(path: tl.Temporal) -> tl.Temporal:
    """An equivalent path formula with fewer and outer operators; the argument is simplified."""
    match path:
        case tl.Both(parts) | tl.Either(parts):
            return _joined([rewritten(part) for part in parts], type(path))
        case tl.X(of):
            inner = rewritten(of)
            # Whatever holds sooner or later, and keeps being so, does from the next marking on too.
            return inner if _lasting(inner) else tl.X(inner)
        case tl.F(of):
            return _finally(rewritten(of))
        case tl.G(of):
            return _globally(rewritten(of))
        case tl.U(before, goal):
            a, b = rewritten(before), rewritten(goal)
            if b in (tl.TRULY, tl.FALSELY) or a == tl.FALSELY or _eventual(b) or a == b:
                return b
            return _finally(b) if a == tl.TRULY else tl.U(a, b)
        case tl.R(release, hold):
            a, b = rewritten(release), rewritten(hold)
            if b in (tl.TRULY, tl.FALSELY) or a == tl.TRULY or _universal(b) or a == b:
                return b
            return _globally(b) if a == tl.FALSELY else tl.R(a, b)
    return path


def _finally(of: tl.Temporal) -> tl.Temporal:
    match of:
        case tl.X(inner):
            return tl.X(_finally(inner))
        case tl.U(_, goal):
            return _finally(goal)
        case tl.Either(parts):
            return _joined([_finally(part) for part in parts], tl.Either)
    return of if of in (tl.TRULY, tl.FALSELY) or _eventual(of) else tl.F(of)


def _globally(of: tl.Temporal) -> tl.Temporal:
    match of:
        case tl.X(inner):
            return tl.X(_globally(inner))
        case tl.R(_, hold):
            return _globally(hold)
        case tl.Both(parts):
            return _joined([_globally(part) for part in parts], tl.Both)
    return of if of in (tl.TRULY, tl.FALSELY) or _universal(of) else tl.G(of)


def _joined(parts: list[tl.Temporal], kind: type[tl.Both | tl.Either]) -> tl.Temporal:
    """``G a & G b`` is ``G (a & b)`` where both are of states, ``F a | F b`` likewise."""
    join, outer = (tl.both, tl.G) if kind is tl.Both else (tl.either, tl.F)
    inner = [part.of for part in parts if isinstance(part, outer) and isinstance(part.of, tl.Now)]
    if len(inner) < 2:
        return join(parts)
    others = [p for p in parts if not (isinstance(p, outer) and isinstance(p.of, tl.Now))]
    together = (_globally if kind is tl.Both else _finally)(join(list(inner)))
    return join([*others, together])


def _eventual(path: tl.Temporal) -> bool:
    """Whether a path satisfies the formula wherever an end of it does."""
    match path:
        case tl.F():
            return True
        case tl.Both(parts) | tl.Either(parts):
            return all(map(_eventual, parts))
        case tl.X(of) | tl.G(of):
            return _eventual(of)
        case tl.U(_, goal):
            return _eventual(goal)
        case tl.R(a, b):
            return _eventual(a) and _eventual(b)
    return path in (tl.TRULY, tl.FALSELY)


def _universal(path: tl.Temporal) -> bool:
    """Whether every end of a path that satisfies the formula does too."""
    match path:
        case tl.G():
            return True
        case tl.Both(parts) | tl.Either(parts):
            return all(map(_universal, parts))
        case tl.X(of) | tl.F(of):
            return _universal(of)
        case tl.R(_, hold):
            return _universal(hold)
        case tl.U(a, b):
            return _universal(a) and _universal(b)
    return path in (tl.TRULY, tl.FALSELY)


def _lasting(path: tl.Temporal) -> bool:
    return _eventual(path) and _universal(path)


Obligations = frozenset[int]
"""Formulas by number: all of them hold from here on."""


@dataclass(frozen=True, slots=True)
class _Draft:
    """A move while it is made: what it needs now, what it leaves, each ``U`` or ``F`` that it puts off."""

    need: frozenset[int]
    rest: Obligations
    late: frozenset[int]


_NOTHING: frozenset[int] = frozenset()


class _Tableau:
    def __init__(self) -> None:
        self._number: dict[tl.Temporal, int] = {}
        self._formula: list[tl.Temporal] = []
        self._drafts: dict[int, tuple[_Draft, ...]] = {}
        self._against: dict[int, int] = {}

    def build(self, formula: tl.Temporal) -> Automaton:
        number: dict[Obligations, int] = {self._split(formula): 0}
        table: list[list[_Draft]] = []
        work = list(number)
        total = 0
        for state in work:
            drafts = self._moves(state)
            total += len(drafts)
            if len(number) > MAX_STATES or total > MAX_MOVES:
                raise TooLarge
            table.append(drafts)
            for draft in drafts:
                if draft.rest not in number:
                    number[draft.rest] = len(number)
                    work.append(draft.rest)
        promises = sorted({f for drafts in table for d in drafts for f in d.late})
        needed = sorted({a for drafts in table for d in drafts for a in d.need})
        if len(needed) > MAX_ATOMS or len(promises) > MAX_ATOMS:
            raise TooLarge
        atom_number = {a: i for i, a in enumerate(needed)}
        moves = [
            [
                Move(
                    frozenset(atom_number[a] for a in d.need),
                    number[d.rest],
                    frozenset(i for i, f in enumerate(promises) if f not in d.late),
                )
                for d in drafts
            ]
            for drafts in table
        ]
        atoms: list[Formula] = []
        for a in needed:
            atom = self._formula[a]
            assert isinstance(atom, tl.Now)
            atoms.append(atom.formula)
        return _cleaned(tuple(atoms), moves, len(promises), number.get(_NOTHING, -1))

    def _id(self, formula: tl.Temporal) -> int:
        if formula not in self._number:
            i = self._number[formula] = len(self._formula)
            self._formula.append(formula)
            if isinstance(formula, tl.Now):
                other = self._number.get(tl.Now(logic.negation(formula.formula)))
                if other is not None:
                    self._against[i], self._against[other] = other, i
        return self._number[formula]

    def _split(self, formula: tl.Temporal) -> Obligations:
        if formula == tl.TRULY:
            return _NOTHING
        parts = formula.parts if isinstance(formula, tl.Both) else (formula,)
        return frozenset(map(self._id, parts))

    def _moves(self, state: Obligations) -> list[_Draft]:
        drafts = [_Draft(_NOTHING, _NOTHING, _NOTHING)]
        for formula in sorted(state):
            drafts = _undominated(self._products(drafts, self._of(formula)))
        return drafts

    def _of(self, formula: int) -> tuple[_Draft, ...]:
        if formula not in self._drafts:
            self._drafts[formula] = tuple(_undominated(self._expanded(formula)))
        return self._drafts[formula]

    def _expanded(self, number: int) -> list[_Draft]:
        this = frozenset({number})
        later, late = _Draft(_NOTHING, this, _NOTHING), _Draft(_NOTHING, this, this)
        match self._formula[number]:
            case tl.Now(of):
                return [] if of == logic.FALSE else [_Draft(this, _NOTHING, _NOTHING)]
            case tl.Both(parts):
                return self._moves(frozenset(map(self._id, parts)))
            case tl.Either(parts):
                return [d for part in parts for d in self._of(self._id(part))]
            case tl.X(of):
                return [_Draft(_NOTHING, self._split(of), _NOTHING)]
            case tl.F(of):
                return [*self._of(self._id(of)), late]
            case tl.G(of):
                return list(self._products([later], self._of(self._id(of))))
            case tl.U(before, goal):
                return [*self._of(self._id(goal)), *self._products([late], self._of(self._id(before)))]
            case tl.R(release, hold):
                held = self._of(self._id(hold))
                return [
                    *self._products(held, self._of(self._id(release))),
                    *self._products([later], held),
                ]
        raise TooLarge

    def _products(self, some: Iterable[_Draft], others: Iterable[_Draft]) -> Iterator[_Draft]:
        others = tuple(others)
        made = 0
        for a in some:
            for b in others:
                need = a.need | b.need
                if any(self._against.get(f) in need for f in need):
                    continue
                made += 1
                if made > MAX_MOVES_OF_A_STATE:
                    raise TooLarge
                yield _Draft(need, a.rest | b.rest, a.late | b.late)


def _undominated(drafts: Iterable[_Draft]) -> list[_Draft]:
    """Without moves that ask for all that another one asks for, and put off all that it puts off."""
    kept: list[_Draft] = []
    for d in dict.fromkeys(drafts):
        if any(k.need <= d.need and k.rest <= d.rest and k.late <= d.late for k in kept):
            continue
        kept = [k for k in kept if not (d.need <= k.need and d.rest <= k.rest and d.late <= k.late)]
        kept.append(d)
    return kept


def _cleaned(atoms: tuple[Formula, ...], moves: list[list[Move]], marks: int, sink: int) -> Automaton:
    """Without states that accept nothing, with states of the same moves as one."""
    alive = _accepting(moves, marks)
    name = list(range(len(moves)))
    kept = [[m for m in row if m.to in alive] if q in alive else [] for q, row in enumerate(moves)]
    while True:
        known: dict[frozenset[Move], int] = {}
        turned = [frozenset(Move(m.need, name[m.to], m.marks) for m in row) for row in kept]
        merged = [known.setdefault(row, q) for q, row in enumerate(turned)]
        merged = [merged[name[q]] for q in range(len(moves))]
        if merged == name:
            break
        name = merged
    order: dict[int, int] = {name[0]: 0}
    for q in (work := [name[0]]):
        for m in sorted(turned[q], key=_key):
            if m.to not in order:
                order[m.to] = len(order)
                work.append(m.to)
    rows = [tuple(Move(m.need, order[m.to], m.marks) for m in sorted(turned[q], key=_key)) for q in order]
    end = name[sink] if sink >= 0 else -1
    return Automaton(atoms, tuple(rows), marks, order.get(end, -1))


def _key(move: Move) -> tuple[int, int, list[int], list[int]]:
    return (len(move.need), move.to, sorted(move.need), sorted(move.marks))


def _accepting(moves: list[list[Move]], marks: int) -> set[int]:
    """The states from which some path of the automaton carries every mark again and again."""
    component = _components([[m.to for m in row] for row in moves])
    carried: dict[int, set[int]] = {}
    for q, row in enumerate(moves):
        for m in row:
            if component[m.to] == component[q]:
                carried.setdefault(component[q], set()).update(m.marks)
    alive = {
        q
        for q in range(len(moves))
        if len(carried.get(component[q], ())) == marks and component[q] in carried
    }
    before: list[list[int]] = [[] for _ in moves]
    for q, row in enumerate(moves):
        for m in row:
            before[m.to].append(q)
    work = list(alive)
    while work:
        for q in before[work.pop()]:
            if q not in alive:
                alive.add(q)
                work.append(q)
    return alive


def _components(after: list[list[int]]) -> list[int]:
    """The number of each node's strongly connected component (Kosaraju and Sharir)."""
    order: list[int] = []
    seen = [False] * len(after)
    for start in range(len(after)):
        if seen[start]:
            continue
        seen[start] = True
        stack = [(start, iter(after[start]))]
        while stack:
            node, rest = stack[-1]
            for to in rest:
                if not seen[to]:
                    seen[to] = True
                    stack.append((to, iter(after[to])))
                    break
            else:
                order.append(node)
                stack.pop()
    before: list[list[int]] = [[] for _ in after]
    for node, row in enumerate(after):
        for to in row:
            before[to].append(node)
    component = [-1] * len(after)
    for number, start in enumerate(reversed(order)):
        if component[start] < 0:
            component[start] = number
            work = [start]
            while work:
                for node in before[work.pop()]:
                    if component[node] < 0:
                        component[node] = number
                        work.append(node)
    return component
