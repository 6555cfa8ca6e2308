"""Liveness of free-choice nets, told by their structure; see ``provenet.verify.plain.free_choice``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget
from provenet.verify.plain.free_choice import is_free_choice, live_and_bounded
from provenet.verify.plain.logic import fireable
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.settled import Settled


@dataclass(frozen=True, slots=True)
class FreeChoiceLive:
    """In a live net every transition stays possible for ever.

    Attributes:
        name: Appears in verdicts.
    """

    name: str = "free choice"

    def run(
        self, net: PTNet, formulas: Sequence[tl.Temporal], budget: Budget
    ) -> Iterator[tuple[int, Settled]]:
        """Answer ``AG EF fireable(t)`` where the rank theorem shows it."""
        live = {tl.A(tl.G(tl.E(tl.F(tl.Now(fireable(net, t)))))) for t in range(len(net.transitions))}
        asked = [i for i, f in enumerate(formulas) if f in live and not budget.answered(i)]
        if asked and is_free_choice(net) and live_and_bounded(net) is not None:
            for i in asked:
                yield i, Settled(holds=True, engine=self.name)
