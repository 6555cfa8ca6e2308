"""What is asked of a marking: linear constraints over token counts, joined by and / or.

Formulas are kept in negation normal form by construction: over the integers the negation of ``sum <= b`` is
``-sum <= -b - 1``, so no negation is ever stored, and an engine handles three cases in all. Build them with
``at_most``, ``at_least``, ``conj``, ``disj``, ``fireable`` and ``deadlock``, which simplify as they go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from provenet.verify.plain.net import PTNet

if TYPE_CHECKING:
    import z3

Terms = tuple[tuple[int, int], ...]
"""Places with coefficients that are not zero, by place."""


@dataclass(frozen=True, slots=True)
class Le:
    """``sum(coefficient * tokens(place)) <= bound``."""

    terms: Terms
    bound: int


@dataclass(frozen=True, slots=True)
class And:
    """Every part holds; true where there is none."""

    parts: tuple[Formula, ...] = ()


@dataclass(frozen=True, slots=True)
class Or:
    """Some part holds; false where there is none."""

    parts: tuple[Formula, ...] = ()


Formula: TypeAlias = Le | And | Or
"""A condition on markings."""

TRUE = And()
FALSE = Or()


def at_most(terms: Mapping[int, int], bound: int) -> Formula:
    """``sum <= bound``, decided at once where no marking, or every marking, satisfies it."""
    kept = tuple(sorted((p, c) for p, c in terms.items() if c))
    if bound < 0 and all(c > 0 for _, c in kept):
        return FALSE
    if bound >= 0 and all(c < 0 for _, c in kept):
        return TRUE
    return Le(kept, bound)


def at_least(terms: Mapping[int, int], bound: int) -> Formula:
    """``sum >= bound``."""
    return at_most({p: -c for p, c in terms.items()}, -bound)


def equal(terms: Mapping[int, int], value: int) -> Formula:
    """``sum == value``."""
    return conj((at_most(terms, value), at_least(terms, value)))


def conj(parts: Iterable[Formula]) -> Formula:
    """All of them; nested conjunctions are flattened, doubles dropped, constants folded."""
    kept: dict[Formula, None] = {}
    for part in parts:
        if part == FALSE:
            return FALSE
        for piece in part.parts if isinstance(part, And) else (part,):
            kept[piece] = None
    return next(iter(kept)) if len(kept) == 1 else And(tuple(kept))


def disj(parts: Iterable[Formula]) -> Formula:
    """Any of them; nested disjunctions are flattened, doubles dropped, constants folded."""
    kept: dict[Formula, None] = {}
    for part in parts:
        if part == TRUE:
            return TRUE
        for piece in part.parts if isinstance(part, Or) else (part,):
            kept[piece] = None
    return next(iter(kept)) if len(kept) == 1 else Or(tuple(kept))


def negation(formula: Formula) -> Formula:
    """The markings that a formula leaves out."""
    match formula:
        case Le(terms, bound):
            return at_most({p: -c for p, c in terms}, -bound - 1)
        case And(parts):
            return disj(map(negation, parts))
        case Or(parts):
            return conj(map(negation, parts))


def fireable(net: PTNet, t: int) -> Formula:
    """Transition ``t`` is enabled."""
    return conj(at_least({p: 1}, w) for p, w in net.pre[t])


def deadlock(net: PTNet) -> Formula:
    """No transition is enabled."""
    return conj(negation(fireable(net, t)) for t in range(len(net.transitions)))


def exactly(marking: Sequence[int]) -> Formula:
    """The marking is this very one."""
    return conj(equal({p: 1}, n) for p, n in enumerate(marking))


def holds(formula: Formula, marking: Sequence[int]) -> bool:
    """Whether a marking satisfies a formula."""
    match formula:
        case Le(terms, bound):
            return sum(c * marking[p] for p, c in terms) <= bound
        case And(parts):
            return all(holds(part, marking) for part in parts)
        case Or(parts):
            return any(holds(part, marking) for part in parts)


def places_of(formula: Formula) -> frozenset[int]:
    """The places that a formula reads."""
    return frozenset(p for atom in atoms_of(formula) for p, _ in atom.terms)


def atoms_of(formula: Formula) -> tuple[Le, ...]:
    """The linear constraints of a formula, each once, from left to right."""
    found: dict[Le, None] = {}
    work = [formula]
    while work:
        at = work.pop()
        if isinstance(at, Le):
            found[at] = None
        else:
            work.extend(reversed(at.parts))
    return tuple(found)


def mapped(formula: Formula, change: Callable[[Le], Formula]) -> Formula:
    """The formula with each constraint replaced; constants are folded on the way."""
    match formula:
        case Le():
            return change(formula)
        case And(parts):
            return conj(mapped(part, change) for part in parts)
        case Or(parts):
            return disj(mapped(part, change) for part in parts)


def encoded(formula: Formula, tokens: Sequence[z3.ArithRef]) -> z3.BoolRef:
    """The formula over Z3 terms, one for each place."""
    import z3

    match formula:
        case Le(terms, bound):
            return z3.Sum([c * tokens[p] for p, c in terms]) <= bound
        case And(parts):
            return z3.And([encoded(part, tokens) for part in parts])
        case Or(parts):
            return z3.Or([encoded(part, tokens) for part in parts])


def shown(formula: Formula, net: PTNet) -> str:
    """The formula as text, with the names of the net's places."""
    match formula:
        case Le(terms, bound):
            if all(c < 0 for _, c in terms):
                return f"{_sum([(p, -c) for p, c in terms], net)} >= {-bound}"
            return f"{_sum(terms, net)} <= {bound}"
        case And(parts):
            return " & ".join(_nested(part, net) for part in parts) or "true"
        case Or(parts):
            return " | ".join(_nested(part, net) for part in parts) or "false"


def _nested(formula: Formula, net: PTNet) -> str:
    text = shown(formula, net)
    return f"({text})" if not isinstance(formula, Le) and formula.parts else text


def _sum(terms: Sequence[tuple[int, int]], net: PTNet) -> str:
    out = ""
    for p, c in terms:
        size = "" if abs(c) == 1 else f"{abs(c)} * "
        sign = ("-" if c < 0 else "") if not out else (" - " if c < 0 else " + ")
        out += f"{sign}{size}{net.places[p]}"
    return out or "0"
