"""`provenet deploy` and `provenet run`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.loading import Loaded, Target, load
from provenet.cli.printing import ExitCode, JsonFlag, Out, Unusable, counted, progress, stop

if TYPE_CHECKING:
    from provenet.cli.inputs import Inputs
    from provenet.engine import Engine
    from provenet.engine import Progress as Stand
    from provenet.verify.verdict import Report

Database = Annotated[
    Path,
    typer.Option(
        "--db", envvar="PROVENET_DB", help="The database; made where there is none.", show_default=False
    ),
]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds for each property to prove.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("deploy")(deploy_command)
    app.command("run")(run_command)


def deploy_command(
    *, target: Target, database: Database, timeout: Timeout = 60.0, as_json: JsonFlag = False
) -> None:
    """Prove a net and let it start cases."""
    out = Out(as_json=as_json)
    from provenet.cli.proving import checked

    loaded = load(target)
    report = checked(loaded, timeout=timeout, quiet=as_json)
    found = asyncio.run(_deploy_alone(loaded, database, report))
    proved = f"{len(report.verdicts)} verdicts proved for this hash"
    out.line(f"deployed {loaded.net.name} {found[:8]} to {database} ({proved})", "bold green")
    out.data({"net": loaded.net.name, "net_hash": found, "database": str(database)})


def run_command(
    *,
    target: Target,
    database: Database,
    inputs: Annotated[
        Path | None, typer.Option("--input", help="Cases to start: a .csv or .jsonl file.")
    ] = None,
    id_column: Annotated[str | None, typer.Option("--id", help="Column with the case id.")] = None,
    skip_broken: Annotated[
        bool, typer.Option("--skip-broken", help="Start the other rows where some are broken.")
    ] = False,
    clock: Annotated[
        str, typer.Option(help="real, or virtual: jump over all waiting, people's deadlines included.")
    ] = "real",
    days: Annotated[
        float | None, typer.Option(min=0, help="On the virtual clock: at most so many days.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Go on until stopped, for timers, people and events.")
    ] = False,
    timeout: Timeout = 60.0,
    as_json: JsonFlag = False,
) -> None:
    """Start cases and run until all is idle.

    The net is proved and deployed where it was not; unfinished cases of the database resume.
    """
    out = Out(as_json=as_json)
    if clock not in {"real", "virtual"}:
        raise Unusable(f"there is no clock {clock!r}", where="--clock", hint="there are: real, virtual")
    if clock == "virtual" and serve:
        raise Unusable(
            "a virtual clock waits for nobody", where="--serve", hint="leave out --serve or --clock virtual"
        )
    if clock == "real" and days is not None:
        raise Unusable("--days goes with --clock virtual", where="--days", hint="add --clock virtual")
    from provenet.cli.proving import checked

    loaded = load(target)
    found = None if inputs is None else _read(loaded, inputs, id_column, skip_broken=skip_broken)
    report = (
        checked(loaded, timeout=timeout, quiet=as_json) if _needs_report(loaded, database, clock) else None
    )
    job = _Job(
        out=out,
        loaded=loaded,
        database=database,
        inputs=found,
        clock=clock,
        days=days,
        serve=serve,
        report=report,
    )
    last = asyncio.run(_run(job))
    stuck = sum(last.statuses.get(s, 0) for s in ("parked", "failed"))
    out.line(_line(last), "bold")
    if last.statuses.get("waiting"):
        out.line(
            "  some wait: `provenet tasks` lists decisions; run again to go on, or add --serve",
            "dim",
        )
    if stuck:
        out.line("  some are stuck: `provenet cases --status parked` says why", "yellow")
    out.data(
        {
            "net": loaded.net.name,
            "statuses": dict(last.statuses),
            "firings": last.firings,
            "seconds": round(last.seconds, 3),
        }
    )
    stop(ExitCode.FAILED if stuck else ExitCode.DONE)


def _read(loaded: Loaded, path: Path, id_column: str | None, *, skip_broken: bool) -> Inputs:
    from provenet.cli.inputs import read_inputs

    found = read_inputs(loaded, path, id_column=id_column)
    if found.broken:
        shown = [f"{path}  {line}" for line in found.broken[:20]]
        if len(found.broken) > 20:
            shown.append(f"… and {len(found.broken) - 20:,} more")
        rows = counted(len(found.broken), "row")
        if not skip_broken:
            raise Unusable(
                f"{rows} of {len(found.broken) + len(found.cases):,} cannot be used; nothing was started\n"
                + "\n".join(shown),
                hint="mend the rows, or start the others with --skip-broken",
            )
        sys.stderr.write("\n".join([f"{rows} left out:", *shown]) + "\n")
    return found


async def _deploy_alone(loaded: Loaded, database: Path, report: Report) -> str:
    from provenet.engine import Engine, VirtualClock

    # Nothing may run: no agent is given to the engine before the net is deployed, and no time passes.
    async with Engine.open(database, clock=VirtualClock(datetime.now(UTC))) as engine:
        return engine.deploy(loaded.agent, report)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One `provenet run`."""

    out: Out
    loaded: Loaded
    database: Path
    inputs: Inputs | None
    clock: str
    days: float | None
    serve: bool
    report: Report | None


