"""Reading the outside ledger: what was really done, told by the outside and not by the engine.

``reconcile`` is the judge of "no effect lost, none doubled": it compares what the engine's log claims with
what the services did. A key is done at most once by construction; what it looks for is a second *key* for
the same logical effect, which is how a careless engine doubles an e-mail in spite of idempotency keys.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from provenet.examples.contract_renewal.endpoints import ENDPOINTS
from provenet.examples.contract_renewal.outside_store import APPLICATION_ID, OutsideWorldError

_FORWARD = {(e.service, e.verb): e for e in ENDPOINTS.values() if e.undone_by}


@dataclass(frozen=True, slots=True)
class Effect:
    """One effect that the outside world did.

    Attributes:
        seq: Commit order over all cases.
        key: The idempotency key it was done under.
        case_id: The case that asked for it.
        service: ``crm``, ``billing`` or ``email``.
        verb: What was done.
        request: What was asked for.
        status: What was answered.
        undoes: The key of the effect that it compensates, empty for forward effects.
    """

    seq: int
    key: str
    case_id: str
    service: str
    verb: str
    request: Mapping[str, Any]
    status: str
    undoes: str

    @property
    def kind(self) -> tuple[str, str]:
        """``(service, verb)``."""
        return self.service, self.verb

    def __str__(self) -> str:
        return f"#{self.seq} {self.case_id} {self.service}.{self.verb} key={self.key} {self.status}"


@dataclass(frozen=True, slots=True)
class ExpectedEffect:
    """One effect that the engine's log claims.

    Attributes:
        case_id: The case.
        service: ``crm``, ``billing`` or ``email``.
        verb: What was done.
        key: The idempotency key; empty where only the kind is known.
    """

    case_id: str
    service: str
    verb: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.case_id} {self.service}.{self.verb}" + (f" key={self.key}" if self.key else "")


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """Expected against done.

    Attributes:
        matched: How many expected effects were done.
        lost: Expected, and not done.
        doubled: Done again under another key.
        unexpected: Done, and nobody claims it.
    """

    matched: int
    lost: tuple[ExpectedEffect, ...]
    doubled: tuple[Effect, ...]
    unexpected: tuple[Effect, ...]

    @property
    def clean(self) -> bool:
        """Exactly what was expected, exactly once."""
        return not (self.lost or self.doubled or self.unexpected)

    def __str__(self) -> str:
        counts = f"{self.matched} matched, {len(self.lost)} lost, {len(self.doubled)} doubled"
        lines = [f"{counts}, {len(self.unexpected)} unexpected"]
        for title, items in (("lost", self.lost), ("doubled", self.doubled), ("unexpected", self.unexpected)):
            lines += [f"  {title}  {item}" for item in items[:10]]
            if len(items) > 10:
                lines.append(f"  {title}  ... and {len(items) - 10} more")
        return "\n".join(lines)


class Ledger:
    """Reads an outside ledger, also while the world is serving. Never writes.

    Args:
        path: The database file of an outside world.

    Raises:
        OutsideWorldError: There is no such file, or it is something else.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise OutsideWorldError(
                "there is no such outside ledger", where=str(path), hint="start the outside world on it once"
            )
        try:
            self._db = sqlite3.connect(self.path, timeout=10.0, isolation_level=None)
            self._db.execute("PRAGMA query_only = ON")
            (mark,) = self._db.execute("PRAGMA application_id").fetchone()
        except sqlite3.Error as error:
            raise OutsideWorldError(f"the outside ledger cannot be read: {error}", where=str(path)) from error
        if mark != APPLICATION_ID:
            self._db.close()
            raise OutsideWorldError("this database is not an outside ledger", where=str(path))

    def counts(self) -> dict[tuple[str, str], int]:
        """Effects done, by ``(service, verb)``."""
        rows = self._db.execute("SELECT service, verb, count(*) FROM effects GROUP BY 1, 2 ORDER BY 1, 2")
        return {(service, verb): count for service, verb, count in rows}

    def effects(self, case_id: str | None = None) -> tuple[Effect, ...]:
        """Effects in commit order, of one case or of all."""
        sql = "SELECT seq, key, case_id, service, verb, request, answer, undoes FROM effects"
        if case_id is None:
            rows = self._db.execute(f"{sql} ORDER BY seq")
        else:
            rows = self._db.execute(f"{sql} WHERE case_id = ? ORDER BY seq", (case_id,))
        return tuple(
            Effect(
                seq, key, case, service, verb, json.loads(request), json.loads(answer)["status"], undoes or ""
            )
            for seq, key, case, service, verb, request, answer, undoes in rows
        )

    def doubled(self) -> tuple[Effect, ...]:
        """Later effects that do for the same case, under another key, what an earlier one did."""
        rows = self._db.execute(
            "SELECT case_id, seq FROM effects e WHERE EXISTS (SELECT 1 FROM effects f WHERE"
            " f.case_id = e.case_id AND f.fingerprint = e.fingerprint AND f.seq < e.seq) ORDER BY seq"
        ).fetchall()
        wanted = {seq for _, seq in rows}
        return tuple(e for case in dict(rows) for e in self.effects(case) if e.seq in wanted)

    def outstanding(self, case_id: str | None = None) -> tuple[Effect, ...]:
        """Effects that could be compensated and were not: none may be left of an aborted case."""
        effects = self.effects(case_id)
        undone = {e.undoes for e in effects if e.undoes}
        return tuple(e for e in effects if e.kind in _FORWARD and e.key not in undone)

    def repeats(self) -> int:
        """Deliveries absorbed because their key was already done."""
        return self.deliveries()["repeat"]

    def deliveries(self) -> Counter[str]:
        """All deliveries by outcome: ``performed``, ``repeat``, ``refused``, ``not_done``."""
        return Counter(dict(self._db.execute("SELECT outcome, count(*) FROM deliveries GROUP BY outcome")))

    def faults(self) -> Counter[str]:
        """Deliveries that met a fault, by fault."""
        rows = self._db.execute(
            "SELECT fault, count(DISTINCT key || ' ' || attempt) FROM deliveries"
            " WHERE fault <> 'none' GROUP BY fault"
        )
        return Counter(dict(rows))

    def reconcile(self, expected: Iterable[ExpectedEffect]) -> LedgerReport:
        """Compare what is claimed with what was done.

        Expectations with a key match the effect of that key, of the same case and kind. Those without match
        any effect of their case and kind that is left. An effect that nobody claims is *doubled* if a claimed
        one did the same thing, else *unexpected*.
        """
        left = {e.key: e for e in self.effects()}
        claimed: list[Effect] = []
        lost: list[ExpectedEffect] = []
        unkeyed: list[ExpectedEffect] = []
        for want in expected:
            if not want.key:
                unkeyed.append(want)
                continue
            effect = left.get(want.key)
            if effect is None or (effect.case_id, *effect.kind) != (want.case_id, want.service, want.verb):
                lost.append(want)
            else:
                claimed.append(left.pop(want.key))
        of_kind: defaultdict[tuple[str, str, str], list[Effect]] = defaultdict(list)
        for effect in reversed(left.values()):
            of_kind[effect.case_id, *effect.kind].append(effect)
        loosely: set[tuple[str, str, str]] = set()
        for want in unkeyed:
            loosely.add((want.case_id, want.service, want.verb))
            candidates = of_kind[want.case_id, want.service, want.verb]
            if candidates:
                claimed.append(left.pop(candidates.pop().key))
            else:
                lost.append(want)
        done = {_identity(e) for e in claimed}
        doubled = [e for e in left.values() if _identity(e) in done or (e.case_id, *e.kind) in loosely]
        again = {e.key for e in doubled}
        return LedgerReport(
            matched=len(claimed),
            lost=tuple(lost),
            doubled=tuple(doubled),
            unexpected=tuple(e for e in left.values() if e.key not in again),
        )

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _identity(effect: Effect) -> tuple[str, str, str, str]:
    return effect.case_id, effect.service, effect.verb, json.dumps(effect.request, sort_keys=True)
