"""PNML for place/transition nets (ISO/IEC 15909-2:2011), read from strangers and written for other tools.

What is read: pages, reference nodes, markings, inscriptions, names; documents with or without the
namespace; the older forms that are still found (``<value>`` in place of ``<text>``, ``Default,1`` markings,
``<type value="read"/>`` arcs, ``<finalmarkings>``). Graphics and foreign tool-specific parts are skipped.
Ids become names; a ``<name>`` that says something else becomes the label.

**Workflow nets.** PNML has no place for final markings. A net with exactly one source place, exactly one
sink place and no transition without inputs or outputs is a workflow net (van der Aalst, "The Application of
Petri Nets to Workflow Management", 1998): where nothing is marked, one token is put into the source; where
the marking is just that token, the final marking is one token in the sink. Any other marking is kept as it
is, and final markings that the file does declare are never touched. ``unmarked="empty"`` keeps a net without
tokens as it is too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from provenet.nets.errors import FormatError, did_you_mean
from provenet.nets.formats.limits import MAX_TOKENS, MAX_WEIGHT, Mistakes, read_bytes
from provenet.nets.formats.safe_xml import Element, parse_xml
from provenet.nets.net import Net, Place, Put, Read, Take, Transition
from provenet.nets.schema import UNIT, UNIT_VALUE, shorten

NAMESPACE = "http://www.pnml.org/version-2009/grammar/pnml"
PTNET = "http://www.pnml.org/version-2009/grammar/ptnet"

MAX_BYTES = 64 * 1024 * 1024

Unmarked = Literal["started", "empty"]

_OURS = "provenet"
_SKIPPED = frozenset({"graphics", "toolspecific"})
_COLOURED = ("symmetric", "highlevel", "hlpng", "hlnet")
_NC_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]*\Z")
_NUMBER = re.compile(r"\s*(?:Default\s*,)?\s*(\d{1,18})\s*\Z", re.ASCII)


def read_pnml(
    path: str | Path, *, net: str | None = None, max_bytes: int = MAX_BYTES, unmarked: Unmarked = "started"
) -> Net:
    """Read a P/T net from a PNML file.

    Args:
        path: The file.
        net: Id of the net to read, where the file holds several.
        max_bytes: Refuse a larger file.
        unmarked: Whether a workflow net without tokens is ``started``, or its marking ``empty`` as written.

    Raises:
        FormatError: The file is not well-formed PNML of a P/T net, or exceeds a limit.
    """
    path = Path(path)
    data = read_bytes(path, max_bytes)
    return parse_pnml(data, net=net, max_bytes=max_bytes, source=path.name, unmarked=unmarked)


def parse_pnml(
    data: bytes | str,
    *,
    net: str | None = None,
    max_bytes: int = MAX_BYTES,
    source: str = "PNML",
    unmarked: Unmarked = "started",
) -> Net:
    """Read a P/T net from the bytes of a PNML document; see ``read_pnml``.

    Args:
        data: The document.
        net: Id of the net to read, where the document holds several.
        max_bytes: Refuse a larger document.
        source: Name of the document, for error messages.
        unmarked: Whether a workflow net without tokens is ``started``, or its marking ``empty`` as written.

    Raises:
        FormatError: The document is not well-formed PNML of a P/T net, or exceeds a limit.
    """
    if isinstance(data, str):
        # A declaration in text describes bytes that are no longer there.
        data = re.sub(r"\A\s*<\?xml[^>]*\?>", "", data, count=1).encode("utf-8", "surrogatepass")
    if len(data) > max_bytes:
        raise FormatError(
            f"{len(data):,} bytes exceed the limit of {max_bytes:,}", where=source, hint="raise max_bytes"
        )
    root = parse_xml(data, source, skip=_is_foreign)
    return _Reader(_choose(root, net, source), source, unmarked).read()


def write_pnml(net: Net, path: str | Path, *, as_: Literal["exact", "skeleton"] = "exact") -> None:
    """Write a net to a PNML file; see ``pnml_text``."""
    Path(path).write_text(pnml_text(net, as_=as_), encoding="utf-8")


def pnml_text(net: Net, *, as_: Literal["exact", "skeleton"] = "exact") -> str:
    """A net as a PNML document.

    A read arc becomes a pair of arcs (the same behaviour, one firing at a time), and the token of an entry
    place becomes part of the initial marking. Names that XML does not allow as ids are rewritten, and kept
    as ``<name>``. Final markings and resting places go into a tool-specific part.

    Args:
        net: The net.
        as_: ``exact`` refuses a net that P/T nets cannot express; ``skeleton`` forgets token values,
            guards, capacities and resets.

    Raises:
        FormatError: With ``exact``, naming everything that PNML P/T nets cannot express.
    """
    if as_ == "exact":
        _refuse_colours(net)
    ids = _ids([*(p.name for p in net.places)], [*(t.name for t in net.transitions)])
    marked = {place: len(tokens) for place, tokens in net.initial}
    for entry in net.entries:
        marked[entry.place] = marked.get(entry.place, 0) + 1
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f"<pnml xmlns={quoteattr(NAMESPACE)}>",
        f' <net id="net" type={quoteattr(PTNET)}>',
        f"  <name><text>{_text(net.name)}</text></name>",
        f'  <toolspecific tool="{_OURS}" version="1">',
        *_finals(net, ids),
        "  </toolspecific>",
        '  <page id="page">',
    ]
    for place in net.places:
        tokens = marked.get(place.name, 0)
        marking = f"<initialMarking><text>{tokens}</text></initialMarking>" if tokens else ""
        label = _label(place.name, place.label, ids["p", place.name])
        out.append(f"   <place id={quoteattr(ids['p', place.name])}>{label}{marking}</place>")
    arcs: list[tuple[str, str, int]] = []
    for t in net.transitions:
        node = ids["t", t.name]
        out.append(f"   <transition id={quoteattr(node)}>{_label(t.name, t.label, node)}</transition>")
        inputs: list[Take | Read] = [*t.takes, *t.reads]
        outputs: list[Put | Read] = [*t.puts, *t.reads]
        arcs.extend((ids["p", a.place], node, a.weight) for a in inputs)
        arcs.extend((node, ids["p", a.place], a.weight) for a in outputs)
    for i, (source, target, weight) in enumerate(arcs):
        inscription = "" if weight == 1 else f"<inscription><text>{weight}</text></inscription>"
        ends = f"source={quoteattr(source)} target={quoteattr(target)}"
        out.append(f'   <arc id="arc-{i}" {ends}>{inscription}</arc>')
    out += ["  </page>", " </net>", "</pnml>", ""]
    return "\n".join(out)


def _is_foreign(tag: str, attrs: Mapping[str, str]) -> bool:
    return tag in _SKIPPED and attrs.get("tool") != _OURS


def _choose(document: Element, wanted: str | None, source: str) -> Element:
    root = document.children[0]
    nets = [root] if root.tag == "net" else [c for c in root.children if c.tag == "net"]
    if root.tag not in ("pnml", "net") or not nets:
        raise FormatError(
            f"the document <{shorten(root.tag)}> holds no <net>", where=source, hint="expected <pnml><net>..."
        )
    ids = [n.attrs.get("id", "") for n in nets]
    if wanted is not None:
        if wanted not in ids:
            raise FormatError(
                f"no net {wanted!r} in the document", where=source, hint=did_you_mean(wanted, ids)
            )
        return nets[ids.index(wanted)]
    if len(nets) > 1:
        raise FormatError(
            f"{len(nets)} nets in one document",
            where=source,
            hint=f"say which: net= one of {', '.join(ids[:12])}",
        )
    return nets[0]


class _Reader:
    """Turns the XML of one net into a ``Net``, collecting mistakes as it goes."""

    def __init__(self, root: Element, source: str, unmarked: Unmarked) -> None:
        self._root = root
        self._source = source
        self._unmarked = unmarked
        self._wrong = Mistakes(source)
        self._places: dict[str, Place] = {}
        self._transitions: dict[str, str] = {}
        self._references: dict[str, str] = {}
        self._marked: dict[str, int] = {}

    def read(self) -> Net:
        kind = self._root.attrs.get("type", "")
        nodes = list(self._nodes())
        hl = next((n.tag for n in nodes if n.find("hlinitialMarking", "hlinscription") is not None), None)
        if any(word in kind.lower() for word in _COLOURED) or hl is not None:
            raise FormatError(
                f"a coloured net (type {shorten(kind)}); only P/T nets can be read",
                where=self._source,
                hint="unfold it to a P/T net with the tool that wrote it",
            )
        for node in nodes:
            self._declare(node)
        takes, reads, resets, puts = self._arcs(n for n in nodes if n.tag == "arc")
        self._wrong.raise_if_any()
        places = tuple(self._places.values())
        transitions = tuple(
            Transition(
                name,
                takes=tuple(Take(p, None, w) for p, w in takes[name].items()),
                reads=tuple(Read(p, None, w) for p, w in reads[name].items()),
                resets=tuple(resets[name]),
                puts=tuple(Put(p, None, w) for p, w in puts[name].items()),
                label=label,
            )
            for name, label in self._transitions.items()
        )
        finals, resting = self._finals(places, transitions)
        self._wrong.raise_if_any()
        return Net(
            name=_named(self._root) or self._root.attrs.get("id") or "net",
            places=places,
            transitions=transitions,
            initial=tuple((p, (UNIT_VALUE,) * n) for p, n in self._marked.items()),
            finals=finals,
            resting=resting,
        )

    def _nodes(self) -> Iterator[Element]:
        """Everything on the net's pages, in document order."""
        stack = [iter(self._root.children)]
        while stack:
            node = next(stack[-1], None)
            if node is None:
                stack.pop()
            elif node.tag == "page":
                stack.append(iter(node.children))
            else:
                yield node

    def _declare(self, node: Element) -> None:
        if node.tag not in ("place", "transition", "referencePlace", "referenceTransition"):
            return
        name = node.attrs.get("id", "")
        if not name:
            self._wrong.add(f"<{node.tag}>", "has no id", "give every node an id of its own")
            return
        if name in self._places or name in self._transitions or name in self._references:
            self._wrong.add(
                f"<{node.tag}> {shorten(name)}", "the id is used twice", "ids are unique in a document"
            )
            return
        label = _named(node)
        label = "" if label == name else label
        if node.tag == "transition":
            self._transitions[name] = label
        elif node.tag == "place":
            self._places[name] = Place(name, UNIT, None, label)
            tokens = self._number(node.find("initialMarking"), f"place {shorten(name)}", 0)
            if tokens:
                self._marked[name] = tokens
                if sum(self._marked.values()) > MAX_TOKENS:
                    del self._marked[name]
                    self._wrong.add(f"place {shorten(name)}", f"more than {MAX_TOKENS:,} tokens in all")
            if self._number(node.find("capacity"), f"place {shorten(name)}", 0):
                self._wrong.add(
                    f"place {shorten(name)}",
                    "has a capacity, which P/T nets have not",
                    "add a complement place",
                )
        else:
            self._references[name] = node.attrs.get("ref", "")

    def _arcs(self, arcs: Iterable[Element]) -> tuple[_Weights, _Weights, _Weights, _Weights]:
        takes: _Weights = {t: {} for t in self._transitions}
        reads: _Weights = {t: {} for t in self._transitions}
        resets: _Weights = {t: {} for t in self._transitions}
        puts: _Weights = {t: {} for t in self._transitions}
        for arc in arcs:
            where = f"arc {shorten(arc.attrs.get('id', ''))}"
            source = self._resolve(arc.attrs.get("source", ""), where)
            target = self._resolve(arc.attrs.get("target", ""), where)
            weight = self._number(arc.find("inscription"), where, 1)
            kind = _arc_kind(arc)
            if source is None or target is None:
                continue
            if weight == 0 or weight > MAX_WEIGHT:
                self._wrong.add(where, f"its weight is {weight}", f"a weight is from 1 to {MAX_WEIGHT:,}")
            elif source in self._places and target in self._transitions:
                if kind in _ARC_TABLES:
                    _add((takes, reads, resets)[_ARC_TABLES[kind]][target], source, weight)
                else:
                    self._wrong.add(
                        where, f"is of kind {shorten(kind)}", "kinds are normal, read, test, reset"
                    )
            elif source in self._transitions and target in self._places and kind in ("", "normal"):
                _add(puts[source], target, weight)
            elif source in self._transitions and target in self._places:
                self._wrong.add(where, f"is of kind {shorten(kind)}", "arcs to places are normal")
            else:
                self._wrong.add(where, "joins two nodes of one kind", "an arc joins a place and a transition")
        return takes, reads, resets, puts

    def _resolve(self, name: str, where: str) -> str | None:
        """The node behind a name, through reference nodes."""
        seen = {name}
        at = name
        while at in self._references:
            at = self._references[at]
            if at in seen:
                self._wrong.add(where, f"the reference node {shorten(name)} leads back to itself")
                return None
            seen.add(at)
        if at in self._places or at in self._transitions:
            return at
        if self._wrong.wants_more:
            self._wrong.add(
                where,
                f"no node has the id {shorten(at)}",
                did_you_mean(at, (*self._places, *self._transitions)),
            )
        else:
            self._wrong.skip()
        return None

    def _number(self, holder: Element | None, where: str, default: int) -> int:
        if holder is None:
            return default
        text = _content(holder)
        if not text.strip():
            return default
        found = _NUMBER.match(text)
        if found is None:
            self._wrong.add(
                where, f"<{holder.tag}> is {shorten(text)}", "expected a whole number that is not negative"
            )
            return default
        return int(found[1])

    def _finals(self, places: tuple[Place, ...], transitions: tuple[Transition, ...]) -> _Finals:
        ours = self._root.find("toolspecific")
        declared = (ours or self._root).find("finalmarkings") or self._root.find("finalmarkings")
        resting: tuple[str, ...] = ()
        if ours is not None and (kept := ours.find("resting")) is not None:
            resting = tuple(self._places_of(kept))
        if declared is not None:
            markings = (self._places_of(m) for m in declared.children if m.tag == "marking")
            return tuple(tuple((p, n) for p, n in m.items() if n) for m in markings), resting
        workflow = _workflow(places, transitions)
        if workflow is None:
            return (), resting
        source, sink = workflow
        if not self._marked and self._unmarked == "started":
            self._marked[source] = 1
        return ((((sink, 1),),) if self._marked == {source: 1} else ()), resting

    def _places_of(self, holder: Element) -> dict[str, int]:
        found: dict[str, int] = {}
        for node in holder.children:
            if node.tag == "place":
                name = self._resolve(node.attrs.get("idref", ""), f"<{holder.tag}>")
                if name in self._places:
                    found[name] = self._number(node, f"<{holder.tag}> of {shorten(name)}", 1)
                elif name is not None:
                    self._wrong.add(f"<{holder.tag}>", f"{shorten(name)} is no place")
        return found


