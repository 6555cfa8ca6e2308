"""Retention: how long what is kept, as people say it, and what was dropped.

``provenet.engine.pruner`` drops it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from provenet.engine.codec import clean
from provenet.engine.errors import RetentionRefused
from provenet.nets.errors import did_you_mean
from provenet.nets.schema import shorten

Ended: TypeAlias = Literal["done", "killed", "failed"]
"""The statuses of a case that is over."""


_LONGEST = timedelta(days=365_250)
_MOST = 10**15


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what is kept. What is not named is kept for good.

    Attributes:
        ended: By status (``done``, ``killed``, ``failed``): how long a case is kept after its end.
        places: By the final place that a case ended in; goes before its status. ``None`` is for good.
        keep_entries: Of a case that is not over, how many of the last entries of its log are kept at least.
        outcomes: Whether the archive keeps what a case ended with.
        export: A folder where logs are written, a file for each case, before they are dropped.

    Raises:
        RetentionRefused: It makes no sense.
    """

    ended: Mapping[str, timedelta] = field(default_factory=dict)
    places: Mapping[str, timedelta | None] = field(default_factory=dict)
    keep_entries: int | None = None
    outcomes: Literal["kept", "dropped"] = "kept"
    export: Path | None = None

    def __post_init__(self) -> None:
        known = get_args(Ended)
        for status in self.ended:
            if status not in known:
                raise RetentionRefused(
                    f"no case ends as {status!r}",
                    hint=f"{did_you_mean(status, known)}; final places have their own rule: places=, --place",
                )
        spans = {**self.ended, **self.places}
        for name, span in spans.items():
            if span is not None and (not isinstance(span, timedelta) or span < timedelta(0)):
                raise RetentionRefused(
                    f"{name!r} is kept for {span!r}, which is no span of time", hint="timedelta(days=90)"
                )
            if span is not None and span > _LONGEST:
                raise RetentionRefused(
                    f"{name!r} is kept for more than 1,000 years", hint="what is not named is kept for good"
                )
        many = self.keep_entries
        if many is not None and (type(many) is not int or not 1 <= many <= _MOST):
            raise RetentionRefused(
                f"{shorten(many)} entries cannot be kept", hint="keep at least 1, or None for all"
            )

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "ended": {k: v.total_seconds() for k, v in self.ended.items()},
            "places": {k: None if v is None else v.total_seconds() for k, v in self.places.items()},
            "keep_entries": self.keep_entries,
            "outcomes": self.outcomes,
            "export": None if self.export is None else str(self.export.absolute()),
        }

    @classmethod
    def of_json(cls, data: Any) -> Retention:
        """From what ``to_json`` gives.

        Raises:
            RetentionRefused: It is something else.
        """
        try:
            return cls(
                {str(k): timedelta(seconds=v) for k, v in data["ended"].items()},
                {
                    clean(str(k)): None if v is None else timedelta(seconds=v)
                    for k, v in data["places"].items()
                },
                data["keep_entries"],
                "dropped" if data["outcomes"] == "dropped" else "kept",
                None if data["export"] is None else Path(data["export"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise RetentionRefused(f"this is no retention: {type(error).__name__}: {error!s:.80}") from None


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was dropped.

    Attributes:
        cases: Finished cases of which only the archive's row is left.
        trimmed: Logs that begin later now.
        entries: Entries that are gone.
        exported: Entries that were written to files before.
        more: Whether there is more to drop.
    """

    cases: int = 0
    trimmed: int = 0
    entries: int = 0
    exported: int = 0
    more: Literal["no", "yes"] = "no"

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(
            self.cases + other.cases,
            self.trimmed + other.trimmed,
            self.entries + other.entries,
            self.exported + other.exported,
            other.more,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON data."""
        return {f.name: getattr(self, f.name) for f in fields(self)}
