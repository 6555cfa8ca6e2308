"""How each role looks: a shape, a glyph, a tag and a colour that all say the same thing.

The colours follow Okabe & Ito, "Color Universal Design" (2008), darkened and lightened until each family has
its own step of lightness, so that they stay apart for colour-blind readers and in greyscale. Colour is never
the only carrier: within a family the shapes differ, and every box carries its role's name.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from provenet.nets.net import Role


class Family(enum.StrEnum):
    """Who decides, or what kind of thing happens."""

    PLUMBING = "plumbing"
    HUMAN = "human"
    POLICY = "policy"
    MODEL = "model"
    OUTSIDE = "outside"
    SAGA = "saga"
    REJECT = "reject"
    COMMIT = "commit"
    KILL = "kill"


@dataclass(frozen=True, slots=True)
class Look:
    """How the transitions of one role are drawn.

    Attributes:
        family: Decides the colour.
        shape: Graphviz shape.
        glyph: One character for lists and trace cards.
        tag: The role's name for people.
        style: Graphviz style of the outline.
        rims: How many outlines.
    """

    family: Family
    shape: str
    glyph: str
    tag: str
    style: str = "filled"
    rims: int = 1


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a picture, as ``#rrggbb``.

    Attributes:
        fills: Fill for each family.
        ink: Lines and text.
        faint: Secondary text and thin lines.
        paper: Background.
        good: Proved.
        bad: Refuted.
        open: Unknown.
        mark: Background of what a reader should look at.
        dot: Tokens in places.
        tints: Backgrounds of contracts, scopes and human tasks, in this order.
    """

    fills: Mapping[Family, str]
    ink: str = "#1f2328"
    faint: str = "#5b636d"
    paper: str = "#ffffff"
    good: str = "#00664a"
    bad: str = "#a83a00"
    open: str = "#5b4a8a"
    mark: str = "#fff3a3"
    dot: str = "#111111"
    tints: tuple[str, str, str] = ("#f7f9fb", "#faf6f9", "#fdfbee")

    def text_on(self, fill: str) -> str:
        """Ink or white, whichever reads better on a fill."""
        return self.ink if contrast(self.ink, fill) >= contrast("#ffffff", fill) else "#ffffff"


COLOUR = Theme(
    MappingProxyType({
        Family.PLUMBING: "#f4f5f6",
        Family.HUMAN: "#f5e663",
        Family.POLICY: "#a3d5f4",
        Family.MODEL: "#eba11e",
        Family.OUTSIDE: "#2aa67f",
        Family.SAGA: "#a05f87",
        Family.REJECT: "#ab4400",
        Family.COMMIT: "#004b7c",
        Family.KILL: "#161616",
    })
)  # fmt: skip
"""The theme for screens and colour print."""

GREY = Theme(
    MappingProxyType({
        Family.PLUMBING: "#f5f5f5",
        Family.HUMAN: "#e2e2e2",
        Family.POLICY: "#cdcdcd",
        Family.MODEL: "#b1b1b1",
        Family.OUTSIDE: "#959595",
        Family.SAGA: "#757575",
        Family.REJECT: "#636363",
        Family.COMMIT: "#484848",
        Family.KILL: "#161616",
    }),
    faint="#555555", good="#333333", bad="#000000", open="#555555", mark="#dddddd",
    tints=("#f8f8f8", "#f8f8f8", "#f8f8f8"),
)  # fmt: skip
"""The theme for black-and-white print."""

LOOKS: Mapping[Role, Look] = MappingProxyType({
    Role.BEGIN: Look(Family.PLUMBING, "box", "▶", "begin"),
    Role.PROPOSE: Look(Family.MODEL, "hexagon", "⬡", "propose"),
    Role.FAULT: Look(Family.MODEL, "hexagon", "⚡", "fault", "filled,dashed"),
    Role.ACCEPT: Look(Family.POLICY, "diamond", "◇", "accept"),
    Role.REJECT: Look(Family.REJECT, "diamond", "◆", "reject"),
    Role.RETRY: Look(Family.PLUMBING, "box", "↻", "retry", "filled,rounded"),
    Role.GIVE_UP: Look(Family.REJECT, "invtrapezium", "⇒", "give up"),
    Role.INTENT: Look(Family.COMMIT, "note", "▭", "intent"),
    Role.COMMIT: Look(Family.COMMIT, "cylinder", "⛁", "commit"),
    Role.FAIL: Look(Family.REJECT, "octagon", "⊘", "fail"),
    Role.UNWIND: Look(Family.SAGA, "folder", "◁", "unwind"),
    Role.COMPENSATE: Look(Family.SAGA, "cylinder", "↩", "undo"),
    Role.DISCHARGE: Look(Family.SAGA, "box", "▮", "discharge", "filled,rounded"),
    Role.ABORT: Look(Family.SAGA, "octagon", "◀", "abort"),
    Role.ABORTED: Look(Family.SAGA, "octagon", "■", "aborted", "filled", 2),
    Role.COMPLETE: Look(Family.SAGA, "tab", "□", "complete"),
    Role.APPROVE: Look(Family.HUMAN, "house", "▲", "approve"),
    Role.DENY: Look(Family.HUMAN, "invhouse", "▼", "deny"),
    Role.TIMER: Look(Family.OUTSIDE, "box", "◉", "timer", "filled,rounded", 2),
    Role.EVENT: Look(Family.OUTSIDE, "component", "✉", "event"),
    Role.KILL: Look(Family.KILL, "octagon", "⬢", "kill switch"),
    Role.ROUTE: Look(Family.PLUMBING, "box", "▬", "route"),
})  # fmt: skip
"""Every role's look."""

WHO: Mapping[Family, str] = MappingProxyType({
    Family.PLUMBING: "plumbing: fires by itself",
    Family.HUMAN: "a person decides",
    Family.POLICY: "the verifier lets it pass",
    Family.MODEL: "the proposer: may say anything",
    Family.OUTSIDE: "time or an event from outside",
    Family.SAGA: "the saga scope: undo, abort, end",
    Family.REJECT: "refused, given up or failed",
    Family.COMMIT: "the only writer",
    Family.KILL: "the kill switch",
})  # fmt: skip
"""What a family means, for the legend."""


PARTS: Mapping[str, tuple[tuple[Family, str], ...]] = MappingProxyType({
    "contract": (
        (Family.MODEL, "propose"), (Family.POLICY, "verify"),
        (Family.COMMIT, "commit"), (Family.REJECT, "reject"),
    ),
    "saga": ((Family.SAGA, "saga scope"),),
    "human": ((Family.HUMAN, "human task"),),
})  # fmt: skip
"""The coloured parts of the boxes that the folded view draws, by the kind of group."""


def channels(colour: str) -> tuple[float, float, float]:
    """Red, green and blue of ``#rrggbb``, linear, from 0 to 1 (IEC 61966-2-1)."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return r, g, b


def luminance(colour: str) -> float:
    """Relative luminance, from 0 (black) to 1 (white)."""
    r, g, b = channels(colour)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def lightness(colour: str) -> float:
    """CIE L*, from 0 to 100: equal steps look equally far apart, in greyscale too."""
    y = luminance(colour)
    return 903.3 * y if y <= 0.008856 else 116 * y ** (1 / 3) - 16


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours, from 1 to 21 (WCAG 2.2)."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)
