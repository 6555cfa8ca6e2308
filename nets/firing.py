"""The firing rule: the one meaning that proofs, runs, simulation and replay share.

A transition is enabled under a binding when every taken and read token is there (taken tokens of one place
are distinct), and the guard is true. Firing removes the taken tokens, empties the reset places, and adds
the put tokens, in that order; read tokens stay. A token that is taken may not also be read by the same
transition, unless the place holds another one. Values from outside are part of the binding.

Everything is a pure function over an immutable marking; ``NetRule`` only caches compiled expressions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from provenet.nets.errors import Breach, NotEnabled, TypeMismatch
from provenet.nets.expr.ast import Expr, Var
from provenet.nets.expr.evaluate import Compiled, compile_expr
from provenet.nets.expr.show import show
from provenet.nets.marking import Marking
from provenet.nets.net import Net, Transition
from provenet.nets.quick import dataclass
from provenet.nets.schema import UNIT_VALUE, Type, Value, check, checker, shorten
from provenet.nets.secrets import keeps_secrets

Binding: TypeAlias = Mapping[str, Value]
"""Values of a transition's variables: taken, read, and from outside."""


@dataclass(frozen=True, slots=True)
class Firing:
    """A transition together with the binding under which it fires."""

    transition: str
    binding: Binding


class NetRule:
    """The firing rule of one net, with its expressions compiled once.

    Args:
        net: A net without mistakes (see ``provenet.nets.check``).
    """

    def __init__(self, net: Net) -> None:
        self.net = net
        self._steps = {t.name: _Step(net, t) for t in net.transitions}

    def bindings(self, marking: Marking, transition: str) -> Iterator[Binding]:
        """Bindings of the taken and read variables under which a transition is enabled, without repetition.

        Variables from outside are not among them: add their values before ``fire``.
        """
        return self._steps[transition].bindings(marking)

    def is_enabled(self, marking: Marking, transition: str) -> bool:
        """Whether a transition is enabled under some binding."""
        return next(self._steps[transition].bindings(marking), None) is not None

    def enabled(self, marking: Marking) -> Iterator[Firing]:
        """All enabled transitions with their bindings, in the net's order."""
        for name, step in self._steps.items():
            for binding in step.bindings(marking):
                yield Firing(name, binding)

    def fire(self, marking: Marking, transition: str, binding: Binding) -> Marking:
        """The marking after a firing.

        Args:
            marking: The marking before.
            transition: Name of the transition.
            binding: Values for all its variables.

        Raises:
            NotEnabled: A token is missing or the guard is false.
            Breach: A value from outside, an ``ensures``, a ``requires``, a built token or a capacity breaks
                its promise.
        """
        return self._steps[transition].fire(marking, binding)

    def evaluate(self, transition: str, expr: Expr, binding: Binding) -> Value:
        """The value of an expression over a transition's variables."""
        return compile_expr(expr, self._steps[transition].scope)(binding)


def fire(net: Net, marking: Marking, transition: str, binding: Binding) -> Marking:
    """Fire one transition; for repeated use, make a ``NetRule`` once. See ``NetRule.fire``."""
    return NetRule(net).fire(marking, transition, binding)


def enabled(net: Net, marking: Marking) -> Iterator[Firing]:
    """All enabled transitions with their bindings; see ``NetRule.enabled``."""
    return NetRule(net).enabled(marking)


