"""`provenet cases`, `case`, `log`, `tasks` and `audit`: reading, also while an engine runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, get_args

import typer

from provenet.cli.printing import ExitCode, JsonFlag, Out, Unusable, counted, progress, short_value, stop

if TYPE_CHECKING:
    from provenet.engine import CaseDetail, CaseView, LogLine, Reader, TaskView
    from provenet.nets.net import Net

Database = Annotated[
    str,
    typer.Option(
        "--db", envvar="PROVENET_DB", help="The database, as `provenet run --db` made it.", show_default=False
    ),
]
CaseId = Annotated[str, typer.Argument(metavar="CASE", help="Id of the case.", show_default=False)]
Personal = Annotated[
    bool, typer.Option("--personal", help="Show personal data; PROVENET_KEYS_FILE names the master keys.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("cases")(cases_command)
    app.command("case")(case_command)
    app.command("log")(log_command)
    app.command("tasks")(tasks_command)
    app.command("audit")(audit_command)


def cases_command(
    *,
    database: Database,
    status: Annotated[
        str | None, typer.Option(help="Only those: running, waiting, done, parked, killed, failed.")
    ] = None,
    net: Annotated[str | None, typer.Option(help="Only those of this net, by name or hash.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    personal: Personal = False,
    as_json: JsonFlag = False,
) -> None:
    """List cases."""
    out = Out(as_json=as_json)
    from provenet.engine.case import Status
    from provenet.nets.errors import did_you_mean

    if status is not None and status not in get_args(Status):
        hint = did_you_mean(status, get_args(Status))
        raise Unusable(f"there is no status {status!r}", where="--status", hint=hint)
    reader = reader_of(database, personal=personal)
    if net is not None:
        known_net(reader, net)
    found = reader.cases(status=status, net=net, limit=limit)
    counts = reader.counts()
    out.rows(
        [(c.id, c.status, str(c.firings), _day(c.created), _ended(c)) for c in found],
        head=("case", "status", "log", "started", "outcome"),
    )
    total = sum(counts.values())
    said = ", ".join(f"{n:,} {s}" for s, n in sorted(counts.items()))
    shown = "" if len(found) == total else f"   ({len(found)} shown)"
    out.line(f"{counted(total, 'case')}: {said}{shown}" if total else "no cases", "bold")
    for w in reader.waiting():
        out.line(f"  event {w['event']} waits for a case about {w['about']}, since {w['at']}", "yellow")
    out.data({"counts": counts, "cases": [c.to_json() for c in found]})


def case_command(
    *,
    case: CaseId,
    database: Database,
    at: Annotated[
        int | None, typer.Option("--at", metavar="N", help="As it was after entry N of its log.")
    ] = None,
    personal: Personal = False,
    as_json: JsonFlag = False,
) -> None:
    """Show where a case stands and what happened.

    With --at N: marking, tasks and timers as they were, replayed from the log by the firing rule.
    """
    from provenet.engine.outside import left_undone, not_undone

    out = Out(as_json=as_json)
    reader = reader_of(database, personal=personal)
    if at is not None:
        _moment(out, reader, case, at)
        return
    detail = reader.case(case)
    view = detail.case
    out.line(f"{view.id}   {_stands(detail)}", "bold")
    out.line(f"  net {view.net} {view.net_hash[:8]}, started {_day(view.created)}", "dim")
    _log(out, detail.log, view.created)
    open_tasks = [t for t in detail.tasks if t.status == "open"]
    for t in open_tasks:
        out.line(f"  waits for a person: {_task_line(t)}")
    for transition, due in detail.timers:
        out.line(f"  timer: {transition} at {due:%Y-%m-%d %H:%M}", "dim")
    if events := _events(reader.net(view.net_hash), detail):
        out.line(f"  takes events: {', '.join(events)}", "dim")
    if view.outcome_place is None:
        for place, tokens in detail.marking.items():
            for token in tokens:
                out.line(
                    f"  token: {place} {short_value(token) if token is not None else ''}".rstrip(), "dim"
                )
        net = reader.net(view.net_hash)
        if view.status == "killed" and net is not None and (left := not_undone(net, detail.marking)):
            out.line(f"  {left_undone(left)}", "yellow")
    for e in detail.inbox:
        if e["status"] != "accepted":
            said = (
                f"kept until {e['until'] or 'its case is over'}" if e["status"] == "buffered" else e["status"]
            )
            why = e["reason"].removeprefix(f"event {e['event']!r} is refused: ")
            out.line(f"  event {e['event']}: {said}, {why}", "yellow")
    out.data(detail.to_json())


def log_command(
    *, case: CaseId, database: Database, personal: Personal = False, as_json: JsonFlag = False
) -> None:
    """Show a case's log with its hashes."""
    out = Out(as_json=as_json)
    lines = reader_of(database, personal=personal).log(case)
    out.rows(
        [
            (str(x.seq), f"{x.at:%Y-%m-%d %H:%M:%S}", x.transition or x.kind, x.text, x.hash[:12])
            for x in lines
        ],
        head=("", "at", "fired", "what happened", "hash"),
    )
    out.data([x.to_json() for x in lines])


