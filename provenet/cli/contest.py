"""``provenet mcc``: examinations of the Model Checking Contest, in the contest's own lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("mcc")(mcc)


def mcc(
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Folder with model.pnml and the examination's XML.")
    ],
    examination: Annotated[
        str, typer.Argument(metavar="EXAMINATION", help="Such as ReachabilityCardinality or OneSafe.")
    ],
    *,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds for the whole examination.")] = 60.0,
    jobs: Annotated[int, typer.Option(min=1, help="How many engines may run at once.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Answer an examination of the Model Checking Contest.

    Prints one line a formula, as soon as its answer is known: FORMULA <id> <answer> TECHNIQUES ..., or
    CANNOT_COMPUTE. Exit code 0 where every formula was answered, 3 otherwise.
    """
    import json

    from provenet.verify.plain.answer import Budget
    from provenet.verify.plain.examination import examine

    missing = False
    for outcome in examine(directory, examination, Budget.seconds(timeout), jobs=jobs):
        missing |= outcome.value is None
        if as_json:
            data = {"formula": outcome.id, "answer": outcome.value, "engines": list(outcome.engines)}
            typer.echo(json.dumps(data))
        else:
            typer.echo(outcome.line())
    if missing:
        raise typer.Exit(3)
