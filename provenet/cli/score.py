"""`provenet score`: the boundary audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from provenet.cli.layout import Column
from provenet.cli.loading import Target, load
from provenet.cli.printing import ExitCode, JsonFlag, Out, Unusable, counted, stop

if TYPE_CHECKING:
    from provenet.nets.net import Net
    from provenet.verify.boundary import Boundary, Meaning, Score, Strength

_STYLES = {"missing": "bold red", "implicit": "yellow", "explicit": "green"}
_STRENGTHS = ("schema", "policy", "business rule")


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("score")(score_command)


def score_command(
    *,
    target: Target,
    output: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Draw the gate map: .svg, .png or .pdf.", show_default=False),
    ] = None,
    least: Annotated[
        str | None,
        typer.Option(help=f"Strength to demand: {', '.join(_STRENGTHS)}.", show_default=False),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each property.")] = 10.0,
    as_json: JsonFlag = False,
) -> None:
    """What stands between each proposal and each effect: presence, strength, and what it means.

    Ends with 1 where a boundary is not explicit, is weaker than demanded, or does not keep what it promises.
    """
    from provenet.verify.boundary import Strength, score

    if least is not None and least not in _STRENGTHS:
        raise Unusable(f"no strength {least!r}", hint=f"choose {', '.join(_STRENGTHS)}")
    wanted = Strength.NONE if least is None else Strength[least.upper().replace(" ", "_")]
    out = Out(as_json=as_json)
    net = load(target).net
    found = score(net, timeout=timeout)
    if output is not None:
        _draw(out, net, found, output)
    _tell(out, found, wanted)
    out.data({**found.to_json(), "holds": found.holds(wanted)})
    stop(ExitCode.DONE if found.holds(wanted) else ExitCode.FAILED)


def _tell(out: Out, found: Score, least: Strength) -> None:
    from provenet.verify.boundary import Presence

    if out.as_json:
        return
    ways = f"{len(found.boundaries)} boundar{'y' if len(found.boundaries) == 1 else 'ies'}"
    effects = counted(len(found.meanings), "effect")
    out.line(f"{found.net}  {found.net_hash[:8]}   {ways}  {effects}", "bold")
    if not found.boundaries and not found.people:
        out.line()
        out.line(_nothing(found))
        _alone(out, found)
        return
    for title, some in (("", found.boundaries), ("What people propose:", found.people)):
        if some:
            out.line()
            if title:
                out.line(title, "bold")
            whole = Column(fit="whole")
            columns = [whole, whole, Column(), Column(), Column(style="dim")]
            out.table(columns, [_row(b) for b in some], styles=_STYLES)
    out.line()
    out.line("What it means there:", "bold")
    for m in found.meanings:
        _meaning(out, m)
    _alone(out, found)
    if found.opaque:
        out.line()
        out.line("What no proof looks into:", "bold")
        out.rows(list(found.opaque))
    out.line()
    said = ", ".join(f"{n} {p}" for p in reversed(Presence) if (n := found.count(p)))
    weakest = found.weakest
    if weakest is None:
        out.line("No model and no event reaches an effect.", "bold")
        return
    link = f"{weakest.by} → {weakest.effect}: {weakest.way.presence}, {weakest.way.strength}"
    style = "bold" if found.holds(least) else "bold red"
    out.line(f"{said}. As good as its weakest: {link}.", style)


def _row(b: Boundary) -> list[str]:
    way = b.way
    effect = b.effect if b.way.reach == "content" else f"{b.effect} (decides it)"
    return [
        str(way.presence),
        str(way.strength),
        f"{b.by} → {effect}",
        b.kind,
        "through " + ", ".join(way.through)
        if way.through
        else "nothing looks at it: " + " → ".join(way.steps),
    ]


def _meaning(out: Out, m: Meaning) -> None:
    out.line(f"  {m.effect}  ({m.contract or m.done_by})")
    rows = [("commit", m.commit), ("undo", m.undo), ("reject", m.reject), ("retry", m.retry)]
    by_status: dict[str, list[str]] = {}
    for name, status in m.verdicts.items():
        by_status.setdefault(str(status), []).append(name)
    rows += [(status.lower(), ", ".join(names)) for status, names in by_status.items()]
    out.table([Column(fit="whole", style="dim"), Column()], rows, indent=4, styles={"refuted": "bold red"})


def _nothing(found: Score) -> str:
    if not found.meanings:
        return "Nothing in this net reaches the outside, so there is nothing to stand before."
    return "No model, event or person of this net reaches an effect."


def _alone(out: Out, found: Score) -> None:
    if found.alone:
        out.line()
        out.line(f"Made of nothing that is proposed: {', '.join(found.alone)}", "dim")


def _draw(out: Out, net: Net, found: Score, output: Path) -> None:
    from provenet.cli.proving import write
    from provenet.visualize.gates import render_gates

    kind = output.suffix.lower().lstrip(".")
    if kind not in ("svg", "png", "pdf"):
        raise Unusable(
            f"no picture is made in the format {output.suffix or '(none)'!r}",
            where=str(output),
            hint="name a file that ends in .svg, .png or .pdf",
        )
    picture = render_gates(net, found, format=kind)  # type: ignore[arg-type]
    write(output, picture)
    out.line(f"wrote {output}  ({len(picture):,} bytes)")
    out.line()
