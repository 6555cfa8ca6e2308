"""`provenet upgrade`: a database of an earlier release, for this one."""

from __future__ import annotations

from typing import Annotated

import typer

from provenet.cli.printing import JsonFlag, Out
from provenet.cli.reading import Database


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("upgrade")(upgrade_command)


def upgrade_command(
    *,
    database: Database,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Run every step, then take it all back.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Bring a database of an earlier release to this one's tables.

    Nobody may run cases on it meanwhile. A file is copied first, beside itself; there is no way back but
    that copy.
    """
    from provenet.engine.store.upgrade import upgrade

    out = Out(as_json=as_json)
    found = upgrade(database, dry_run="yes" if dry_run else "no")
    if found.before == found.after:
        out.line(f"{found.database} has schema version {found.after} already: nothing to do", "bold")
    else:
        for number, step in enumerate(found.steps, found.before + 1):
            out.line(f"  to version {number}: {step}", "dim")
        if found.copy is not None:
            out.line(f"  as it was: {found.copy}", "dim")
        said = "would be upgraded, and was not" if dry_run else "upgraded"
        out.line(f"{found.database} {said}: schema version {found.before} -> {found.after}", "bold green")
    out.data(found.to_json() | {"dry_run": dry_run})
