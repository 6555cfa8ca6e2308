"""The log of who was allowed what, and who was refused: append-only, and chained by hash.

Each process writes a chain of its own, since one that several append to would make them wait for each other's
commits. The first entry of a chain names the heads of chains that no entry named before, so that
a whole chain does not go unnoticed either once a later process has written one.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

from provenet.engine.clock import from_micros
from provenet.engine.codec import clean, plain
from provenet.engine.store.database import Rows
from provenet.engine.store.store import Store
from provenet.engine.store.tables import AccessRow

HEADS = "access:"
"""What names of the chains' heads begin with, among the database's facts."""

MARK = "access"
"""Name of the fact that says by which rules the database is guarded: their fingerprint, or ``off``."""

_FIELDS = "worker, seq, at, verb, target, who, token, verdict, why, data"


@dataclass(frozen=True, slots=True)
class AccessLine:
    """An entry of the log.

    Attributes:
        at: When.
        verb: What was asked for; ``rules`` where the rules themselves changed.
        target: Of what.
        who: Who asked, by a token that counts.
        token: That token's own id.
        verdict: ``allowed``, ``refused``, or ``rules``.
        why: By which role, or why not.
    """

    at: datetime
    verb: str
    target: str
    who: str
    token: str
    verdict: str
    why: str

    @classmethod
    def of(cls, row: AccessRow) -> AccessLine:
        """An entry as the database has it."""
        return cls(from_micros(row.at), row.verb, row.target, row.who, row.token, row.verdict, row.why)

    def to_json(self) -> dict[str, Any]:
        """The entry as JSON data."""
        return {"at": self.at.isoformat(), "verb": self.verb, "target": self.target, "who": self.who} | {
            "token": self.token,
            "verdict": self.verdict,
            "why": self.why,
        }


class Chain:
    """This process's chain.

    Args:
        store: The database.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._worker = store, store.database.worker
        own = "SELECT seq, hash FROM provenet_access WHERE worker = ? ORDER BY seq DESC LIMIT 1"
        found = store.rows(own, (self._worker,))
        self._seq, self._head = (int(found[0][0]), bytes(found[0][1])) if found else (0, b"")

    def add(
        self,
        at: int,
        verb: str,
        target: str,
        *,
        verdict: str,
        why: str,
        who: str = "",
        token: str = "",
        spent: tuple[str, str] | None = None,
    ) -> None:
        """Add an entry, for the next commit."""
        data: dict[str, Any] = {} if spent is None else {"spent": spent}
        if not self._seq and (seen := self._unseen()):
            data["seen"] = seen
        self._seq += 1
        texts = map(_text, (verb, target, who, token, verdict, why))
        row = (self._worker, self._seq, at, *texts, plain(data))
        prev, self._head = self._head, _hash(self._head, row)
        self._store.append("provenet_access", (*row, prev, self._head))
        name = f"{HEADS}{self._worker}"
        self._store.put("provenet_meta", name, (name, f"{self._seq} {self._head.hex()}"))

    def _unseen(self) -> list[list[Any]]:
        """Heads of other chains that no entry names."""
        heads = self._store.rows(
            "SELECT a.worker, a.seq, a.hash FROM provenet_access a WHERE a.seq ="
            " (SELECT MAX(b.seq) FROM provenet_access b WHERE b.worker = a.worker) ORDER BY a.worker"
        )
        firsts = self._store.rows("SELECT data FROM provenet_access WHERE seq = 1")
        seen = {(w, n) for (text,) in firsts for w, n, _ in json.loads(text).get("seen", ())}
        return [[w, n, bytes(h).hex()] for w, n, h in heads if (w, n) not in seen]


def problems(rows: Rows) -> Iterator[str]:
    """What is wrong with the log, the facts about it, and what it should speak of."""
    try:
        yield from _problems(rows)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        yield f"the access log cannot be read: {type(error).__name__}: {error}"


