"""`provenet explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from provenet.cli.printing import JsonFlag, Out


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("explain")(explain_command)


def explain_command(
    *,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]",
            help="A property (SDB-1), a family (SAGA), or a word for one (soundness); none: all of them.",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """What a property says, why it matters, how it is proved, and how to mend a net that breaks it."""
    from provenet.verify.pages import page, titles

    out = Out(as_json=as_json)
    family = {i: t for i, t in titles().items() if name is None or i.upper().startswith(f"{name.upper()}-")}
    if family:
        out.rows(list(family.items()))
        out.line()
        out.line("provenet explain ID says more of one of them.")
        out.data([{"id": id_, "title": title} for id_, title in family.items()])
        return
    assert name is not None  # without a name, all of them were shown
    found = page(name)
    if not as_json and not out.plain:
        from rich.markdown import Markdown

        out.show(Markdown(found.text, code_theme="ansi_dark"))
    else:
        out.line(found.text.rstrip())
    out.data({"id": found.id, "title": found.title, "sections": dict(found.sections), "markdown": found.text})
