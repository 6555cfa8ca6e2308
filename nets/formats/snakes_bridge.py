"""Interchange with SNAKES (Pommereau, "SNAKES: a flexible high-level Petri nets library", 2015).

SNAKES is an independent implementation of coloured nets: a second opinion on the firing rule, and a door to
its tools. It is imported inside the functions.

How a net is expressed there:

* A black token is ``dot``; any other token is the plain value of ``provenet.nets.schema``.
* Arcs between one place and one transition become one arc. A read arc becomes a token that is taken and put
  back, because a test arc of SNAKES forgets to ask for its token where a binding is checked rather than
  searched for.
* A guard or an inscription becomes a call of the expression as we compile it, under a name in the net's
  globals. So one meaning of expressions holds on both sides.
* Values from outside need a finite choice: they are read from an extra place, see ``to_snakes``.
  ``ensures`` joins the guard there.
* Capacities, ``requires`` and the types of tokens are promises checked when a transition fires, no part of
  enabledness: SNAKES is not told.
* Roles, contracts, triggers, final markings and requirements have no counterpart.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Mapping
from typing import Any

from provenet.nets.errors import FormatError
from provenet.nets.expr.ast import Expr, conjunction, free_variables
from provenet.nets.expr.evaluate import compile_expr
from provenet.nets.formats.limits import Mistakes
from provenet.nets.marking import Marking
from provenet.nets.net import Net, Place, Put, Read, Take, Transition
from provenet.nets.schema import UNIT, UNIT_VALUE, Type, UnitType, Value

OUTSIDE = "outside "
"""The place that feeds variable ``v`` of transition ``t`` is called ``outside t.v``.

