"""P1: hierarchical delegation. A child that dominates the merge, and retries that multiply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from statistics import median
from typing import TypeAlias

from provenet.engine.diagnosis.finding import Few, Finding, Signature
from provenet.engine.diagnosis.intervals import at_least
from provenet.engine.diagnosis.lineage import Runs
from provenet.engine.diagnosis.reading import CaseHistory, Firing
from provenet.engine.diagnosis.signatures import BEYOND, ODD_VOTES, ROUNDS, SIGNATURES, significant
from provenet.nets.net import Net, Role
from provenet.nets.schema import (
    BoolType,
    DecimalType,
    EnumType,
    FloatType,
    IntType,
    OptionalType,
    RecordType,
    Type,
    Value,
)

Result: TypeAlias = tuple[Type, Value]
"""What a child gave: its type and value."""

_NUMBERS = (IntType, DecimalType, FloatType)
_VOTES = (BoolType, EnumType)

_SHARES = 10_000
"""Most shares of one child that a median is told of."""


@dataclass(slots=True)
class _Pull:
    """How often a child's result pulled the merged one, and how far.

    Attributes:
        pulled: How often it did: past the declared mean, or against the declared majority.
        of: How often it could have.
        ties: How often a tie went its way.
        of_ties: Of how many.
        far: How often it pulled by more than ``BEYOND`` of the way.
        shares: Those shares of the way, the first ones.
        seen: Where.
    """

    pulled: int = 0
    of: int = 0
    far: int = 0
    ties: int = 0
    of_ties: int = 0
    shares: list[float] = field(default_factory=list)
    seen: Few = field(default_factory=Few)

    def told(self) -> tuple[float, int, int]:
        """How likely that is where the weights are kept; how often it was, of how many."""
        if self.shares:
            chance = at_least(self.pulled, self.of, 0.5) if 2 * self.far >= self.of else 1.0
            return chance, self.pulled, self.of
        # Two tests, of which one is enough.
        return min(
            (2 * at_least(self.pulled, self.of, ODD_VOTES), self.pulled, self.of),
            (2 * at_least(self.ties, self.of_ties, 0.5), self.ties, self.of_ties),
        )


class Dominance:
    """P1a: one child's results carry more than their declared weight."""

    signature: Signature = SIGNATURES["P1a"]

    def __init__(self) -> None:
        self._pulls: dict[tuple[str, str, str, str], _Pull] = {}
        self._weights: dict[tuple[str, str], Fraction] = {}

    def look(self, case: CaseHistory) -> None:
        """Look at every proposal that was given what several contracts gave."""
        given: dict[int, dict[str, Result]] = {}
        heard: dict[str, set[str]] = {}
        for firing in case.firings:
            joined: dict[str, Result] = {}
            for token in (*firing.took, *firing.tokens.values()):
                joined |= given.get(token, {})
            if firing.role is Role.COMMIT and firing.contract:
                heard[firing.contract] = {c for r in joined for c in (r, *heard.get(r, ()))}
                for held in firing.put:
                    given[held.id] = {firing.contract: (firing.net.place(held.place).type, held.value)}
                continue
            # Who has heard another one says the last word on it: those two do not stand side by side.
            aside = {
                c: r for c, r in joined.items() if all(c not in heard.get(d, ()) for d in joined if d != c)
            }
            if firing.role is Role.PROPOSE and len(aside) > 1 and firing.transition.fresh:
                self._merged(case, firing, aside)
            for held in firing.put if joined else ():
                # What was computed from several results is a result of its own: that merge is deterministic.
                kept = {c: r for c, r in joined.items() if len(joined) == 1 or _holds(held.value, r[1])}
                if kept:
                    given[held.id] = kept

    def findings(self) -> list[Finding]:
        """The child that dominates most, of each merge."""
        found: dict[tuple[str, str], tuple[float, Finding]] = {}
        for (net, merge, child, name), pull in self._pulls.items():
            chance, k, n = pull.told()
            if not significant(chance, len(self._pulls)):
                continue
            weight = float(self._weights[net, child])
            far = f", {median(pull.shares):.0%} of the way by the median" if pull.shares else ""
            said = (
                f"{name!r} of {merge!r} sided with {child!r} against the weights in {k} of {n} merges"
                f"{far}; its weight is {weight:.0%}"
            )
            finding = self.signature.found(
                net, merge, said, pull.seen, merges=n, sided=k, weight=weight, chance=chance
            )
            if (net, merge) not in found or chance < found[net, merge][0]:
                found[net, merge] = chance, finding
        return [finding for _, finding in found.values()]

    def _merged(self, case: CaseHistory, firing: Firing, results: Mapping[str, Result]) -> None:
        merged = (firing.transition.fresh[0].type, firing.brought)
        weights = weights_of(firing.net, tuple(results))
        for name, of, mine in _parts(merged):
            theirs = {child: part for child, r in results.items() if (part := _same(r, name, of)) is not None}
            if len(theirs) < 2:
                continue
            total = sum(weights[child] for child in theirs)
            for child in theirs:
                self._weights[case.net.name, child] = weights[child] / total
            pulls = {
                c: self._pulls.setdefault((case.net.name, firing.contract, c, name or "the answer"), _Pull())
                for c in theirs
            }
            before = {c: (p.pulled, p.ties) for c, p in pulls.items()}
            if isinstance(of, _NUMBERS):
                _numbers(mine, theirs, weights, pulls)
            else:
                _votes(mine, theirs, weights, pulls)
            for child, pull in pulls.items():
                if (pull.pulled, pull.ties) != before[child]:
                    pull.seen.add(case.id, (firing.seq,), f"{firing.transition.name} sides with {child}")


