"""What an engine may say of a temporal formula, and what of that is believed."""

from __future__ import annotations

from dataclasses import dataclass

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.hints import at_the_end
from provenet.verify.plain.logic import Formula
from provenet.verify.plain.logic import holds as satisfied
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.paths import Path, shows


@dataclass(frozen=True, slots=True)
class Settled:
    """A formula holds in the initial marking, or does not.

    Attributes:
        holds: Which.
        engine: Who found out.
        markings: How many markings were known then.
        path: A path that breaks ``A path``, or one that ``E path`` asks for.
        breaks: Firings to a marking that breaks ``AG``, and what does not hold there.
    """

    holds: bool
    engine: str
    markings: int = 0
    path: Path | None = None
    breaks: tuple[tuple[int, ...], tl.Temporal] | None = None


def believed(net: PTNet, formula: tl.Temporal, settled: Settled) -> bool:
    """Whether what an answer shows is so, as far as it shows anything."""
    if settled.breaks is not None:
        firings, inner = settled.breaks
        try:
            end = net.replay(firings)
        except ValueError:
            return False
        return not (isinstance(inner, tl.Now) and satisfied(inner.formula, end))
    if settled.path is None:
        return True
    if settled.holds != isinstance(formula, tl.E):
        return False
    wanted = wanted_path(formula)
    if wanted is not None:
        return shows(net, wanted, settled.path)
    condition = at_the_end(formula)
    return condition is not None and settled.path.end == "deadlock" and _ends_in(net, settled.path, condition)


def _ends_in(net: PTNet, path: Path, condition: Formula) -> bool:
    """Whether a run ends in a deadlock that satisfies a condition."""
    return shows(net, tl.F(tl.G(tl.Now(condition))), path)


def wanted_path(formula: tl.Temporal) -> tl.Temporal | None:
    """What a path satisfies that breaks ``A path``, or that ``E path`` asks for, without quantifiers.

    Where all quantifiers within are the outermost one, a path that breaks the formula without them breaks it
    with them. ``X`` is left to the logic that it is of: CTL and LTL differ on what follows a deadlock.

    Returns:
        The path formula; ``None`` where no single path tells.
    """
    match formula:
        case tl.A(path):
            wanted = tl.simplified(path, negated=True)
        case tl.E(path):
            wanted = path
        case _:
            return None
    parts = list(tl.subformulas(wanted))
    if any(isinstance(f, tl.A) for f in parts):
        return None
    if any(isinstance(f, tl.X) for f in parts) and not tl.is_ltl(formula):
        return None
    if isinstance(wanted, tl.X) and tl.is_ctl(formula):
        return None
    return _linear(wanted)


def _linear(formula: tl.Temporal) -> tl.Temporal:
    match formula:
        case tl.E(path):
            return _linear(path)
        case tl.Both(parts):
            return tl.Both(tuple(map(_linear, parts)))
        case tl.Either(parts):
            return tl.Either(tuple(map(_linear, parts)))
        case tl.F(of):
            return tl.F(_linear(of))
        case tl.G(of):
            return tl.G(_linear(of))
        case tl.U(a, b):
            return tl.U(_linear(a), _linear(b))
        case tl.R(a, b):
            return tl.R(_linear(a), _linear(b))
    return formula
