"""`provenet deploy` and `provenet run`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.access import SignedToken, check_rules, rules_of, token_of
from provenet.cli.loading import Loaded, Target, load
from provenet.cli.printing import ExitCode, JsonFlag, Out, Unusable, counted, stop, visible
from provenet.cli.watching import Log, LogLevel, Metrics, Otlp, Watching, observing

if TYPE_CHECKING:
    from provenet.cli.inputs import Inputs

Database = Annotated[
    str,
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
    from provenet.cli.driving import deploy
    from provenet.cli.proving import checked
    from provenet.engine.store.database import located

    loaded = load(target)
    report = checked(loaded, timeout=timeout, quiet=as_json)
    found = deploy(loaded, database, report)
    proved = f"{len(report.verdicts)} verdicts proved for this hash"
    where = str(located(database))  # without its password
    out.line(f"deployed {loaded.net.name} {found[:8]} to {where} ({proved})", "bold green")
    out.data({"net": loaded.net.name, "net_hash": found, "database": where})


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
    workers: Annotated[
        int, typer.Option(min=1, help="Processes, with --serve on a PostgreSQL database; each restarted.")
    ] = 1,
    on: Annotated[
        str | None,
        typer.Option(help="Who wakes the cases: temporal://HOST:PORT/NAMESPACE, or dbos (on PostgreSQL)."),
    ] = None,
    metrics: Metrics = None,
    log: Log = None,
    log_level: LogLevel = "info",
    otlp: Otlp = None,
    access: Annotated[
        str,
        typer.Option(
            "--access",
            metavar="FILE",
            envvar="PROVENET_ACCESS",
            help="Who may do what from outside: guards the database from then on. `off` takes that back.",
            show_default=False,
        ),
    ] = "",
    token: SignedToken = "",
    timeout: Timeout = 60.0,
    as_json: JsonFlag = False,
) -> None:
    """Start cases and run until all is idle.

    The net is proved and deployed where it was not, and unfinished cases of this version of it resume. Those
    of another version need that one's code: run it as well, or `provenet migrate` them.
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
    if on is not None and (workers > 1 or clock == "virtual"):
        raise Unusable(
            "with --on there is one worker to a process, and the time is the real one",
            where="--on",
            hint="start `provenet run --on ... --serve` as often as you want workers, on any machine",
        )
    if workers > 1:
        _check_workers(database, serve=serve)
    from provenet.cli.driving import Job, run, stand_line
    from provenet.cli.proving import checked

    rules = rules_of(access, off="yes")
    check_rules(rules)
    by = None
    if on is not None:
        from provenet.cli.dispatching import dispatcher

        by = dispatcher(on)
    loaded = load(target)
    found = None if inputs is None else _read(loaded, inputs, id_column, skip_broken=skip_broken)
    report = (
        checked(loaded, timeout=timeout, quiet=as_json) if _needs_report(loaded, database, clock) else None
    )
    job = Job(
        out=out,
        loaded=loaded,
        database=database,
        inputs=found,
        clock=clock,
        days=days,
        serve=serve,
        report=report,
        access=rules,
        token=token_of(token),
    )
    watching = Watching(metrics=metrics, log=log, level=log_level, otlp=otlp)
    waiting = _others(loaded, database)
    if serve:
        _tell_others(out, loaded, database, waiting)
    if workers > 1:
        from provenet.cli.workers import run_workers

        last, stopped_by = run_workers(job, workers, watching), 0
    else:
        with observing(watching) as observers:
            if by is None:
                last, stopped_by = run(job, observers)
            else:
                from provenet.cli.dispatching import run_on

                last, stopped_by = run_on(job, by, observers)
    stuck = sum(last.statuses.get(s, 0) for s in ("parked", "failed"))
    out.line(stand_line(last), "bold")
    if not serve:
        _tell_others(out, loaded, database, waiting)
    if last.statuses.get("waiting") and not stopped_by:
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
            "other_versions": waiting,
            "stopped": bool(stopped_by),
        }
    )
    if stopped_by:
        raise typer.Exit(128 + stopped_by)
    stop(ExitCode.FAILED if stuck else ExitCode.DONE)


def _others(loaded: Loaded, database: str) -> list[dict[str, Any]]:
    """Unfinished cases of other versions, which nobody is known to run."""
    from provenet.engine.reader import Reader
    from provenet.engine.store.database import located, ready
    from provenet.nets.formats.canonical import content_hash

    if not ready(located(database)):
        return []
    mine = content_hash(loaded.net)
    return [
        {"net": v["net"], "net_hash": v["hash"], "cases": v["cases"] - v["held"]}
        for v in Reader(database).open_versions()
        if v["hash"] != mine and v["cases"] > v["held"]
    ]


def _tell_others(out: Out, loaded: Loaded, database: str, waiting: list[dict[str, Any]]) -> None:
    """Say that they wait, and what to do about it."""
    from provenet.engine.store.database import located

    for each in waiting:
        short, name = each["net_hash"][:8], each["net"]
        verb = "waits" if each["cases"] == 1 else "wait"
        move = ""
        if name == loaded.net.name:
            there = shlex.quote(str(located(database)))
            move = f", or `provenet migrate --net {short} {shlex.quote(name)} --db {there}`"
        cases = counted(each["cases"], "case")
        out.line(
            f"  {cases} {verb} for version {short} of {name!r}, which is not run here: run it too{move}",
            "yellow",
        )


def _check_workers(database: str, *, serve: bool) -> None:
    from provenet.engine.store.database import located

    if not serve:
        raise Unusable("several workers go on until stopped", where="--workers", hint="add --serve")
    if located(database).kind != "server":
        raise Unusable(
            "one process runs cases on a file",
            where="--workers",
            hint="name a PostgreSQL database: --db postgresql://user@host/name",
        )


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
        sys.stderr.write(visible("\n".join([f"{rows} left out:", *shown])) + "\n")
    return found


def _needs_report(loaded: Loaded, database: str, clock: str) -> bool:
    """Whether a net has to be proved before it runs here; refuses another clock than the database has."""
    from provenet.engine.reader import Reader
    from provenet.engine.store.database import located, ready
    from provenet.nets.formats.canonical import content_hash

    where = located(database)
    if not ready(where):
        return True
    reader = Reader(database)
    if reader.counts() and reader.clock() != clock:
        raise Unusable(
            f"the cases of this database run on the {reader.clock()} clock",
            where=str(where),
            hint=f"add --clock {reader.clock()}, or start a new database",
        )
    return content_hash(loaded.net) not in {n["hash"] for n in reader.nets()}
