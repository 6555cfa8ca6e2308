"""Weighted sums over a marking, and how a firing changes them.

What is weighed are *dimensions*: how many tokens a place holds, and what a whole-number field of these
tokens adds up to. Of a firing, the sum of what it takes or puts is linear in its variables' fields; where
it is not, or where a token goes that no variable names, an unknown between the field's bounds stands for
it. Weights may be numbers, or unknowns of a linear program; then "at least so much, whatever the variables"
is linear in them, too, by duality.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import z3

from provenet.nets.net import Net, Put, Take, Transition
from provenet.nets.quick import dataclass
from provenet.verify.abstraction import Masks, Path, control_fields
from provenet.verify.backward import simplify
from provenet.verify.intervals import Field, Interval, at_firing, linear, taken

Dimension: TypeAlias = tuple[str, Path | None]
"""A place and a whole-number field of its tokens, or ``None`` for their number."""

Term: TypeAlias = Any
"""A number, or an unknown of a linear program."""

Unknown: TypeAlias = tuple[str, Path]
"""A field of a transition's variable, or what stands for one."""

ZERO = z3.RealVal(0)


@dataclass(frozen=True, slots=True)
class Form:
    """A sum that is linear in unknowns: a constant, and a slope for each of them."""

    constant: Term
    slopes: Mapping[Unknown, Term]

    def plus(self, other: Form, factor: Term = 1) -> Form:
        """This, and so many times the other."""
        slopes = dict(self.slopes)
        for unknown, slope in other.slopes.items():
            slopes[unknown] = slopes.get(unknown, 0) + factor * slope
        return Form(self.constant + factor * other.constant, slopes)


NOTHING = Form(0, {})


class Measures:
    """The firings of a net, as forms over weights.

    Args:
        net: The net.
        intervals: Between which numbers the fields of tokens stay.
    """

    def __init__(self, net: Net, intervals: Mapping[Field, Interval]) -> None:
        self.net, self.intervals = net, intervals
        self._between: dict[str, dict[Unknown, Interval]] = {}
        self._known: dict[str, Callable[[str, Path], Interval]] = {}
        self._fields: dict[str, list[Field]] = {}
        for field in intervals:
            self._fields.setdefault(field[0], []).append(field)

    def taking(self, t: Transition, weight: Mapping[Dimension, Term]) -> Form:
        """The weighted sum of what a firing takes."""
        found = NOTHING
        for arc in t.takes:
            found = found.plus(self._arc(t, arc, weight))
        return found

    def putting(self, t: Transition, weight: Mapping[Dimension, Term]) -> Form:
        """The weighted sum of what a firing puts."""
        found = NOTHING
        for put in t.puts:
            found = found.plus(self._arc(t, put, weight))
        return found

    def at_least(self, t: Transition, form: Form, given: list[z3.BoolRef]) -> Term:
        """What a form is at least, whatever the values of its unknowns.

        Args:
            t: The transition whose firing it is about.
            form: The form; its slopes may have unknowns of a linear program.
            given: Gets what the program has to meet for it.
        """
        found = form.constant
        for number, (unknown, slope) in enumerate(form.slopes.items()):
            between = self._interval(t, unknown)
            name = f"{t.name} {len(given)} {number}"
            rise, fall = z3.Real(f"rise {name}"), z3.Real(f"fall {name}")
            given += [rise >= 0, fall >= 0, rise - fall == slope]
            given += [rise == 0] if between.lo is None else []
            given += [fall == 0] if between.hi is None else []
            found = found + (between.lo or 0) * rise - (between.hi or 0) * fall
        return found

    def _arc(self, t: Transition, arc: Take | Put, weight: Mapping[Dimension, Term]) -> Form:
        slopes: dict[Unknown, Term] = {}
        constant = arc.weight * weight.get((arc.place, None), 0)
        for field in self._fields.get(arc.place, ()):
            by = weight.get(field)
            if by is None:
                continue
            known = self._named(t, arc, field)
            if known is None or arc.weight != 1:
                unknown = (f"{'put' if isinstance(arc, Put) else 'taken'} {arc.place}", field[1])
                self._between.setdefault(t.name, {})[unknown] = self.intervals[field]
                slopes[unknown] = slopes.get(unknown, 0) + arc.weight * by
                continue
            factors, fixed = known
            constant = constant + fixed * by
            for named, factor in factors.items():
                slopes[named] = slopes.get(named, 0) + factor * by
        return Form(constant, slopes)

    def _named(self, t: Transition, arc: Take | Put, field: Field) -> tuple[dict[Unknown, int], int] | None:
        if isinstance(arc, Take):
            return None if arc.var is None else ({(arc.var, field[1]): 1}, 0)
        return None if arc.expr is None else linear(simplify(taken(arc.expr, field[1]), self.net.scope(t)))

    def _interval(self, t: Transition, unknown: Unknown) -> Interval:
        found = self._between.get(t.name, {}).get(unknown)
        if found is None:
            if t.name not in self._known:
                self._known[t.name] = at_firing(self.net, t, self.intervals)
            found = self._known[t.name](*unknown)
        return found


def counters(net: Net, intervals: Mapping[Field, Interval]) -> list[Field]:
    """The whole-number fields that the control flow counts with: never below zero, and no case's input."""
    masks = Masks(net, control_fields(net))
    entries = {e.place for e in net.entries}
    return [
        (place, path)
        for (place, path), between in intervals.items()
        if path in masks.places.get(place, ())
        and place not in entries
        and between.lo is not None
        and between.lo >= 0
    ]
