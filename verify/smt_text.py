r"""Texts in the solver: literals, values of models, and patterns.

SMT-LIB 2.6 writes a code point as ``\u{hex}``; so does Z3, in both directions. Everything but plain printable
ASCII is written that way, so that a backslash in a text is never taken for an escape.
"""

from __future__ import annotations

import re
from functools import lru_cache

import z3

from provenet.nets.errors import ProvenetError
from provenet.nets.expr.regex import Alt, Chars, Pattern, Repeat, Seq, parse_pattern
from provenet.nets.schema import shorten

TOP = 0x2FFFF
_SURROGATES = (0xD800, 0xDFFF)
_ESCAPE = re.compile(r"\\u\{([0-9a-fA-F]+)\}")


class Opaque(ProvenetError):
    """The prover cannot look into this; the message says into what, and why."""

    code = "PN600"


@lru_cache(maxsize=4096)
def literal(text: str) -> z3.SeqRef:
    """A text as a constant of sort String.

    Raises:
        Opaque: The text has characters that the solver's strings do not have.
    """
    if any(ord(c) > TOP for c in text):
        raise Opaque(
            f"the text {shorten(text)} has a character that the solver does not know",
            hint=f"use characters up to U+{TOP:X}",
        )
    return z3.StringVal("".join(_escaped(c) for c in text))


def text_of(value: z3.SeqRef) -> str:
    """The text that a string constant of a model stands for."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), value.as_string())


@lru_cache(maxsize=256)
def matcher(pattern: str) -> z3.ReRef:
    """A pattern of the regular subset as a regular expression of the solver."""
    return _regex(parse_pattern(pattern))


@lru_cache(maxsize=1)
def no_surrogates() -> z3.ReRef:
    """All texts that Python can write down as UTF-8."""
    return z3.Star(_chars(((0, _SURROGATES[0] - 1), (_SURROGATES[1] + 1, TOP))))


def _escaped(c: str) -> str:
    return c if " " <= c <= "~" and c != "\\" else f"\\u{{{ord(c):x}}}"


def _regex(tree: Pattern) -> z3.ReRef:
    match tree:
        case Chars(ranges):
            return _chars(ranges)
        case Seq(parts):
            inner = [_regex(p) for p in parts]
            return inner[0] if len(inner) == 1 else z3.Concat(*inner) if inner else _nothing()
        case Alt(parts):
            return z3.Union(*[_regex(p) for p in parts])
        case Repeat(_, _, 0):
            return _nothing()
        case Repeat(of, 0, None):
            return z3.Star(_regex(of))
        case Repeat(of, 1, None):
            return z3.Plus(_regex(of))
        case Repeat(of, lo, None):
            body = _regex(of)
            return z3.Concat(z3.Loop(body, lo, lo), z3.Star(body))
        case Repeat(of, 0, 1):
            return z3.Option(_regex(of))
        case Repeat(of, lo, hi):
            return z3.Loop(_regex(of), lo, hi)


def _chars(ranges: tuple[tuple[int, int], ...]) -> z3.ReRef:
    known = [(lo, min(hi, TOP)) for lo, hi in ranges if lo <= TOP]
    parts = [_range(lo, hi) for lo, hi in known]
    if not parts:
        return z3.Empty(z3.ReSort(z3.StringSort()))
    return parts[0] if len(parts) == 1 else z3.Union(*parts)


def _range(lo: int, hi: int) -> z3.ReRef:
    return z3.Re(literal(chr(lo))) if lo == hi else z3.Range(literal(chr(lo)), literal(chr(hi)))


def _nothing() -> z3.ReRef:
    return z3.Re(z3.StringVal(""))
