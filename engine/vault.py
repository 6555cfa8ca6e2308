"""The data keys of a database: made for a case or for a subject, wrapped by a master key, and thrown away.

Erasing somebody's data is throwing away the one key that opens them (crypto-shredding): every ciphertext of
theirs stays where it is, in tokens, logs and receipts, so the hash chains stay valid, and nobody can read it
any more. An entry of each case's log says who did so, when and why, in the same transaction.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from provenet.engine.case import LIVE, chain
from provenet.engine.codec import clean, plain
from provenet.engine.covering import named
from provenet.engine.errors import ErasureRefused, NoKeys, NoSuchCase
from provenet.engine.keys import HINT, Keys
from provenet.engine.personal import DATA_KEY, PAYLOAD, Seal
from provenet.engine.store.database import Location, located, open_to_post
from provenet.engine.store.store import Store

KNOWN = 4_096
"""Subjects whose keys are kept at hand."""

PRUNED = "pruned:"
"""What subjects begin with that are a pruned case, whose log was exported."""

FIND = "SELECT id, master, wrapped FROM provenet_key"
"""Keys, as ``seal_of`` takes them."""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was erased.

    Attributes:
        subject: Whose data; empty where they were one case's.
        cases: The cases whose logs say so.
    """

    subject: str
    cases: tuple[str, ...]

    def __str__(self) -> str:
        whose = (
            f"personal data of {self.subject!r} are erased" if self.subject else "personal data are erased"
        )
        return f"{whose}: {len(self.cases)} case{'' if len(self.cases) == 1 else 's'}"


