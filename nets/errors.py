"""The one exception tree of Provenet.

::

    ProvenetError                 anything that a user can mend; has message, where, hint, code
    ├── NetError                  a net with mistakes, all reported at once
    ├── ExprError                 an expression that does not parse or type-check
    ├── TypeMismatch              a value that does not belong to its declared type
    ├── FormatError               a file that is not a well-formed net (JSON, PNML) or exceeds a limit
    └── FiringError               a firing that the rule forbids
        ├── NotEnabled            tokens missing, or the guard is false
        └── Breach                a promise broken at run time: ensures, requires, a capacity, a token type

Packages above ``nets`` hang their own errors under ``ProvenetError``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from provenet.nets.quick import dataclass


class ProvenetError(Exception):
    """An error that names the thing, the place, what was expected, and the next step.

    Attributes:
        message: One sentence: what is wrong.
        code: Stable code such as ``PN104``; empty where none is assigned.
        where: The place: ``file.py:41``, ``row 12``, ``transition "publish"``.
        hint: The next step; may be empty.
    """

    code: str = ""

    def __init__(self, message: str, *, where: str = "", hint: str = "", code: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint
        if code:
            self.code = code

    def __str__(self) -> str:
        head = "  ".join(part for part in (self.where, self.code, self.message) if part)
        return f"{head}\n  {self.hint}" if self.hint else head


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong with a net.

    Attributes:
        code: Stable code, ``PN1xx`` for structure, ``PN2xx`` for expressions, ``SDxxx`` for contracts.
        where: The element, and the source line where it was written if known.
        message: What is wrong and what was expected.
        hint: How to mend it.
    """

    code: str
    where: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        head = f"{self.where}  {self.code}  {self.message}"
        return f"{head}\n    {self.hint}" if self.hint else head


class NetError(ProvenetError):
    """A net that has mistakes; every one of them, not only the first."""

    def __init__(self, net: str, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        noun = "mistake" if count == 1 else "mistakes"
        super().__init__(
            f"{count} {noun} in net {net!r}:\n" + "\n".join(str(m) for m in self.mistakes), code="PN100"
        )


class ExprError(ProvenetError):
    """An expression that does not parse, does not type-check, or exceeds a limit."""

    code = "PN200"


class TypeMismatch(ProvenetError):
    """A value that does not belong to its declared type.

    Attributes:
        field: Path of the offending field, such as ``offer.discount_pct``; empty for the value itself.
        expected: What the type asks for, in words.
        got: What came, shortened.
    """

    code = "PN300"

    def __init__(self, *, field: str, expected: str, got: str) -> None:
        super().__init__(f"{field or 'value'}: expected {expected}, got {got}")
        self.field = field
        self.expected = expected
        self.got = got


class FormatError(ProvenetError):
    """A file that is not a well-formed net, or that exceeds a limit."""

    code = "PN400"


class FiringError(ProvenetError):
    """A firing that the rule forbids."""

    code = "PN500"


class NotEnabled(FiringError):
    """The transition is not enabled under this binding: a token is missing or the guard is false."""

    code = "PN501"


class Breach(FiringError):
    """A promise broken at run time: ``ensures``, ``requires``, a capacity or a token type.

    Everything a proof assumes is checked when a transition fires, so this is what a lying handler meets.
    """

    code = "PN502"


class PropertyError(ProvenetError):
    """A property that cannot be asked: its kind is unknown, or it names what the net does not have."""

    code = "VE100"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest match and the names there are."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=1)
    listed = ", ".join(names[:12]) + (f", ... ({len(names)} in all)" if len(names) > 12 else "")
    if near:
        return f'did you mean "{near[0]}"?  there are: {listed}'
    return f"there are: {listed}" if names else "there are none"
