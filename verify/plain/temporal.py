"""Temporal formulas over plain nets: CTL* as the Model Checking Contest uses it.

Class names are the logic's own letters (Clarke, Emerson & Sistla, 1986): ``A``, ``E`` for paths, ``X F G U``
for what happens along one. A path is a maximal run; a run that ends in a deadlock goes on in its last marking
for LTL (stuttering), while for CTL in a deadlock ``EX`` is false and ``AX`` true.

``simplified`` pushes negations in and folds what the logic alone decides. ``as_reachability`` finds the
formulas that a reachability engine can answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from provenet.verify.plain import logic
from provenet.verify.plain.logic import FALSE, TRUE, Formula


@dataclass(frozen=True, slots=True)
class Now:
    """The marking satisfies ``formula``."""

    formula: Formula


@dataclass(frozen=True, slots=True)
class Not:
    """``of`` does not hold."""

    of: Temporal


@dataclass(frozen=True, slots=True)
class Both:
    """Every part holds."""

    parts: tuple[Temporal, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """Some part holds."""

    parts: tuple[Temporal, ...]


@dataclass(frozen=True, slots=True)
class X:
    """In the next marking."""

    of: Temporal


@dataclass(frozen=True, slots=True)
class F:
    """Now or later."""

    of: Temporal


@dataclass(frozen=True, slots=True)
class G:
    """Now and for ever."""

    of: Temporal


@dataclass(frozen=True, slots=True)
class U:
    """``goal`` comes, and ``before`` holds until then."""

    before: Temporal
    goal: Temporal


@dataclass(frozen=True, slots=True)
class R:
    """``hold`` holds until ``release`` comes and then still; for ever where it never does. Dual of ``U``."""

    release: Temporal
    hold: Temporal


@dataclass(frozen=True, slots=True)
class A:
    """On every path from here."""

    of: Temporal


@dataclass(frozen=True, slots=True)
class E:
    """On some path from here."""

    of: Temporal


Temporal: TypeAlias = Now | Not | Both | Either | X | F | G | U | R | A | E
"""A temporal formula."""

TRULY = Now(TRUE)
FALSELY = Now(FALSE)


def simplified(formula: Temporal, *, negated: bool = False) -> Temporal:
    """An equivalent formula without ``Not``, with constants folded and doubled operators merged.

    Args:
        formula: The formula.
        negated: Simplify its negation.
    """
    match formula:
        case Now(of):
            return Now(logic.negation(of)) if negated else formula
        case Not(of):
            return simplified(of, negated=not negated)
        case Both(parts) | Either(parts):
            pieces = [simplified(part, negated=negated) for part in parts]
            return both(pieces) if isinstance(formula, Both) != negated else either(pieces)
        case X(of):
            return X(simplified(of, negated=negated))
        case F(of) | G(of):
            inner = simplified(of, negated=negated)
            return _eventually(inner) if isinstance(formula, F) != negated else _always(inner)
        case U(first, second) | R(first, second):
            a, b = simplified(first, negated=negated), simplified(second, negated=negated)
            return _until(a, b) if isinstance(formula, U) != negated else _release(a, b)
        case A(of) | E(of):
            inner = simplified(of, negated=negated)
            return quantified(inner, every=isinstance(formula, A) != negated)


def both(parts: list[Temporal]) -> Temporal:
    """Conjunction; state formulas among the parts become one."""
    return _joined(parts, Both)


def either(parts: list[Temporal]) -> Temporal:
    """Disjunction; state formulas among the parts become one."""
    return _joined(parts, Either)


def quantified(path: Temporal, *, every: bool) -> Temporal:
    """``A path`` or ``E path``; nothing where ``path`` speaks of the first marking alone."""
    if is_state(path):
        return path
    if every and isinstance(path, Both):
        return both([quantified(part, every=True) for part in path.parts])
    if not every and isinstance(path, Either):
        return either([quantified(part, every=False) for part in path.parts])
    # EF EF p, AG AG p: the inner quantifier says nothing new.
    if every and isinstance(path, G) and isinstance(path.of, A) and isinstance(path.of.of, G):
        return path.of
    if not every and isinstance(path, F) and isinstance(path.of, E) and isinstance(path.of.of, F):
        return path.of
    return A(path) if every else E(path)


def is_state(formula: Temporal) -> bool:
    """Whether a formula speaks of a marking, not of a path."""
    match formula:
        case Now() | A() | E():
            return True
        case Not(of):
            return is_state(of)
        case Both(parts) | Either(parts):
            return all(map(is_state, parts))
        case _:
            return False


def is_ctl(formula: Temporal) -> bool:
    """Whether each path operator of a simplified formula has a quantifier of its own."""
    match formula:
        case Now():
            return True
        case Not(of):
            return is_ctl(of)
        case Both(parts) | Either(parts):
            return all(map(is_ctl, parts))
        case A(path) | E(path):
            match path:
                case X(of) | F(of) | G(of):
                    return is_ctl(of)
                case U(a, b) | R(a, b):
                    return is_ctl(a) and is_ctl(b)
    return False


def is_ltl(formula: Temporal) -> bool:
    """Whether a simplified formula quantifies over paths once, outermost, or not at all."""
    return not isinstance(formula, Not) and not any(
        isinstance(f, A | E) for f in subformulas(formula.of if isinstance(formula, A | E) else formula)
    )


def subformulas(formula: Temporal) -> Iterator[Temporal]:
    """A formula and all that is in it, outermost first."""
    yield formula
    match formula:
        case Not(of) | X(of) | F(of) | G(of) | A(of) | E(of):
            yield from subformulas(of)
        case Both(parts) | Either(parts):
            for part in parts:
                yield from subformulas(part)
        case U(a, b) | R(a, b):
            yield from subformulas(a)
            yield from subformulas(b)


@dataclass(frozen=True, slots=True)
class Reach:
    """A formula that asks for reachability.

    Attributes:
        goal: What must be reached.
        holds_if: Whether the formula holds where the goal is ``reachable`` or ``unreachable``.
    """

    goal: Formula
    holds_if: bool


def as_reachability(formula: Temporal) -> Reach | None:
    """``EF goal`` or ``AG safe`` as a reachability question; ``None`` for any other simplified formula."""
    match formula:
        case E(F(Now(goal))):
            return Reach(goal, holds_if=True)
        case A(G(Now(safe))):
            return Reach(logic.negation(safe), holds_if=False)
    return None


def _joined(parts: list[Temporal], kind: type[Both | Either]) -> Temporal:
    zero, join = (FALSE, logic.conj) if kind is Both else (TRUE, logic.disj)
    states: list[Formula] = []
    others: dict[Temporal, None] = {}
    for part in parts:
        for piece in part.parts if isinstance(part, kind) else (part,):
            if isinstance(piece, Now):
                states.append(piece.formula)
            else:
                others[piece] = None
    here = join(states)
    if here == zero or not others:
        return Now(here)
    kept: list[Temporal] = [*others]
    if here != join(()):
        kept.insert(0, Now(here))
    return kept[0] if len(kept) == 1 else kind(tuple(kept))


def _eventually(of: Temporal) -> Temporal:
    return of if of in (TRULY, FALSELY) or isinstance(of, F) else F(of)


def _always(of: Temporal) -> Temporal:
    return of if of in (TRULY, FALSELY) or isinstance(of, G) else G(of)


def _until(before: Temporal, goal: Temporal) -> Temporal:
    if goal in (TRULY, FALSELY) or before == FALSELY:
        return goal
    return _eventually(goal) if before == TRULY else U(before, goal)


def _release(release: Temporal, hold: Temporal) -> Temporal:
    if hold in (TRULY, FALSELY) or release == TRULY:
        return hold
    return _always(hold) if release == FALSELY else R(release, hold)