def _problems(rows: Rows) -> Iterator[str]:
    facts = {
        str(name): str(value)
        for name, value in rows("SELECT name, value FROM provenet_meta WHERE name LIKE ?", HEADS + "%")
    }
    hashes: dict[int, list[str]] = defaultdict(list)
    seen: list[tuple[int, list[Any]]] = []
    allowed: Counter[tuple[str, str]] = Counter()
    spent: set[tuple[str, str]] = set()
    rules: list[tuple[int, str]] = []
    head, broken = b"", set()
    for *row, prev, said in rows(f"SELECT {_FIELDS}, prev, hash FROM provenet_access ORDER BY worker, seq"):  # noqa: S608
        worker, seq, at, verb, target, who, _, verdict, _, data = row
        chain = hashes[worker]
        if not chain:
            head = b""
        chain.append(bytes(said).hex())
        if worker not in broken and (
            seq != len(chain) or bytes(prev) != head or bytes(said) != _hash(head, tuple(row))
        ):
            broken.add(worker)
            yield f"the access log of process {worker} was changed at entry {seq}"
        head = bytes(said)
        extra = json.loads(data)
        seen += [(worker, other) for other in extra.get("seen", ())]
        if "spent" in extra:
            spent.add(tuple(extra["spent"]))
        if verb in {"kill", "release"} and verdict == "allowed":
            allowed[f"{verb} {target}", who if verb == "kill" else ""] += 1
        if verdict == "rules":
            rules.append((at, target))
    for worker in sorted({int(n.removeprefix(HEADS)) for n in facts} | hashes.keys()):
        chain = hashes.get(worker, [])
        if facts.get(f"{HEADS}{worker}") != (f"{len(chain)} {chain[-1]}" if chain else None):
            yield f"the access log of process {worker} does not end as the database says"
    for worker, (other, seq, said) in seen:
        chain = hashes.get(other, [])
        if not 0 < seq <= len(chain) or chain[seq - 1] != said:
            yield f"the access log of process {other} is not what process {worker} saw"
    yield from _marked(rows, rules)
    kept = {(str(token), str(by)) for token, by in rows("SELECT id, spender FROM provenet_spent")}
    for token, by in sorted(kept ^ spent):
        yield f"the access log and the list of what was spent differ about {token!r}, by {by}"
    yield from _unexplained(rows, rules, allowed)


def _marked(rows: Rows, rules: list[tuple[int, str]]) -> Iterator[str]:
    """Whether the database is guarded by rules that its log speaks of."""
    found = [str(value) for (value,) in rows("SELECT value FROM provenet_meta WHERE name = ?", MARK)]
    if bool(found) != bool(rules) or not {said for _, said in rules}.issuperset(found):
        yield "the rules of access are none that the access log speaks of"


def _unexplained(
    rows: Rows, rules: list[tuple[int, str]], allowed: Counter[tuple[str, str]]
) -> Iterator[str]:
    """Pulls and releases of the kill switch that nobody was allowed, while the database was guarded."""
    done: Counter[tuple[str, str]] = Counter()
    released = set()
    for scope, target, who, at, until in rows("SELECT scope, target, who, at, released FROM provenet_kill"):
        what = _text(kill_target(scope, target))
        if _guarded(rules, at):
            done[f"kill {what}", _text(who)] += 1
        if until is not None and _guarded(rules, until):
            released.add((what, until))
    done.update((f"release {what}", "") for what, _ in released)
    for what, who in done - allowed:
        by = f" by {who!r}" if who else ""
        yield f"the kill switch: {what}{by} was done, and nobody was allowed to"


def _guarded(rules: list[tuple[int, str]], at: int) -> bool:
    before = [(since, said) for since, said in rules if since <= at]
    return bool(before) and max(before)[1] != "off"


def kill_target(scope: str, target: str) -> str:
    """What a pull of the kill switch is about, in words."""
    return f"{scope} {target}".strip()


def _text(text: str) -> str:
    """A text that can be written and shown, and that nobody makes the log large with."""
    found = clean(text[:500])
    return found if found.isprintable() else "".join(c if c.isprintable() else "?" for c in found)


def _hash(prev: bytes, row: tuple[Any, ...]) -> bytes:
    return sha256(prev + plain(list(row)).encode()).digest()
