"""`provenet advise`."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.layout import Column
from provenet.cli.printing import JsonFlag, Out, Unusable

if TYPE_CHECKING:
    from provenet.sdb.decision.record import Record
    from provenet.sdb.decision.workload import Workload

_LABEL = 15


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("advise")(advise_command)


def advise_command(
    *,
    workload: Annotated[
        Path,
        typer.Argument(metavar="WORKLOAD", help="A description of a workload, YAML.", show_default=False),
    ],
    write_to: Annotated[
        Path | None,
        typer.Option(
            "--write", metavar="FILE", help="Write a net to start from, a Python file that verifies."
        ),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the recommended composition: .svg, .png or .pdf."),
    ] = None,
    questions: Annotated[
        bool, typer.Option("--questions", help="Show every question with its answer.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Recommend an architecture for a workload: a decision record of six lines, a net to start from."""
    from provenet.sdb.decision.record import decide
    from provenet.sdb.decision.workload import load_workload

    out = Out(as_json=as_json)
    described = load_workload(workload)
    record = decide(described, on=date.today())  # noqa: DTZ011 - the day on this person's desk
    written = _written(described, record, write_to, draw)
    _show(out, record)
    if questions:
        _ask(out, record)
    for what, file in written.items():
        after = f"; fill it in, and prove it: provenet verify {file}" if what == "skeleton" else ""
        out.line()
        out.line(f"wrote {file}{after}")
    out.data(record.to_json() | {"written": {what: str(file) for what, file in written.items()}})


def _written(
    described: Workload, record: Record, write_to: Path | None, draw: Path | None
) -> dict[str, Path]:
    """Write what is asked for; what was written."""
    if write_to is None and draw is None:
        return {}
    from provenet.cli.proving import write
    from provenet.sdb.decision.skeleton import skeleton

    text, written = skeleton(described, record), {}
    if write_to is not None:
        if write_to.suffix != ".py":
            raise Unusable(
                "a net to start from is a Python file", where=str(write_to), hint="end its name with .py"
            )
        if write_to.exists():
            raise Unusable(
                "there is such a file, and it may be filled in by now",
                where=str(write_to),
                hint="name another, or move that one away",
            )
    if draw is not None:
        picture = _picture(text, draw)
        write(draw, picture)
        written["picture"] = draw
    if write_to is not None:
        write(write_to, text.encode())
        written["skeleton"] = write_to
    return written


def _picture(text: str, draw: Path) -> bytes:
    """The composition that the skeleton makes, as a picture."""
    kind: Any = draw.suffix.lower().lstrip(".")
    if kind not in {"svg", "png", "pdf"}:
        raise Unusable(
            f"no picture is made in the format {draw.suffix or '(none)'!r}",
            where=str(draw),
            hint="end the name with .svg, .png or .pdf",
        )
    import tempfile

    from provenet.cli.loading import load
    from provenet.visualize import render_net

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "skeleton_to_draw.py"
        file.write_text(text, encoding="utf-8")
        net = load(str(file)).net
    return render_net(net, format=kind)


def _show(out: Out, record: Record) -> None:
    out.line(f"{record.workload}   decided {record.on.isoformat()} for {record.model}", "bold")
    for line in record.lines:
        out.line()
        because = "\n".join(str(p) for p in line.fired)
        signs = f" (signs: {', '.join(line.signs)})" if line.signs else ""
        out.table(
            [Column(fit="whole", style="dim"), Column()],
            [
                [line.subject.ljust(_LABEL), line.choice],
                ["  because".ljust(_LABEL), because],
                ["  if wrong".ljust(_LABEL), line.failure + signs],
            ],
        )


def _ask(out: Out, record: Record) -> None:
    for step, found in record.predicates.items():
        out.line()
        out.line(f"{step}", "bold")
        rows = [["yes" if p.holds else "no", p.id, p.question, p.reason] for p in found]
        out.table([Column(fit="whole"), Column(fit="whole"), Column(), Column()], rows)
