"""`provenet migrate`: cases in flight to another version of their net."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from provenet.cli.access import AccessFile, SignedToken, rules_of, token_of
from provenet.cli.printing import ExitCode, JsonFlag, Out, Unusable, counted, stop
from provenet.cli.reading import Database, reader_of

if TYPE_CHECKING:
    from provenet.engine.migrate import Group, Migration
    from provenet.sdb.handlers import Agent


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("migrate")(migrate_command)


def migrate_command(
    *,
    versions: Annotated[
        tuple[str, str],
        typer.Option(
            "--net",
            metavar="OLD NEW",
            help="The version that cases leave, and that which they go to: a hash, or a name for its latest.",
            show_default=False,
        ),
    ],
    database: Database,
    plan: Annotated[
        Path | None,
        typer.Option("--map", metavar="FILE", help="Where tokens go: JSON or YAML. Without it: as they are."),
    ] = None,
    accept: Annotated[
        str,
        typer.Option(help="The least that must show that a case is covered there: history, state, assumed."),
    ] = "history",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look only; nothing is moved.")] = False,
    agent: Annotated[
        str | None,
        typer.Option("--agent", metavar="TARGET", help="The new version's agent, where its code is needed."),
    ] = None,
    token: SignedToken = "",
    access: AccessFile = "",
    as_json: JsonFlag = False,
) -> None:
    """Move cases in flight to another version of their net.

    The new version is deployed, and so proved, first. Every case is looked at by itself: tokens must fit
    where the map sends them, effects in flight must go on as the same, what was proved of the new version
    must cover the case there, and a final marking must remain in reach. Others stay as they are, with the
    reason, and the command ends with 1.
    """
    from provenet.engine.marking_map import MarkingMap
    from provenet.engine.migrate_all import migrate_database
    from provenet.engine.reaching import Evidence
    from provenet.nets.errors import did_you_mean

    out = Out(as_json=as_json)
    known = get_args(Evidence)
    if accept not in known:
        raise Unusable(f"there is no evidence {accept!r}", where="--accept", hint=did_you_mean(accept, known))
    marking_map = MarkingMap() if plan is None else MarkingMap.read(plan)
    found = migrate_database(
        database,
        versions,
        marking_map,
        _agents(database, versions, agent),
        accept=accept,  # type: ignore[arg-type]
        dry_run="yes" if dry_run else "no",
        token=token_of(token),
        access=rules_of(access),
    )
    _show(out, found)
    out.data(found.to_json())
    stop(ExitCode.FAILED if found.staying else ExitCode.DONE)


def _agents(database: str, versions: tuple[str, str], target: str | None) -> list[Agent]:
    """Both versions' agents, without their code, where that is not needed."""
    from provenet.cli.loading import load
    from provenet.engine.migrate import quiet, version
    from provenet.nets.formats.canonical import content_hash

    reader = reader_of(database)
    rows = [(str(n["hash"]), str(n["name"])) for n in reader.nets()]
    old, new = (version(rows, asked, "--net") for asked in versions)
    made: list[Agent] = []
    if target is not None:
        given = load(target).agent
        if content_hash(given.net) != new:
            raise Unusable(f"its net is {content_hash(given.net)[:8]}, cases go to {new[:8]}", where=target)
        made.append(given)
    before, after = reader.net(old), reader.net(new)
    if before is not None:
        made.append(quiet(before, "nothing"))
    if after is not None and target is None:
        made.append(quiet(after, "code"))
    return made


def _show(out: Out, found: Migration) -> None:
    out.line(f"from {found.old[:8]} to {found.new[:8]}", "bold")
    rows = [(str(len(g.cases)), _marking(g.marking), _marking(g.to), _said(g)) for g in found.groups]
    out.rows(rows, head=("cases", "marking", "there", ""))
    for group in found.groups:
        if not group.moves:
            shown = ", ".join(group.cases[:5]) + (" …" if len(group.cases) > 5 else "")
            out.line(f"  stays: {shown}: {group.why}", "yellow")
    moves, verb = counted(found.moving, "case"), "moved" if found.done == "yes" else "would move"
    stays = f", {found.staying:,} {'stays' if found.staying == 1 else 'stay'}" if found.staying else ""
    out.line(f"{moves} {verb}{stays}", "bold green" if not found.staying else "bold yellow")
    if found.moving and found.done == "yes":
        out.line(f"  they go on where version {found.new[:8]} runs", "dim")


def _said(group: Group) -> str:
    words = {
        "history": "moves, by its history",
        "state": "moves, by another run",
        "assumed": "moves, as assumed",
    }
    return words.get(group.evidence, "stays")


def _marking(counts: Mapping[str, int]) -> str:
    return ", ".join(place if n == 1 else f"{place} ×{n}" for place, n in counts.items()) or "-"
