"""``formula``: what a user says of all runs in CTL or LTL, of nets whose tokens carry data.

The text is that of ``provenet.verify.plain.formula_text``: places are counted, ``fireable(t)`` says that the
transition can fire with some values, ``deadlock`` that none can. A formula must hold for every input that a
case may start with. Which runs there are says ``provenet.verify.modal``, which also decides formulas on the
abstract state graph. Where the graph alone leaves it open, a run is looked for that breaks the formula (or
shows it, where a case starts in one marking only): a beginning after which nothing can mend it, a run that
ends, or one that comes back to a marking. It is replayed by the firing rule, and the formula is evaluated on
the markings that the rule gives.

A run that breaks a formula of CTL without its inner quantifiers, where all of them are ``A``, breaks it with
them (Maidl, "The common fragment of CTL and LTL", FOCS 2000).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, get_args

import z3

from provenet.nets.errors import FiringError, PropertyError, did_you_mean
from provenet.nets.marking import Marking, is_final
from provenet.nets.net import Net, Requirement
from provenet.nets.quick import dataclass
from provenet.nets.requirements import Runs
from provenet.nets.schema import UnitType
from provenet.verify.abstraction import ANY, Path, small_fields
from provenet.verify.context import Context, graph_certificate
from provenet.verify.graph import Edge, Graph
from provenet.verify.hope import final_counts
from provenet.verify.modal import Model, is_next, vocabulary
from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.engines.buchi import TooLarge
from provenet.verify.plain.formula_text import parse_formula, shown
from provenet.verify.plain.logic import And, Formula, Le, Or
from provenet.verify.plain.net import PTNet
from provenet.verify.plain.paths import after, evaluated
from provenet.verify.plain.settled import wanted_path
from provenet.verify.product import Late, Node, Product, Skeleton
from provenet.verify.progress import RANKED, always_ends, progress_certificate, told
from provenet.verify.properties.common import proved, refuted
from provenet.verify.properties.ending import ends_in, lets_none_fire, prolonged, repeated
from provenet.verify.smt import Encoding
from provenet.verify.trace import Extra, SymRun
from provenet.verify.verdict import Certificate, Status, Trace, Verdict

ASSUMED: dict[Runs, str] = {
    "fair": "on fair runs: what stays possible happens in the end, and so does each answer of the outside; "
    "people and events may stay away; a case that is over stays as it is",
    "all": "on all maximal runs: a run ends only where nothing can fire; what stays possible may not happen",
}
"""What is said of the runs that count, in every verdict."""

_ROUNDS = 4
_CANDIDATES = 30
_LOOPS = 8
_SHOWN = 12
_LONGEST = 200
_LARGEST = 400

Ending = Literal["any", "ends", "loop", "rest"]
"""Why a run breaks a formula: whatever follows, as it ends, going round, or as all that can follow does."""


def check_formula(ctx: Context, requirement: Requirement) -> Iterable[Verdict]:
    """``formula``."""
    text, runs = requirement.arg("formula"), requirement.arg("runs", "fair")
    if not isinstance(text, str):
        raise PropertyError("formula has no text", hint='say formula("AG (sent -> AF done)")')
    if runs not in get_args(Runs):
        raise PropertyError(f"there are no {runs!r} runs", hint=did_you_mean(str(runs), get_args(Runs)))
    words = vocabulary(ctx.net)
    asked = parse_formula(text, words)
    linear = not tl.is_state(asked)
    if linear:
        asked = tl.A(asked)
    simple = tl.simplified(asked)
    if simple in (tl.TRULY, tl.FALSELY):
        yield _constant(requirement.name or text, runs, holds=simple == tl.TRULY)
        return
    if runs == "fair" and _met_by_the_end(ctx.net, simple) and ctx.small_graph() is None:
        ranked = always_ends(ctx)
        if ranked is not None:
            title, why = requirement.name or text, f"{told(ranked)} ({ASSUMED[runs]})"
            certificate = progress_certificate(ranked)
            yield proved("formula", title, RANKED, certificate, subject=f"{runs} runs", reason=why)
            return
    yield _Question(ctx, requirement, words, simple, linear=linear).verdict(asked)


def _met_by_the_end(net: Net, formula: tl.Temporal) -> bool:
    """Whether a formula surely holds where every run ends in a final marking, by its form alone."""
    match formula:
        case tl.A(tl.G(of)):
            return _met_by_the_end(net, of)
        case tl.Either(parts):
            return any(_met_by_the_end(net, part) for part in parts)
        case tl.Both(parts):
            return all(_met_by_the_end(net, part) for part in parts)
        case tl.A(tl.F(tl.Now(of))):
            return bool(net.finals) and all(_holds_at(net, final, of) for final in final_counts(net))
        case _:
            return False


def _holds_at(net: Net, final: Mapping[str, int], of: Formula) -> bool:
    """Whether a condition holds in a final marking, whatever rests there."""
    match of:
        case And(parts):
            return all(_holds_at(net, final, part) for part in parts)
        case Or(parts):
            return any(_holds_at(net, final, part) for part in parts)
        case Le(terms, bound):
            if any(at >= len(net.places) or net.places[at].name in net.resting for at, _ in terms):
                return False
            return sum(factor * final.get(net.places[at].name, 0) for at, factor in terms) <= bound


def _constant(title: str, runs: Runs, *, holds: bool) -> Verdict:
    why = f"it is {str(holds).lower()} of every net: its constants decide it"
    certificate = Certificate("structure", {"nothing": why})
    if holds:
        return proved("formula", title, "structure", certificate, subject=f"{runs} runs", vacuous=why)
    return Verdict(
        "formula", title, Status.REFUTED, "structure", why, f"{runs} runs", certificates=(certificate,)
    )


@dataclass(frozen=True, slots=True)
class _Way:
    """A path of the graph that may satisfy a path formula.

    Attributes:
        edges: Its firings.
        states: The states that it passes.
        ending: Why it may.
        home: Of a loop, after how many firings it begins.
    """

    edges: Sequence[Edge]
    states: Sequence[int]
    ending: Ending
    home: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    """A run that satisfies a path formula.

    Attributes:
        trace: The run; what follows it, for people, is included.
        ending: Why it satisfies the formula.
        firings: Where all that can follow satisfies it, how many come first.
        loop: How many of the last firings can be repeated for ever; 0 where the run ends, or is not followed.
    """

    trace: Trace
    ending: Ending
    firings: int = 0
    loop: int = 0


class _Question:
    """One formula about one net."""

    def __init__(
        self, ctx: Context, requirement: Requirement, words: PTNet, formula: tl.Temporal, *, linear: bool
    ) -> None:
        self.ctx, self.words, self.formula, self.linear = ctx, words, formula, linear
        self.text, self.runs = requirement.arg("formula"), requirement.arg("runs", "fair")
        self.title, self.subject = requirement.name or self.text, f"{self.runs} runs"
        self._refine: list[tuple[str, Path]] = []
        self._reason = ""

    def verdict(self, asked: tl.Temporal) -> Verdict:
        """The verdict on the formula; ``asked`` is what the user wrote, for what it takes for granted."""
        ctx, extra = self.ctx, list[tuple[str, Path]]()
        for _ in range(_ROUNDS):
            graph = ctx.graph(extra)
            self._refine, self._reason = [], ""
            try:
                model = Model(ctx, graph, self.words, self.runs, linear=self.linear)
                found = self._decided(model, asked)
            except Late as late:
                return self._open(str(late))
            except TooLarge:
                return self._open("the automaton of the formula is too large")
            if found is not None:
                return found
            if not graph.complete:
                return self._open(graph.reason)
            known = {*extra, *ctx.control}
            new = [f for f in dict.fromkeys(self._refine) if f not in known]
            new = new or [f for f in dict.fromkeys(self._doubtful(graph)) if f not in known]
            if not new or ctx.remaining_ms() <= 1:
                break
            extra += new
        return self._open(self._reason or "what was forgotten of the tokens may decide it")

    def _decided(self, model: Model, asked: tl.Temporal) -> Verdict | None:
        graph, roots = model.graph, range(model.graph.roots)
        certificate = graph_certificate(graph)
        known = model.bounds(self.formula)
        if graph.complete and all(known.surely[r] for r in roots):
            vacuous = self._vacuous(model, asked)
            about = ASSUMED[self.runs]
            return self._proved("state graph", certificate, about, vacuous)
        found = self._breaking(model, self.formula, [r for r in roots if not known.surely[r]])
        if found is not None:
            return self._refuted(*found)
        if graph.complete:
            for root in roots:
                if not known.maybe[root]:
                    trace = self._realized(graph, [], ends_in(graph, root))
                    if trace is not None:
                        why = "whatever is done, it does not hold for a case that starts so"
                        return self._refuted_by(trace, why, certificate)
        opposite = tl.simplified(self.formula, negated=True)
        found = self._breaking(model, opposite, list(roots))
        if found is not None:
            if self._starts_alike():
                return self._shown(found[0])
            self._reason = "some case can show it, but that each can, whatever it starts with, is not known"
        return None

    def _starts_alike(self) -> bool:
        """Whether every case starts in the same marking."""
        net = self.ctx.net
        return all(isinstance(net.place(e.place).type, UnitType) for e in net.entries)

    # verdicts

    def _open(self, reason: str) -> Verdict:
        return Verdict(
            "formula",
            self.title,
            Status.UNKNOWN,
            reason=f"{reason} ({ASSUMED[self.runs]})",
            subject=self.subject,
        )

    def _refuted(self, found: _Found, broken: tl.Temporal) -> Verdict:
        told = self.text if broken == self.formula else _told(broken, self.words)
        return self._refuted_by(found.trace, _why(found, told if len(told) <= _LONGEST else "the formula"))

    def _refuted_by(self, trace: Trace, why: str, *certificates: Certificate) -> Verdict:
        base = Verdict("formula", self.title, Status.REFUTED, subject=self.subject, certificates=certificates)
        return refuted(base, trace, self.ctx.net, f"{why} ({ASSUMED[self.runs]})")

    def _shown(self, found: _Found) -> Verdict:
        names = [s.transition for s in found.trace.steps]
        told = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if names[_SHOWN:] else "")
        about = f"this run shows it: {told or 'of no firing'}"
        if found.loop:
            about += f"; the last {found.loop} again and again"
        certificate = Certificate("run", {"trace": found.trace.to_json(self.ctx.net), "loop": found.loop})
        return self._proved("run", certificate, f"{about} ({ASSUMED[self.runs]})")

    def _proved(self, method: str, certificate: Certificate, reason: str, vacuous: str = "") -> Verdict:
        return proved(
            "formula",
            self.title,
            method,
            certificate,
            subject=self.subject,
            vacuous=vacuous,
            reason=reason,
        )

    def _vacuous(self, model: Model, asked: tl.Temporal) -> str:
        """Left sides of implications that no reachable marking satisfies (Beer et al., CAV 1997)."""
        for part in tl.subformulas(asked):
            if isinstance(part, tl.Either):
                for piece in part.parts:
                    if isinstance(piece, tl.Not) and tl.is_state(piece.of):
                        left = tl.simplified(piece.of)
                        if left != tl.FALSELY and not any(model.bounds(left).maybe):
                            return f"{_told(piece.of, self.words)} never holds"
        return ""

    def _doubtful(self, graph: Graph) -> Iterator[tuple[str, Path]]:
        """The fields of few values that guards read which are not decided on the graph."""
        for name in dict.fromkeys(e.transition for out in graph.edges for e, _ in out if not e.certain):
            yield from small_fields(self.ctx.net, self.ctx.net.transition(name))

    # runs

    def _breaking(
        self, model: Model, formula: tl.Temporal, roots: Sequence[int]
    ) -> tuple[_Found, tl.Temporal] | None:
        """A run that shows that a state formula does not hold where a case starts, with what it breaks."""
        match formula:
            case tl.Both(parts):
                return next((f for p in parts if (f := self._breaking(model, p, roots)) is not None), None)
            case tl.Either(parts):
                for part in parts:
                    others = [model.bounds(p).maybe for p in parts if p is not part]
                    alone = [r for r in roots if not any(o[r] for o in others)]
                    found = self._breaking(model, part, alone) if alone else None
                    # The other parts fail for cases that start so, not for all.
                    if found is not None and any(
                        _stands_for(model.graph, r, found[0].trace.start) for r in alone
                    ):
                        return found[0], formula
            case tl.A(path):
                for wanted in self._wanted(formula, path):
                    found_run = self._run(model, wanted, roots)
                    if found_run is not None:
                        return found_run, formula
        return None

    def _wanted(self, formula: tl.Temporal, path: tl.Temporal) -> Iterator[tl.Temporal]:
        """What a run satisfies that breaks ``A path``."""
        opposite = tl.simplified(path, negated=True)
        line = None if self.linear else wanted_path(formula)
        if line is not None and line != opposite:
            yield tl.simplified(line)
        yield opposite

    def _run(self, model: Model, path: tl.Temporal, roots: Sequence[int]) -> _Found | None:
        """A run from some initial states that satisfies a path formula."""
        skeleton = Skeleton.of(path)
        product = Product(model, skeleton, roots)
        next_only = is_next(path) and not self.linear
        tried = 0
        for way in self._ways(model, product):
            if next_only and (way.ending == "ends" or not way.edges):
                continue  # of CTL's reading, where a run that ended has no next marking
            tried += 1
            if tried > _CANDIDATES or self.ctx.remaining_ms() <= 1:
                break
            found = self._confirmed(model, skeleton, way)
            if found is not None:
                return found
        return None

    def _ways(self, model: Model, product: Product) -> Iterator[_Way]:
        """Paths that may satisfy the formula of a product, short ones first."""
        skeleton, runs = product.skeleton, model.runs
        accepting = {node: part for part in product.accepting() for node in part}
        sinks = frozenset(product.sinks)
        vectors = model.letters(skeleton.parts, surely=True)
        left: list[tl.Temporal] = []  # what the rest of a path must satisfy, for each node
        sure: dict[tl.Temporal, bytes] = {}
        loops: Counter[frozenset[Node]] = Counter()
        known: dict[tuple[tl.Temporal, tuple[int, ...]], tl.Temporal] = {}

        def onward(rest: tl.Temporal, here: tuple[int, ...]) -> tl.Temporal:
            if (rest, here) not in known:
                then = after(rest, [here])
                small = sum(1 for _ in islice(tl.subformulas(then), _LARGEST)) < _LARGEST
                known[rest, here] = then if small else tl.FALSELY  # one more way that is not tried
            return known[rest, here]

        for node, parent in enumerate(product.parent):
            state, ended = product.state[node], product.ended[node]
            rest = skeleton.path if parent is None else left[parent[0]]
            if parent is not None and not ended:
                rest = onward(rest, vectors[product.state[parent[0]]])
            left.append(rest)
            if ended:
                if node in accepting or node in sinks:
                    yield _Way(*product.way(node), "ends")
                continue
            if onward(rest, vectors[state]) == tl.TRULY:
                yield _Way(*product.way(node), "any")
                continue
            if runs == "all" and node in accepting and loops[accepting[node]] < _LOOPS:
                loops[accepting[node]] += 1
                around = product.around(node, accepting[node])
                if around is not None:
                    edges, states = product.way(node)
                    yield _Way([*edges, *around[0]], [*states, *around[1][1:]], "loop", len(edges))
            if rest != tl.FALSELY and model.graph.complete:
                if rest not in sure:
                    sure[rest] = model.all_alone(skeleton.meant(rest))
                if sure[rest][state]:
                    yield _Way(*product.way(node), "rest")

    def _confirmed(self, model: Model, skeleton: Skeleton, way: _Way) -> _Found | None:
        """A run along a way, by the firing rule, that satisfies the formula for the reason given."""
        ctx, graph = self.ctx, model.graph
        fair, last = model.runs == "fair", way.states[-1]
        asked: list[Extra] = []
        if way.ending == "rest" or any(not isinstance(p, tl.Now) for p in skeleton.parts):
            asked.append(ends_in(graph, last))
        if way.ending == "ends" and not model.over[last]:
            asked.append(lets_none_fire(ctx, [ctx.net.transition(n) for n in sorted(model.usable)]))
        if way.ending == "loop":
            asked.append(_closes(way.home))
        trace = self._realized(graph, way.edges, _every(asked))
        if trace is None:
            return None
        markings = ctx.realizer.markings(trace)
        end = markings[-1]
        if fair and any(is_final(ctx.net, m) for m in markings[:-1]):
            return None  # the case was over before
        true = [self._true(model, skeleton, m, s) for m, s in zip(markings, way.states, strict=True)]
        match way.ending:
            case "any":
                return _Found(trace, "any") if after(skeleton.path, true) == tl.TRULY else None
            case "ends":
                over = fair and is_final(ctx.net, end)
                ended = over or not any(ctx.rule.is_enabled(end, name) for name in model.usable)
                return (
                    _Found(trace, "ends") if ended and evaluated(skeleton.path, true, len(true) - 1) else None
                )
            case "loop":
                if markings[way.home] != end or not evaluated(skeleton.path, true[:-1], way.home):
                    return None
                loop = len(way.edges) - way.home
                return _Found(repeated(trace, loop), "loop", loop=loop)
        rest = after(skeleton.path, true[:-1])
        if rest == tl.FALSELY or not _stands_for(graph, last, end):
            return None
        if not model.all_alone(skeleton.meant(rest))[last]:
            return None
        longer, loop = prolonged(ctx, trace, model.usable, over="stops" if fair else "goes on")
        return _Found(longer, "rest", firings=len(way.edges), loop=loop)

    def _realized(self, graph: Graph, path: Sequence[Edge], extra: Extra | None) -> Trace | None:
        ctx = self.ctx
        found = ctx.realizer.realize(graph.space, path, extra, timeout_ms=ctx.remaining_ms(5_000))
        if isinstance(found, Trace):
            return found
        self._reason = f"paths of the state graph break it, but no run was found along them: {found.reason}"
        for i in found.steps or range(len(path)):
            if 0 <= i < len(path):
                self._refine += small_fields(ctx.net, ctx.net.transition(path[i].transition))
        return None

    # markings

    def _true(self, model: Model, skeleton: Skeleton, marking: Marking, state: int) -> tuple[int, ...]:
        """Which state formulas surely hold in a marking, by itself or by what its state says."""
        here = [isinstance(p, tl.Now) and self._holds(p.formula, marking) for p in skeleton.parts]
        if not all(here) and _stands_for(model.graph, state, marking):
            here = [
                k or bool(model.bounds(p).surely[state]) for k, p in zip(here, skeleton.parts, strict=True)
            ]
        return tuple(map(int, here))

    def _holds(self, formula: Formula, marking: Marking) -> bool:
        """Whether a marking surely satisfies a condition."""
        match formula:
            case logic.And(parts):
                return all(self._holds(p, marking) for p in parts)
            case logic.Or(parts):
                return any(self._holds(p, marking) for p in parts)
            case Le(terms, bound):
                tokens = [(factor, *self._tokens(index, marking)) for index, factor in terms]
                return sum(f * (high if f > 0 else low) for f, low, high in tokens) <= bound

    def _tokens(self, index: int, marking: Marking) -> tuple[int, int]:
        """How many tokens a place holds in a marking, at least and at most."""
        net, rule = self.ctx.net, self.ctx.rule
        if index < len(net.places):
            n = marking.count(net.places[index].name)
            return n, n
        t = net.transitions[index - len(net.places)]
        for binding in rule.bindings(marking, t.name):
            if t.fresh:
                return 0, 1
            try:
                rule.fire(marking, t.name, binding)
            except FiringError:
                continue
            return 1, 1
        return 0, 0


def _why(found: _Found, told: str) -> str:
    """What a run that breaks a formula shows."""
    round_ = f"the last {found.loop} firings" if found.loop > 1 else "the last firing"
    match found.ending:
        case "any":
            return f"{told} does not hold after this run, whatever follows"
        case "ends":
            return f"{told} does not hold, since this run ends so"
        case "loop":
            return f"{told} does not hold, since {round_} can be repeated for ever"
    start = f"after {found.firings} firings" if found.firings else "from the start"
    how = f", such as with {round_} for ever" if found.loop else ""
    return f"{told} does not hold: {start}, nothing that follows by itself can mend it{how}"


def _told(formula: tl.Temporal, words: PTNet) -> str:
    """A formula for people, with ``fireable`` where it says that a transition can fire."""
    text = shown(formula, words)
    text = re.sub(r'"(fireable\([^"]*\)) *" >= 1', r"\1", text)
    return re.sub(r'"(fireable\([^"]*\)) *" <= 0', r"!\1", text)


def _every(asked: Sequence[Extra]) -> Extra | None:
    """Asks for all of it."""
    if not asked:
        return None
    return lambda enc, run: [c for extra in asked for c in extra(enc, run)]


def _closes(home: int) -> Extra:
    """Asks that a run comes back to the marking that it had after some firings."""

    def extra(enc: Encoding, run: SymRun) -> list[z3.BoolRef]:
        out: list[z3.BoolRef] = []
        before = run.passed[home]
        for place in {*before, *run.tokens}:
            # Tokens that the graph takes for alike are matched in their order: one way among several.
            then = sorted(before.get(place, ()), key=lambda k: k.number)
            now = sorted(run.tokens.get(place, ()), key=lambda k: k.number)
            if len(then) != len(now):
                return [z3.BoolVal(False)]
            out += [
                enc.equal(a.value, b.value)
                for a, b in zip(then, now, strict=True)
                if a.identity != b.identity
            ]
        return out

    return extra


def _stands_for(graph: Graph, state: int, marking: Marking) -> bool:
    """Whether a marking is one of those that a state stands for."""
    space = graph.space
    partial: dict[str, list[Any]] = {}
    for token in graph.states[state]:
        partial.setdefault(space.place_of[token], []).append(space.value_of[token])
    if {p: len(v) for p, v in partial.items()} != {p: len(t) for p, t in marking.items()}:
        return False
    return all(_matched(list(tokens), partial[place]) for place, tokens in marking.items())


def _matched(tokens: list[Any], partial: list[Any]) -> bool:
    """Whether each token is one of those that a partial value stands for, each with another one."""
    if not tokens:
        return True
    token, *others = tokens
    for k in range(len(partial)):
        new = partial[k] not in partial[:k] and _agrees(token, partial[k])
        if new and _matched(others, partial[:k] + partial[k + 1 :]):
            return True
    return False


def _agrees(value: Any, partial: Any) -> bool:
    if partial is ANY:
        return True
    if isinstance(partial, tuple) and isinstance(value, tuple) and len(partial) == len(value):
        return all(map(_agrees, value, partial))
    return bool(value == partial)
