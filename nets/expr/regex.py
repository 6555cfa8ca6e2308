"""The regular subset of patterns: literals, ``.``, classes, ``( )``, ``|``, ``* + ?`` and ``{m,n}``.

Matching always takes the whole string and runs in time linear in it (Thompson, "Regular expression search
algorithm", CACM 1968: simulate the nondeterministic automaton), so a pattern from a stranger cannot stall the
engine. The same syntax tree compiles to the solver's regular expressions. There are no back-references, no
look-around and no anchors.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

from provenet.nets.errors import ExprError
from provenet.nets.quick import dataclass

MAX_PATTERN = 200
MAX_REPEAT = 100
MAX_STATES = 2_000

_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_CLASSES = {"d": ((48, 57),), "w": ((48, 57), (65, 90), (95, 95), (97, 122)), "s": ((9, 13), (32, 32))}
_SPECIAL = set("\\.[](){}|*+?^$")
_TOP = 0x2FFFF


@dataclass(frozen=True, slots=True)
class Chars:
    """One character out of inclusive code-point ranges."""

    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Seq:
    """Patterns one after another."""

    parts: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """One of several patterns."""

    parts: tuple[Pattern, ...]


@dataclass(frozen=True, slots=True)
class Repeat:
    """A pattern ``lo`` to ``hi`` times; without ``hi``, any number of times from ``lo``."""

    of: Pattern
    lo: int
    hi: int | None


Pattern: TypeAlias = Chars | Seq | Alt | Repeat


def full_match(pattern: str, text: str) -> bool:
    """Whether the whole text matches the pattern.

    Raises:
        ExprError: The pattern is outside the subset or too large.
    """
    states = _automaton(pattern)
    current = _closure(states, {0})
    for c in text:
        code = ord(c)
        step = {
            target
            for s in current
            for ranges, target in states[s].moves
            if any(lo <= code <= hi for lo, hi in ranges)
        }
        if not step:
            return False
        current = _closure(states, step)
    return len(states) - 1 in current


def check_pattern(pattern: str) -> None:
    """Refuse a pattern outside the subset.

    Raises:
        ExprError: It names what is not understood and where.
    """
    _automaton(pattern)


@lru_cache(maxsize=256)
def parse_pattern(pattern: str) -> Pattern:
    """The syntax tree of a pattern.

    Raises:
        ExprError: The pattern is outside the subset.
    """
    if len(pattern) > MAX_PATTERN:
        raise ExprError(f"the pattern is longer than {MAX_PATTERN} characters")
    reader = _Reader(pattern)
    tree = reader.alternatives(0)
    if not reader.done:
        raise reader.error("unbalanced )")
    return tree


@dataclass(frozen=True, slots=True)
class _State:
    moves: list[tuple[tuple[tuple[int, int], ...], int]]
    free: list[int]


@lru_cache(maxsize=128)
def _automaton(pattern: str) -> list[_State]:
    """Thompson's automaton: state 0 starts, the last state accepts."""
    states: list[_State] = []

    def new() -> int:
        if len(states) >= MAX_STATES:
            raise ExprError(
                f"the pattern {pattern!r} needs more than {MAX_STATES} states", hint="lower its {m,n}"
            )
        states.append(_State([], []))
        return len(states) - 1

    def add(tree: Pattern, start: int) -> int:
        """Wire ``tree`` after ``start``; the state where it ends."""
        match tree:
            case Chars(ranges):
                end = new()
                states[start].moves.append((ranges, end))
                return end
            case Seq(parts):
                for part in parts:
                    start = add(part, start)
                return start
            case Alt(parts):
                ends = []
                for part in parts:
                    entry = new()
                    states[start].free.append(entry)
                    ends.append(add(part, entry))
                end = new()
                for e in ends:
                    states[e].free.append(end)
                return end
            case Repeat(of, lo, hi):
                for _ in range(lo):
                    start = add(of, start)
                if hi is None:
                    loop = new()
                    states[start].free.append(loop)
                    back = add(of, loop)
                    states[back].free.append(loop)
                    end = new()
                    states[loop].free.append(end)
                    return end
                exits = [start]
                for _ in range(hi - lo):
                    start = add(of, start)
                    exits.append(start)
                end = new()
                for e in exits:
                    states[e].free.append(end)
                return end

    first = new()
    last = add(parse_pattern(pattern), first)
    states[last].free.append(new())
    return states


def _closure(states: list[_State], seed: set[int]) -> set[int]:
    stack, seen = list(seed), set(seed)
    while stack:
        for target in states[stack.pop()].free:
            if target not in seen:
                seen.add(target)
                stack.append(target)
    return seen


