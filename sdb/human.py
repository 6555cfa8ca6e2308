"""People: a task with choices, a role, a deadline and a conservative fallback.

::

    takes ──[approve]──▶ approve
       ├────[deny]─────▶ deny
       └────[timeout]──▶ where on_timeout says

An approval binds to the hash of what the person was shown (``about``), so it approves that very proposal and
no other. Where several people have to approve (``eyes``), the net sees one firing, at the last approval that
it takes; the engine collects those before it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal

from provenet.nets.build import NetBuilder, PlaceRef
from provenet.nets.net import Choice, Role
from provenet.nets.quick import dataclass


@dataclass(frozen=True, slots=True)
class Human:
    """A person's decision on one token.

    Attributes:
        id: Name of the task.
        takes: Where the token in question waits.
        approve: Where it goes when the person approves.
        deny: Where it goes when the person denies.
        who: Role that the person needs.
        within: Deadline; every wait for a person has one (CTL-3).
        on_timeout: What happens when the deadline passes; deny unless said otherwise.
        about: Lambda over ``inputs``: what the person decides on; by default the token.
        on_approve: Lambda over ``inputs`` for the token in ``approve``; by default the token itself.
        on_deny: Lambda over ``inputs`` for the token in ``deny``; by default the token itself.
        eyes: How many different people have to approve; one who denies is enough.
        fallback: Another role that may decide as well, and how long after the token's arrival. The deadline
            stays.
    """

    id: str
    takes: PlaceRef
    approve: PlaceRef
    deny: PlaceRef
    who: str
    within: timedelta
    on_timeout: Literal["deny", "approve"] = "deny"
    about: Callable[..., Any] | None = None
    on_approve: Callable[..., Any] | None = None
    on_deny: Callable[..., Any] | None = None
    eyes: int = 1
    fallback: tuple[str, timedelta] | None = None

    def expand(self, net: NetBuilder) -> HumanHandle:
        """Add the task to a net."""
        eyes = self._checked(net)
        role, after = self.fallback or ("", timedelta(0))
        takes = {"inputs": self.takes}
        about = net.expr(f"task {self.id!r}", self.about, {"inputs": self.takes.type})
        yes = {self.approve: self.on_approve or "inputs"}
        no = {self.deny: self.on_deny or "inputs"}
        net.transition(
            f"{self.id}.approve",
            role=Role.APPROVE,
            contract=self.id,
            takes=takes,
            puts=yes,
            trigger=Choice(self.id, "approve", self.who, about, eyes, role, after),
        )
        net.transition(
            f"{self.id}.deny",
            role=Role.DENY,
            contract=self.id,
            takes=takes,
            puts=no,
            trigger=Choice(self.id, "deny", self.who, about, 1, role, after),
        )
        net.timer(
            f"{self.id}.timeout",
            after=self.within,
            contract=self.id,
            takes=takes,
            puts=no if self.on_timeout == "deny" else yes,
        )
        return HumanHandle(self.id, f"{self.id}.approve")

    def _checked(self, net: NetBuilder) -> int:
        """How many people have to approve, where that is a number."""
        where, eyes = f"task {self.id!r}", self.eyes
        if not isinstance(eyes, int) or isinstance(eyes, bool):
            net.mistake("SD212", where, f"eyes is {eyes!r}", "give how many people have to approve")
            eyes = 1
        if self.fallback is not None and self.fallback[0] and self.fallback[1] >= self.within:
            net.mistake(
                "SD212",
                where,
                f"the fallback {self.fallback[0]!r} comes after {self.fallback[1]}, the deadline after "
                f"{self.within}",
                "let the fallback come before the deadline",
            )
        return eyes


@dataclass(frozen=True, slots=True)
class HumanHandle:
    """A task in a net: its id and the name of its approving transition."""

    id: str
    approved: str