class Vault:
    """The data keys that one engine works with.

    Args:
        store: Their database.
        keys: The master keys; those of the environment, where none are given.
    """

    def __init__(self, store: Store, keys: Keys | None = None) -> None:
        self._store, self._given = store, keys
        self._seals: dict[str, Seal] = {}
        self._active: dict[str, Seal] = {}
        self._new: dict[str, tuple[Any, ...]] = {}
        self._before = ""

    @property
    def given(self) -> Keys | None:
        """The master keys at hand."""
        if self._given is None:
            self._given = Keys.from_env()
        return self._given

    def of_case(self, case: str, key: str) -> Seal:
        """The open seal of a case.

        Raises:
            NoKeys: No master key at hand opens it.
        """
        if key in self._seals:
            return self._seals[key]
        rows = self._store.rows(f"{FIND} WHERE id = ?", (key,))
        if not rows or rows[0][2] is None:
            raise NoKeys(
                f"data key {key} was erased, or there is none",
                where=f"case {case!r}" if case else "",
                hint="the case has not ended, if there is one: `provenet audit` says what is wrong",
            )
        return self._opened(rows[0], f"case {case!r}" if case else "")

    def if_open(self, case: str, key: str) -> Seal | None:
        """The open seal of a case; ``None`` where no master key at hand opens it."""
        try:
            return self.of_case(case, key)
        except NoKeys:
            return None

    def named(self, name: str) -> Seal:
        """A seal by its key's name, which somebody else has given.

        Raises:
            NoKeys: There is no such key, or it does not open.
        """
        found = named(name, self._keys("a request is encrypted"))
        return self.of_case("", name) if found is None else found

    def for_start(self, subject: str, now: int) -> Seal:
        """The seal of a case that is about to start; ``keep`` writes it, where it is new.

        Args:
            subject: Whom the case is about; a case about nobody in particular has a key of its own.
            now: The time.

        Raises:
            NoKeys: No master key is at hand.
        """
        if not subject:
            return self._made("", now)
        if self._store.database.shared == "yes":
            return self._shared(subject, now)
        if subject not in self._active:
            if len(self._active) >= KNOWN:
                self._store.flush()  # what is not written yet could not be found again
                self._active.clear()
            rows = self._store.rows(f"{FIND} WHERE {_OF_SUBJECT}", (subject,))
            found = self._opened(rows[0], f"subject {subject!r}") if rows else self._made(subject, now)
            self._active[subject] = found
        return self._active[subject]

    def unused(self, seal: Seal) -> None:
        """Forget the key of a case about nobody in particular, which could not start."""
        self._new.pop(seal.key, None)

    def keep(self, seal: Seal) -> None:
        """Write a new key, in the commit of the case that it was made for."""
        row = self._new.pop(seal.key, None)
        if row is not None:
            self._store.put("provenet_key", seal.key, row)

    def payload(self, no: int, text: str) -> str | None:
        """The text of an event's payload, whatever it is, as the inbox of a case keeps it.

        Args:
            no: The case's number.
            text: The payload; where the case's key does not open, nothing is kept of it.
        """
        rows = self._store.rows(
            "SELECT c.data_key, k.master, k.wrapped FROM provenet_case c"
            " LEFT JOIN provenet_key k ON k.id = c.data_key WHERE c.no = ?",
            (no,),
        )
        key, master, wrapped = rows[0] if rows else ("", "", None)
        if not key:
            return text
        if wrapped is None or self.given is None:
            return None
        try:
            return Seal(key, self.given.unwrap(key, master, wrapped)).write(text, PAYLOAD)
        except NoKeys:
            return None

    def erase(self, *, case: str = "", subject: str = "", who: str, reason: str, now: int) -> Erasure:
        """Throw a key away, with an entry in the log of each case that it was for; for the next commit.

        On SQLite what is deleted is overwritten from now on, until ``erased`` is called.

        Raises:
            ErasureRefused: One of its cases runs, or there is nothing to erase.
            NoSuchCase: There is no such case.
        """
        who, reason = clean(who), clean(reason)
        shared = self._store.database.shared == "yes"
        self._store.flush()
        self._store.begin()
        key, subject = self._key_of(case, subject)
        # First of all: whoever starts a case with this key meanwhile has to wait, and finds it gone.
        lock = " FOR UPDATE" if shared else ""
        here = self._store.rows(f"SELECT 1 FROM provenet_key WHERE id = ? AND erased IS NULL{lock}", (key,))  # noqa: S608
        rows = self._store.rows(
            "SELECT no, id, status, version, tokens, head FROM provenet_case"
            " WHERE data_key = ? AND data_key <> '' ORDER BY no",
            (key,),
        )
        alive = [row[1] for row in rows if row[2] in (*LIVE, "parked")]
        if alive or not here:
            self._store.flush()
            raise _still_alive(alive) if alive else _nothing(case, subject)
        if not shared:
            self._before = self._before or str(self._store.rows("PRAGMA secure_delete")[0][0])
            self._store.rows("PRAGMA secure_delete = ON")
        self._store.run(
            "UPDATE provenet_key SET wrapped = NULL, master = '', erased = ?, who = ?, reason = ?"
            " WHERE id = ?",
            (now, who, reason, key),
        )
        data = plain({"by": who, "reason": reason, "key": key})
        for no, found, _, version, tokens, head in rows:
            seq, prev = version + 1, bytes(head)
            digest = chain(prev, found, seq, "erase", transition="", at=now, data=data)
            self._store.append("provenet_event", (no, seq, "erase", "", now, data, prev, digest))
            self._store.move_case(no, version, (seq, tokens, digest), None)
        self._seals.pop(key, None)
        self._active.pop(subject, None)
        return Erasure(subject, tuple(row[1] for row in rows))

    def erased(self) -> None:
        """What was erased is durable: let go of the copies that the database keeps for itself."""
        if self._before:
            self._store.rows(f"PRAGMA secure_delete = {self._before}")
            self._before = ""
        forget_traces(self._store.location)

    def _key_of(self, case: str, subject: str) -> tuple[str, str]:
        """The key that is meant, and whose it is."""
        if subject:
            rows = self._store.rows(f"{FIND} WHERE {_OF_SUBJECT}", (subject,))
            if not rows:
                raise _nothing(case, subject)
            return rows[0][0], subject
        rows = self._store.rows("SELECT data_key FROM provenet_case WHERE id = ?", (clean(case),))
        if not rows:
            raise NoSuchCase(f"there is no case {case!r}", hint="`provenet cases` lists them")
        key = rows[0][0]
        whose = self._store.rows("SELECT subject FROM provenet_key WHERE id = ?", (key,))
        if whose and whose[0][0]:
            raise ErasureRefused(
                f"it is about subject {whose[0][0]!r}, and so may others be",
                where=f"case {case!r}",
                hint="erase the subject: --subject",
            )
        if not whose:
            raise _nothing(case, subject)
        return key, ""

    def _shared(self, subject: str, now: int) -> Seal:
        """A subject's seal where other processes may erase the subject, or begin with it, meanwhile."""
        query = f"{FIND} WHERE {_OF_SUBJECT} FOR SHARE"
        self._store.begin()
        rows = self._store.rows(query, (subject,))
        if not rows:
            made = self._made(subject, now)
            row = self._new.pop(made.key)
            self._store.flush()  # the other session must not wait for this one, which waits for it
            with open_to_post(self._store.location) as other:
                names, marks = ", ".join(_COLUMNS), ", ".join("?" * len(_COLUMNS))
                other.run(
                    f"INSERT INTO provenet_key ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING",  # noqa: S608
                    row,
                )
            rows = self._store.rows(query, (subject,))
        if not rows:
            raise NoKeys("it is being erased right now", where=f"subject {subject!r}", hint="start it again")
        if rows[0][0] not in self._seals:
            if len(self._seals) >= KNOWN:
                self._seals.clear()
            self._seals[rows[0][0]] = self._opened(rows[0], f"subject {subject!r}")
        return self._seals[rows[0][0]]

    def _made(self, subject: str, now: int) -> Seal:
        name, data = os.urandom(12).hex(), os.urandom(DATA_KEY)
        master, wrapped = self._keys("the net has personal fields").wrap(name, data)
        self._new[name] = (name, subject, master, wrapped, now, None, "", "")
        return Seal(name, data)

    def _opened(self, row: tuple[Any, ...], where: str) -> Seal:
        name, master, wrapped = row
        try:
            return Seal(name, self._keys("there are personal data").unwrap(name, master, wrapped))
        except NoKeys as error:
            raise NoKeys(error.message, where=error.where or where, hint=error.hint) from None

    def _keys(self, why: str) -> Keys:
        if self.given is None:
            raise NoKeys(f"{why}, and no master key was given", where=str(self._store.location), hint=HINT)
        return self.given


