"""Expressions from text: a tokenizer and precedence climbing, nothing is ever executed.

The grammar (``show`` prints the same)::

    expr     = or ["if" or "else" expr]
    or       = and {"or" and}
    and      = not {"and" not}
    not      = "not" not | compare
    compare  = sum [("==" | "!=" | "<" | "<=" | ">" | ">=") sum
                  | ["not"] "in" "{" [expr {"," expr}] "}" | "is" ["not"] "null"]
    sum      = product {("+" | "-") product}
    product  = postfix {("*" | "//" | "%") postfix}
    postfix  = atom {"." name}
    atom     = literal | name | "(" expr ")" | name "{" name ":" expr {"," ...} "}" | call
    call     = "len(x)" "or_else(x, default)" "starts_with(x, "a")"
               "ends_with" "contains" "matches(x, "[a-z]+")"
               "all(i in xs: condition)" "any(i in xs: condition)" "all_of(a, ...)" "any_of(a, ...)"
    literal  = 3  -3  1.50d (decimal)  1.5 (float)  "text" (JSON escapes)  true  false  null  unit  [1, 2]
               time("2026-01-01T00:00:00Z")  days(7)  hours(1)  minutes(1)  seconds(1)  microseconds(1)

Precedence climbing is by Richards ("The Essence of Parsing", 1979). Text from strangers is safe: length,
nesting and number of parts are limited, and the work is linear in the length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Literal, cast

from provenet.nets.errors import ExprError, TypeMismatch, did_you_mean
from provenet.nets.expr.ast import (
    And,
    Arith,
    ArithOp,
    Compare,
    CompareOp,
    Const,
    Each,
    Expr,
    Get,
    If,
    IsNull,
    Len,
    Matches,
    Not,
    OneOf,
    Or,
    OrElse,
    Quantifier,
    TextOp,
    TextTest,
    Var,
    too_large,
)
from provenet.nets.expr.normal import fold, normal, plain_list
from provenet.nets.expr.show import KEYWORDS, UNITS
from provenet.nets.expr.typing import NULL_TYPE, type_of
from provenet.nets.quick import dataclass
from provenet.nets.schema import (
    BOOL,
    DATETIME,
    DURATION,
    INT,
    STR,
    UNIT,
    DecimalType,
    FloatType,
    ListType,
    OptionalType,
    RecordType,
    Type,
    Value,
    check,
    shorten,
)

MAX_LENGTH = 10_000
MAX_NESTING = 80
MAX_INT_DIGITS = 400


def parse(
    text: str,
    scope: Mapping[str, Type] | None = None,
    types: Mapping[str, RecordType] | None = None,
    *,
    like: Type | None = None,
) -> Expr:
    """An expression from text.

    Args:
        text: The expression.
        scope: Types of the variables it may read. With it, names and types are checked and literals take
            the type of what they meet (``provenet.nets.expr.normal``); without it, only the grammar is
            checked.
        types: Record types that it may build, by name, besides those that occur in ``scope`` and ``like``.
        like: Type that the whole should have, such as that of the place it is put into.

    Raises:
        ExprError: The text exceeds a limit, is not in the grammar, or does not type-check; with the
            position, what was expected, and a hint.
    """
    if len(text) > MAX_LENGTH:
        raise ExprError(f"the expression is longer than {MAX_LENGTH} characters")
    known = dict(types or {})
    for of in (*(scope or {}).values(), *((like,) if like is not None else ())):
        for record in _records(of):
            known.setdefault(record.name, record)
    expr = _Parser(text, _tokens(text), known).whole()
    reason = too_large(expr)
    if reason:
        raise ExprError(reason, hint="split it")
    if scope is None:
        return expr
    try:
        expr = normal(expr, scope, like)
        type_of(expr, scope)
    except ExprError as error:
        raise ExprError(f"{error.message}, in: {_cut(text)}", hint=error.hint) from None
    return expr


_Kind = Literal["number", "string", "quoted", "name", "sign", "end"]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str
    at: int

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else shorten(self.text, 40)


_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r\n]+)
  | (?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?d?)(?![0-9A-Za-z_])
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<quoted>`[^`\n]*`)
  | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
  | (?P<sign>==|!=|<=|>=|//|[<>+\-*%(){}\[\],.:])
    """,
    re.VERBOSE,
)
_HINTS = {
    "=": "write == to compare",
    "&": "write and",
    "|": "write or",
    "!": "write not, or !=",
    "'": 'texts are written in double quotes: "..."',
    '"': 'a text ends with " on the same line',
    "`": "a name in backticks ends with ` on the same line",
    "/": "write // (integers, rounds down)",
}


