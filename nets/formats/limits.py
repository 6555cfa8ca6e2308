"""Limits that make files of strangers safe to load, and a collector of their mistakes."""

from __future__ import annotations

from pathlib import Path

from provenet.nets.errors import FormatError

MAX_WEIGHT = 1_000_000
"""Largest arc weight: firing builds that many tokens."""

MAX_TOKENS = 1_000_000
"""Most tokens in an initial marking."""

MAX_MISTAKES = 20
"""How many mistakes of one file are spelled out; the others are counted."""


class Mistakes:
    """Collects what is wrong with a file.

    Args:
        source: Name of the file.
        hint: What to do where a mistake says nothing better.
    """

    def __init__(self, source: str, *, hint: str = "") -> None:
        self._source = source
        self._hint = hint
        self._told: list[str] = []
        self._first: tuple[str, str, str] = ("", "", "")
        self.count = 0

    @property
    def wants_more(self) -> bool:
        """Whether another mistake would be spelled out; a hint that is costly to make can wait for it."""
        return self.count < MAX_MISTAKES

    def add(self, where: str, message: str, hint: str = "") -> None:
        """Collect one mistake."""
        if self.wants_more:
            self._told.append(f"{where}: {message}" + (f"  ({hint})" if hint else ""))
            if not self.count:
                self._first = (where, message, hint)
        self.count += 1

    def skip(self) -> None:
        """Count a mistake that is not spelled out."""
        self.count += 1

    def raise_if_any(self, headline: str = "") -> None:
        """Report what was collected.

        Raises:
            FormatError: There is at least one mistake.
        """
        if not self.count:
            return
        if self.count == 1 and not headline:
            where, message, hint = self._first
            raise FormatError(message, where=f"{self._source} {where}".strip(), hint=hint or self._hint)
        more = self.count - len(self._told)
        lines = [*self._told, *([f"... and {more:,} more"] if more else [])]
        head = headline or f"{self.count:,} mistakes"
        raise FormatError(head + ":\n  " + "\n  ".join(lines), where=self._source, hint=self._hint)


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file, no more than allowed.

    Raises:
        FormatError: The file is missing, unreadable or too large.
    """
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise FormatError(
            f"cannot be read: {error.strerror or error}",
            where=str(path),
            hint="check the path and its permissions",
        ) from None
    if len(data) > max_bytes:
        raise FormatError(
            f"larger than the limit of {max_bytes:,} bytes",
            where=str(path),
            hint="raise max_bytes if you trust the file",
        )
    return data