def weights_of(net: Net, children: tuple[str, ...]) -> dict[str, Fraction]:
    """The declared weights of some contracts' results; equal ones where not all of them have one."""
    found: dict[str, Fraction] = {}
    for info in net.patterns:
        for child in children:
            number = info.figure(f"weight of {child.rsplit('.', 1)[-1]}")
            if number is not None and info.kind == "delegation" and child in info.part("child"):
                found[child] = Fraction(number)
    if len(found) < len(children) or sum(found.values()) <= 0:
        return dict.fromkeys(children, Fraction(1, len(children)))
    return {child: weight / sum(found.values()) for child, weight in found.items()}


def _numbers(
    merged: Value, theirs: Mapping[str, Value], weights: Mapping[str, Fraction], pulls: Mapping[str, _Pull]
) -> None:
    """Whether a merged number lies past the declared mean, and towards whom."""
    values = {child: Fraction(value) for child, value in theirs.items()}
    total = sum(weights[child] for child in theirs)
    mean = sum((weights[c] * v for c, v in values.items()), Fraction(0)) / total
    off = Fraction(merged) - mean
    for child, value in values.items():
        way = value - mean
        if abs(way) <= 2:  # rounding alone moves a whole number by one
            continue
        pulls[child].of += 1
        pulls[child].far += off / way >= Fraction(BEYOND)
        if len(pulls[child].shares) < _SHARES:
            pulls[child].shares.append(float(off / way))
        if abs(off) > 1 and (off > 0) == (way > 0):
            pulls[child].pulled += 1


def _votes(
    merged: Value, theirs: Mapping[str, Value], weights: Mapping[str, Fraction], pulls: Mapping[str, _Pull]
) -> None:
    """Whether a merged choice goes against the declared majority, and with whom."""
    sums: dict[Value, Fraction] = {}
    for child, value in theirs.items():
        sums[value] = sums.get(value, Fraction(0)) + weights[child]
    best = max(sums.values())
    winners = [value for value, weight in sums.items() if weight == best]
    if len(sums) < 2:
        return
    for child, value in theirs.items():
        if len(winners) > 1 and value in winners:
            pulls[child].of_ties += 1
            pulls[child].ties += merged == value
        elif len(winners) == 1 and value != winners[0]:
            pulls[child].of += 1
            pulls[child].pulled += merged == value


def _parts(result: Result) -> Iterator[tuple[str, Type, Value]]:
    """What of a result can be compared: itself, or its fields."""
    of, value = result
    if isinstance(of, OptionalType):
        of = of.item
    if isinstance(of, RecordType) and isinstance(value, tuple):
        for field_, part in zip(of.fields, value, strict=True):
            plain = field_.type.item if isinstance(field_.type, OptionalType) else field_.type
            if isinstance(plain, _NUMBERS + _VOTES) and _known(part):
                yield field_.name, plain, part
    elif isinstance(of, _NUMBERS + _VOTES) and _known(value):
        yield "", of, value


def _same(result: Result, name: str, of: Type) -> Value | None:
    """The part of a result that has this name and this kind of type."""
    for other, kind, part in _parts(result):
        alike = isinstance(kind, _NUMBERS) if isinstance(of, _NUMBERS) else kind == of
        if other == name and alike:
            return part
    return None


def _holds(value: Value, part: Value) -> bool:
    """Whether a value has another one in it, as it is."""
    return value == part or (isinstance(value, tuple) and any(_holds(v, part) for v in value))


def _known(value: Value) -> bool:
    return isinstance(value, bool | int | float | Decimal | str)


class Multiplied:
    """P1b: retries multiply on one failure."""

    signature: Signature = SIGNATURES["P1b"]

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], Few] = {}
        self._worst: dict[tuple[str, str], tuple[int, int]] = {}
        self._count: dict[tuple[str, str], int] = {}

    def look(self, case: CaseHistory) -> None:
        """Look for rounds that follow from a failure, each with retries of its own."""
        for run in Runs.of(case).last_of_chains():
            rounds = [r for r in run.chain() if r.retries]
            if len(rounds) < ROUNDS:
                continue
            at, asked = (case.net.name, run.contract), sum(r.retries + 1 for r in rounds)
            self._count[at] = self._count.get(at, 0) + 1
            self._worst[at] = max(self._worst.get(at, (0, 0)), (asked, len(rounds)))
            self._seen.setdefault(at, Few()).add(
                case.id,
                tuple(r.begun for r in rounds),
                f"{asked} proposals for one task, in {len(rounds)} rounds",
            )

    def findings(self) -> list[Finding]:
        """One for each contract."""
        return [
            self.signature.found(
                net,
                contract,
                f"{contract!r} asked up to {self._worst[net, contract][0]} times for one task, in "
                f"{self._worst[net, contract][1]} rounds: {self._count[net, contract]} tasks so",
                seen,
                tasks=self._count[net, contract],
                asked=self._worst[net, contract][0],
                rounds=self._worst[net, contract][1],
            )
            for (net, contract), seen in self._seen.items()
        ]