_Weights = dict[str, dict[str, int]]
_Finals = tuple[tuple[tuple[tuple[str, int], ...], ...], tuple[str, ...]]
_ARC_TABLES = {"": 0, "normal": 0, "read": 1, "test": 1, "reset": 2}


def _add(weights: dict[str, int], place: str, weight: int) -> None:
    """Parallel arcs add up."""
    weights[place] = weights.get(place, 0) + weight


def _arc_kind(arc: Element) -> str:
    kind = arc.find("type", "arctype")
    told = arc.attrs.get("type", "") if kind is None else kind.attrs.get("value") or _content(kind)
    return told.strip().lower()


def _content(holder: Element) -> str:
    text = holder.find("text", "value")
    return "" if text is None else text.text


def _named(node: Element) -> str:
    name = node.find("name")
    return "" if name is None else _content(name).strip()


def _workflow(places: tuple[Place, ...], transitions: tuple[Transition, ...]) -> tuple[str, str] | None:
    """Source and sink of a workflow net, or ``None`` where the net is none."""
    taken = {a.place for t in transitions for a in t.takes} | {a.place for t in transitions for a in t.reads}
    taken |= {p for t in transitions for p in t.resets}
    put = {a.place for t in transitions for a in t.puts}
    sources = [p.name for p in places if p.name not in put]
    sinks = [p.name for p in places if p.name not in taken]
    if len(sources) != 1 or len(sinks) != 1 or sources == sinks:
        return None
    if not all(t.takes and t.puts for t in transitions):
        return None
    return sources[0], sinks[0]


