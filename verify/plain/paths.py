"""A path of a plain net that shows what a temporal formula asks for, checked against the formula itself.

A path is given by finitely many firings: some that come first, then some that are repeated for ever. A path
that ends in a deadlock stays in its last marking. Where the first firings alone decide a formula, what comes
after them does not matter. No engine is trusted here: the formula is evaluated on the markings of the path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.logic import holds
from provenet.verify.plain.net import Counts, PTNet


@dataclass(frozen=True, slots=True)
class Path:
    """Firings from the initial marking.

    Attributes:
        first: What fires first.
        loop: What fires again and again after that.
        end: ``loop``: the loop follows for ever; ``deadlock``: nothing is enabled after ``first``; ``any``:
            whatever follows ``first``.
    """

    first: tuple[int, ...]
    loop: tuple[int, ...] = ()
    end: Literal["loop", "deadlock", "any"] = "loop"


def shows(net: PTNet, formula: tl.Temporal, path: Path) -> bool:
    """Whether a path is one of the net, and satisfies a formula without path quantifiers.

    Args:
        net: The net.
        formula: Speaks of the path from its first marking on.
        path: The path.
    """
    markings = _markings(net, net.initial, path.first)
    if markings is None:
        return False
    if path.end == "any":
        return after(formula, markings) == tl.TRULY
    if path.end == "deadlock":
        dead = not any(net.enabled(markings[-1], t) for t in range(len(net.transitions)))
        return dead and evaluated(formula, markings, len(markings) - 1)
    around = _markings(net, markings[-1], path.loop)
    if not path.loop or around is None or around[-1] != around[0]:
        return False
    return evaluated(formula, [*markings[:-1], *around[:-1]], len(markings) - 1)


def evaluated(formula: tl.Temporal, markings: Sequence[Counts], back: int) -> bool:
    """Whether an infinite sequence of markings satisfies a formula.

    Args:
        formula: Without path quantifiers.
        markings: The sequence, until it repeats.
        back: The position that follows the last one.

    Raises:
        ValueError: There is a path quantifier in the formula.
    """
    return _positions(formula, markings, back)[0]


def of_paths(net: PTNet, formula: tl.Temporal) -> tl.Temporal:
    """A formula of LTL as one that CTL's reading of deadlocks leaves alone.

    ``A X p`` belongs to both logics, which differ on it where nothing is enabled at first. LTL stays there,
    so that whatever the formula says of its only path is a condition on that marking.
    """
    match formula:
        case tl.A(path) | tl.E(path) if tl.is_ltl(formula):
            if not any(net.enabled(net.initial, t) for t in range(len(net.transitions))):
                return tl.TRULY if evaluated(path, [net.initial], 0) else tl.FALSELY
    return formula


def _markings(net: PTNet, at: Counts, firings: Sequence[int]) -> list[Counts] | None:
    out = [at]
    for t in firings:
        if not net.enabled(out[-1], t):
            return None
        out.append(net.fire(out[-1], t))
    return out


def _positions(formula: tl.Temporal, markings: Sequence[Counts], back: int) -> list[bool]:
    """The formula's value at each position."""

    def of(part: tl.Temporal) -> list[bool]:
        return _positions(part, markings, back)

    n = len(markings)
    match formula:
        case tl.Now(now):
            return [holds(now, m) for m in markings]
        case tl.Not(inner):
            return [not value for value in of(inner)]
        case tl.Both(parts):
            return [all(values) for values in zip(*map(of, parts), strict=True)] if parts else [True] * n
        case tl.Either(parts):
            return [any(values) for values in zip(*map(of, parts), strict=True)] if parts else [False] * n
        case tl.X(inner):
            values = of(inner)
            return [*values[1:], values[back]]
        case tl.F(inner):
            return _fixpoint([True] * n, of(inner), back, start=False)
        case tl.G(inner):
            return _fixpoint(of(inner), [False] * n, back, start=True)
        case tl.U(before, goal):
            return _fixpoint(of(before), of(goal), back, start=False)
        case tl.R(release, hold):
            kept = of(hold)
            both = [a and b for a, b in zip(of(release), kept, strict=True)]
            return _fixpoint(kept, both, back, start=True)
        case tl.A() | tl.E():
            raise ValueError("a path quantifier within a path")


def _fixpoint(before: list[bool], goal: list[bool], back: int, *, start: bool) -> list[bool]:
    """``x = goal or (before and next x)``: least where it starts false, greatest where true."""
    out = [start] * len(goal)
    # Twice around the loop settles it: once to carry a value to its end, once through it.
    for _ in range(2):
        following = out[back]
        for i in reversed(range(len(goal))):
            following = out[i] = goal[i] or (before[i] and following)
    return out


def after(formula: tl.Temporal, markings: Sequence[Counts]) -> tl.Temporal:
    """What must hold of the rest of a path that begins so (Bacchus & Kabanza, "progression", 1998)."""
    left = _folded(formula)
    for marking in markings:
        left = _progressed(left, marking)
        if left in (tl.TRULY, tl.FALSELY):
            break
    return left


def _folded(formula: tl.Temporal) -> tl.Temporal:
    """Simplified; a constant is one in the next marking too, since a path that ends goes on where it is."""
    match formula:
        case tl.Both(parts) | tl.Either(parts):
            return tl.simplified(type(formula)(tuple(map(_folded, parts))))
        case tl.U(a, b) | tl.R(a, b):
            return tl.simplified(type(formula)(_folded(a), _folded(b)))
        case tl.X(of):
            inner = _folded(of)
            return inner if inner in (tl.TRULY, tl.FALSELY) else tl.X(inner)
        case tl.F(of) | tl.G(of) | tl.Not(of):
            return tl.simplified(type(formula)(_folded(of)))
    return formula


def _progressed(formula: tl.Temporal, marking: Counts) -> tl.Temporal:
    match formula:
        case tl.Now(of):
            return tl.TRULY if holds(of, marking) else tl.FALSELY
        case tl.Both(parts):
            return tl.both([_progressed(part, marking) for part in parts])
        case tl.Either(parts):
            return tl.either([_progressed(part, marking) for part in parts])
        case tl.X(of):
            return of
        case tl.F(of):
            return tl.either([_progressed(of, marking), formula])
        case tl.G(of):
            return tl.both([_progressed(of, marking), formula])
        case tl.U(before, goal):
            now = tl.both([_progressed(before, marking), formula])
            return tl.either([_progressed(goal, marking), now])
        case tl.R(release, hold):
            now = tl.either([_progressed(release, marking), formula])
            return tl.both([_progressed(hold, marking), now])
    raise ValueError("a path quantifier within a path")