def tasks_command(
    *,
    database: Database,
    role: Annotated[str | None, typer.Option(help="Only those for this role.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those decided, expired and withdrawn too.")] = False,
    personal: Personal = False,
    as_json: JsonFlag = False,
) -> None:
    """List what people are asked to decide."""
    out = Out(as_json=as_json)
    found = reader_of(database, personal=personal).tasks(status=None if every else "open", role=role)
    for t in found:
        out.line(f"  {t.case}  {_task_line(t)}", "" if t.status == "open" else "dim")
        out.line(f"      about {short_value(t.about, 160)}   {t.about_hash[:12]}", "dim")
    out.line(f"{counted(len(found), 'task')}" if found else "no tasks", "bold")
    if any(t.status == "open" for t in found):
        out.line("Decide: provenet approve CASE --as NAME@ROLE --db FILE   (or reject)", "dim")
    out.data([t.to_json() for t in found])


def audit_command(
    *,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Logs that `provenet prune --export` wrote, in its place."),
    ] = None,
    database: Annotated[
        str | None, typer.Option("--db", envvar="PROVENET_DB", help="The database.", show_default=False)
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Each log from its latest snapshot on, which is believed.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Replay every log and compare.

    Every log is replayed through the firing rule, its hash chain recomputed, and what it leads to compared
    with everything that the database says. With files: their chains are recomputed, and with --db held
    against the archive there, and replayed.
    """
    from provenet.engine import audit

    out = Out(as_json=as_json)
    if files:
        _audit_files(out, files, database)
    if database is None:
        raise Unusable("there is nothing to audit", where="--db", hint="name a database, or files of logs")
    with progress("auditing", quiet=as_json) as shown:

        def tell(done: int, total: int) -> None:
            if shown is not None:
                shown.update(
                    shown.task_ids[0], completed=done, total=total, note=f"{done:,} of {total:,} cases"
                )

        found = audit(database, progress=tell, fast="yes" if fast else "no")
    show_audit(out, found)
    out.data(found.to_json())
    stop(ExitCode.DONE if found.clean else ExitCode.FAILED)


def show_audit(out: Out, found: Any) -> None:
    """An audit's result for people."""
    for problem in found.problems[:50]:
        out.line(f"  {problem}", "red")
    if len(found.problems) > 50:
        out.line(f"  … and {len(found.problems) - 50:,} more", "red")
    said = "clean" if found.clean else counted(len(found.problems), "problem")
    rest = f" ({found.partial:,} from a snapshot on)" if found.partial else ""
    gone = f", {found.archived:,} archived" if found.archived else ""
    out.line(
        f"audit {said}: {counted(found.cases, 'case')}{rest}{gone}, {found.events:,} log entries replayed, "
        f"{counted(found.effects, 'effect')}, {counted(found.nets, 'net version')}, in {found.seconds:.1f} s",
        "bold green" if found.clean else "bold red",
    )
    if found.erased and not found.followed:
        out.line(f"  personal data are erased in {counted(found.erased, 'case')}", "dim")
    if found.followed:
        whose = f"erased in {counted(found.erased, 'case')}" if found.erased else "closed without master keys"
        entries = "1 entry" if found.followed == 1 else f"{found.followed:,} entries"
        out.line(f"  {entries} followed, not fired again: they depend on personal data, {whose}", "dim")


def _audit_files(out: Out, files: Sequence[Path], database: str | None) -> NoReturn:
    from provenet.engine.exports import check_export

    found = [check_export(path, database) for path in files]
    for each in found:
        for problem in each.problems:
            out.line(f"  {each.path}: {problem}", "red")
        if each.clean:
            held = (
                f", as the archive has it ({each.archived})" if each.archived else ", held against no archive"
            )
            out.line(f"  {each.path}: case {each.case}, entries {each.first} to {each.last}{held}", "dim")
    bad = sum(not each.clean for each in found)
    said = "clean" if not bad else f"{bad:,} not clean"
    out.line(f"audit {said}: {counted(len(found), 'file')}", "bold red" if bad else "bold green")
    out.data([each.to_json() for each in found])
    stop(ExitCode.FAILED if bad else ExitCode.DONE)


def reader_of(database: str, *, personal: bool = False) -> Reader:
    """The read side of a database; ``personal`` to show personal data, with the master keys at hand."""
    from provenet.engine.reader import Reader

    return Reader(database, personal="shown" if personal else "hidden")


def known_net(reader: Reader, net: str, *, by: Literal["name", "name or hash"] = "name or hash") -> None:
    """Make sure that a net was deployed to a database.

    Raises:
        Unusable: None of that name was.
    """
    from provenet.nets.errors import did_you_mean

    nets = reader.nets()
    names = {str(n["name"]) for n in nets}
    hashes = {str(n["hash"]) for n in nets} if by == "name or hash" and net else set()
    if net not in names and not any(h.startswith(net) for h in hashes):
        raise Unusable(f"there is no net {net!r} in it", where="--net", hint=did_you_mean(net, names))


def duration_text(span: timedelta) -> str:
    """A time span for people: ``6 days``, ``3 hours``."""
    seconds = abs(span.total_seconds())
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return counted(int(seconds // size), unit)
    return counted(int(seconds), "second")


def _moment(out: Out, reader: Reader, case: str, at: int) -> None:
    """A case as it was."""
    found = reader.case_at(case, at)
    said = found.status + (f": {found.reason}" if found.reason else "")
    line = next(x for x in reader.log(case) if x.seq == at)
    out.line(f"{found.case} after entry {found.seq} of {found.entries}   {said}", "bold")
    out.line(f"  net {found.net[:8]}, {_day(found.at)}: {line.text}", "dim")
    for task in found.tasks:
        who = f" ({task['role']})" if task["role"] else ""
        out.line(f'  waits for a person: "{task["task"]}"{who}, {" or ".join(task["choices"])}')
        out.line(f"      about {short_value(task['about'], 160)}   {task['about_hash'][:12]}", "dim")
    for name, _, due in found.timers:
        out.line(f"  timer: {name} at {due:%Y-%m-%d %H:%M}", "dim")
    for name, _, kind in found.work:
        out.line(f"  {'asks' if kind == 'ask' else 'performs'}: {name}", "dim")
    for place, tokens in found.marking.items():
        for number, value, _ in tokens:
            shown = short_value(value) if value is not None else ""
            out.line(f"  token {number}: {place} {shown}".rstrip(), "dim")
    out.data(found.to_json())


def _events(net: Net | None, detail: CaseDetail) -> list[str]:
    """Events that some token of a case waits for; guards may still refuse them."""
    from provenet.nets.net import Signal
    from provenet.sdb.saga import KILL_SIGNAL

    if net is None or detail.case.status not in {"running", "waiting"}:
        return []
    marked = {place for place, tokens in detail.marking.items() if tokens}
    found = {
        t.trigger.event
        for t in net.transitions
        if isinstance(t.trigger, Signal)
        and {*(a.place for a in t.takes), *(a.place for a in t.reads)} <= marked
    }
    return sorted(found - {KILL_SIGNAL})


def _stands(detail: CaseDetail) -> str:
    view = detail.case
    open_tasks = [t for t in detail.tasks if t.status == "open"]
    if view.status in {"done", "killed"} and view.outcome_place:
        return f"{view.status}: {_ended(view)}"
    if view.reason and view.reason != view.status:
        return f"{view.status}: {view.reason}"
    if open_tasks:
        return f"waiting for a person: {_task_line(open_tasks[0])}"
    return view.status


def _log(out: Out, lines: tuple[LogLine, ...], start: datetime) -> None:
    rows = []
    last = ""
    for x in lines:
        day = f"day {(x.at - start).days}"
        rows.append((day if day != last else "", str(x.seq), x.text))
        last = day
    out.rows(rows)


def _task_line(t: TaskView) -> str:
    who = f" ({t.role})" if t.role else ""
    if t.status != "open":
        return f'"{t.task}"{who}: {t.choice or t.status}' + (f" by {t.who}" if t.who else "")
    until = f", until {t.deadline:%Y-%m-%d %H:%M} UTC" if t.deadline else ""
    if t.fallback_from is not None:
        until += f", {t.fallback} too from {t.fallback_from:%Y-%m-%d %H:%M} UTC"
    if t.eyes > 1:
        until += (
            f", {len(t.approved)} of {t.eyes} approved{': ' if t.approved else ''}{', '.join(t.approved)}"
        )
    until += "".join(f", {by} lets {to} decide" for by, to in t.delegated.items())
    return f'"{t.task}"{who}, {" or ".join(t.choices)}{until}'


def _ended(c: CaseView) -> str:
    if c.outcome_place:
        return f"{c.outcome_place} {short_value(c.outcome, 90) if c.outcome is not None else ''}".rstrip()
    return c.reason or ""


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M}"
