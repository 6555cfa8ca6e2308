"""Per-place facts: conditions that hold of every token of a place, shown one firing at a time.

Initiation: every token that a case starts with meets its place's facts. Consecution: where the tokens that a
transition needs meet theirs, its guard holds and what comes from outside belongs to its type, the tokens that
it puts meet theirs. Property: no firing that is asked about meets the condition that must never hold. By
induction on the length of a run (Floyd, 1967; per token, so what holds, holds in every run).

A *ghost* is a value of the past that rides along with a token: some transitions set it on what they put,
every other transition hands it on from one of its input tokens, or not at all. So a ghost that is set to a
value says that one of those transitions fired with that value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from provenet.nets.expr.ast import Expr, free_variables
from provenet.nets.net import Net, Put, Read, Take, Transition
from provenet.nets.schema import BOOL, Type, UnitType
from provenet.verify.independent.errors import NotHere
from provenet.verify.independent.smtlib import Obligation, Script, Term, conjoined, conjuncts

IT, SET, VALUE = "it", "ghost_set", "ghost_value"


@dataclass(frozen=True, slots=True)
class Ghost:
    """A value of the past.

    Attributes:
        type: Its type.
        sets: Transition to the value that its firing sets, over its variables.
    """

    type: Type
    sets: Mapping[str, Expr]


@dataclass(frozen=True, slots=True)
class Never:
    """What must never happen: a transition fires and a condition over its variables holds.

    Attributes:
        transition: Its name; empty where ``place`` is asked about.
        condition: The condition; over ``it`` where a place is asked about.
        requires: Whether what the transition requires is known to hold when it fires.
        place: Where no token may meet the condition.
    """

    transition: str
    condition: Expr
    requires: bool = True
    place: str = ""


@dataclass(frozen=True, slots=True)
class Proof:
    """Facts, and what they are to show."""

    net: Net
    never: Sequence[Never]
    facts: Mapping[str, Sequence[Expr]]
    ghost: Ghost | None = None
    _scope: dict[str, Type] = field(default_factory=dict, init=False)

    def obligations(self) -> Iterator[Obligation]:
        """All of them; each must be unsatisfiable.

        Raises:
            NotHere: A fact or a condition has no text.
        """
        if self.ghost is not None:
            self._scope.update({SET: BOOL, VALUE: self.ghost.type})
        for place in sorted(self.facts):
            if self.facts[place]:
                yield from self._initiation(place)
                for t in self.net.transitions:
                    for number, put in enumerate(t.puts):
                        if put.place == place:
                            yield self._consecution(t, put, number)
        for asked in self.never:
            yield self._property(asked)

    def _initiation(self, place: str) -> Iterator[Obligation]:
        of = self.net.place(place).type
        tokens = [token for where, some in self.net.initial if where == place for token in some]
        for number, token in enumerate(tokens):
            s = Script()
            it = s.named(IT, s.constant(token, of), of)
            name = f"initiation: token {number + 1} that a case starts with in {place!r}"
            yield s.obligation(name, [f"(not {self._known(s, place, it, self._ghost(s, set_='false'))})"])
        for entry in self.net.entries:
            if entry.place == place:
                s = Script()
                it = s.value(IT, of)
                claims = list(s.inhabits(it, of))
                if entry.where is not None:
                    claims += self._assumed(s, entry.where, {IT: it}, {IT: of})
                claims.append(f"(not {self._known(s, place, it, self._ghost(s, set_='false'))})")
                yield s.obligation(f"initiation: the input in {place!r}", claims)

    def _consecution(self, t: Transition, put: Put, number: int) -> Obligation:
        s = Script()
        env, ghosts, claims = self._firing(s, t)
        scope, of = self.net.scope(t), self.net.place(put.place).type
        if put.expr is None:
            token: Term = () if isinstance(of, UnitType) else s.value("put", of)
        else:
            try:
                token = s.named("put", s.fitted(put.expr, env, scope, of), of)
            except NotHere:
                token = s.value("put", of)
        claims += s.inhabits(token, of)  # the firing rule refuses a token that does not belong to its type
        ghost = ghosts.get(_carrier(t, put)) or self._ghost(s, set_="false")
        if self.ghost is not None and t.name in self.ghost.sets:
            ghost = {SET: "true", VALUE: s.fitted(self.ghost.sets[t.name], env, scope, self.ghost.type)}
        claims.append(f"(not {self._known(s, put.place, token, ghost)})")
        which = "" if sum(p.place == put.place for p in t.puts) == 1 else f", arc {number + 1}"
        return s.obligation(f"consecution: {t.name!r} puts into {put.place!r}{which}", claims)

    def _property(self, asked: Never) -> Obligation:
        s = Script()
        if asked.place:
            of = self.net.place(asked.place).type
            it = s.value(IT, of)
            ghost = self._ghost(s)
            claims = [*s.inhabits(it, of), self._known(s, asked.place, it, ghost)]
            claims.append(s.condition(asked.condition, {IT: it, **ghost}, {IT: of, **self._scope}))
            return s.obligation(f"property: a token in {asked.place!r}", claims)
        t = self.net.transition(asked.transition)
        env, ghosts, claims = self._firing(s, t, requires=asked.requires)
        ghost = ghosts.get(_carrier(t, None)) or self._ghost(s, set_="false")
        scope = {**self.net.scope(t), **self._scope}
        claims.append(s.condition(asked.condition, {**env, **ghost}, scope))
        return s.obligation(f"property: {t.name!r} fires", claims)

    def _firing(
        self, s: Script, t: Transition, *, requires: bool = True
    ) -> tuple[dict[str, Term], dict[str | None, dict[str, Term]], list[str]]:
        """Values of a transition's variables, ghosts of its input tokens, and what is known of both."""
        env: dict[str, Term] = {}
        ghosts: dict[str | None, dict[str, Term]] = {}
        claims: list[str] = []
        for arc in _inputs(t):
            of = self.net.place(arc.place).type
            token, ghost = s.value(arc.var or arc.place, of), self._ghost(s)
            if arc.var is not None:
                env[arc.var], ghosts[arc.var] = token, ghost
            claims += [*s.inhabits(token, of), self._known(s, arc.place, token, ghost)]
        for fresh in t.fresh:
            env[fresh.var] = s.value(fresh.var, fresh.type)
            claims += s.inhabits(env[fresh.var], fresh.type)
        for condition in (t.guard, t.ensures, t.requires if requires else None):
            if condition is not None:
                claims += self._assumed(s, condition, env, self.net.scope(t))
        return env, ghosts, claims

    def _known(self, s: Script, place: str, it: Term, ghost: Mapping[str, Term]) -> str:
        """A place's facts about a token."""
        scope = {IT: self.net.place(place).type, **self._scope}
        return conjoined([s.condition(fact, {IT: it, **ghost}, scope) for fact in self.facts.get(place, ())])

    def _assumed(
        self, s: Script, condition: Expr, env: Mapping[str, Term], scope: Mapping[str, Type]
    ) -> Iterator[str]:
        """What of a condition can be said; the rest is not assumed, which is weaker and never wrong."""
        for part in conjuncts(condition):
            try:
                yield s.condition(part, env, scope)
            except NotHere:
                continue

    def _ghost(self, s: Script, *, set_: str = "") -> dict[str, Term]:
        if self.ghost is None:
            return {}
        flag = set_ or s.value("ghost", BOOL)
        return {SET: flag, VALUE: s.value("ghost.value", self.ghost.type)}


def _carrier(t: Transition, put: Put | None) -> str | None:
    """Whose ghost a token inherits: the first input token's that it is built from, else the first one's."""
    inputs = [arc.var for arc in _inputs(t) if arc.var is not None]
    used = free_variables(put.expr) if put is not None and put.expr is not None else frozenset()
    return next((v for v in inputs if v in used), inputs[0] if inputs else None)


def _inputs(t: Transition) -> tuple[Take | Read, ...]:
    return (*t.takes, *t.reads)
