"""Properties by the words that people use for them, and who decides them: the one seam between checkers.

``soundness`` and its like are what formal methods call entries of the catalogue; a word that is none of them
is an id, a family, or a requirement's name, as ``provenet.verify.check.prove`` takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from provenet.nets.net import Requirement

if TYPE_CHECKING:
    from provenet.nets.net import Net
    from provenet.verify.verdict import Report

Progress = Callable[[str, int, int], None]
"""Called with the property about to be checked, how many are done, and how many there are."""

WORDS: Mapping[str, Requirement] = {
    "soundness": Requirement("STATE-1"),
    "relaxed-soundness": Requirement("relaxed-soundness"),
    "boundedness": Requirement("STATE-2"),
    "safeness": Requirement("STATE-2", args=(("k", 1),)),
    "deadlock-freedom": Requirement("STATE-3"),
}
"""What each word asks for."""


def decide(
    net: Net, asked: Sequence[str] | None = None, *, timeout: float = 60.0, progress: Progress | None = None
) -> Report:
    """The verdicts on what is asked of a net.

    Args:
        net: The net.
        asked: Words, ids, families, or names of requirements; what the net requires where none is given.
        timeout: Seconds for each property.
        progress: Told before each property.

    Raises:
        NetError: The net has mistakes.
        PropertyError: A property is unknown, or names what the net does not have.
    """
    from provenet.verify.check import prove

    wanted = None if asked is None else [WORDS.get(word.lower(), word) for word in dict.fromkeys(asked)]
    return prove(net, only=wanted, timeout=timeout, progress=progress)
