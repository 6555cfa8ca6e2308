"""`provenet prune`: what is past its time leaves the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provenet.cli.access import AccessFile, SignedToken, rules_of, token_of
from provenet.cli.printing import ExitCode, JsonFlag, Out, Unusable, counted, progress, stop
from provenet.cli.reading import Database

if TYPE_CHECKING:
    from provenet.engine.retention import Pruned, Retention


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("prune")(prune_command)


def prune_command(
    *,
    database: Database,
    ended: Annotated[
        list[str] | None,
        typer.Option(
            "--ended",
            metavar="STATUS=SPAN",
            help="How long cases are kept that ended so: done=90d, killed=7y, failed=1y.",
        ),
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(
            "--place",
            metavar="PLACE=SPAN",
            help="The same by final place, which goes before the status; PLACE=ever keeps them.",
        ),
    ] = None,
    keep_entries: Annotated[
        int | None,
        typer.Option(
            "--keep-entries", min=1, help="Of logs of cases that are not over: the last entries kept."
        ),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option("--export", metavar="FOLDER", help="Write logs there before they are dropped."),
    ] = None,
    drop_outcomes: Annotated[
        bool, typer.Option("--drop-outcomes", help="The archive does not keep what cases ended with.")
    ] = False,
    compact: Annotated[
        bool,
        typer.Option("--compact", help="Give the room back to the disk; nobody may run cases meanwhile."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count only; nothing is dropped.")] = False,
    token: SignedToken = "",
    access: AccessFile = "",
    as_json: JsonFlag = False,
) -> None:
    """Drop what is past its time: cases that are over, and the beginnings of long logs.

    A row of the archive is left of each case, chained by hash, and its id is not given again. Spans are
    numbers with h, d, w or y. An engine that runs on the database does it where there is one.
    """
    from provenet.engine.pruning import compacted, preview, prune
    from provenet.engine.retention import Retention

    out = Out(as_json=as_json)
    spans = dict(_rule(text, "--ended") for text in ended or ())
    policy = Retention(
        ended={status: _span(text, f"--ended {status}") for status, text in spans.items()},
        places={
            name: None if text == "ever" else _span(text, f"--place {name}")
            for name, text in (_rule(text, "--place") for text in place or ())
        },
        keep_entries=keep_entries,
        outcomes="dropped" if drop_outcomes else "kept",
        export=export,
    )
    if policy == Retention(export=export, outcomes=policy.outcomes) and not compact:
        raise Unusable(
            "nothing was said that may go", hint="such as: --ended done=90d, or --keep-entries 1000"
        )
    if dry_run:
        cases, entries, logs = preview(database, policy)
        out.line(f"{counted(cases, 'case')} would go, with {_entries(entries)}", "bold")
        if keep_entries is not None:
            out.line(f"{counted(logs, 'log')} longer than {_entries(keep_entries)} would be trimmed", "bold")
        out.data({"dry_run": True, "cases": cases, "entries": entries, "logs": logs})
        stop(ExitCode.DONE)
    with progress("pruning", quiet=as_json) as shown:

        def tell(done: Pruned) -> None:
            if shown is not None:
                shown.update(shown.task_ids[0], note=f"{done.cases:,} cases, {done.entries:,} log entries")

        found = prune(database, policy, progress=tell, token=token_of(token), access=rules_of(access))
    before, after = compacted(database) if compact else (0, 0)
    _show(out, policy, found, before - after)
    out.data(found.to_json() | {"dry_run": False, "given_back": before - after})


def _show(out: Out, policy: Retention, found: Pruned, room: int) -> None:
    parts = [f"{counted(found.cases, 'case')} pruned"]
    if policy.keep_entries is not None:
        parts.append(f"{counted(found.trimmed, 'log')} trimmed")
    parts.append(f"{_entries(found.entries)} dropped")
    if policy.export is not None:
        parts.append(f"{found.exported:,} written to {policy.export}")
    if room:
        parts.append(f"{room / 2**20:,.1f} MiB given back")
    out.line(", ".join(parts), "bold green")


def _entries(number: int) -> str:
    return f"{number:,} log entr{'y' if number == 1 else 'ies'}"


def _rule(text: str, option: str) -> tuple[str, str]:
    name, found, span = text.rpartition("=")
    if not found or not name or not span:
        raise Unusable(f"{text!r} is no rule", where=option, hint=f"such as: {option} NAME=90d")
    return name, span


def _span(text: str, where: str) -> timedelta:
    days = {"h": 1 / 24, "d": 1.0, "w": 7.0, "y": 365.25}
    try:
        return timedelta(days=float(text[:-1]) * days[text[-1:]])
    except (ValueError, KeyError, OverflowError):
        raise Unusable(
            f"{text!r} is no span of time", where=where, hint=f"a number with {_or([*days])}, such as 90d"
        ) from None


def _or(words: Sequence[str]) -> str:
    return ", ".join(words[:-1]) + f" or {words[-1]}"
