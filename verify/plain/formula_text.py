"""Temporal formulas as text: ``AG (request >= 1 -> AF done >= 1)``.

From loose to tight: ``<->``, ``->`` (to the right), ``|``, ``&``, then ``U``, ``R`` and ``W`` (to the right),
then what stands before one formula: ``!``, ``A E X F G`` and pairs such as ``AG``. Conditions compare sums of
tokens, ``2*p + q <= 3``; a place alone means that it holds a token. ``fireable(t1, t2)``: one of them is
enabled. ``deadlock``: nothing is. Names that are no words, or that mean something here, stand in double
quotes. ``&&``, ``||``, ``and``, ``or``, ``not`` and ``implies`` are understood too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from provenet.nets.errors import ProvenetError, did_you_mean
from provenet.nets.schema import shorten
from provenet.verify.plain import logic
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.logic import Formula, Le
from provenet.verify.plain.net import PTNet

MAX_LENGTH = 20_000
MAX_DEPTH = 80
MAX_SIZE = 20_000
MAX_DIGITS = 18


class FormulaError(ProvenetError):
    """A formula that does not parse, names what the net does not have, or exceeds a limit."""

    code = "PN210"


def parse_formula(text: str, net: PTNet) -> tl.Temporal:
    """The formula that a text says.

    Args:
        text: In the grammar of this module.
        net: Has the places and transitions that the text names.

    Raises:
        FormulaError: The text is no formula of this net, or exceeds a limit; with the position.
    """
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"the formula is longer than {MAX_LENGTH} characters", hint="split it")
    reader = _Reader(text, net)
    found = reader.formula(0)
    reader.end()
    return found


def shown(formula: tl.Temporal, net: PTNet) -> str:
    """A formula as text that ``parse_formula`` reads as the same."""
    return _Writer(net).text(formula, 0)


Kind = Literal["word", "quoted", "number", "sign", "end"]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Kind
    text: str
    at: int


_TOKEN = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*")|(?P<number>\d+)|(?P<word>[^\W\d][\w.]*)"""
    r"""|(?P<sign><->|->|<=|>=|==|!=|<>|&&|\|\||[<>=!&|()+*,-]))""",
    re.DOTALL,
)
_SAME = {
    "&&": "&", "||": "|", "and": "&", "or": "|", "not": "!", "implies": "->",
    "==": "=", "<>": "!=",
}  # fmt: skip
_PATH: Mapping[str, Callable[[tl.Temporal], tl.Temporal]] = {"X": tl.X, "F": tl.F, "G": tl.G}
_QUANTIFIERS: Mapping[str, Callable[[tl.Temporal], tl.Temporal]] = {"A": tl.A, "E": tl.E}
_PAIRS = {q + p: (q, p) for q in _QUANTIFIERS for p in _PATH}
_BEFORE = {"!", *_PATH, *_QUANTIFIERS, *_PAIRS}
_COMPARISONS: Mapping[str, Callable[[dict[int, int], int], Formula]] = {
    "<=": logic.at_most,
    "<": lambda terms, bound: logic.at_most(terms, bound - 1),
    ">=": logic.at_least,
    ">": lambda terms, bound: logic.at_least(terms, bound + 1),
    "=": logic.equal,
    "!=": lambda terms, value: logic.negation(logic.equal(terms, value)),
}
_BINARY = {"<->": 1, "->": 2, "|": 3, "&": 4, "U": 5, "R": 5, "W": 5}
"""How tightly each binds."""
_TIGHTEST = 6
_WORDS = {*_BEFORE, *_BINARY, *_SAME, "true", "false", "deadlock", "fireable"}
_CONDITION = "a condition such as done >= 1, fireable(t), deadlock, or a formula in ( )"


