"""People: a task with choices, a role, a deadline and a conservative fallback.

::

    takes ──[approve]──▶ approve
       ├────[deny]─────▶ deny
       └────[timeout]──▶ where on_timeout says

An approval binds to the hash of what the person was shown (``about``), so it approves that very proposal and
no other.
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

    def expand(self, net: NetBuilder) -> HumanHandle:
        """Add the task to a net."""
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
            trigger=Choice(self.id, "approve", self.who, about),
        )
        net.transition(
            f"{self.id}.deny",
            role=Role.DENY,
            contract=self.id,
            takes=takes,
            puts=no,
            trigger=Choice(self.id, "deny", self.who, about),
        )
        net.timer(
            f"{self.id}.timeout",
            after=self.within,
            contract=self.id,
            takes=takes,
            puts=no if self.on_timeout == "deny" else yes,
        )
        return HumanHandle(self.id, f"{self.id}.approve")


@dataclass(frozen=True, slots=True)
class HumanHandle:
    """A task in a net: its id and the name of its approving transition."""

    id: str
    approved: str
