"""The property files of the Model Checking Contest (Kordon et al., https://mcc.lip6.fr), safe to read.

A file holds a ``property-set``; each ``property`` is a temporal formula, or asks for a bound of places. Names
are the ids of the net's PNML, which is what our nets call their places and transitions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from provenet.nets.errors import FormatError, did_you_mean
from provenet.nets.formats.limits import read_bytes
from provenet.nets.formats.safe_xml import Element, parse_xml
from provenet.nets.schema import shorten
from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.net import PTNet

MAX_BYTES = 64 * 1024 * 1024
MAX_DEPTH = 150


@dataclass(frozen=True, slots=True)
class Bound:
    """How many tokens these places hold together at most, over all reachable markings."""

    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """One property of a file.

    Attributes:
        id: Its id, which answers name.
        question: The formula, or the bound that is asked for.
    """

    id: str
    question: tl.Temporal | Bound


def read_properties(path: str | Path, net: PTNet) -> tuple[Asked, ...]:
    """The properties of a file.

    Raises:
        FormatError: The file is no property file of this net, or exceeds a limit.
    """
    path = Path(path)
    return parse_properties(read_bytes(path, MAX_BYTES), net, source=path.name)


def parse_properties(data: bytes, net: PTNet, *, source: str = "properties") -> tuple[Asked, ...]:
    """The properties of a document; see ``read_properties``.

    Raises:
        FormatError: The document holds no properties of this net, or exceeds a limit.
    """
    texts = frozenset({"id", "place", "transition", "integer-constant"})
    document = parse_xml(
        data, source, skip=lambda tag, _: tag == "description", texts=texts, max_depth=MAX_DEPTH
    )
    root = document.children[0]
    if root.tag != "property-set":
        raise FormatError(
            f"the document element {shorten(root.tag)} holds no properties",
            where=source,
            hint="expected <property-set><property>...",
        )
    reader = _Reader(net, source)
    found = {}
    for child in root.children:
        if child.tag == "property":
            asked = reader.asked(child)
            if asked.id in found:
                raise FormatError(f"two properties have the id {shorten(asked.id)}", where=source)
            found[asked.id] = asked
    return tuple(found.values())


_UNARY: dict[str, Callable[[tl.Temporal], tl.Temporal]] = {
    "globally": tl.G,
    "finally": tl.F,
    "next": tl.X,
    "negation": tl.Not,
    "all-paths": tl.A,
    "exists-path": tl.E,
}
_JOINS: dict[str, Callable[[tuple[tl.Temporal, ...]], tl.Temporal]] = {
    "conjunction": tl.Both,
    "disjunction": tl.Either,
}


class _Reader:
    def __init__(self, net: PTNet, source: str) -> None:
        self._net, self._where = net, source
        self._places = {name: i for i, name in enumerate(net.places)}
        self._transitions = {name: i for i, name in enumerate(net.transitions)}
        self._source = source

    def asked(self, node: Element) -> Asked:
        name = node.find("id")
        formula = node.find("formula")
        if name is None or not name.text.strip() or formula is None:
            raise FormatError("a property without an id or a formula", where=self._source)
        self._where = f"{self._source}, property {shorten(name.text.strip())}"
        (top,) = self._children(formula, 1)
        if top.tag == "place-bound":
            return Asked(name.text.strip(), Bound(tuple(self._named(top, "place", self._places))))
        return Asked(name.text.strip(), self._formula(top))

    def _formula(self, node: Element) -> tl.Temporal:
        if node.tag in _UNARY:
            (child,) = self._children(node, 1)
            return _UNARY[node.tag](self._formula(child))
        if node.tag in _JOINS:
            return _JOINS[node.tag](tuple(map(self._formula, node.children)))
        if node.tag == "until":
            before, reach = node.find("before"), node.find("reach")
            if before is None or reach is None:
                raise self._bad("<until> needs <before> and <reach>")
            return tl.U(self._formula(*self._children(before, 1)), self._formula(*self._children(reach, 1)))
        return tl.Now(self._atom(node))

    def _atom(self, node: Element) -> logic.Formula:
        net = self._net
        if node.tag == "is-fireable":
            found = self._named(node, "transition", self._transitions)
            return logic.disj(logic.fireable(net, t) for t in found)
        if node.tag == "deadlock":
            return logic.deadlock(net)
        if node.tag in ("true", "false"):
            return logic.TRUE if node.tag == "true" else logic.FALSE
        compare: dict[str, Callable[[dict[int, int], int], logic.Formula]] = {
            "integer-le": logic.at_most,
            "integer-lt": lambda terms, bound: logic.at_most(terms, bound - 1),
            "integer-ge": logic.at_least,
            "integer-gt": lambda terms, bound: logic.at_least(terms, bound + 1),
            "integer-eq": logic.equal,
            "integer-ne": lambda terms, value: logic.negation(logic.equal(terms, value)),
        }
        if node.tag not in compare:
            known = [*compare, "is-fireable", "deadlock", "conjunction", "disjunction", "negation"]
            raise self._bad(f"element {shorten(node.tag)} is no formula", did_you_mean(node.tag, known))
        left, right = self._children(node, 2)
        terms, constant = self._sum(left)
        others, value = self._sum(right)
        for p, c in others.items():
            terms[p] = terms.get(p, 0) - c
        return compare[node.tag](terms, value - constant)

    def _sum(self, node: Element) -> tuple[dict[int, int], int]:
        """Coefficients of places, and a constant."""
        if node.tag == "integer-constant":
            text = node.text.strip()
            if not text.removeprefix("-").isdecimal() or len(text) > 18:
                raise self._bad(f"{shorten(text)} is no whole number")
            return {}, int(text)
        if node.tag == "tokens-count":
            terms: dict[int, int] = {}
            for p in self._named(node, "place", self._places):
                terms[p] = terms.get(p, 0) + 1
            return terms, 0
        if node.tag in ("integer-sum", "integer-difference"):
            terms, constant, sign = {}, 0, 1
            for child in node.children:
                more, value = self._sum(child)
                for p, c in more.items():
                    terms[p] = terms.get(p, 0) + sign * c
                constant += sign * value
                sign = 1 if node.tag == "integer-sum" else -1
            return terms, constant
        raise self._bad(
            f"element {shorten(node.tag)} is no number", "use <tokens-count> or <integer-constant>"
        )

    def _named(self, node: Element, tag: str, table: dict[str, int]) -> list[int]:
        out = []
        for child in node.children:
            name = child.text.strip()
            if child.tag != tag or name not in table:
                raise self._bad(f"no {tag} {shorten(name)} in the net", did_you_mean(name, table))
            out.append(table[name])
        return out

    def _children(self, node: Element, wanted: int) -> list[Element]:
        if len(node.children) != wanted:
            raise self._bad(f"element {shorten(node.tag)} has {len(node.children)} parts, expected {wanted}")
        return node.children

    def _bad(self, message: str, hint: str = "") -> FormatError:
        return FormatError(message, where=self._where, hint=hint)