class _Reader:
    def __init__(self, text: str, net: PTNet) -> None:
        self._text, self._net = text, net
        self._places = {name: i for i, name in enumerate(net.places)}
        self._transitions = {name: i for i, name in enumerate(net.transitions)}
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0
        self._size = 0

    def end(self) -> None:
        if self._here.kind != "end":
            raise self._unexpected("an operator or the end")

    def formula(self, least: int) -> tl.Temporal:
        """A formula of operators that bind at least so tightly."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(self._here, f"more than {MAX_DEPTH} formulas within each other", "split it")
        left = self._single()
        while (tight := _BINARY.get(self._here.text, -1)) >= least and self._here.kind in ("sign", "word"):
            operator = self._next().text
            if operator in ("&", "|"):
                parts = [left, self.formula(tight + 1)]
                while self._here.text == operator and self._here.kind == "sign":
                    self._next()
                    parts.append(self.formula(tight + 1))
                left = _joined(parts, operator)
            else:
                left = self._pair(operator, left, self.formula(tight + (operator == "<->")))
        self._depth -= 1
        return left

    def _pair(self, operator: str, a: tl.Temporal, b: tl.Temporal) -> tl.Temporal:
        match operator:
            case "U":
                return tl.U(a, b)
            case "R":
                return tl.R(a, b)
            case "W":
                self._counted(b)
                return tl.R(b, tl.Either((a, b)))
            case "->":
                return tl.Either((tl.Not(a), b))
        self._counted(a, b)
        return tl.Either((tl.Both((a, b)), tl.Both((tl.Not(a), tl.Not(b)))))

    def _counted(self, *copied: tl.Temporal) -> None:
        """These occur twice in what is made."""
        self._size += sum(1 for part in copied for _ in tl.subformulas(part))
        if self._size > MAX_SIZE:
            raise self._error(self._here, "the formula is too large with <-> and W written out", "split it")

    def _single(self) -> tl.Temporal:
        token = self._here
        word = token.text
        if token.kind == "sign" and word == "(":
            self._next()
            inner = self.formula(0)
            self._expect(")")
            return inner
        if word in _BEFORE and token.kind in ("sign", "word") and not self._compared():
            self._next()
            of = self.formula(_TIGHTEST)
            if word == "!":
                return tl.Not(of)
            if word in _PAIRS:
                quantifier, path = _PAIRS[word]
                return _QUANTIFIERS[quantifier](_PATH[path](of))
            return _PATH[word](of) if word in _PATH else _QUANTIFIERS[word](of)
        if token.kind == "word" and not self._compared():
            if word in ("true", "false", "deadlock"):
                self._next()
                if word == "deadlock":
                    return tl.Now(logic.deadlock(self._net))
                return tl.TRULY if word == "true" else tl.FALSELY
            if word == "fireable":
                self._next()
                return tl.Now(self._fireable())
        return tl.Now(self._condition())

    def _fireable(self) -> Formula:
        self._expect("(")
        found = [self._named(self._transitions, "transition")]
        while self._here.text == ",":
            self._next()
            found.append(self._named(self._transitions, "transition"))
        self._expect(")")
        return logic.disj(logic.fireable(self._net, t) for t in found)

    def _condition(self) -> Formula:
        terms, constant = self._sum()
        token = self._here
        if token.kind != "sign" or token.text not in _COMPARISONS:
            if constant == 0 and list(terms.values()) == [1]:
                return logic.at_least(terms, 1)
            raise self._unexpected("a comparison: <= < >= > = or !=")
        self._next()
        others, value = self._sum()
        for p, c in others.items():
            terms[p] = terms.get(p, 0) - c
        if self._here.kind == "sign" and self._here.text in _COMPARISONS:
            raise self._unexpected(
                "an operator or the end", "comparisons do not chain: write a <= b & b <= c"
            )
        return _COMPARISONS[token.text](terms, value - constant)

    def _sum(self) -> tuple[dict[int, int], int]:
        """Coefficients of places, and a constant."""
        terms: dict[int, int] = {}
        constant = 0
        sign = -1 if self._sign("-") else 1
        while True:
            factor, place = self._term()
            if place is None:
                constant += sign * factor
            else:
                terms[place] = terms.get(place, 0) + sign * factor
            if self._sign("+"):
                sign = 1
            elif self._sign("-"):
                sign = -1
            else:
                return terms, constant

    def _term(self) -> tuple[int, int | None]:
        if self._here.kind == "number":
            factor = self._number()
            return (factor, self._named(self._places, "place")) if self._sign("*") else (factor, None)
        place = self._named(self._places, "place")
        return (self._number() if self._sign("*") else 1), place

    def _number(self) -> int:
        token = self._next()
        if token.kind != "number":
            raise self._error(token, f"expected a whole number, found {_found(token)}")
        if len(token.text) > MAX_DIGITS:
            raise self._error(token, f"a number has at most {MAX_DIGITS} digits")
        return int(token.text)

    def _named(self, table: Mapping[str, int], what: Literal["place", "transition"]) -> int:
        token = self._next()
        if token.kind not in ("word", "quoted"):
            expected = _CONDITION if what == "place" else "the name of a transition"
            raise self._error(token, f"expected {expected}, found {_found(token)}")
        name = re.sub(r"\\(.)", r"\1", token.text[1:-1]) if token.kind == "quoted" else token.text
        if name in table:
            return table[name]
        if what == "place" and name in self._transitions:
            raise self._error(token, f"{shorten(name)} is a transition", f"write fireable({_quoted(name)})")
        if what == "transition" and name in self._places:
            raise self._error(token, f"{shorten(name)} is a place", "fireable takes transitions")
        raise self._error(token, f"there is no {what} {shorten(name)} in the net", did_you_mean(name, table))

    def _compared(self) -> bool:
        """Whether the word at hand is compared or multiplied: then it is a name, whatever it means else."""
        after = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        return self._here.kind == "word" and after.text in (*_COMPARISONS, "*", "+") and after.kind == "sign"

    @property
    def _here(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._here
        if token.kind != "end":
            self._at += 1
        return token

    def _sign(self, text: str) -> bool:
        if self._here.kind == "sign" and self._here.text == text:
            self._next()
            return True
        return False

    def _expect(self, text: str) -> None:
        if not self._sign(text):
            raise self._unexpected(repr(text))

    def _unexpected(self, expected: str, hint: str = "") -> FormulaError:
        return self._error(self._here, f"expected {expected}, found {_found(self._here)}", hint)

    def _error(self, token: _Token, message: str, hint: str = "") -> FormulaError:
        return _error(self._text, token.at, message, hint)


def _tokens(text: str) -> list[_Token]:
    out: list[_Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            rest = text[at:].lstrip()
            if not rest:
                break
            start = len(text) - len(rest)
            hint = "close the double quotes" if rest[0] == '"' else "put names in double quotes"
            raise _error(text, start, f"{rest[0]!r} is not understood", hint)
        kind = found.lastgroup
        word = found[kind or 0]
        if kind in ("word", "sign") and word in _SAME:
            kind, word = "sign", _SAME[word]
        out.append(_Token(_KINDS[kind or ""], word, found.start(found.lastgroup or 0)))
        at = found.end()
    out.append(_Token("end", "", len(text)))
    return out


_KINDS: Mapping[str, Kind] = {"quoted": "quoted", "number": "number", "word": "word", "sign": "sign"}


def _found(token: _Token) -> str:
    return "the end" if token.kind == "end" else shorten(token.text)


def _error(text: str, at: int, message: str, hint: str) -> FormulaError:
    around = text[max(0, at - 30) : at + 30].replace("\n", " ")
    return FormulaError(f"{message}, at: {around}", where=f"formula, column {at + 1}", hint=hint)


def _joined(parts: Sequence[tl.Temporal], operator: str) -> tl.Temporal:
    """State formulas alone become one."""
    states = [part.formula for part in parts if isinstance(part, tl.Now)]
    if len(states) == len(parts):
        return tl.Now(logic.conj(states) if operator == "&" else logic.disj(states))
    return tl.Both(tuple(parts)) if operator == "&" else tl.Either(tuple(parts))


def _quoted(name: str) -> str:
    if re.fullmatch(r"[^\W\d][\w.]*", name) and name not in _WORDS:
        return name
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Writer:
    def __init__(self, net: PTNet) -> None:
        self._net = net
        self._names: dict[Formula, str] = {logic.TRUE: "true", logic.FALSE: "false"}
        for t, name in enumerate(net.transitions):
            enabled = logic.fireable(net, t)
            if not isinstance(enabled, Le):
                self._names.setdefault(enabled, f"fireable({_quoted(name)})")
        self._names.setdefault(logic.deadlock(net), "deadlock")

    def text(self, formula: tl.Temporal, least: int) -> str:
        """The formula, in parentheses where it binds more loosely than ``least``."""
        match formula:
            case tl.Now(of):
                return self._state(of, least)
            case tl.Not(of):
                text = self.text(of, _TIGHTEST)
                return f"!({text})" if isinstance(of, tl.Now) and isinstance(of.formula, Le) else f"!{text}"
            case tl.Either((tl.Not(a), b)):
                text = f"{self.text(a, _BINARY['->'] + 1)} -> {self.text(b, _BINARY['->'])}"
                return _wrapped(text, _BINARY["->"], least)
            case tl.Both(parts) | tl.Either(parts):
                return self._list(formula, parts, least)
            case tl.U(a, b) | tl.R(a, b):
                operator = "U" if isinstance(formula, tl.U) else "R"
                text = f"{self.text(a, _TIGHTEST)} {operator} {self.text(b, _BINARY[operator])}"
                return _wrapped(text, _BINARY[operator], least)
            case tl.A(path) | tl.E(path):
                letter = type(formula).__name__
                if isinstance(path, tl.X | tl.F | tl.G):
                    return f"{letter}{type(path).__name__} {self.text(path.of, _TIGHTEST)}"
                return f"{letter} {self.text(path, _TIGHTEST)}"
        return f"{type(formula).__name__} {self.text(formula.of, _TIGHTEST)}"

    def _list(self, formula: tl.Both | tl.Either, parts: Sequence[tl.Temporal], least: int) -> str:
        operator = "&" if isinstance(formula, tl.Both) else "|"
        if len(parts) < 2:
            constant = "true" if operator == "&" else "false"
            return self.text(parts[0], least) if parts else constant
        tight = _BINARY[operator]
        return _wrapped(f" {operator} ".join(self.text(part, tight + 1) for part in parts), tight, least)

    def _state(self, formula: Formula, least: int) -> str:
        if formula in self._names:
            return self._names[formula]
        if isinstance(formula, Le):
            return self._comparison(formula)
        operator = "&" if isinstance(formula, logic.And) else "|"
        tight = _BINARY[operator]
        text = f" {operator} ".join(self._state(part, tight + 1) for part in formula.parts)
        return _wrapped(text, tight, least)

    def _comparison(self, atom: Le) -> str:
        turned = all(c < 0 for _, c in atom.terms)
        out = ""
        for p, c in atom.terms:
            factor = -c if turned else c
            size = "" if abs(factor) == 1 else f"{abs(factor)}*"
            sign = ("-" if factor < 0 else "") if not out else (" - " if factor < 0 else " + ")
            out += f"{sign}{size}{_quoted(self._net.places[p])}"
        comparison, bound = (">=", -atom.bound) if turned else ("<=", atom.bound)
        return f"{out or '0'} {comparison} {bound}"


def _wrapped(text: str, tight: int, least: int) -> str:
    return f"({text})" if tight < least else text