def _refuse_colours(net: Net) -> None:
    wrong = Mistakes(f"net {net.name!r}", hint='write the skeleton alone: as_="skeleton"')
    for p in net.places:
        if p.type != UNIT:
            wrong.add(f"place {p.name!r}", f"its tokens carry values of type {p.type}")
        if p.capacity is not None:
            wrong.add(f"place {p.name!r}", f"has the capacity {p.capacity}")
    for entry in net.entries:
        if entry.where is not None:
            wrong.add(f"entry {entry.place!r}", "has a condition on its token")
    for t in net.transitions:
        parts = ("guard", "ensures", "requires", "fresh", "resets")
        there = [part for part in parts if getattr(t, part)]
        if there:
            wrong.add(f"transition {t.name!r}", f"has {', '.join(there)}")
    wrong.raise_if_any("P/T nets cannot express this")


def _ids(places: list[str], transitions: list[str]) -> dict[tuple[str, str], str]:
    """An XML id for each node: its name where XML allows, and no two alike."""
    reserved = {"net", "page"}
    ids: dict[tuple[str, str], str] = {}
    nodes = [("p", n) for n in places] + [("t", n) for n in transitions]
    for key in nodes:
        if _NC_NAME.match(key[1]) and key[1] not in reserved and not key[1].startswith("arc-"):
            reserved.add(key[1])
            ids[key] = key[1]
    for key in nodes:
        if key not in ids:
            base = re.sub(r"[^A-Za-z0-9_.\-]", "_", f"{key[0]}_{key[1]}")
            name = next(
                n for i in range(len(nodes) + 3) if (n := f"{base}_{i}" if i else base) not in reserved
            )
            reserved.add(name)
            ids[key] = name
    return ids


def _label(name: str, label: str, node: str) -> str:
    text = label or ("" if node == name else name)
    return f"<name><text>{_text(text)}</text></name>" if text else ""


def _text(text: str) -> str:
    # Characters that XML 1.0 cannot hold at all become the replacement character.
    return escape(re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text))


def _finals(net: Net, ids: dict[tuple[str, str], str]) -> Iterator[str]:
    yield "   <finalmarkings>"
    for final in net.finals:
        places = "".join(f"<place idref={quoteattr(ids['p', p])}><text>{n}</text></place>" for p, n in final)
        yield f"    <marking>{places}</marking>"
    yield "   </finalmarkings>"
    if net.resting:
        places = "".join(f"<place idref={quoteattr(ids['p', p])}/>" for p in net.resting)
        yield f"   <resting>{places}</resting>"
