"""Small nets that tests in several places tell the same story with."""

from __future__ import annotations

from provenet.nets.net import Net, Place, Put, Take, Transition


def door() -> Net:
    """A door that opens and closes, until it is locked."""
    moves = (("open", "closed", "opened"), ("close", "opened", "closed"), ("lock", "closed", "locked"))
    return Net(
        "door",
        (Place("closed"), Place("opened"), Place("locked")),
        tuple(Transition(name, takes=(Take(start),), puts=(Put(end),)) for name, start, end in moves),
        initial=(("closed", ((),)),),
    )