def let_go(store: Store, no: int, case: str, *, exported: Literal["no", "yes"]) -> None:
    """Let go of the key of a case that is about to be pruned, in the open transaction.

    The key of a subject stays: it may be that of other cases. So does that of a case whose log was exported,
    as that of the subject ``pruned:CASE``, which can be erased.
    """
    mine = " WHERE subject = '' AND id = (SELECT data_key FROM provenet_case WHERE no = ?)"
    if exported == "yes":
        store.run(f"UPDATE provenet_key SET subject = ?{mine}", (f"{PRUNED}{case}", no))  # noqa: S608
    else:
        store.run(f"DELETE FROM provenet_key{mine}", (no,))  # noqa: S608


def forget_traces(where: Location) -> None:
    """Let go of copies of a wrapped key that a database keeps for itself, as far as it can be asked to."""
    if where.kind == "memory":
        return
    with open_to_post(where) as database:
        if where.kind == "server":
            database.run("VACUUM provenet_key")
        else:
            database.rows("PRAGMA wal_checkpoint(TRUNCATE)")


def rotate(source: str | Path, keys: Keys) -> int:
    """Wrap every data key anew with the master key in use, also beside a running engine; how many were.

    Raises:
        NoKeys: One was wrapped by a master key that is not among these.
    """
    with open_to_post(located(source)) as database:
        rows = database.rows(f"{FIND} WHERE wrapped IS NOT NULL AND master <> ?", (keys.current,))
        opened = [(name, wrapped, keys.unwrap(name, master, wrapped)) for name, master, wrapped in rows]
        changed = 0
        for name, before, data in opened:
            master, wrapped = keys.wrap(name, data)
            changed += database.run(
                "UPDATE provenet_key SET master = ?, wrapped = ? WHERE id = ? AND wrapped = ?",
                (master, wrapped, name, before),
            )
    forget_traces(located(source))
    return changed


def seals(rows: Callable[..., Sequence[Sequence[Any]]], keys: Keys | None) -> Callable[[str], Seal]:
    """For a reader: a seal by its key's name, open as far as the keys at hand open it.

    Args:
        rows: Rows of a query.
        keys: The master keys, if any.
    """
    known: dict[str, Seal] = {}

    def find(key: str) -> Seal:
        if key not in known:
            found = rows(f"{FIND} WHERE id = ?", key)
            known[key] = _seal_of(key, found[0] if found else None, keys)
        return known[key]

    return find


def _seal_of(key: str, row: Sequence[Any] | None, keys: Keys | None) -> Seal:
    if row is None or row[2] is None:
        return Seal(key, state="erased")
    try:
        return Seal(key) if keys is None else Seal(key, keys.unwrap(*row))
    except NoKeys:
        return Seal(key)


def _still_alive(cases: Sequence[str]) -> ErasureRefused:
    more = f" and {len(cases) - 3} more" if len(cases) > 3 else ""
    return ErasureRefused(
        f"{len(cases)} {'case has' if len(cases) == 1 else 'cases have'} not ended: "
        f"{', '.join(map(repr, cases[:3]))}{more}",
        hint="let them end, or kill them first (--stop); one that is compensating ends by itself",
    )


def _nothing(case: str, subject: str) -> ErasureRefused:
    return ErasureRefused(
        "there are no personal data to erase",
        where=f"subject {subject!r}" if subject else f"case {case!r}",
        hint="they were erased before, or no field of the net is marked Personal"
        + (", or no case was started for this subject" if subject else ""),
    )


_OF_SUBJECT = "subject = ? AND subject <> '' AND erased IS NULL"
_COLUMNS = ("id", "subject", "master", "wrapped", "created", "erased", "who", "reason")


__all__ = ["Erasure", "Vault", "forget_traces", "rotate", "seals"]
