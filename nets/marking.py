"""Markings: which tokens lie where. Immutable, equal as multisets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from provenet.nets.net import Net
from provenet.nets.schema import Value, from_json, to_json


class Marking:
    """An immutable marking: for each marked place the tuple of its tokens, oldest first.

    Two markings are equal when every place holds the same multiset of tokens; the order within a place is
    kept only so that runs are repeatable.
    """

    __slots__ = ("_hash", "_tokens")

    def __init__(self, tokens: Mapping[str, tuple[Value, ...]] | None = None) -> None:
        self._tokens: dict[str, tuple[Value, ...]] = {p: t for p, t in (tokens or {}).items() if t}
        self._hash: int | None = None

    def __getitem__(self, place: str) -> tuple[Value, ...]:
        return self._tokens.get(place, ())

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def items(self) -> Iterator[tuple[str, tuple[Value, ...]]]:
        """Marked places with their tokens."""
        return iter(self._tokens.items())

    def count(self, place: str) -> int:
        """How many tokens a place holds."""
        return len(self._tokens.get(place, ()))

    def replace(self, changes: Mapping[str, tuple[Value, ...]]) -> Marking:
        """The marking with some places' tokens replaced."""
        tokens = self._tokens.copy()
        for place, held in changes.items():
            if held:
                tokens[place] = held
            else:
                tokens.pop(place, None)
        made = Marking.__new__(Marking)
        made._tokens = tokens  # noqa: SLF001 - a marking without a second look at its places
        made._hash = None  # noqa: SLF001
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Marking):
            return NotImplemented
        mine, theirs = self._tokens, other._tokens
        return mine.keys() == theirs.keys() and all(
            tokens == theirs[p] or Counter(tokens) == Counter(theirs[p]) for p, tokens in mine.items()
        )

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset((p, frozenset(Counter(t).items())) for p, t in self._tokens.items()))
        return self._hash

    def __repr__(self) -> str:
        return "Marking({" + ", ".join(f"{p}: {list(t)}" for p, t in sorted(self._tokens.items())) + "})"


def marking_to_json(marking: Marking, net: Net) -> dict[str, list[Any]]:
    """A marking as JSON data: place name to the list of its tokens, places sorted by name."""
    return {p: [to_json(v, net.place(p).type) for v in t] for p, t in sorted(marking.items())}


def marking_from_json(data: Mapping[str, list[Any]], net: Net) -> Marking:
    """A marking from JSON data.

    Raises:
        TypeMismatch: A token does not belong to its place's type.
        KeyError: A place is unknown.
    """
    return Marking({p: tuple(from_json(v, net.place(p).type, p) for v in t) for p, t in data.items()})


def initial_marking(net: Net, inputs: Mapping[str, Value] | None = None) -> Marking:
    """The marking that a case starts with.

    Args:
        net: The net.
        inputs: One token for each entry place.

    Raises:
        KeyError: An entry place has no input, or an input has no entry place.
    """
    inputs = inputs or {}
    tokens: dict[str, tuple[Value, ...]] = dict(net.initial)
    for entry in net.entries:
        tokens[entry.place] = (*tokens.get(entry.place, ()), inputs[entry.place])
    unknown = set(inputs) - {e.place for e in net.entries}
    if unknown:
        raise KeyError(min(unknown))
    return Marking(tokens)


def is_final(net: Net, marking: Marking) -> bool:
    """Whether a marking, resting places aside, is one of the net's final markings."""
    here = {p: len(t) for p, t in marking.items() if p not in net.resting}
    return any(here == {p: n for p, n in final if p not in net.resting} for final in net.finals)