A transition without any input takes from and puts back to a place ``outside t``.
"""


def to_snakes(
    net: Net,
    *,
    inputs: Mapping[str, Value] | None = None,
    outside: Mapping[tuple[str, str], Iterable[Value]] | None = None,
) -> Any:
    """The net as a ``snakes.nets.PetriNet``, marked initially.

    Args:
        net: The net.
        inputs: One token for each entry place; an entry of black tokens needs none.
        outside: For a transition and its fresh variable, the values that may come from outside.

    Raises:
        FormatError: With everything that has no counterpart: a fresh variable without values, an entry
            without input, a place that is both emptied and put to by the same transition or emptied and
            taken from.
    """
    from snakes.nets import PetriNet
    from snakes.nets import Place as SnakesPlace

    outside = {key: tuple(values) for key, values in (outside or {}).items()}
    tokens = dict(net.initial)
    wrong = Mistakes(f"net {net.name!r}")
    for entry in net.entries:
        black = net.place(entry.place).type == UNIT
        if black or entry.place in (inputs or {}):
            value = UNIT_VALUE if black else (inputs or {})[entry.place]
            tokens[entry.place] = (*tokens.get(entry.place, ()), value)
        else:
            wrong.add(f"entry {entry.place!r}", "has no input", "pass inputs={place: token}")
    for t in net.transitions:
        for fresh in t.fresh:
            if not outside.get((t.name, fresh.var)):
                wrong.add(
                    f"transition {t.name!r}",
                    f"its variable {fresh.var!r} comes from outside",
                    "pass outside={(transition, variable): values}",
                )
        arcs: list[Take | Read | Put] = [*t.takes, *t.reads, *t.puts]
        both = sorted(set(t.resets) & {a.place for a in arcs})
        if both:
            wrong.add(f"transition {t.name!r}", f"empties {both[0]!r}, and has another arc there")
        if net.has_place(t.name):
            wrong.add(f"transition {t.name!r}", "has the name of a place", "SNAKES wants them to differ")
    wrong.raise_if_any("SNAKES cannot express this")

    made = PetriNet(net.name)
    for p in net.places:
        made.add_place(SnakesPlace(p.name, [_to_token(v, p.type) for v in tokens.get(p.name, ())]))
    for t in net.transitions:
        for fresh in t.fresh:
            values = [_to_token(v, fresh.type) for v in dict.fromkeys(outside[t.name, fresh.var])]
            made.add_place(SnakesPlace(f"{OUTSIDE}{t.name}.{fresh.var}", values))
        if not (t.takes or t.reads or t.resets or t.fresh):
            # SNAKES finds no mode of a transition that has no input.
            made.add_place(SnakesPlace(f"{OUTSIDE}{t.name}", [_black()]))
    for i, t in enumerate(net.transitions):
        _add_transition(made, net, t, i)
    return made


def from_snakes(petri_net: Any) -> Net:
    """A P/T net from a ``snakes.nets.PetriNet`` of black tokens.

    Read: arcs that are a ``Value(dot)``, a ``Variable``, a ``Test`` or an input ``Flush`` of one, and a
    ``MultiArc`` of them; guards that are ``True``. The text of no expression is evaluated.

    Raises:
        FormatError: With everything that is beyond P/T nets with read and reset arcs.
    """
    from snakes.nets import dot

    wrong = Mistakes(f"SNAKES net {petri_net.name!r}")
    places, initial = [], []
    ours = {f"{OUTSIDE}{t.name}" for t in petri_net.transition()}
    for place in sorted(petri_net.place(), key=lambda p: str(p.name)):
        if place.name in ours:
            continue
        if any(token != dot for token in place.tokens):
            wrong.add(f"place {place.name!r}", "holds tokens that are not black")
        places.append(Place(str(place.name), UNIT))
        if len(place.tokens):
            initial.append((str(place.name), (UNIT_VALUE,) * len(place.tokens)))
    transitions = []
    for transition in sorted(petri_net.transition(), key=lambda t: str(t.name)):
        where = f"transition {transition.name!r}"
        if str(transition.guard) != "True":
            wrong.add(where, f"has the guard {transition.guard}")
        takes: list[Take] = []
        reads: list[Read] = []
        resets: list[str] = []
        puts: list[Put] = []
        for place, label in sorted(transition.input(), key=lambda arc: str(arc[0].name)):
            if place.name in ours:
                continue
            counts = _count(label, f"{where}, arc from {place.name!r}", wrong)
            if counts["take"]:
                takes.append(Take(str(place.name), None, counts["take"]))
            if counts["test"]:
                reads.append(Read(str(place.name), None, counts["test"]))
            if counts["flush"]:
                resets.append(str(place.name))
        for place, label in sorted(transition.output(), key=lambda arc: str(arc[0].name)):
            if place.name in ours:
                continue
            counts = _count(label, f"{where}, arc into {place.name!r}", wrong)
            if counts["flush"]:
                wrong.add(where, f"pours a whole place into {place.name!r}")
            if counts["take"]:
                puts.append(Put(str(place.name), None, counts["take"]))
        transitions.append(
            Transition(
                str(transition.name),
                takes=tuple(takes),
                reads=tuple(reads),
                resets=tuple(resets),
                puts=tuple(puts),
            )
        )
    wrong.raise_if_any("only P/T nets can be read from SNAKES")
    return Net(str(petri_net.name), tuple(places), tuple(transitions), initial=tuple(initial))


def marking_to_snakes(net: Net, marking: Marking) -> Any:
    """A marking as a ``snakes.nets.Marking``."""
    from snakes.data import MultiSet
    from snakes.nets import Marking as SnakesMarking

    return SnakesMarking(
        {p: MultiSet(_to_token(v, net.place(p).type) for v in tokens) for p, tokens in marking.items()}
    )


def marking_from_snakes(net: Net, marking: Any) -> Marking:
    """A marking from a ``snakes.nets.Marking``; the places that feed values from outside are left out."""
    return Marking(
        {
            place: tuple(_from_token(v, net.place(place).type) for v in tokens)
            for place, tokens in marking.items()
            if net.has_place(place)
        }
    )


def _add_transition(made: Any, net: Net, t: Transition, number: int) -> None:
    from snakes.nets import (
        Expression,
        MultiArc,
        Variable,
        dot,
    )
    from snakes.nets import (
        Transition as SnakesTransition,
    )
    from snakes.nets import (
        Value as SnakesValue,
    )

    scope = net.scope(t)
    names = _variables(scope)
    inputs: dict[str, list[Any]] = {}
    outputs: dict[str, list[Any]] = {}

    def call(what: str, expr: Expr) -> str:
        name = f"provenet_{number}_{what}"
        used = sorted(free_variables(expr))
        made.globals[name] = _callable(expr, scope, used)
        return f"{name}({', '.join(names[v] for v in used)})"

    def tokens(place: str, var: str | None, weight: int, prefix: str) -> list[Any]:
        if var is not None:
            return [Variable(names[var])]
        if net.place(place).type == UNIT:
            return [SnakesValue(dot)] * weight
        return [Variable(f"{prefix}_{len(inputs.get(place, ()))}_{i}") for i in range(weight)]

    for take in t.takes:
        arcs = tokens(take.place, take.var, take.weight, f"taken{_index(net, take.place)}")
        inputs.setdefault(take.place, []).extend(arcs)
    for read in t.reads:
        arcs = tokens(read.place, read.var, read.weight, f"read{_index(net, read.place)}")
        inputs.setdefault(read.place, []).extend(arcs)
        outputs.setdefault(read.place, []).extend(arc.copy() for arc in arcs)
    for fresh in t.fresh:
        feed = f"{OUTSIDE}{t.name}.{fresh.var}"
        inputs[feed] = [Variable(names[fresh.var])]
        outputs[feed] = [Variable(names[fresh.var])]
    if not (inputs or t.resets):
        inputs[f"{OUTSIDE}{t.name}"] = [SnakesValue(dot)]
        outputs[f"{OUTSIDE}{t.name}"] = [SnakesValue(dot)]
    for i, put in enumerate(t.puts):
        built = [SnakesValue(dot)] * put.weight if put.expr is None else None
        if built is None:
            assert put.expr is not None
            built = [Expression(call(f"put{i}", put.expr))]
        outputs.setdefault(put.place, []).extend(built)

    guard = conjunction(t.guard, t.ensures)
    made.add_transition(
        SnakesTransition(t.name, Expression("True" if guard is None else call("guard", guard)))
    )
    for place, arcs in inputs.items():
        made.add_input(place, t.name, arcs[0] if len(arcs) == 1 else MultiArc(arcs))
    for place, arcs in outputs.items():
        made.add_output(place, t.name, arcs[0] if len(arcs) == 1 else MultiArc(arcs))
    if t.resets:
        from snakes.nets import Flush

        for place in t.resets:
            made.add_input(place, t.name, Flush(f"flushed{_index(net, place)}"))


def _callable(expr: Expr, scope: Mapping[str, Type], used: list[str]) -> Any:
    compiled = compile_expr(expr, scope)

    def run(*values: Any) -> Any:
        binding = {v: _from_token(value, scope[v]) for v, value in zip(used, values, strict=True)}
        result = compiled(binding)
        return _black() if result == UNIT_VALUE and isinstance(result, tuple) else result

    return run


def _variables(scope: Iterable[str]) -> dict[str, str]:
    """Variables under names that SNAKES accepts and that it does not use itself."""
    taken = set(scope)
    names: dict[str, str] = {}
    for var in scope:
        name = var
        while (
            keyword.iskeyword(name)
            or (name != var and name in taken)
            or name in ("True", "False", "None", "dot")
        ):
            name += "_"
        taken.add(name)
        names[var] = name
    return names


def _index(net: Net, place: str) -> int:
    return next(i for i, p in enumerate(net.places) if p.name == place)


def _count(label: Any, where: str, wrong: Mistakes) -> dict[str, int]:
    """How many black tokens an arc takes, tests and flushes."""
    from snakes.nets import Flush, Inhibitor, MultiArc, Test, Variable, dot
    from snakes.nets import Value as SnakesValue

    counts = {"take": 0, "test": 0, "flush": 0}
    stack = [(label, "take")]
    while stack:
        part, kind = stack.pop()
        if isinstance(part, Inhibitor):
            wrong.add(where, "is an inhibitor arc")
        elif isinstance(part, Test):
            stack.append((part._annotation, "test"))  # noqa: SLF001 (SNAKES has no other way to it)
        elif isinstance(part, MultiArc) and type(part).__name__ == "MultiArc":
            stack.extend((inner, kind) for inner in part)
        elif isinstance(part, Flush):
            counts["flush"] += 1
        elif isinstance(part, Variable) or (isinstance(part, SnakesValue) and part.value == dot):
            counts[kind] += 1
        else:
            wrong.add(where, f"carries {part}")
    return counts


def _black() -> Any:
    from snakes.nets import dot

    return dot


def _to_token(value: Value, of: Type) -> Any:
    return _black() if isinstance(of, UnitType) else value


def _from_token(token: Any, of: Type) -> Value:
    return UNIT_VALUE if isinstance(of, UnitType) else token


__all__ = ["OUTSIDE", "FormatError", "from_snakes", "marking_from_snakes", "marking_to_snakes", "to_snakes"]
