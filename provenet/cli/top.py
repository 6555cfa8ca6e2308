"""`provenet top`: how a database's cases are doing, live."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from provenet.cli.printing import JsonFlag, Out, counted
from provenet.cli.reading import Database, duration_text, reader_of

if TYPE_CHECKING:
    from provenet.engine.watching.standing import Standing


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("top")(top_command)


def top_command(
    *,
    database: Database,
    once: Annotated[bool, typer.Option("--once", help="Look once and stop.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two looks.")] = 1.0,
    as_json: JsonFlag = False,
) -> None:
    """Watch how cases are doing, until Ctrl-C.

    Statuses, rates, the oldest decision that waits, stuck cases, spending, and kill switches. It only reads,
    and works beside any number of processes that run cases. Without a terminal, and with --json, it looks
    once.
    """
    from provenet.engine.watching.standing import standing

    out = Out(as_json=as_json)
    reader = reader_of(database)
    now = standing(reader)
    if as_json:
        out.data(now.to_json())
        return
    if once or out.plain:
        for text, style in _lines(now):
            out.line(text, style)
        return
    from rich.live import Live
    from rich.text import Text

    def picture(found: Standing) -> Text:
        lines = [Text(text, style=style) for text, style in _lines(found)]
        return Text("\n").join([*lines, Text("Ctrl-C stops", style="dim")])

    with contextlib.suppress(KeyboardInterrupt), Live(picture(now), console=out.console, screen=True) as live:
        while True:
            time.sleep(every)
            live.update(picture(standing(reader)), refresh=True)


def _lines(now: Standing) -> Iterator[tuple[str, str]]:
    """The picture: one line each, with its style."""
    total = sum(now.statuses.values())
    said = ", ".join(f"{n:,} {s}" for s, n in sorted(now.statuses.items()) if n)
    virtual = "   (virtual clock)" if now.clock == "virtual" else ""
    yield f"{counted(total, 'case')}: {said or 'none'}   {_second(now.at)}{virtual}", "bold"
    rates = f"{now.ended_per_minute:,} ended/min   {now.started_per_minute:,} started/min"
    yield f"  {now.firings_per_second:,.1f} firings/s   {rates}", ""
    for net, count in now.nets.items():
        yield f"  net {shown(net)}: {count:,} unfinished", ""
        for version, some in now.earlier.get(net, {}).items():
            yield f"      {some:,} of them on an earlier version, {shown(version[:8])}", "yellow"
    if now.workers:
        yield f"  {counted(len(now.workers), 'worker')}: {shown(', '.join(now.workers), 160)}", "dim"
    if now.next_timer is not None:
        yield f"  next timer: {_second(now.next_timer)}", "dim"
    for switch in now.switches:
        what = f"net {shown(switch.target)}" if switch.scope == "net" else "everything"
        who = f" by {shown(switch.who)}" if switch.who else ""
        why = f": {shown(switch.reason)}" if switch.reason else ""
        yield f"  KILLED {what} since {_second(switch.since)}{who}{why}", "bold red"
    if now.oldest is not None:
        oldest = now.oldest
        until = f", until {_second(oldest.deadline)}" if oldest.deadline else ""
        role = f" ({shown(oldest.role)})" if oldest.role else ""
        waits = duration_text(timedelta(seconds=oldest.seconds))
        yield f"  {counted(now.open_tasks, 'decision')} open; the oldest waits {waits}:", "yellow"
        yield f'      {shown(oldest.case)}  "{shown(oldest.task)}"{role}{until}', "yellow"
    for stuck in now.stuck:
        cases = f"{counted(stuck.cases, 'case')} {shown(stuck.status)}"
        yield f"  {cases}, {shown(stuck.example)} for one:", "red"
        yield f"      {shown(stuck.reason, 160)}", "red"
    for spent in now.spent:
        what = f"{counted(spent.proposals, 'proposal')} of {shown(spent.model) or 'plain code'}"
        tokens = f"{spent.tokens_in:,} tokens in, {spent.tokens_out:,} out"
        yield f"  spent ${spent.cost_usd:,.4f} on {what}: {tokens}", ""


def _second(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def shown(text: str, most: int = 80) -> str:
    """A text from a database for a terminal: one line, cut, and nothing in it that a terminal obeys."""
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: 2 * most])
    return plain if len(plain) <= most else plain[: most - 1] + "…"
