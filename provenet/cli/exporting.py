"""`provenet export`: a net as JSON or PNML, or the cases of a database as JSON lines."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from provenet.cli.loading import load
from provenet.cli.printing import JsonFlag, Out, Unusable, visible


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("export")(export_command)


def export_command(
    *,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET]",
            help="A net: module:attr, file.py[:attr], net.json or net.pnml.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="net.json, net.pnml, or cases.jsonl.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option("--db", help="Export its cases instead; PROVENET_DB where no TARGET is given."),
    ] = None,
    case: Annotated[str | None, typer.Option("--case", help="Only this case.")] = None,
    skeleton: Annotated[
        bool, typer.Option("--skeleton", help="PNML without the data: places and transitions only.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a net, or a database's cases.

    A net becomes JSON or PNML, the cases of a database JSON lines.
    """
    out = Out(as_json=as_json)
    if target is None and database is None:
        database = os.environ.get("PROVENET_DB") or None
    if (target is None) == (database is None) or (target is not None and case is not None):
        raise Unusable(
            "give either a TARGET or --db FILE",
            hint="provenet export TARGET -o net.json, or provenet export --db renewals.db -o cases.jsonl",
        )
    if target is not None:
        _net(out, target, output, skeleton=skeleton)
    else:
        assert database is not None
        _cases(out, database, output, case)


def _net(out: Out, target: str, output: Path | None, *, skeleton: bool) -> None:
    from provenet.cli.proving import write
    from provenet.nets.formats.canonical import content_hash, pretty

    loaded = load(target)
    suffix = output.suffix.lower() if output is not None else ".json"
    if suffix == ".json":
        text = pretty(loaded.net)
    elif suffix in {".pnml", ".xml"}:
        from provenet.nets.formats.pnml import pnml_text

        text = pnml_text(loaded.net, as_="skeleton" if skeleton else "exact")
    else:
        raise Unusable(
            f"no net is written as {suffix!r}", where=str(output), hint="end the name with .json or .pnml"
        )
    if output is None:
        sys.stdout.write(visible(text if text.endswith("\n") else text + "\n"))
        return
    write(output, text.encode())
    out.line(f"wrote {output}  ({loaded.net.name} {content_hash(loaded.net)[:8]})")
    out.data({"file": str(output), "net": loaded.net.name, "net_hash": content_hash(loaded.net)})


def _cases(out: Out, database: str, output: Path | None, case: str | None) -> None:
    from provenet.engine.reader import Reader

    lines = Reader(database).export(case)
    if output is None:
        for line in lines:
            sys.stdout.write(visible(line) + "\n")
        return
    count = 0
    try:
        with output.open("w", encoding="utf-8") as file:
            for line in lines:
                file.write(line + "\n")
                count += 1
    except OSError as error:
        raise Unusable(f"the file cannot be written: {error.strerror}", where=str(output)) from error
    out.line(f"wrote {output}  ({count:,} cases)")
    out.data({"file": str(output), "cases": count})