class _Step:
    """One transition, compiled."""

    __slots__ = (
        "_arcs",
        "_ensures",
        "_fits",
        "_fresh",
        "_guard",
        "_named",
        "_needs",
        "_net",
        "_puts",
        "_requires",
        "scope",
        "transition",
    )

    def __init__(self, net: Net, transition: Transition) -> None:
        self.transition = transition
        self.scope: dict[str, Type] = net.scope(transition)
        self._net = net
        bound = {n: t for n, t in self.scope.items() if n not in {f.var for f in transition.fresh}}
        self._guard = _maybe(transition.guard, bound)
        self._ensures = _maybe(transition.ensures, self.scope)
        self._requires = _maybe(transition.requires, self.scope)
        self._puts = [
            (
                p.place,
                None if p.expr is None else compile_expr(p.expr, self.scope),
                (UNIT_VALUE,) * p.weight,
                # A token that only moves between places of one type was checked when it entered the marking,
                # and one from outside is checked before anything is put.
                not isinstance(p.expr, Var) or self.scope[p.expr.name] != net.place(p.place).type,
                net.place(p.place).capacity,
            )
            for p in transition.puts
        ]
        self._fresh = [(f, checker(f.type)) for f in transition.fresh]
        self._fits = {p.place: checker(net.place(p.place).type) for p in transition.puts}
        # Per place: variables taken, variables read, and how many anonymous tokens are taken and read.
        arcs: dict[str, tuple[list[str], list[str], int, int]] = {}
        for kind, arc in [(0, a) for a in transition.takes] + [(1, a) for a in transition.reads]:
            taken, read, count_taken, count_read = arcs.setdefault(arc.place, ([], [], 0, 0))
            if arc.var is not None:
                (taken, read)[kind].append(arc.var)
            elif kind == 0:
                count_taken += arc.weight
            else:
                count_read += arc.weight
            arcs[arc.place] = (taken, read, count_taken, count_read)
        self._arcs = [(place, tuple(t), tuple(r), ct, cr) for place, (t, r, ct, cr) in arcs.items()]
        self._named = [(place, t + r) for place, t, r, _, _ in self._arcs if t or r]
        self._needs = [(place, len(t) + len(r) + ct + cr) for place, t, r, ct, cr in self._arcs]

    def bindings(self, marking: Marking) -> Iterator[Binding]:
        tokens = marking._tokens  # noqa: SLF001 - the hot path of every search
        for place, needed in self._needs:
            if len(tokens.get(place, ())) < needed:
                return
        guard = self._guard
        if not self._named:
            if guard is None or guard({}):
                yield {}
        elif len(self._named) == 1 and len(self._named[0][1]) == 1:
            place, (var,) = self._named[0]
            for token in dict.fromkeys(tokens[place]):
                binding = {var: token}
                if guard is None or guard(binding):
                    yield binding
        else:
            yield from self._extend(marking, 0, {})

    def fire(self, marking: Marking, binding: Binding) -> Marking:
        name = self.transition.name
        changes: dict[str, tuple[Value, ...]] = {}
        for place, taken, read, count_taken, count_read in self._arcs:
            held = marking[place]
            if len(held) == 1 and not read and len(taken) == 1 and not count_taken and not count_read:
                if taken[0] in binding and held[0] == binding[taken[0]]:
                    changes[place] = ()
                    continue
            elif not taken and not read:
                if len(held) < count_taken + count_read:
                    raise self._too_few(place)
                if count_taken:
                    changes[place] = held[count_taken:]
                continue
            rest = list(held)
            for var in taken:
                self._remove(rest, place, binding, var)
            if count_taken + count_read > len(rest) - len(read):
                raise self._too_few(place)
            del rest[:count_taken]
            if read:
                left = list(rest)
                for var in read:
                    self._remove(left, place, binding, var)
            changes[place] = tuple(rest)
        if self._guard is not None and not self._guard(binding):
            raise NotEnabled(
                f"the guard is false: {show_guard(self.transition.guard)}", where=f"transition {name!r}"
            )
        self._check_outside(binding)
        for place in self.transition.resets:
            changes[place] = ()
        for place, build, black, unchecked, capacity in self._puts:
            tokens = black
            if build is not None:
                token = build(binding)
                if unchecked:
                    self._check_token(place, token)
                tokens = (token,)
            before = changes[place] if place in changes else marking[place]
            changes[place] = before + tokens
            if capacity is not None and len(changes[place]) > capacity:
                raise Breach(
                    f"place {place!r} would hold {len(changes[place])} tokens, its capacity is {capacity}",
                    where=f"transition {name!r}",
                )
        return marking.replace(changes)

    def _too_few(self, place: str) -> NotEnabled:
        return NotEnabled(f"{place!r} holds too few tokens", where=f"transition {self.transition.name!r}")

    def _extend(self, marking: Marking, at: int, binding: dict[str, Value]) -> Iterator[Binding]:
        if at == len(self._named):
            if self._guard is None or self._guard(binding):
                yield dict(binding)
            return
        place, variables = self._named[at]
        for chosen in _choices(Counter(marking[place]), len(variables)):
            binding.update(zip(variables, chosen, strict=True))
            yield from self._extend(marking, at + 1, binding)

    def _remove(self, rest: list[Value], place: str, binding: Binding, var: str) -> None:
        try:
            rest.remove(binding[var])
        except (ValueError, KeyError):
            hidden = keeps_secrets(self._net.place(place).type)
            token = shorten(binding[var]) if var in binding and not hidden else f"a token for {var!r}"
            raise NotEnabled(
                f"place {place!r} does not hold {token}", where=f"transition {self.transition.name!r}"
            ) from None

    def _check_outside(self, binding: Binding) -> None:
        where = f"transition {self.transition.name!r}"
        for fresh, fits in self._fresh:
            if fresh.var not in binding:
                raise Breach(f"no value for {fresh.var!r} came from outside", where=where)
            if fits(binding[fresh.var]):
                continue
            try:
                check(binding[fresh.var], fresh.type, fresh.var)
            except TypeMismatch as error:
                raise Breach(error.message, where=where) from error
        if self._ensures is not None and not self._ensures(binding):
            raise Breach(
                f"the value from outside breaks ensures: {show_guard(self.transition.ensures)}", where=where
            )
        if self._requires is not None and not self._requires(binding):
            raise Breach(f"requires does not hold: {show_guard(self.transition.requires)}", where=where)

    def _check_token(self, place: str, token: Value) -> None:
        if self._fits[place](token):
            return
        try:
            check(token, self._net.place(place).type, place)
        except TypeMismatch as error:
            raise Breach(
                f"the token for {place!r} does not fit: {error.message}",
                where=f"transition {self.transition.name!r}",
            ) from error


def show_guard(expr: Expr | None) -> str:
    """A condition for people; ``true`` where there is none."""
    return "true" if expr is None else show(expr)


def _choices(tokens: Counter[Value], n: int) -> Iterator[tuple[Value, ...]]:
    """Ordered choices of ``n`` tokens of a multiset, each once: work in proportion to what is yielded."""
    if n == 0:
        yield ()
        return
    for token in list(tokens):
        if tokens[token]:
            tokens[token] -= 1
            for rest in _choices(tokens, n - 1):
                yield (token, *rest)
            tokens[token] += 1


def _maybe(expr: Expr | None, scope: Mapping[str, Type]) -> Compiled | None:
    return None if expr is None else compile_expr(expr, scope)
