"""What CTL and LTL formulas say of a deadlock.

There is one path from there, which stays there: a formula means a condition on the marking, and a run to a
certain deadlock decides some formulas.
"""

from __future__ import annotations

from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.logic import Formula


def at_the_end(leaf: tl.Temporal) -> Formula | None:
    """What a reachable deadlock has to satisfy to refute ``A path``, or to show ``E path``.

    Args:
        leaf: A simplified formula with its quantifier outermost.

    Returns:
        The condition; ``None`` where no deadlock tells.
    """
    match leaf:
        case tl.A(path):
            wanted = tl.simplified(path, negated=True)
        case tl.E(path):
            wanted = path
        case _:
            return None
    if not (_of_ends(wanted) and (tl.is_ctl(leaf) or tl.is_ltl(leaf))):
        return None
    return in_a_deadlock(wanted)


def _of_ends(path: tl.Temporal) -> bool:
    """Whether a path satisfies the formula as soon as an end of it does (Etessami & Holzmann, 2000)."""
    match path:
        case tl.F():
            return True
        case tl.Both(parts) | tl.Either(parts):
            return all(map(_of_ends, parts))
        case tl.G(of):
            return _of_ends(of)
        case tl.U(_, of) | tl.R(_, of):
            return _of_ends(of) and not tl.is_state(of)
    return False


def in_a_deadlock(formula: tl.Temporal) -> Formula:
    """What a simplified formula, of CTL or of paths alone, says of a marking where nothing is enabled."""
    match formula:
        case tl.Now(of):
            return of
        case tl.Both(parts):
            return logic.conj(map(in_a_deadlock, parts))
        case tl.Either(parts):
            return logic.disj(map(in_a_deadlock, parts))
        case tl.A(tl.X()):
            return logic.TRUE
        case tl.E(tl.X()):
            return logic.FALSE
        case tl.X(of) | tl.F(of) | tl.G(of) | tl.A(of) | tl.E(of):
            return in_a_deadlock(of)
        case tl.U(_, goal):
            return in_a_deadlock(goal)
        case tl.R(_, hold):
            return in_a_deadlock(hold)
    return logic.negation(in_a_deadlock(formula.of))