def _tokens(text: str) -> list[_Token]:
    out: list[_Token] = []
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise _error(text, at, f"{text[at]!r} is not understood", _HINTS.get(text[at], ""))
        kind = cast("_Kind | Literal['space']", found.lastgroup)
        if kind != "space":
            out.append(_Token(kind, found.group(), at))
        at = found.end()
    out.append(_Token("end", "", len(text)))
    return out


# How tightly operators bind, loosest first; the same order as in ``show``.
_OR, _AND, _NOT, _COMPARE, _SUM, _PRODUCT = range(1, 7)
_LEVEL = {
    "or": _OR,
    "and": _AND,
    **dict.fromkeys(("==", "!=", "<", "<=", ">", ">=", "in", "is", "not"), _COMPARE),
    "+": _SUM,
    "-": _SUM,
    **dict.fromkeys(("*", "//", "%"), _PRODUCT),
}
_SPAN = dict(UNITS)
_CALLS = (
    *("len", "or_else", "starts_with", "ends_with", "contains", "matches"),
    *("all", "any", "all_of", "any_of", "time"),
    *_SPAN,
)


class _Parser:
    def __init__(self, text: str, tokens: list[_Token], types: Mapping[str, RecordType]) -> None:
        self._text = text
        self._tokens = tokens
        self._types = types
        self._at = 0
        self._depth = 0

    def whole(self) -> Expr:
        expr = self._expr()
        if self._peek.kind != "end":
            token = self._peek
            hint = "and, or, ==, <, +, in ... may follow a value"
            if token.text == "(":
                hint = f"there are no methods; there are: {', '.join(_CALLS)}"
            elif token.text == "[":
                hint = "elements are read with all(i in xs: ...) and any(i in xs: ...)"
            raise self._unexpected("the end", hint)
        return expr

    def _expr(self) -> Expr:
        self._enter()
        then = self._binary(_OR)
        if self._accept("if"):
            condition = self._binary(_OR)
            self._expect("else")
            then = If(condition, then, self._expr())
        self._depth -= 1
        return then

    def _binary(self, least: int) -> Expr:
        if least <= _NOT and self._accept("not"):
            self._enter()
            left: Expr = Not(self._binary(_NOT))
            self._depth -= 1
        else:
            left = self._postfix()
        while True:
            op = self._operator()
            level = _LEVEL.get(op, 0)
            if level < least or not level:
                return left
            self._at += 1
            if level in (_OR, _AND):
                parts = [left, self._binary(level + 1)]
                while self._accept(op):
                    parts.append(self._binary(level + 1))
                left = Or(tuple(parts)) if op == "or" else And(tuple(parts))
            elif level == _COMPARE:
                left = self._comparison(op, left)
            else:
                left = Arith(cast("ArithOp", op), left, self._binary(level + 1))

    def _comparison(self, op: str, left: Expr) -> Expr:
        made: Expr
        if op == "is":
            negated = self._accept("not")
            self._expect("null")
            made = Not(IsNull(left)) if negated else IsNull(left)
        elif op in ("in", "not"):
            if op == "not":
                self._expect("in")
            members = self._members()
            made = Not(OneOf(left, members)) if op == "not" else OneOf(left, members)
        else:
            made = Compare(cast("CompareOp", op), left, self._binary(_SUM))
        if _LEVEL.get(self._operator()) == _COMPARE:
            raise self._unexpected("and, or, or the end", "comparisons do not chain: write a <= b and b <= c")
        return made

    def _members(self) -> tuple[Const, ...]:
        if self._peek.text != "{":
            raise self._unexpected("{", "write the values in braces: x in {12, 24}")
        self._at += 1
        return tuple(self._constants("}"))

    def _postfix(self) -> Expr:
        expr = self._atom()
        while self._accept("."):
            expr = Get(expr, self._name("a field's name"))
        return expr

    def _atom(self) -> Expr:
        token = self._peek
        following = self._tokens[min(self._at + 1, len(self._tokens) - 1)]
        if token.kind == "sign" and token.text == "-" and following.kind == "number":
            self._at += 2
            return self._number(following, -1)
        if token.kind == "number":
            self._at += 1
            return self._number(token, 1)
        if token.kind == "string":
            return self._const(self._string(), STR, token)
        if token.kind == "sign" and token.text == "(":
            self._at += 1
            expr = self._expr()
            self._expect(")")
            return expr
        if token.kind == "sign" and token.text == "[":
            self._at += 1
            try:
                return plain_list(self._constants("]"))
            except ExprError as error:
                raise error if error.where else self._error_at(token, error.message) from None
        if token.kind == "name" and token.text in _WORDS:
            self._at += 1
            return _WORDS[token.text]
        if token.kind == "quoted" or (token.kind == "name" and token.text not in KEYWORDS):
            if following.kind == "sign" and following.text == "(" and token.kind == "name":
                return self._call(token)
            if following.kind == "sign" and following.text == "{":
                return self._record(token)
            return Var(self._name("a value"))
        raise self._unexpected("a value", "a name, a number, a text in double quotes, or ( )")

    def _call(self, token: _Token) -> Expr:
        self._at += 2
        name = token.text
        if name in ("all", "any"):
            var = self._name("the element's name")
            self._expect("in")
            of = self._expr()
            self._expect(":")
            body = self._expr()
            self._expect(")")
            return Each(cast("Quantifier", name), of, var, body)
        if name in ("all_of", "any_of"):
            parts = tuple(self._several(")"))
            return And(parts) if name == "all_of" else Or(parts)
        if name == "time":
            return self._time()
        if name in _SPAN:
            return self._span(token, _SPAN[name])
        if name not in _CALLS:
            raise self._error_at(token, f"there is no function {name!r}", did_you_mean(name, _CALLS))
        of = self._expr()
        if name == "len":
            self._expect(")")
            return Len(of)
        self._expect(",")
        made: Expr
        if name == "or_else":
            made = OrElse(of, self._expr())
        elif name == "matches":
            made = Matches(of, self._string())
        else:
            made = TextTest(cast("TextOp", name), of, self._string())
        self._expect(")")
        return made

    def _record(self, token: _Token) -> Expr:
        name = self._name("a record's name")
        if name not in self._types:
            raise self._error_at(token, f"there is no record {name!r}", did_you_mean(name, self._types))
        of = self._types[name]
        self._expect("{")
        parts: dict[str, Expr] = {}
        while not self._accept("}"):
            at = self._peek
            field = self._name("a field's name")
            if of.index(field) is None:
                hint = did_you_mean(field, (f.name for f in of.fields))
                raise self._error_at(at, f"{name} has no field {field!r}", hint)
            if field in parts:
                raise self._error_at(at, f"the field {field!r} is given twice")
            self._expect(":")
            parts[field] = self._expr()
            if self._peek.text != "}":
                self._expect(",")
        missing = [f.name for f in of.fields if f.name not in parts]
        if missing:
            raise self._error_at(token, f"{name} needs {', '.join(missing)}")
        return fold(of, tuple(parts[f.name] for f in of.fields))

    def _several(self, close: str) -> Iterable[Expr]:
        while not self._accept(close):
            yield self._expr()
            if self._peek.text != close:
                self._expect(",")

    def _constants(self, close: str) -> list[Const]:
        at = self._peek
        out: list[Const] = []
        for expr in self._several(close):
            if not isinstance(expr, Const):
                raise self._error_at(at, "only constants may stand here", "compare with == and or")
            out.append(expr)
            at = self._peek
        return out

    def _number(self, token: _Token, sign: int) -> Const:
        text = token.text
        if text.endswith("d"):
            try:
                return self._const(Decimal(text[:-1]).copy_sign(sign), DecimalType(), token)
            except InvalidOperation:
                raise self._error_at(token, "the decimal is too large") from None
        if text.isdecimal():
            if len(text) > MAX_INT_DIGITS:
                raise self._error_at(token, f"a number has at most {MAX_INT_DIGITS} digits")
            return Const(sign * int(text), INT)
        return self._const(sign * float(text), FloatType(), token)

    def _time(self) -> Const:
        token = self._peek
        text = self._string()
        self._expect(")")
        try:
            return self._const(datetime.fromisoformat(text), DATETIME, token)
        except ValueError:
            raise self._error_at(
                token, "this is no point in time", 'write time("2026-01-01T00:00:00Z")'
            ) from None

    def _span(self, token: _Token, size: int) -> Const:
        sign = -1 if self._accept("-") else 1
        number = self._peek
        if number.kind != "number" or not number.text.isdecimal() or len(number.text) > 20:
            raise self._unexpected("a whole number", f"such as {token.text}(7)")
        self._at += 1
        self._expect(")")
        try:
            return self._const(timedelta(microseconds=sign * int(number.text) * size), DURATION, number)
        except OverflowError:
            raise self._error_at(number, "the duration is too long") from None

    def _string(self) -> str:
        token = self._peek
        if token.kind != "string":
            raise self._unexpected("a text in double quotes")
        self._at += 1
        return self._unescape(token, token.text)

    def _name(self, what: str) -> str:
        token = self._peek
        if token.kind == "quoted":
            self._at += 1
            inner = token.text[1:-1]
            return self._unescape(token, f'"{inner}"')
        if token.kind != "name":
            raise self._unexpected(what)
        if token.text in KEYWORDS:
            raise self._unexpected(what, f"`{token.text}` in backticks is a name")
        self._at += 1
        return token.text

    def _unescape(self, token: _Token, text: str) -> str:
        try:
            found = json.loads(text)
        except ValueError:
            raise self._error_at(
                token, "a text takes the escapes of JSON", r"such as \n, \", \\, \u00e9"
            ) from None
        assert isinstance(found, str)
        return found

    def _const(self, value: Value, of: Type, token: _Token) -> Const:
        try:
            check(value, of)
        except TypeMismatch as error:
            raise self._error_at(token, f"expected {error.expected}, got {error.got}") from None
        return Const(value, of)

    def _operator(self) -> str:
        token = self._peek
        return token.text if token.kind in ("name", "sign") else ""

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _accept(self, text: str) -> bool:
        if self._operator() != text:
            return False
        self._at += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._accept(text):
            raise self._unexpected(repr(text))

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise self._error_at(
                self._peek, f"the expression nests deeper than {MAX_NESTING} levels", "split it"
            )

    def _unexpected(self, wanted: str, hint: str = "") -> ExprError:
        return self._error_at(self._peek, f"expected {wanted}, got {self._peek}", hint)

    def _error_at(self, token: _Token, message: str, hint: str = "") -> ExprError:
        return _error(self._text, token.at, message, hint)


_WORDS = {
    "true": Const(True, BOOL),
    "false": Const(False, BOOL),
    "null": Const(None, NULL_TYPE),
    "unit": Const((), UNIT),
}


def _records(of: Type) -> Iterable[RecordType]:
    match of:
        case OptionalType(item) | ListType(item):
            yield from _records(item)
        case RecordType(_, fields):
            yield of
            for f in fields:
                yield from _records(f.type)


def _error(text: str, at: int, message: str, hint: str = "") -> ExprError:
    """An error with the line and a caret under the place."""
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    line = text[start : len(text) if end < 0 else end]
    column = at - start
    left = max(0, column - 60)
    shown = line[left : left + 100].expandtabs(1)
    caret = " " * (column - left) + "^"
    return ExprError(f"{message}\n    {shown}\n    {caret}", where=f"position {at + 1}", hint=hint)


def _cut(text: str) -> str:
    return text if len(text) <= 100 else text[:97] + "..."
