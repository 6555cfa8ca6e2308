"""Option to complete, without looking at markings: a ranking of some transitions, and no way to be stuck.

Choose *progress* transitions P. Two things together show that every reachable marking has a run to a final
one:

- *They end.* A rank of markings, weights of places plus weights of whole-number fields of the tokens there,
  is never below zero, and each firing of P lowers it (a ranking function: Turing 1949; Floyd 1967).
- *They are not stuck.* In every reachable marking that is not final some transition of P can fire. A
  marking in which none can would have a number of tokens for each place, and some token in each place that
  is marked, for which every transition of P lacks a token or has its guard false. The solver looks for such
  numbers and tokens among those that keep to all that is known; what it finds is ruled out by one more
  inequality (``inequalities``), until there is none.

So from any marking, fire P as long as it goes: it ends, and in a final marking. The size of the graph plays
no part: a net of eight agents side by side takes little longer than one of two. Nothing is concluded where
this does not succeed.

For a net with saga scopes the solver is told one thing more, that the step on top of the scope is somewhere
(``numbering``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import z3

from provenet.nets.expr.ast import Var, free_variables
from provenet.nets.expr.show import show
from provenet.nets.net import After, Choice, Net, Signal, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import BoolType, EnumType, OptionalType, RecordType, StrType, Type, UnitType
from provenet.verify.abstraction import Masks, Path, control_fields, type_at
from provenet.verify.backward import PlaceFacts
from provenet.verify.context import Context
from provenet.verify.hope import final_counts, fits, from_outside, kills
from provenet.verify.inequalities import Inequalities, Inequality, fraction, scaled
from provenet.verify.intervals import Field, bounds, taken
from provenet.verify.linear import bounding
from provenet.verify.measures import Dimension, Measures, counters
from provenet.verify.numbering import Numbering, numbering
from provenet.verify.questions import IT, inputs_of
from provenet.verify.smt import Opaque, SymValue
from provenet.verify.verdict import Certificate

_MANY = 1_000_000
"""More tokens in a place than any bound that is of use."""

_ROUNDS = 300
"""Markings that are ruled out, one by one, before it is given up."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Why every reachable marking has a run to a final one.

    Attributes:
        transitions: The progress transitions.
        weights: Dimension to what it adds to the rank.
        inequalities: What every reachable marking keeps to, each inductive given those before it.
        facts: What is known of every token in a place.
    """

    transitions: tuple[str, ...]
    weights: Mapping[Dimension, int]
    inequalities: tuple[Inequality, ...]
    facts: PlaceFacts


@dataclass(frozen=True, slots=True)
class Standing:
    """A marking as the solver knows it: place to how many tokens, and what can surely fire."""

    counts: Mapping[str, int]
    able: frozenset[str]


class Known:
    """What every reachable marking of a net keeps to, as a solver query that grows by demand.

    Args:
        ctx: The net.
    """

    def __init__(self, ctx: Context) -> None:
        self.ctx, self.net = ctx, ctx.net
        net, enc = ctx.net, ctx.encoding
        self.intervals, self.facts = bounds(net, ctx.lemmas, timeout_ms=ctx.remaining_ms())
        self.measures = Measures(net, self.intervals)
        counted = counters(net, self.intervals)
        self.inequalities = Inequalities(net, self.measures, counted)
        self.count = {p.name: z3.Int(f"#{i}") for i, p in enumerate(net.places)}
        self.token: dict[str, SymValue] = {
            p.name: enc.fresh(f"a token of {p.name}", p.type)
            for p in net.places
            if not isinstance(p.type, UnitType)
        }
        self.solver = z3.Solver()
        self.solver.set("random_seed", 1)
        for count in self.count.values():
            self.solver.add(count >= 0)
        for place, token in self.token.items():
            of = net.place(place).type
            known = [enc.inhabits(token, of)]
            known += [enc.encode_bool(fact, {IT: token}, {IT: of}) for fact in self.facts.of(place)]
            self.solver.add(z3.Implies(self.count[place] >= 1, z3.And(*known)))
        self.amount: dict[Dimension, z3.ArithRef] = {(p, None): c for p, c in self.count.items()}
        for field in counted:
            self.amount[field] = self._sum_of(field)
        found = {s.id: numbering(ctx, s, self.facts) for s in net.sagas}
        self.numbered = {saga: n for saga, n in found.items() if n is not None}
        # One token stands for those of a place; it cannot be on top of two scopes.
        places = Counter(
            p for n in self.numbered.values() for p in {place for place, _ in (*n.scope, *n.numbers)}
        )
        self.numbered = {
            saga: n
            for saga, n in self.numbered.items()
            if all(places[place] == 1 for place, _ in (*n.scope, *n.numbers))
        }
        for numbered in self.numbered.values():
            self._tops(numbered)
            self.inequalities.known += self._as_many(numbered)
        for inequality in self.inequalities.known:
            self._add(inequality)
        self._can: dict[str, z3.BoolRef | None] = {}
        self._asked = 0

    def _add(self, found: Inequality) -> None:
        total = z3.Sum([w * self.amount[d] for d, w in found.weights.items()] or [z3.IntVal(0)])
        self.solver.add(total >= found.least)

    def _tops(self, numbered: Numbering) -> None:
        """That where a scope has counted, the token spoken of in some place carries the number on top."""
        here = {f: self._own(f) for f in (*numbered.scope, *numbered.numbers)}
        scopes = z3.Sum([self.count[p] for p in sorted({p for p, _ in numbered.scope})])
        for f in numbered.scope:
            on_top = [z3.And(self.count[g[0]] >= 1, here[g] == here[f]) for g in numbered.numbers]
            counted = z3.And(scopes == 1, self.count[f[0]] == 1, here[f] >= 1)
            self.solver.add(z3.Implies(counted, z3.Or(*on_top)))

    def _as_many(self, numbered: Numbering) -> list[Inequality]:
        """That there are as many numbered tokens as the scope has counted: each number once."""
        if not all(f in self.amount for f in numbered.scope):
            return []
        weights: dict[Dimension, int] = dict.fromkeys(numbered.scope, -1)
        for place, _ in numbered.numbers:
            weights[place, None] = weights.get((place, None), 0) + 1
        return [Inequality(weights, 0), Inequality({d: -w for d, w in weights.items()}, 0)]

    def _own(self, field: Field) -> z3.ArithRef:
        """The field of the token of a place that the query speaks of."""
        place, path = field
        of = self.net.place(place).type
        found = self.ctx.encoding.encode(taken(Var(IT), path), {IT: self.token[place]}, {IT: of})
        assert isinstance(found, z3.ArithRef)
        return found

    def _sum_of(self, field: Field) -> z3.ArithRef:
        """What a field of the tokens of a place adds up to."""
        place, path = field
        total, count, between = z3.Int(f"sum {place} {path}"), self.count[place], self.intervals[field]
        self.solver.add(z3.Implies(count == 0, total == 0))
        self.solver.add(z3.Implies(count == 1, total == self._own(field)))
        if between.lo is not None:
            self.solver.add(total >= between.lo * count)
        if between.hi is not None:
            self.solver.add(total <= between.hi * count)
        return total

    def standing(self, *conditions: z3.BoolRef) -> Standing | str | None:
        """A marking that meets conditions and that nothing known rules out; ``None`` where there is none.

        Returns:
            The marking; a reason where the solver gave up.
        """
        self._asked += 1
        asked = z3.Bool(f"asked {self._asked}")
        self.solver.add(z3.Implies(asked, z3.And(*conditions)))
        for _ in range(_ROUNDS):
            self.solver.set("timeout", self.ctx.remaining_ms())
            answer = self.solver.check(asked)
            if answer == z3.unsat:
                return None
            if answer != z3.sat:
                return "the solver gave up"
            model = self.solver.model()
            amounts = {d: model.eval(c, model_completion=True).as_long() for d, c in self.amount.items()}
            found = self.inequalities.excluding(amounts, timeout_ms=self.ctx.remaining_ms())
            if found is None:
                counts = {place: n for (place, path), n in amounts.items() if n and path is None}
                return Standing(counts, self._able(model))
            self._add(found)
        return f"more than {_ROUNDS} markings had to be ruled out"

    def _able(self, model: z3.ModelRef) -> frozenset[str]:
        conditions = ((t.name, self.can(t)) for t in self.net.transitions)
        return frozenset(
            name
            for name, can in conditions
            if can is not None and z3.is_true(model.eval(can, model_completion=True))
        )

    def can(self, t: Transition) -> z3.BoolRef | None:
        """That a transition can surely fire, its tokens being those that the query speaks of.

        ``None`` where that cannot be said: its guard is opaque, or about several tokens of one place.
        """
        if t.name not in self._can:
            self._can[t.name] = self._enabled(t)
        return self._can[t.name]

    def _enabled(self, t: Transition) -> z3.BoolRef | None:
        net, enc = self.net, self.ctx.encoding
        needed: dict[str, int] = {}
        for arc in inputs_of(t):
            needed[arc.place] = needed.get(arc.place, 0) + arc.weight
        parts = [self.count[p] >= n for p, n in needed.items()]
        if t.guard is not None:
            read = free_variables(t.guard)
            arcs = [a for a in inputs_of(t) if a.var in read]
            if any(needed[a.place] > 1 for a in arcs):
                return None
            scope = {n: of for n, of in net.scope(t).items() if n in read}
            env = {a.var: self.token.get(a.place, ()) for a in arcs if a.var is not None}
            try:
                parts.append(enc.encode_bool(t.guard, env, scope))
            except Opaque:
                return None
        parts += self._room(t)
        return z3.And(*parts) if parts else z3.BoolVal(True)

    def _room(self, t: Transition) -> list[z3.BoolRef]:
        """That the places of limited capacity have room for what a transition puts."""
        found = []
        for place in dict.fromkeys(p.place for p in t.puts):
            limit = self.net.place(place).capacity
            if limit is not None:
                put = sum(p.weight for p in t.puts if p.place == place)
                took = sum(a.weight for a in t.takes if a.place == place)
                before = z3.IntVal(0) if place in t.resets else self.count[place] - took
                found.append(before + put <= limit)
        return found

    def at_most(self, places: Iterable[str], most: int) -> bool:
        """Whether some places together hold so many tokens at most, in every reachable marking."""
        return self.standing(z3.Sum([self.count[p] for p in sorted(places)]) > most) is None

    def bounded(self) -> bool:
        """Whether every place holds few tokens."""
        return self.standing(z3.Or(*(count > _MANY for count in self.count.values()))) is None

    def one_at_a_time(self, places: Iterable[str]) -> bool:
        """Whether no two of some places are marked together, in any reachable marking."""
        return self.standing(z3.Sum([z3.If(self.count[p] >= 1, 1, 0) for p in sorted(places)]) > 1) is None

    def certificate(self) -> Certificate:
        """What was found, as a certificate."""
        return Certificate("inequalities", _listed(self.inequalities.known, self.facts))

    def is_final(self) -> z3.BoolRef:
        """That the marking is final."""
        return z3.Or(*(self._exactly(final) for final in final_counts(self.net)))

    def _exactly(self, final: Mapping[str, int]) -> z3.BoolRef:
        return z3.And(*(self.count[p] == final.get(p, 0) for p in self._ordinary()))

    def covers_a_final(self) -> z3.BoolRef:
        """That it has all the tokens of a final marking, and more."""
        return z3.Or(
            *(
                z3.And(*(self.count[p] >= n for p, n in final.items()), z3.Not(self._exactly(final)))
                for final in final_counts(self.net)
            )
        )

    def _ordinary(self) -> Iterable[str]:
        resting = set(self.net.resting)
        return (p for p in self.count if p not in resting)


def known(ctx: Context) -> Known:
    """What every reachable marking keeps to; made once for each net."""
    if "known" not in ctx.memo:
        ctx.memo["known"] = Known(ctx)
    found: Known = ctx.memo["known"]
    return found


def ranking(ctx: Context, how: Literal["aided", "unaided"]) -> Progress | None:
    """Why every reachable marking has a run to a final one; computed once for each net.

    Args:
        ctx: A net.
        how: ``unaided``: by a run without people, events and the kill switch; ``aided``: without the switch.

    Returns:
        The argument; ``None`` where none was found.
    """
    for tried in ("unaided", "aided") if how == "aided" else ("unaided",):
        key = ("ranking", tried)
        if key not in ctx.memo:
            forbidden = from_outside if tried == "unaided" else kills
            ctx.memo[key] = progress(ctx, lambda t, no=forbidden: not no(t))  # type: ignore[misc]
        found = ctx.memo[key]
        if isinstance(found, Progress):
            return found
    return None


def always_ends(ctx: Context) -> Progress | None:
    """Why every fair run ends in a final marking, though people and events may stay away.

    Fair: what is possible again and again, with the same control data, happens. So besides a run to the end
    from every marking there must be finitely many markings as far as control data tell: then a run that
    goes on for ever passes one of them again and again, and takes the next step towards the end in the end.
    """
    found = ranking(ctx, "unaided")
    return found if found is not None and _finitely_many(ctx) else None


def _finitely_many(ctx: Context) -> bool:
    """Whether there are finitely many markings, told apart by numbers of tokens and control data."""
    here, net = known(ctx), ctx.net
    if bounding(net, [p.name for p in net.places]) is None and not here.bounded():
        return False
    # A scope counts no further than there are numbered tokens, and no number is above what it has counted, or
    # below 1; whether it counts down for ever, its interval tells.
    numbered = {f for n in here.numbered.values() for f in n.numbers}
    numbered |= {f for n in here.numbered.values() for f in n.scope if here.intervals[f].lo is not None}
    kept = Masks(net, control_fields(net)).places
    return all((p, path) in numbered or _few(here, (p, path)) for p, paths in kept.items() for path in paths)


def _few(here: Known, field: tuple[str, Path]) -> bool:
    """Whether a field of the tokens of a place has few values: by its bounds, or by its type."""
    between = here.intervals.get(field)
    if between is not None:
        return between.lo is not None and between.hi is not None
    return not _may_grow(type_at(here.net.place(field[0]).type, field[1]))


def _may_grow(of: Type | None) -> bool:
    """Whether values of a type that are computed from constants may be without number."""
    match of:
        case UnitType() | BoolType() | EnumType() | StrType():
            return False
        case OptionalType(item):
            return _may_grow(item)
        case RecordType(_, fields):
            return any(_may_grow(f.type) for f in fields)
        case _:
            return True


def ends_properly(ctx: Context) -> bool:
    """Whether no reachable marking has all the tokens of a final one, and more."""
    here = known(ctx)
    return here.standing(here.covers_a_final()) is None


RANKED = "a rank and inequalities"
"""How a property was decided that was decided here."""


def told(found: Progress) -> str:
    """The argument in one sentence."""
    return (
        f"{len(found.transitions)} transitions lower a rank, and one of them can fire wherever the case has "
        f"not ended ({len(found.inequalities)} inequalities)"
    )


def progress_certificate(found: Progress) -> Certificate:
    """The argument as a certificate."""
    said = {"transitions": list(found.transitions), "rank": _weights(found.weights)}
    return Certificate("progress", {**said, **_listed(found.inequalities, found.facts)})


def _listed(inequalities: Iterable[Inequality], facts: PlaceFacts) -> dict[str, object]:
    """Inequalities and facts as JSON-like data."""
    return {
        "inequalities": [{"weights": _weights(i.weights), "least": i.least} for i in inequalities],
        "facts": {place: [show(e) for e in known] for place, known in sorted(facts.places.items())},
    }


def _weights(weights: Mapping[Dimension, int]) -> list[list[object]]:
    """Weights as JSON-like data: place, path of the field or null for the number of tokens, weight."""
    return [[place, None if path is None else list(path), w] for (place, path), w in weights.items()]


def progress(ctx: Context, allowed: Callable[[Transition], bool]) -> Progress | str:
    """Why every reachable marking has a run to a final one, by transitions that are allowed.

    Args:
        ctx: A net with final markings.
        allowed: Which transitions the run may use.

    Returns:
        The argument; or why none was found.
    """
    here = known(ctx)
    usable = [t for t in ctx.net.transitions if allowed(t) and here.can(t) is not None and fits(ctx, t)]
    ranks = Ranks(ctx.net, here.measures)
    chosen = ranks.grown(sorted(usable, key=_eagerness))
    stuck = z3.Not(here.is_final())
    names = {t.name for t in usable}
    while True:
        blocked = [z3.Not(here.can(ctx.net.transition(name))) for name in chosen]
        found = here.standing(stuck, *blocked)
        if found is None:
            break
        if isinstance(found, str):
            return found
        helpful = found.able & names
        again = ranks.with_one_of(helpful) if helpful else None
        if again is None:
            marked = ", ".join(sorted(found.counts)[:6])
            return f"with {marked} marked, nothing is known to go on and to come to an end"
        chosen = again
    return Progress(tuple(chosen), ranks.solution(), tuple(here.inequalities.known), here.facts)


def _eagerness(t: Transition) -> tuple[bool, bool]:
    """Where not all can be progress, what goes on by itself comes first."""
    return isinstance(t.trigger, Choice | Signal), isinstance(t.trigger, After)


class Ranks:
    """The ranks under which chosen transitions make progress: a linear program over weights.

    Args:
        net: The net.
        measures: Its firings as forms.
    """

    def __init__(self, net: Net, measures: Measures) -> None:
        self.net, self.measures = net, measures
        self.solver = z3.SolverFor("QF_LRA")
        self.solver.set("random_seed", 1)
        self.weight: dict[Dimension, z3.ArithRef] = {
            (p.name, None): z3.Real(f"w{i}") for i, p in enumerate(net.places)
        }
        least = {p: [w] for (p, _), w in self.weight.items()}
        kept = Masks(net, control_fields(net)).places
        for i, (field, between) in enumerate(measures.intervals.items()):
            if field[1] not in kept.get(field[0], ()):
                continue
            # A field's weight is a rise less a fall; what a token adds is never below zero.
            up, down = z3.Real(f"up{i}"), z3.Real(f"down{i}")
            self.solver.add(up >= 0, down >= 0)
            self.solver.add(
                *([up == 0] if between.lo is None else []), *([down == 0] if between.hi is None else [])
            )
            least[field[0]].append((between.lo or 0) * up - (between.hi or 0) * down)
            self.weight[field] = up - down
        self.solver.add(*(z3.Sum(parts) >= 0 for parts in least.values()))
        self._in: dict[str, z3.BoolRef] = {}
        self._chosen: list[str] = []

    def grown(self, among: Sequence[Transition]) -> list[str]:
        """As many of some transitions as can make progress together, the first ones first."""
        for t in among:
            self._in[t.name] = z3.Bool(f"in {t.name}")
            self.solver.add(z3.Implies(self._in[t.name], self._lowers(t)))
        return self._most([t.name for t in among])

    def with_one_of(self, names: Iterable[str]) -> list[str] | None:
        """Another choice, with at least one of some transitions; ``None`` where there is none."""
        wanted = sorted(names)
        self.solver.add(z3.Or(*(self._in[n] for n in wanted)))
        if self.solver.check() != z3.sat:
            return None
        return self._most([*wanted, *self._chosen, *self._in])

    def _most(self, names: Sequence[str]) -> list[str]:
        chosen: dict[str, None] = {}
        for name in names:
            if name not in chosen and self.solver.check(*(self._in[n] for n in (*chosen, name))) == z3.sat:
                chosen[name] = None
        self._chosen = list(chosen)
        return self._chosen

    def solution(self) -> dict[Dimension, int]:
        """The weights, scaled to whole numbers."""
        found = self.solver.check(*(self._in[n] for n in self._chosen))
        assert found == z3.sat
        model = self.solver.model()
        return scaled({d: fraction(model.eval(w, model_completion=True)) for d, w in self.weight.items()})

    def _lowers(self, t: Transition) -> z3.BoolRef:
        """That a firing lowers the rank by 1 at least, whatever its tokens."""
        given: list[z3.BoolRef] = []
        fall = self.measures.taking(t, self.weight).plus(self.measures.putting(t, self.weight), -1)
        return z3.And(self.measures.at_least(t, fall, given) >= 1, *given)
