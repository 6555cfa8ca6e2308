"""Solver formulas as text for people, in the notation of the expression language."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import z3

from provenet.verify.facts import Facts
from provenet.verify.questions import GHOST_SET, GHOST_VALUE, IT

_LONGEST = 400
# Strings and quoted names first, so that what stands in them stays as it is; then whole names only.
_QUOTED = r'"(?:[^"\\]|\\.)*"|`[^`]*`'
_WORDS = re.compile(rf"{_QUOTED}|(?<![\w.])(?:{IT}\.|{GHOST_SET}\b|{GHOST_VALUE}\b)")
_FLIPPED = {z3.Z3_OP_LE: ">", z3.Z3_OP_GE: "<", z3.Z3_OP_LT: ">=", z3.Z3_OP_GT: "<=", z3.Z3_OP_EQ: "!="}
_COMPARE = {z3.Z3_OP_LE: "<=", z3.Z3_OP_GE: ">=", z3.Z3_OP_LT: "<", z3.Z3_OP_GT: ">", z3.Z3_OP_EQ: "=="}


def readable_facts(facts: Facts) -> dict[str, str]:
    """Place to what is known of its tokens; places of which nothing is known are left out."""
    out = {}
    for place, formula in facts.formulas.items():
        simple = _tidy(formula)
        if not z3.is_true(simple):
            out[place] = _cut(readable(simple))
    return out


def readable_text(facts: Mapping[str, Sequence[str]], *, done: str = "approved") -> dict[str, str]:
    """Place to what is known of its tokens, from texts of the expression language.

    Args:
        facts: Place to the texts.
        done: What was done to the value that the ghost carries: ``approved``, ``accepted``.
    """
    said = {f"{IT}.": "", GHOST_SET: done, GHOST_VALUE: f"the {done} value"}
    out = {}
    for place, texts in facts.items():
        text = " and ".join(f"({t})" if " or " in t and len(texts) > 1 else t for t in texts)
        out[place] = _cut(_WORDS.sub(lambda found: said.get(found[0], found[0]), text))
    return out


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def readable(formula: z3.ExprRef) -> str:
    """A formula over named constants as text."""
    return _show(formula, negated=False)


def _tidy(formula: z3.BoolRef) -> z3.BoolRef:
    return z3.simplify(formula, arith_lhs=True, arith_ineq_lhs=True, elim_and=False)


def _show(e: z3.ExprRef, *, negated: bool) -> str:
    kind = e.decl().kind() if z3.is_app(e) else None
    children = e.children()
    if kind == z3.Z3_OP_NOT:
        return _show(children[0], negated=not negated)
    if kind in (z3.Z3_OP_AND, z3.Z3_OP_OR):
        conjunctive = (kind == z3.Z3_OP_AND) is not negated
        parts = [_show(c, negated=negated) for c in children]
        joined = (" and " if conjunctive else " or ").join(parts)
        return f"({joined})" if len(parts) > 1 else joined
    if kind == z3.Z3_OP_IMPLIES and not negated:
        return f"({_show(children[0], negated=True)} or {_show(children[1], negated=False)})"
    if z3.is_true(e) or z3.is_false(e):
        return "true" if z3.is_true(e) is not negated else "false"
    if kind == z3.Z3_OP_EQ and z3.is_bool(children[0]):
        one, two = (_show(c, negated=False) for c in children)
        return f"({one} {'!=' if negated else '=='} {two})"
    if kind is not None and kind in _COMPARE:
        return _comparison(e, _FLIPPED[kind] if negated else _COMPARE[kind])
    text = _term(e)
    return f"not {text}" if negated else text


def _comparison(e: z3.ExprRef, op: str) -> str:
    left, right = e.children()
    # Integers: not x >= 31 reads better as x <= 30.
    if z3.is_int_value(right) and z3.is_int(left) and op in ("<", ">"):
        bound = right.as_long()
        op, right_text = ("<=", str(bound - 1)) if op == "<" else (">=", str(bound + 1))
        return f"{_term(left)} {op} {right_text}"
    return f"{_term(left)} {op} {_term(right)}"


_TERMS: dict[int, Callable[[list[str]], str]] = {
    z3.Z3_OP_ADD: lambda p: "(" + " + ".join(p) + ")",
    z3.Z3_OP_SUB: lambda p: "(" + " - ".join(p) + ")",
    z3.Z3_OP_MUL: " * ".join,
    z3.Z3_OP_UMINUS: lambda p: f"-{p[0]}",
    z3.Z3_OP_ITE: lambda p: f"({p[1]} if {p[0]} else {p[2]})",
}


def _term(e: z3.ExprRef) -> str:
    if z3.is_const(e) and e.decl().kind() == z3.Z3_OP_UNINTERPRETED:
        name = str(e.decl().name())
        if name == GHOST_SET:
            return "approved"
        return "approved value" + name[len(GHOST_VALUE) :] if name.startswith(GHOST_VALUE) else name
    if z3.is_app(e) and e.decl().kind() in _TERMS:
        return _TERMS[e.decl().kind()]([_show(c, negated=False) for c in e.children()])
    return str(e).replace("\n", " ")
