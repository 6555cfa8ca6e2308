"""What an engine may say of a temporal formula, and what of that is believed."""

from __future__ import annotations

from dataclasses import dataclass

from provenet.verify.plain import temporal as tl
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
    match formula:
        case tl.A(path):
            return not settled.holds and shows(net, tl.simplified(path, negated=True), settled.path)
        case tl.E(path):
            return settled.holds and shows(net, path, settled.path)
    return False
