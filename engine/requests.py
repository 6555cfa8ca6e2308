"""What other processes ask of the engine that runs a case: left in a table, answered by that engine.

A running engine looks there a few times a second. Where nobody runs the case, who asks opens the database,
does the one thing durably, and closes it: what follows from it is done by whoever runs cases there next.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from provenet.engine.access.gate import Rules
from provenet.engine.access.policy import Access
from provenet.engine.access.sealing import Posted, sealed
from provenet.engine.access.tokens import digest
from provenet.engine.clock import EPOCH, VirtualClock, to_micros
from provenet.engine.codec import clean, plain
from provenet.engine.covering import covered, uncovered
from provenet.engine.covering import kept as what_stays
from provenet.engine.errors import (
    CaseElsewhere,
    EngineError,
    NotAnswered,
    NotDeployed,
    NotSettled,
    RetentionRefused,
    StoreDenied,
    StoreError,
    StoreLocked,
)
from provenet.engine.keys import Keys
from provenet.engine.personal import Seal, locked
from provenet.engine.reader import Reader
from provenet.engine.retention import Retention
from provenet.engine.store.database import (
    LONGEST_REQUEST,
    Posting,
    attended,
    guarding,
    located,
    open_to_post,
    ready,
)
from provenet.engine.store.store import Store
from provenet.nets.errors import ProvenetError
from provenet.nets.formats.canonical import content_hash
from provenet.nets.net import Ask, Judge, Net, Perform
from provenet.nets.schema import UNIT
from provenet.sdb.handlers import Agent, Effect

if TYPE_CHECKING:
    from provenet.engine.engine import Engine

PATIENCE = 15.0
"""Seconds that somebody waits for a running engine."""


def ask(
    source: str | Path, command: dict[str, Any], agents: Iterable[Agent] = (), *, access: Rules | None = None
) -> dict[str, Any]:
    """Have a command carried out on a database, by whoever runs the case.

    Args:
        source: The database's name.
        command: What to do; see ``carry_out``. Its ``token`` says who asks, where the database is guarded.
        agents: The agents, where the caller has them; else nothing but the command is done.
        access: The rules of a guarded database, for where no engine runs that knows them.

    Returns:
        ``done``: what was done, in words; ``note``, where more is to follow.

    Raises:
        EngineError: It is refused, or nobody answers.
    """
    where = located(source)
    if not ready(where):
        raise StoreError(
            "there is no such database", where=str(where), hint="`provenet run TARGET --db FILE` makes one"
        )
    with suppress(StoreDenied):  # who may not look there may do nothing alone
        if _case_of(command) and attended(where):
            # They are told, so that whatever wakes the case learns of it at once.
            try:
                return post(source, command)
            except EngineError as error:
                if error.code != NotDeployed.code:
                    raise
        if command.get("token") and access is None and guarding(where):
            return post(source, command)  # they know the rules, and who asks does not
    try:
        return asyncio.run(_alone(source, command, list(agents), access))
    except (StoreLocked, CaseElsewhere, StoreDenied):
        return post(source, command)


def rules_there(reader: Reader, access: Rules | None, command: dict[str, Any]) -> Rules | None:
    """Rules that somebody brings, where they count: who asks for one thing guards no database.

    Raises:
        RulesRefused: They cannot be read.
        EngineError: Only a token says who asks, and the database is not guarded.
    """
    if access is None or reader.is_guarded():
        return access
    if not isinstance(access, Access) and access != "off":
        Access.read(access)
    if command.get("token") and command.get("who") == "":
        raise EngineError(
            "the database is not guarded, and a token says nothing there",
            where=str(reader.location),
            hint="say who with --as NAME@ROLE, or guard it with `provenet run TARGET --access FILE`",
        )
    return None


async def carry_out(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    """Do one command on an engine.

    Raises:
        EngineError: It is refused.
    """
    token = command.get("token")
    match command:
        case {"do": "decide", "case": case, "task": task, "choice": choice}:
            about, note, who = command.get("about_hash"), command.get("note"), command.get("who") or ""
            made = await engine.decide(case, task, choice, who, about_hash=about, note=note, token=token)
            return {"done": f"{choice}: {task!r} of case {case}, {made}", "missing": made.missing}
        case {"do": "delegate", "case": case, "task": task, "to": str() | None as heir}:
            who = await engine.delegate(case, task, to=heir, who=command.get("who") or "", token=token)
            said = f"goes to {heir} as well" if heir is not None else "is delegated no longer"
            return {"done": f"{task!r} of case {case} {said}, says {who}"}
        case {"do": "signal", "case": case, "event": event}:
            brings, key, at = command.get("payload"), command.get("key"), _time(command.get("at"))
            taken = await engine.signal(case, event, brings, key=key, at=at, token=token)
            return {"done": f"case {case} {_TAKEN[taken]} {event!r}", "status": taken}
        case {"do": "signal", "event": event, "about": dict(about)}:
            brings, key, at = command.get("payload"), command.get("key"), _time(command.get("at"))
            to: Literal["all", "one"] = "one" if command.get("to") == "one" else "all"
            told = await engine.publish(event, brings, about=about, key=key, at=at, to=to, token=token)
            return {"done": f"{event!r}: {told}", "published": told.to_json()}
        case {"do": "kill", "scope": "case" | "net" | "all" as scope, "target": target}:
            who, reason = command.get("who", ""), command.get("reason", "")
            did = await engine.pull(scope, target, who=who, reason=reason, token=token)
            return {"done": str(did), "cases": did.cases, "stopped": did.stopped, "left": dict(did.left)}
        case {"do": "release", "scope": "net" | "all" as scope, "target": target}:
            await engine.release(scope, target, token=token)
            return {"done": f"released: {target or 'everything'}"}
        case {"do": "settle", "case": case, "effect": effect}:
            receipt, failed, who = command.get("receipt"), command.get("failed"), command.get("who") or ""
            await engine.settle(case, effect, who=who, receipt=receipt, failed=failed, token=token)
            return {
                "done": f"case {case} goes on: {effect!r} "
                + ("was performed" if failed is None else "failed")
            }
        case {"do": "resume", "case": case}:
            await engine.resume(case, token=token)
            return {"done": f"case {case} goes on"}
        case {"do": "erase"}:
            whose = {name: command.get(name) or "" for name in ("case", "subject", "who", "reason")}
            return {"done": str(await engine.erase(**whose, token=token))}
        case {"do": "prune", "retention": policy}:
            retention = Retention.of_json(policy)
            if isinstance(token, Posted):
                retention = _exported_here(retention, engine.retention)
            found = await engine.prune(retention, token=token)
            return {"done": f"pruned: {found.cases:,} cases", "pruned": found.to_json()}
        case {"do": "move", "case": _, "old": _, "new": _, "map": _, "cases": list()}:
            return await engine.move_found(command)
    raise EngineError(
        f"there is no request {command.get('do')!r}", hint="both sides must be the same Provenet release"
    )


def _exported_here(asked: Retention, own: Retention | None) -> Retention:
    """What a request may prune: who posts it never says where this process writes files.

    Raises:
        RetentionRefused: It names another folder than this process exports to by itself.
    """
    folder = None if own is None else own.export
    if asked.export is not None and (folder is None or asked.export != folder.absolute()):
        raise RetentionRefused(
            "a request does not say where the engine that runs here writes files",
            hint="open that engine with retention=Retention(export=...), or stop it and prune then",
        )
    return replace(asked, export=folder)


_TAKEN = {"accepted": "has taken", "kept": "keeps, until something waits for it,"}


def _time(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise EngineError(f"{text!r:.80} is no time", hint="such as 2026-01-31T12:00:00+00:00") from None


def leave(store: Store, command: dict[str, Any], keys: Keys | None = None) -> None:
    """Leave a request for whoever runs its case, in the transaction that the next commit ends."""
    posted = covered(store.database.rows, _without_token(store.database, command), keys)
    store.run(
        "INSERT INTO provenet_request (at, case_id, command, status, worker) VALUES (?, ?, ?, 'new', 0)",
        (to_micros(datetime.now(UTC)), command["case"], clean(plain(posted))),
    )


@dataclass(frozen=True, slots=True)
class Answered:
    """A request that was carried out, or refused.

    Attributes:
        text: The answer, as JSON text.
        command: What stays of the request: without what it was allowed by.
        case: Id of its case; empty where it is about none.
    """

    text: str
    command: str
    case: str = ""


async def answer_to(
    do: Callable[[dict[str, Any]], Awaitable[dict[str, Any]]],
    number: int,
    text: str,
    seal: Callable[[str], Seal] = locked,
) -> Answered:
    """Carry out a request that somebody left, whatever they wrote there."""
    kept, case = text, ""
    try:
        command = _read(text)
        stays = what_stays(command)
        command = uncovered(command, seal)
        about, sealed = digest(command), command.pop("sealed", None)
        del command["token"]
        kept = plain({name: stays[name] for name in command})
        case = str(command.get("case") or command.get("target") or "")
        if command.get("do") == "signal" and not command.get("key"):
            # Should this process die before it answers, the repeated request is a duplicate.
            command["key"] = f"request {number}"
        answer = await do(command | {"token": Posted(sealed, about, number)})
    except ProvenetError as error:
        answer = {"error": error.message, "code": error.code, "where": error.where, "hint": error.hint}
    return Answered(clean(plain(answer)), clean(kept), case)


def finish(store: Store, number: int, found: Answered) -> None:
    """Leave the answer, for the next commit."""
    store.run(
        "UPDATE provenet_request SET status = 'done', answer = ?, command = ? WHERE id = ?",
        (found.text, found.command, number),
    )


class Requests:
    """An engine's side.

    Args:
        engine: Who carries them out.
        store: Its database.
    """

    def __init__(self, engine: Engine, store: Store) -> None:
        self._engine, self._store = engine, store
        if store.database.shared == "no":
            # Taken by a process that died before it answered: each of them may be repeated.
            store.database.run("UPDATE provenet_request SET status = 'new' WHERE status = 'taken'")

    async def answer_new(self) -> None:
        """Carry out what waits for this engine, and answer it."""
        if not self._store.rows("SELECT 1 FROM provenet_request WHERE status = 'new' LIMIT 1"):
            return
        for number, text in self._store.database.take_requests():
            carry = partial(carry_out, self._engine)
            finish(self._store, number, await answer_to(carry, number, text, self._engine.seal))
            await self._store.durable()


_TEXTS = {
    "about_hash", "at", "case", "choice", "covered", "do", "effect", "event", "failed", "key", "reason",
    "scope", "target", "task", "to", "who",
}  # fmt: skip
_DEEPEST = 64
_LONGEST_TEXT = 10_000


def _read(text: str) -> dict[str, Any]:
    """A request as somebody wrote it, who may have written anything; a token in clear counts for nothing.

    Raises:
        EngineError: It is none.
    """
    try:
        command = json.loads(text)
    except (ValueError, RecursionError):
        command = None
    if not isinstance(command, dict) or not all(
        command.get(name) is None or isinstance(command[name], str) for name in _TEXTS
    ):
        raise EngineError(
            f"this is no request, or one of more than {LONGEST_REQUEST:,} characters",
            hint="both sides must be the same Provenet release",
        )
    for name in _TEXTS:
        if len(command.get(name) or "") > _LONGEST_TEXT:
            raise EngineError(f"the request's {name!r} has more than {_LONGEST_TEXT:,} characters")
    layer: list[Any] = [command]
    for _ in range(_DEEPEST):
        layer = [v for held in layer for v in (held.values() if isinstance(held, dict) else held)]
        layer = [v for v in layer if isinstance(v, dict | list)]
    if layer:
        raise EngineError("the request is nested too deeply", hint=f"it may be {_DEEPEST} levels deep")
    found: dict[str, Any] = _writable(command)
    found |= {name: clean(found[name]) for name in _TEXTS if found.get(name) is not None}
    return found | {"token": None}


def _writable(data: Any) -> Any:
    """JSON data without half characters, which no database takes: its escapes let them in."""
    if isinstance(data, str):
        return data if data.isascii() else data.encode("utf-8", "replace").decode()
    if isinstance(data, dict):
        return {_writable(name): _writable(part) for name, part in data.items()}
    return [_writable(part) for part in data] if isinstance(data, list) else data


async def _alone(
    source: str | Path, command: dict[str, Any], agents: list[Agent], access: Rules | None
) -> dict[str, Any]:
    from provenet.engine.engine import Engine

    reader = Reader(source)
    rules = rules_there(reader, access, command)
    given = {content_hash(a.net): a for a in agents}
    # What erases data needs no case, and so no key that would open one.
    hashes = () if command.get("do") == "erase" else (str(n["hash"]) for n in reader.nets())
    for found in hashes:
        net = reader.net(found)
        if found not in given and net is not None:
            given[found] = _still(net)
    # The time stands still: nothing may ring meanwhile. The engine moves a virtual clock to the last event.
    clock = VirtualClock(EPOCH if reader.clock() == "virtual" else datetime.now(UTC))
    async with Engine.open(
        source, agents=list(given.values()), clock=clock, takes="asked", access=rules
    ) as engine:
        try:
            answer = await carry_out(engine, command)
        except NotSettled as error:
            if not agents:
                error.hint = "add --agent TARGET: its code says what may not be called twice"
            raise
    if command.get("do") == "erase":
        return answer
    if command.get("scope") in {"net", "all"} and engine.is_shared():
        if command["do"] == "kill":
            answer["done"] = "the kill switch is on"  # who it reaches is known to those who run cases
        return answer | {"note": "the processes that run on this database see it within a second"}
    if answer.get("published", {}).get("asked"):
        return answer  # an engine runs them, and takes it at once
    if answer.get("cases") and answer["cases"] == answer.get("stopped"):
        return answer  # nothing follows
    return answer | {"note": "no engine runs this case now: what follows happens as soon as one does"}


class _Never:
    """Stands for a proposer while no agent is at hand: it is asked, and says nothing."""

    async def propose(self, request: object) -> Any:
        """Wait until the engine is closed."""
        del request
        await asyncio.Event().wait()


async def _nothing(request: object) -> None:
    del request
    await asyncio.Event().wait()


def _still(net: Net) -> Agent:
    """An agent for a net that does nothing by itself: what it should do waits until its real agent runs."""
    handlers: dict[str, object] = {}
    for t in net.transitions:
        match t.trigger:
            case Ask(handler=name):
                handlers[name] = _Never()
            case Perform(handler=name, external=True):
                of = net.scope(t)
                receipt = next((of[f.var] for f in t.fresh), UNIT)
                handlers[name] = Effect(name, _nothing, UNIT, receipt)
            case Judge() | Perform():
                raise EngineError(
                    f"net {net.name!r} runs code of its own inside the transaction ({t.name!r})",
                    hint="name its agent: add --agent TARGET",
                )
    return Agent(net, handlers)


def post(
    source: str | Path, command: dict[str, Any], told: Callable[[int], object] = lambda _: None
) -> dict[str, Any]:
    """Leave a request for whoever runs cases there, and wait for the answer.

    Args:
        source: The database's name.
        command: What to do; see ``carry_out``.
        told: Given the request's number once it is durable, for somebody who can be told of it.

    Raises:
        EngineError: It is refused, or nobody answers.
    """
    with open_to_post(located(source)) as database:
        number = _left(database, covered(database.rows, _without_token(database, command)))
        told(number)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            found = database.rows(
                "SELECT answer FROM provenet_request WHERE id = ? AND status = 'done'", (number,)
            )
            if found:
                answer: dict[str, Any] = json.loads(found[0][0])
                if "error" not in answer:
                    return answer
                refused = EngineError(answer["error"], where=answer["where"], hint=answer["hint"])
                refused.code = answer["code"]
                raise refused
            time.sleep(0.05)
        withdrawn = 0
        with suppress(StoreDenied):
            withdrawn = database.run(
                "UPDATE provenet_request SET status = 'withdrawn' WHERE id = ? AND status = 'new'", (number,)
            )
    raise NotAnswered(
        "the process that runs on this database does not answer"
        + ("; the request is withdrawn" if withdrawn else "; the request may still be carried out"),
        where=str(located(source)),
        hint="see what that process is doing, or stop it: its cases resume with the next `provenet run`",
    )


def _without_token(database: Posting, command: dict[str, Any]) -> dict[str, Any]:
    """A command with its token sealed for the engines that run there; none is left in clear."""
    token, rest = command.get("token"), {k: v for k, v in command.items() if k != "token"}
    if not token:
        return rest
    facts: dict[str, str] = dict(
        database.rows("SELECT name, value FROM provenet_meta WHERE name = 'uid' OR name LIKE 'seal:%'")
    )
    uid = facts.pop("uid")
    return rest if not facts else rest | {"sealed": sealed(token, digest(rest), uid, facts.values())}


def _left(database: Posting, command: dict[str, Any]) -> int:
    """The number of a request that was left."""
    at = to_micros(datetime.now(UTC))
    return int(
        database.rows(
            "INSERT INTO provenet_request (at, case_id, command, status, worker) VALUES (?, ?, ?, 'new', 0)"
            " RETURNING id",
            (at, clean(_case_of(command)), clean(plain(command))),
        )[0][0]
    )


def _case_of(command: dict[str, Any]) -> str:
    """Id of the case that a command is about; empty where it is about more than one."""
    return command.get("case") or (command.get("target") if command.get("scope") == "case" else "") or ""
