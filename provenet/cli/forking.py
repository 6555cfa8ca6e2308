"""`provenet fork`: what if a case had gone on otherwise, in a simulation."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.printing import JsonFlag, Out, Unusable, counted, short_value
from provenet.cli.reading import CaseId, Database

if TYPE_CHECKING:
    from provenet.engine import LogLine
    from provenet.engine.fork import Fork

OptionalTarget = Annotated[
    str | None,
    typer.Argument(
        metavar="[TARGET]",
        help="The agent whose proposers and verifiers are asked; without it, they answer as recorded.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("fork")(fork_command)


def fork_command(
    *,
    case: CaseId,
    target: OptionalTarget = None,
    at: Annotated[
        int,
        typer.Option(
            "--at", metavar="N", help="Entry of its log to go on from, as `provenet case` numbers them."
        ),
    ],
    database: Database,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="SIM",
            help="The simulation's database: a new one, or one with forks of other cases.",
        ),
    ],
    receipt: Annotated[
        list[str] | None,
        typer.Option("--receipt", metavar="EFFECT=JSON", help="What an effect returns there."),
    ] = None,
    decide: Annotated[
        list[str] | None,
        typer.Option("--decide", metavar="TASK=CHOICE", help="What people decide there."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Run a case on from an entry of its log, in a simulation.

    Nothing there reaches the outside: effects are played by stand-ins that give the recorded receipt or a
    given one, on a virtual clock. Proposers answer, people decide and events come as recorded, where nothing
    else is said.
    """
    from provenet.cli.loading import load
    from provenet.engine.fork import WhatIf, fork

    out = Out(as_json=as_json)
    what_if = WhatIf(
        agent=None if target is None else load(target).agent,
        receipts=receipts_of(receipt),
        decisions=dict(_pairs(decide, "--decide")),
    )
    found = fork(database, case, at, to, what_if)
    _show(out, found, to)
    out.data(found.to_json())


def _show(out: Out, found: Fork, to: str) -> None:
    really, there = found.statuses
    out.line(f"{found.case} from entry {found.at}: really {really}, in the simulation {there}", "bold")
    if found.same:
        out.line(f"  the same: {counted(found.same, 'entry').replace('entrys', 'entries')}", "dim")
    rest, others = found.original[found.same :], found.simulated[found.same :]
    if rest or others:
        width = max(len(rest), len(others))
        rows = [(_line(rest, i), _line(others, i)) for i in range(width)]
        out.rows(rows, head=("really", "in the simulation"))
    for played in found.played:
        receipt = "" if played["receipt"] is None else f" -> {short_value(played['receipt'])}"
        said = f"{played['effect']} {short_value(played['payload'])}{receipt}"
        out.line(f"  played: {said}   ({played['how']})", "dim")
    if there == "parked" and found.simulated:
        out.line(f"  {found.simulated[-1].text}", "yellow")  # the columns cut off what to do about it
    for refused in found.refused:
        out.line(f"  not taken there: {refused}", "yellow")
    for name, end in zip(("really", "in the simulation"), found.outcomes, strict=True):
        if end is not None:
            out.line(f"  ended {name}: {end['place']} {short_value(end['value'])}")
    out.line("  the histories differ" if found.differs else "  the histories are the same")
    out.line(
        f"Look: provenet case {shlex.quote(found.case)} --db {shlex.quote(to)}"
        f"   go on: provenet run TARGET --db {shlex.quote(to)} --clock virtual",
        "dim",
    )


def _line(lines: tuple[LogLine, ...], at: int) -> str:
    return f"{lines[at].seq}  {short_value(lines[at].text, 60)}" if at < len(lines) else ""


def receipts_of(given: list[str] | None) -> dict[str, Any]:
    """Receipts that effects are told to return, as JSON data."""
    return {name: _json(text, f"--receipt {name}") for name, text in _pairs(given, "--receipt")}


def _pairs(given: list[str] | None, option: str) -> list[tuple[str, str]]:
    found = []
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise Unusable(f"{text!r} has no NAME=VALUE", where=option, hint=f"{option} 'crm.publish=null'")
        found.append((name, value))
    return found


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Unusable(f"this is no JSON: {error}", where=where, hint="quote it for the shell") from error
