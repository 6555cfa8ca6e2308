"""The typed reject signal: unlike success in its form, kept for ever, told to the proposer on a retry."""

from __future__ import annotations

from provenet.nets.quick import dataclass
from provenet.nets.schema import BOOL, STR, Field, RecordType, Value

REJECT = RecordType(
    "Reject",
    (
        Field("rule", STR),
        Field("field", STR),
        Field("expected", STR),
        Field("got", STR),
        Field("retryable", BOOL),
        Field("hint", STR),
    ),
)
"""Token type of a reject signal, as it travels through a net."""

_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Reject:
    """Why a proposal did not pass.

    Attributes:
        rule: Which rule failed: a policy's rule, or ``schema``, ``refusal``, ``timeout``, ``fault``.
        field: Path of the offending field; empty for the whole proposal.
        expected: What was expected, in words.
        got: What came, shortened.
        retryable: Whether another proposal may pass.
        hint: What to do about it.
    """

    rule: str
    field: str = ""
    expected: str = ""
    got: str = ""
    retryable: bool = True
    hint: str = ""

    def value(self) -> Value:
        """The signal as a token value of type ``REJECT``; texts are cut and made representable."""
        texts = (_clean(t) for t in (self.rule, self.field, self.expected, self.got))
        return (*texts, self.retryable, _clean(self.hint))

    @classmethod
    def of(cls, value: Value) -> Reject:
        """The signal behind a token value."""
        return cls(*value)


def _clean(text: str) -> str:
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
    # A model's text may hold code points that token strings do not: say so rather than fail on the way to the
    # log.
    return "".join(
        c if ord(c) <= 0x2FFFF and not 0xD800 <= ord(c) <= 0xDFFF else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )
