"""JSON text from strangers, and JSON text that is always the same.

Python's reader accepts more than is safe or meant: deep nesting (which overflows its stack), numbers of any
length, ``NaN``, keys given twice, lone surrogates. Here each is refused with a ``FormatError``.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from provenet.nets.errors import FormatError
from provenet.nets.schema import shorten

MAX_DIGITS = 400
"""Most digits of a number."""

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\Z)|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(data: str | bytes, *, max_bytes: int, max_depth: int, source: str) -> Any:
    """JSON data from text.

    Args:
        data: The text, or its bytes in UTF-8.
        max_bytes: Refuse a longer text.
        max_depth: Refuse deeper nesting.
        source: Name of the text, for error messages.

    Raises:
        FormatError: The text is not JSON, or exceeds a limit.
    """
    if len(data) > max_bytes:
        raise FormatError(
            f"{len(data):,} bytes exceed the limit of {max_bytes:,}",
            where=source,
            hint="raise max_bytes if you trust it",
        )
    if isinstance(data, bytes):
        try:
            data = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise FormatError(f"not UTF-8: {error.reason} at byte {error.start}", where=source) from None
    if _depth(data) > max_depth:
        raise FormatError(f"nested deeper than {max_depth} levels", where=source)
    try:
        found = json.loads(
            data,
            object_pairs_hook=_distinct,
            parse_int=_int,
            parse_float=_float,
            parse_constant=_constant,
        )
    except json.JSONDecodeError as error:
        raise FormatError(
            f"not JSON: {error.msg}", where=f"{source} line {error.lineno} column {error.colno}"
        ) from None
    except FormatError as error:
        raise FormatError(error.message, where=source, hint=error.hint) from None
    # A surrogate can hide in an escape only; the text itself was UTF-8, or is searched whole.
    if (r"\u" in data or not data.isascii()) and _has_surrogate(found):
        raise FormatError("a text holds half a character (a lone surrogate)", where=source)
    return found


def canonical_text(data: Any) -> str:
    """JSON data as its one canonical text: sorted keys, no spaces, ASCII only."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def pretty_text(data: Any, *, width: int = 110) -> str:
    """JSON data as text for people to read and compare: keys as given, and on one line what fits there."""
    return _pretty(data, "", width) + "\n"


def _pretty(data: Any, indent: str, width: int) -> str:
    flat = json.dumps(data, ensure_ascii=False, allow_nan=False)
    if len(indent) + len(flat) <= width or not isinstance(data, dict | list) or not data:
        return flat
    inner = indent + "  "
    if isinstance(data, dict):
        lines = [f"{json.dumps(k, ensure_ascii=False)}: {_pretty(v, inner, width)}" for k, v in data.items()]
    else:
        lines = [_pretty(v, inner, width) for v in data]
    opening, closing = "{}" if isinstance(data, dict) else "[]"
    return f"{opening}\n{inner}" + f",\n{inner}".join(lines) + f"\n{indent}{closing}"


def _depth(text: str) -> int:
    depth = deepest = 0
    for found in _TOKEN.finditer(text):
        c = text[found.start()]
        if c in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif c in "]}":
            depth -= 1
    return deepest


def _has_surrogate(data: Any) -> bool:
    stack = [data]
    while stack:
        part = stack.pop()
        if isinstance(part, str):
            if _SURROGATE.search(part):
                return True
        elif isinstance(part, list):
            stack.extend(part)
        elif isinstance(part, dict):
            stack.extend(part)
            stack.extend(part.values())
    return False


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1) if len(keys) < 1_000 else "a key"
        raise FormatError(f"the key {shorten(twice)} is given twice in one object", hint="keep one of them")
    return found


def _int(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise FormatError(f"a number of {len(text):,} digits", hint=f"a number has at most {MAX_DIGITS}")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise FormatError(f"the number {shorten(text)} is too large")
    return value


def _constant(text: str) -> NoReturn:
    raise FormatError(f"{text} is no JSON number", hint="numbers are finite")
