"""The one place where it is decided whether somebody outside may do what they ask for.

Without rules everybody may, and is whoever they say they are, as long as the database was never guarded. With
rules, a token decides. What is allowed is noted in the commit of what follows from it, what is refused in a
commit of its own, before anybody is told. A signed command, and a token that came through the database, is
spent with its first use.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

from provenet.engine.access.chain import MARK, Chain, kill_target
from provenet.engine.access.policy import Access, Holder, spelled
from provenet.engine.access.sealing import SEALS, Posted, Seal
from provenet.engine.access.tokens import digest, read_token
from provenet.engine.errors import AccessRefused, EngineError, RulesRefused
from provenet.engine.store.store import Store

Rules: TypeAlias = Access | Path | str
"""Who may do what; a file of rules is read again when it changes; ``off`` takes the guard away."""

QUIET = {"signal", "start"}
"""Verbs whose every use is not noted where it is allowed: the case's own log and its inbox have them."""

LOOK = 0.2
"""Seconds between two looks at whether another process guards the database by now."""

LOG = logging.getLogger("provenet.engine.access")


class Gate:
    """What an engine asks before it does something for somebody.

    Args:
        store: The database.
        now: The engine's time, in microseconds since 1970, for the log.
        rules: Who may do what; as the database says where none are given.
    """

    def __init__(self, store: Store, now: Callable[[], int], rules: Rules | None) -> None:
        self._store, self._now = store, now
        if not isinstance(rules, Access | Path | str | None):
            raise RulesRefused(
                f"access= takes no {type(rules).__name__}", hint="give an Access, or the name of a file"
            )
        off = rules == "off"
        self._path = Path(rules) if isinstance(rules, Path | str) and not off else None
        self._stamp: object = None
        self._seal: Seal | None = None
        self._access: Access | None = rules if isinstance(rules, Access) else None
        if self._path is not None:
            self._stamp, self._access = _stamp(self._path), Access.read(self._path)
        self._mark, self._looked = self._marked(), monotonic()
        self._declared = "off" if off else None if self._access is None else self._access.fingerprint

    @property
    def is_guarded(self) -> bool:
        """Whether a token is needed."""
        if (
            self._access is None
            and self._store.database.shared == "yes"
            and monotonic() - self._looked > LOOK
        ):
            self._mark, self._looked = self._marked(), monotonic()
        return self._access is not None or self._mark != "off"

    def declare(self) -> None:
        """Guard the database by the rules as they were given, or no more: once all else is in order."""
        if self._declared is not None:
            self._ruled(self._declared)

    def listen(self) -> None:
        """Let other processes seal tokens for this one."""
        if self._access is None:
            return
        self._seal = Seal(self._store.uid)
        name = f"{SEALS}{self._store.database.worker}"
        for (other,) in self._store.rows("SELECT name FROM provenet_meta WHERE name LIKE ?", (f"{SEALS}%",)):
            gone = "SELECT 1 FROM provenet_worker WHERE no = ? AND ended = 1"
            number = other.removeprefix(SEALS)
            if number.isdecimal() and self._store.rows(gone, (int(number),)):
                self._store.run("DELETE FROM provenet_meta WHERE name = ?", (other,))
        self._store.put("provenet_meta", name, (name, self._seal.public))
        self._store.flush()

    def close(self) -> None:
        """Take away what other processes would seal tokens with."""
        if self._seal is not None and self._store.failure is None:
            name = f"{SEALS}{self._store.database.worker}"
            self._store.run("DELETE FROM provenet_meta WHERE name = ?", (name,))

    async def admit(
        self, command: Mapping[str, Any], token: str | Posted | None, who: str, *, net: str | None = None
    ) -> str:
        """Let somebody do something, or not.

        Args:
            command: What, as ``provenet.engine.requests`` has it.
            token: Their token.
            who: Who they say they are.
            net: The net that it is about, where no case says so.

        Returns:
            Who it is, with the role by which they may: ``dana@pricing``.

        Raises:
            AccessRefused: They may not.
        """
        if not self.is_guarded:
            return who
        verb, target = str(command["do"]), _target(command)
        try:
            found, why, own, spent = self._may(command, verb, token, who, net)
        except AccessRefused as error:
            error.where = error.where or f"{verb} {target}".strip()
            name, own = error.name or "", error.token or ""
            self._chain.add(
                self._now(), verb, target, verdict="refused", why=error.message, who=name, token=own
            )
            await self._store.durable()
            raise
        if verb not in QUIET or spent:
            self._chain.add(
                self._now(), verb, target, verdict="allowed", why=why, who=found, token=own, spent=spent
            )
            # It is part of the commit that ends what follows, which begins before anybody else's turn.
            self._store.when_durable(_nothing)
        return found

    def clear(self, token: str | Posted | None) -> str | None:
        """A token that somebody was let in with, so that what follows elsewhere can be asked for with it."""
        if isinstance(token, Posted):
            return None if self._seal is None or not token.sealed else self._seal.opened(token)[0]
        return token

    def _may(
        self,
        command: Mapping[str, Any],
        verb: str,
        token: str | Posted | None,
        who: str,
        net: str | None,
    ) -> tuple[str, str, str, tuple[str, str] | None]:
        """Who it is, why they may, the token's id, and what is spent by whom."""
        access = self._rules()
        if not token or (isinstance(token, Posted) and token.sealed is None):
            raise _without_token(access, verb, str(command.get("scope", "")))
        about, spent, by = digest(command), "", "call"
        if isinstance(token, Posted):
            if self._seal is None:
                raise AccessRefused("this process takes no sealed tokens", hint="ask again")
            about, by = token.about, f"request {token.request}"
            token, spent = self._seal.opened(token)
        holder = read_token(access, token, self._store.uid, access.now(), verb=verb)
        try:
            if holder.command is not None:
                spent = holder.id
                if holder.command != about:
                    raise AccessRefused(
                        "the token is refused: it is for another command",
                        hint=f"`cmd` of this one is {about}",
                    )
            found, why = self._by_role(access, holder, command, verb, who, net)
            if spent:
                self._spend(spent, by)
        except AccessRefused as error:
            error.name, error.token = holder.name, holder.id
            raise
        return found, why, holder.id, (spent, by) if spent else None

    def _by_role(
        self,
        access: Access,
        holder: Holder,
        command: Mapping[str, Any],
        verb: str,
        who: str,
        net: str | None,
    ) -> tuple[str, str]:
        """Who it is with the role by which they may, and that in words."""
        roles = access.role_for(holder, verb, str(command.get("scope", "")), self._net_about(command, net))
        name, at, role = who.rpartition("@")
        if who and who != holder.name and not (at and name == holder.name and role in roles):
            raise AccessRefused(
                f"the token names {holder.name}@{' or @'.join(sorted(roles))}, not {who[:100]!r}",
                hint="leave out who it is: the token says so",
            )
        if not (at and name == holder.name and role in roles):
            wanted = self._role_of(command) if verb in {"decide", "delegate"} else None
            role = wanted if wanted in roles else min(roles)
        why = f"role {role}"
        if holder.late:
            why += f"; in an emergency: its token was over for {int(holder.late.total_seconds())} s"
        return f"{holder.name}@{role}", why

    def _net_about(self, command: Mapping[str, Any], net: str | None) -> str | None:
        """Name of the net that a command is about; ``None`` where it is about all, or about none."""
        scope = command.get("scope")
        case = command.get("target") if scope == "case" else command.get("case")
        if net is None and scope == "net":
            return str(command.get("target", ""))
        return self._net_of(case) if net is None and isinstance(case, str) else net

    def _rules(self) -> Access:
        """The rules, as their file says now."""
        if self._path is not None and (stamp := _stamp(self._path)) != self._stamp:
            self._stamp = stamp
            try:
                self._access = Access.read(self._path)
                self._ruled(self._access.fingerprint)
            except EngineError as error:
                # Whoever makes a mistake in the file must not take the kill switch from others with it.
                LOG.error("the access file has changed and cannot be used; the rules stay: %s", error)  # noqa: TRY400
        if self._access is None:
            raise AccessRefused(
                "the database is guarded, and what runs on it now was opened without the rules",
                hint="give the access file with --access FILE, in PROVENET_ACCESS, or as access=...,"
                " and a token with --token @FILE or in PROVENET_TOKEN;"
                " `provenet run TARGET --access off` takes the guard away",
            )
        return self._access

    def _ruled(self, fingerprint: str) -> None:
        """The database is guarded by these rules from now on."""
        if self._mark != fingerprint:
            self._mark = fingerprint
            self._chain.add(self._now(), "rules", fingerprint, verdict="rules", why="")
            self._store.put("provenet_meta", MARK, (MARK, fingerprint))
            self._store.flush()

    @cached_property
    def _chain(self) -> Chain:
        """This process's log; most write none, and need not look for where it ends."""
        return Chain(self._store)

    def _spend(self, what: str, by: str) -> None:
        """Use something up, unless it was before; one request may come back after a crash.

        Raises:
            AccessRefused: It was used, or is being used by another process at this moment.
        """
        statement = (
            "INSERT INTO provenet_spent (id, spender) SELECT ?, ? WHERE {} ON CONFLICT (id) DO NOTHING"
        )
        if self._store.database.shared == "yes":
            # Nobody waits for another process's commit: the session of one is that of all its cases.
            free = "pg_try_advisory_xact_lock(hashtextextended(?, 20))"
            done = self._store.run(statement.format(free), (what, by, what))
        else:
            done = self._store.run(statement.format("1 = 1"), (what, by))
        if done:
            return
        found = self._store.rows("SELECT spender FROM provenet_spent WHERE id = ?", (what,))
        if by == "call" or found != [(by,)]:
            raise AccessRefused("the token is refused: it was used before", hint="ask for a new one")

    def _marked(self) -> str:
        found = self._store.rows("SELECT value FROM provenet_meta WHERE name = ?", (MARK,))
        return str(found[0][0]) if found else "off"

    def _net_of(self, case: str) -> str | None:
        """Name of a case's net."""
        statement = "SELECT n.name FROM provenet_case c JOIN provenet_net n ON n.hash = c.net WHERE c.id = ?"
        return self._one(statement, case)

    def _role_of(self, command: Mapping[str, Any]) -> str | None:
        """The role that a task takes."""
        statement = (
            "SELECT t.role FROM provenet_task t JOIN provenet_case c ON c.no = t.case_no"
            " WHERE c.id = ? AND t.task = ? AND t.status = 'open'"
        )
        return self._one(statement, str(command.get("case")), str(command.get("task")))

    def _one(self, statement: str, *names: str) -> str | None:
        """What the database has by some names; the last of it may wait for the next commit."""
        asked = [n.encode("utf-8", "replace").decode().replace("\0", "") for n in names]
        found = self._store.rows(statement, asked)
        if not found:
            self._store.flush()
            found = self._store.rows(statement, asked)
        return str(found[0][0]) if found else None


def _target(command: Mapping[str, Any]) -> str:
    """What a command is about, in words."""
    if "scope" in command:
        return kill_target(str(command["scope"]), str(command.get("target", "")))
    named = ("task", "event", "effect", "net", "new", "subject")
    about = next((command[k] for k in named if command.get(k)), "")
    case = command.get("case") or ""
    return f"{case} {about}".strip()


def _without_token(access: Access, verb: str, scope: str) -> AccessRefused:
    """Somebody who gave no token is told which one this takes, but not whether there is such a case."""
    what = spelled(verb, scope)
    roles = ", ".join(sorted(name for name, role in access.roles.items() if role.may & {verb, what}))
    if not roles:
        return AccessRefused(
            f"{what!r} takes a token, and there is no role that may",
            hint=f"write it in the access file first: [roles.NAME], may = [{json.dumps(what)}]",
        )
    return AccessRefused(
        f"{what!r} takes a token with a role that may: {roles}",
        hint="give it with --token @FILE, in PROVENET_TOKEN, or as token=...;"
        " `provenet token issue` signs one",
    )


def _stamp(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _nothing() -> None:
    return None