def _needs_report(loaded: Loaded, database: Path, clock: str) -> bool:
    """Whether a net has to be proved before it runs here; refuses another clock than the database has."""
    from provenet.cli.mailbox import clock_of
    from provenet.engine.views import Reader
    from provenet.nets.formats.canonical import content_hash

    if not database.exists():
        return True
    reader = Reader(database)
    if reader.counts() and clock_of(database) != clock:
        raise Unusable(
            f"the cases of this database run on the {clock_of(database)} clock",
            where=str(database),
            hint=f"add --clock {clock_of(database)}, or start a new database",
        )
    return content_hash(loaded.net) not in {n["hash"] for n in reader.nets()}


async def _run(job: _Job) -> Stand:
    from provenet.cli.mailbox import remember_clock, serve_requests
    from provenet.engine import Engine, RealClock, VirtualClock

    out, loaded = job.out, job.loaded
    start = datetime.now(UTC)
    time = VirtualClock(start) if job.clock == "virtual" else RealClock()
    async with Engine.open(job.database, agents=[loaded.agent], clock=time) as engine:
        if job.report is not None:
            found = engine.deploy(loaded.agent, job.report)
            proved = f"{len(job.report.verdicts)} verdicts proved for this hash"
            out.line(f"deployed {loaded.net.name} {found[:8]} ({proved})")
        remember_clock(job.database, job.clock)
        if job.inputs is not None:
            started = await engine.start_cases(loaded.net.name, job.inputs.cases, existing="skip")
            before = len(job.inputs.cases) - started
            out.line(
                f"started {counted(started, 'case')}" + (f", {before:,} were there before" if before else "")
            )
        mailbox = asyncio.create_task(serve_requests(engine, job.database))
        try:
            with _stopping() as stopped, _shown(out, loaded.net.name) as tell:
                until = None if job.days is None else engine.clock.now() + timedelta(days=job.days)
                await _until(engine, stopped, until, tell, serve=job.serve)
        finally:
            mailbox.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await mailbox
        return engine.progress((datetime.now(UTC) - start).total_seconds())


async def _until(
    engine: Engine, stopped: asyncio.Event, until: datetime | None, tell: Any, *, serve: bool
) -> None:
    """Run until idle, or until somebody stops it."""
    work = asyncio.create_task(engine.run_until_idle(progress=tell, until=until))
    waiter = asyncio.create_task(stopped.wait())
    await asyncio.wait({work, waiter}, return_when=asyncio.FIRST_COMPLETED)
    if not work.done():
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
    else:
        work.result()
        if serve and not stopped.is_set():
            await engine.serve(stopped)
    waiter.cancel()


@contextlib.contextmanager
def _stopping() -> Iterator[asyncio.Event]:
    """An event that Ctrl-C and SIGTERM set: the engine then ends in good order."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    taken = []
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, ValueError, RuntimeError):
            loop.add_signal_handler(number, stopped.set)
            taken.append(number)
    try:
        yield stopped
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


@contextlib.contextmanager
def _shown(out: Out, name: str) -> Iterator[Any]:
    with progress(name, quiet=out.as_json) as shown:

        def tell(now: Stand) -> None:
            if shown is not None:
                shown.update(shown.task_ids[0], completed=now.done, total=now.cases or None, note=_line(now))

        yield tell


def _line(now: Stand) -> str:
    said = ", ".join(f"{n:,} {s}" for s, n in sorted(now.statuses.items()))
    rate = f"   {now.firings / now.seconds:,.0f} firings/s" if now.seconds > 0.5 else ""
    return f"{counted(now.cases, 'case')}: {said or 'none'}   {now.firings:,} firings{rate}"
