"""Talking to the engine that runs on a database, or acting in its place where none runs.

One process runs cases on a database. Where `provenet run` does, a command leaves its request in a table
beside the engine's and waits for the answer; the running engine looks there a few times a second. Where
nobody runs, the command opens the database itself, does its one thing durably, and closes it: what follows
from it is done by the next `provenet run`.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provenet.cli.printing import Failed, Unusable
from provenet.nets.errors import ProvenetError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from provenet.engine import Engine
    from provenet.engine.clock import VirtualClock
    from provenet.sdb.handlers import Agent

PATIENCE = 15.0
"""Seconds that a command waits for the running engine."""

_POLL = 0.2
_CREATE = (
    "CREATE TABLE IF NOT EXISTS provenet_request"
    " (id INTEGER PRIMARY KEY, at TEXT, command TEXT, status TEXT, answer TEXT)"
)


def ask(database: Path, command: dict[str, Any], agents: Iterable[Agent] = ()) -> dict[str, Any]:
    """Have a command carried out on a database, by whoever may write to it.

    Args:
        database: The database.
        command: What to do; see ``carry_out``.
        agents: The agents, where the user named their target; else nothing but the command is done.

    Raises:
        EngineError: It is refused.
        Unusable: There is no such database, or the net needs its agent.
    """
    from provenet.engine.errors import StoreLocked

    if not database.is_file():
        raise Unusable(
            "there is no such database", where=str(database), hint="`provenet run TARGET --db FILE` makes one"
        )
    try:
        return asyncio.run(_alone(database, command, list(agents)))
    except StoreLocked:
        return _post(database, command)


async def carry_out(engine: Engine, command: dict[str, Any]) -> dict[str, Any]:
    """Do one command on an engine.

    Raises:
        EngineError: It is refused.
    """
    match command:
        case {"do": "decide", "case": case, "task": task, "choice": choice, "who": who}:
            about = command.get("about_hash")
            await engine.decide(case, task, choice, who, about_hash=about, note=command.get("note"))
            return {"done": f"{choice}: {task!r} of case {case}, decided by {who}"}
        case {"do": "signal", "case": case, "event": event}:
            await engine.signal(case, event, command.get("payload"), key=command.get("key"))
            return {"done": f"case {case} has taken {event!r}"}
        case {"do": "kill", "scope": scope, "target": target}:
            who, reason = command.get("who", ""), command.get("reason", "")
            count = await engine.kill(scope, target, who=who, reason=reason)
            return {"done": f"killed: {count:,} case{'' if count == 1 else 's'}", "cases": count}
        case {"do": "release", "scope": scope, "target": target}:
            await engine.release(scope, target)
            return {"done": f"released: {target or 'everything'}"}
        case {"do": "resume", "case": case}:
            await engine.resume(case)
            return {"done": f"case {case} goes on"}
    raise Unusable(
        f"there is no request {command.get('do')!r}", hint="both sides must be the same Provenet release"
    )


async def serve_requests(engine: Engine, database: Path) -> None:
    """Answer the requests of other processes until cancelled."""
    await asyncio.to_thread(_prepare_to_serve, database)
    while True:
        for number, command in await asyncio.to_thread(_take, database):
            try:
                if command.get("do") == "signal" and not command.get("key"):
                    # Should this process die before it answers, the repeated request is a duplicate.
                    command["key"] = f"request {number}"
                answer = await carry_out(engine, command)
            except ProvenetError as error:
                answer = {
                    "error": error.message,
                    "code": error.code,
                    "where": error.where,
                    "hint": error.hint,
                }
            await asyncio.to_thread(_answer, database, number, answer)
        await asyncio.sleep(_POLL)


def remember_clock(database: Path, kind: str) -> None:
    """Keep in the database by which clock its cases run, for commands that act on it later."""
    with closing(_connect(database)) as db:
        db.execute(
            "INSERT INTO provenet_meta (name, value) VALUES ('clock', ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (kind,),
        )


def clock_of(database: Path) -> str:
    """``virtual`` or ``real``."""
    if not database.is_file():
        return "real"
    try:
        with closing(_connect(database)) as db:
            row = db.execute("SELECT value FROM provenet_meta WHERE name = 'clock'").fetchone()
    except sqlite3.Error:
        return "real"  # the engine says better what is wrong with it
    return str(row[0]) if row else "real"


async def _alone(database: Path, command: dict[str, Any], agents: list[Agent]) -> dict[str, Any]:
    from provenet.engine import Engine, Reader
    from provenet.nets.formats.canonical import content_hash

    reader = Reader(database)
    given = {content_hash(a.net): a for a in agents}
    known = [str(n["hash"]) for n in reader.nets()]
    for found in known:
        net = reader.net(found)
        if found not in given and net is not None:
            given[found] = _still(net)
    async with Engine.open(database, agents=list(given.values()), clock=_clock(database)) as engine:
        answer = await carry_out(engine, command)
    return answer | {
        "note": "no engine runs on this database: what follows happens with the next `provenet run`"
    }


def _clock(database: Path) -> VirtualClock:
    """The time, standing still: nothing may ring meanwhile. The engine moves it to the last event."""
    from provenet.engine.clock import EPOCH, VirtualClock

    return VirtualClock(EPOCH if clock_of(database) == "virtual" else datetime.now(UTC))


class _Never:
    """Stands for a proposer while no agent is at hand: it is asked, and says nothing."""

    async def propose(self, request: object) -> Any:
        """Wait until the engine is closed."""
        del request
        await asyncio.Event().wait()


async def _nothing(request: object) -> None:
    del request
    await asyncio.Event().wait()


def _still(net: Any) -> Agent:
    """An agent for a net that does nothing by itself: what it should do waits until its real agent runs."""
    from provenet.nets.net import Ask, Judge, Perform
    from provenet.nets.schema import UNIT
    from provenet.sdb.handlers import Agent, Effect

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
                raise Unusable(
                    f"net {net.name!r} runs code of its own inside the transaction ({t.name!r})",
                    hint="name its agent: add --agent TARGET",
                )
    return Agent(net, handlers)


def _post(database: Path, command: dict[str, Any]) -> dict[str, Any]:
    """Leave a request for the running engine and wait for its answer."""
    _prepare(database)
    with closing(_connect(database)) as db:
        now = datetime.now(UTC).isoformat()
        number = db.execute(
            "INSERT INTO provenet_request (at, command, status) VALUES (?, ?, 'new')",
            (now, json.dumps(command)),
        ).lastrowid
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            row = db.execute(
                "SELECT answer FROM provenet_request WHERE id = ? AND status = 'done'", (number,)
            ).fetchone()
            if row is not None:
                answer: dict[str, Any] = json.loads(row[0])
                if "error" in answer:
                    raise Failed(
                        answer["error"], where=answer["where"], hint=answer["hint"], code=answer["code"]
                    )
                return answer
            time.sleep(0.05)
        withdrawn = db.execute(
            "UPDATE provenet_request SET status = 'withdrawn' WHERE id = ? AND status = 'new'", (number,)
        ).rowcount
    raise Failed(
        "the process that runs on this database does not answer"
        + ("; the request is withdrawn" if withdrawn else "; the request may still be carried out"),
        where=str(database),
        hint="only `provenet run` takes requests from other processes; stop the other program first",
    )


def _prepare(database: Path) -> None:
    with closing(_connect(database)) as db:
        db.execute(_CREATE)


def _prepare_to_serve(database: Path) -> None:
    _prepare(database)
    with closing(_connect(database)) as db:
        # Taken by a process that died before it answered: each of them may be repeated.
        db.execute("UPDATE provenet_request SET status = 'new' WHERE status = 'taken'")


def _take(database: Path) -> list[tuple[int, dict[str, Any]]]:
    with closing(_connect(database)) as db:
        if db.execute("SELECT 1 FROM provenet_request WHERE status = 'new' LIMIT 1").fetchone() is None:
            return []
        rows = db.execute(
            "UPDATE provenet_request SET status = 'taken' WHERE status = 'new' RETURNING id, command"
        ).fetchall()
    return [(number, json.loads(command)) for number, command in sorted(rows)]


def _answer(database: Path, number: int, answer: dict[str, Any]) -> None:
    with closing(_connect(database)) as db:
        db.execute(
            "UPDATE provenet_request SET status = 'done', answer = ? WHERE id = ?",
            (json.dumps(answer), number),
        )


def _connect(database: Path) -> sqlite3.Connection:
    return sqlite3.connect(database, timeout=10, isolation_level=None)
