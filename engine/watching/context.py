"""Where spans of a case belong: ids that every process derives alike, so that restarts share one trace.

Form: W3C Trace Context (Recommendation, 23 November 2021), version 00.
"""

from __future__ import annotations

from hashlib import sha256


def trace_id(database: str, case: str) -> int:
    """The trace of a case: 128 bits, never 0."""
    return _bits(f"trace {database} {case}", 16)


def case_span_id(database: str, case: str) -> int:
    """The span of the whole case, parent of all others in its trace: 64 bits, never 0."""
    return _bits(f"case {database} {case}", 8)


def work_span_id(key: str, tries: int) -> int:
    """The span of one call of a proposer or an effect: 64 bits, never 0."""
    return _bits(f"work {key} {tries}", 8)


def traceparent(database: str, case: str, key: str, tries: int) -> str:
    """What a handler passes on in the ``traceparent`` header, to have what it calls in the case's trace."""
    return f"00-{trace_id(database, case):032x}-{work_span_id(key, tries):016x}-01"


def _bits(text: str, size: int) -> int:
    return int.from_bytes(sha256(text.encode("utf-8", "replace")).digest()[:size], "big") or 1
