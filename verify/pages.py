"""The pages of the catalogue: what each property says, why, how it is proved, how to mend a net.

They are files beside this one, ``catalogue/<ID>.md``, so that the command line and reports have them wherever
Provenet is installed. Nothing here needs the solver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from provenet.nets.errors import PropertyError, did_you_mean
from provenet.nets.quick import dataclass

_FOLDER = Path(__file__).resolve().parent / "catalogue"

ALIASES: Mapping[str, str] = {
    "soundness": "STATE-1",
    "boundedness": "STATE-2",
    "safeness": "STATE-2",
    "deadlock-freedom": "STATE-3",
}
"""What formal methods call a property of the catalogue."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the catalogue.

    Attributes:
        id: The property's id.
        title: What it says, in a few words.
        text: The page as Markdown.
        sections: Heading to text: ``What it says``, ``Why it matters``, ...
    """

    id: str
    title: str
    text: str
    sections: Mapping[str, str]


@cache
def titles() -> Mapping[str, str]:
    """Every id that has a page, with its title; families together, the user's own properties last."""
    found: dict[str, str] = {}
    for file in _FOLDER.glob("*.md"):
        with file.open(encoding="utf-8") as lines:
            found[file.stem] = lines.readline().removeprefix(f"# {file.stem} ").strip()
    return {id_: found[id_] for id_ in sorted(found, key=_order)}


@cache
def page(name: str) -> Page:
    """The page of a property.

    Args:
        name: Its id, in any case, or an alias such as ``soundness``.

    Raises:
        PropertyError: There is no such property.
    """
    known = {**{each.lower(): each for each in titles()}, **ALIASES}
    if name.lower() not in known:
        raise PropertyError(
            f"the catalogue has no property {name!r}", hint=did_you_mean(name, [*titles(), *ALIASES])
        )
    id_ = known[name.lower()]
    # Comments speak to the tests of the documentation.
    text = re.sub(r"<!--.*?-->\n", "", (_FOLDER / f"{id_}.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    sections = {head.strip(): body.strip() for head, body in zip(parts[1::2], parts[2::2], strict=True)}
    return Page(id_, titles()[id_], text, sections)


def _order(id_: str) -> tuple[int, int, str]:
    families = ("SDB", "SAGA", "CTL", "STATE", "EVT", "DATA", "FLOW")
    own = (
        *("relaxed-soundness", "never", "always", "precedes", "responds", "eventually"),
        *("bound", "mutex", "formula"),
    )
    family, _, number = id_.partition("-")
    if family in families and number.isdigit():
        return families.index(family), int(number), ""
    return len(families), own.index(id_) if id_ in own else len(own), id_