class _Reader:
    """Recursive descent over a pattern; the depth is bounded by the pattern's length."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    @property
    def done(self) -> bool:
        return self._at >= len(self._text)

    def error(self, what: str) -> ExprError:
        return ExprError(
            f"pattern {self._text!r}, position {self._at}: {what}",
            hint="known: literals . [a-z] [^a-z] \\d \\w \\s ( ) | * + ? {m,n}; the whole string must match",
        )

    def alternatives(self, depth: int) -> Pattern:
        if depth > 20:
            raise self.error("groups nest too deeply")
        parts = [self._sequence(depth)]
        while self._peek() == "|":
            self._at += 1
            parts.append(self._sequence(depth))
        return parts[0] if len(parts) == 1 else Alt(tuple(parts))

    def _sequence(self, depth: int) -> Pattern:
        parts: list[Pattern] = []
        while not self.done and self._peek() not in ("|", ")"):
            parts.append(self._repeated(self._atom(depth)))
        return parts[0] if len(parts) == 1 else Seq(tuple(parts))

    def _atom(self, depth: int) -> Pattern:
        c = self._next()
        if c == "(":
            inner = self.alternatives(depth + 1)
            if self._peek() != ")":
                raise self.error("missing )")
            self._at += 1
            return inner
        if c == ".":
            return Chars(((0, 9), (11, _TOP)))
        if c == "[":
            return self._char_class()
        if c == "\\":
            return Chars(self._escape())
        if c in _SPECIAL:
            raise self.error(f"unexpected {c!r}")
        return Chars(((ord(c), ord(c)),))

    def _repeated(self, of: Pattern) -> Pattern:
        c = self._peek()
        if c in ("*", "+", "?"):
            self._at += 1
            of = Repeat(of, 1 if c == "+" else 0, 1 if c == "?" else None)
        elif c == "{":
            self._at += 1
            lo = self._number()
            hi: int | None = lo
            if self._peek() == ",":
                self._at += 1
                hi = None if self._peek() == "}" else self._number()
            if self._peek() != "}":
                raise self.error("missing }")
            self._at += 1
            if hi is not None and hi < lo:
                raise self.error("the bounds of { } are the wrong way round")
            of = Repeat(of, lo, hi)
        if self._peek() in ("*", "+", "?", "{"):
            raise self.error("two repetitions in a row")
        return of

    def _number(self) -> int:
        start = self._at
        while self._peek().isdecimal() and self._peek().isascii():
            self._at += 1
        digits = self._text[start : self._at]
        if not digits or len(digits) > 3 or int(digits) > MAX_REPEAT:
            raise self.error(f"a repetition takes a number up to {MAX_REPEAT}")
        return int(digits)

    def _char_class(self) -> Pattern:
        negated = self._peek() == "^"
        if negated:
            self._at += 1
        ranges: list[tuple[int, int]] = []
        while self._peek() != "]":
            c = self._next()
            if c == "\\":
                part = self._escape()
                if len(part) > 1 or part[0][0] != part[0][1]:
                    ranges.extend(part)
                    continue
                lo = part[0][0]
            elif c == "[":
                raise self.error("[ inside a class is written \\[")
            else:
                lo = ord(c)
            hi = lo
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                c = self._next()
                hi = self._escape()[0][0] if c == "\\" else ord(c)
                if hi < lo:
                    raise self.error("a range in a class is the wrong way round")
            ranges.append((lo, hi))
        self._at += 1
        if not ranges:
            raise self.error("an empty class matches nothing")
        return Chars(_complement(ranges) if negated else tuple(sorted(ranges)))

    def _escape(self) -> tuple[tuple[int, int], ...]:
        c = self._next()
        if c in _CLASSES:
            return _CLASSES[c]
        if c.lower() in _CLASSES:
            return _complement(_CLASSES[c.lower()])
        if c.isalnum() and c not in _ESCAPES:
            raise self.error(f"unknown escape \\{c}")
        code = ord(_ESCAPES.get(c, c))
        return ((code, code),)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _next(self) -> str:
        if self.done:
            raise self.error("the pattern ends too early")
        self._at += 1
        return self._text[self._at - 1]


def _complement(ranges: list[tuple[int, int]] | tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    out, at = [], 0
    for lo, hi in sorted(ranges):
        if lo > at:
            out.append((at, lo - 1))
        at = max(at, hi + 1)
    if at <= _TOP:
        out.append((at, _TOP))
    return tuple(out)
