"""`provenet reliability`: drift and spread of recorded work, and how often several tries all succeed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.printing import JsonFlag, Out, counted
from provenet.cli.reading import Database, known_net, reader_of

if TYPE_CHECKING:
    from provenet.engine.diagnosis.reliability import Estimate
    from provenet.engine.diagnosis.work import Record


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("reliability")(reliability_command)


def reliability_command(
    *,
    database: Database,
    goal: Annotated[
        list[str] | None,
        typer.Option(
            "--goal", metavar="PLACE", help="Final place that is a goal; may be given several times."
        ),
    ] = None,
    net: Annotated[str | None, typer.Option(help="Only this net, by name or hash.")] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the recorded path as SVG.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Estimate drift and spread of recorded work.

    y(t) = mu t + sigma xi(t): t counts model calls, y how far work has strayed from what was declared. A case
    strays by one for each call whose answer did not pass its contract; with --goal, by one where it did not
    end in a goal.
    """
    from provenet.engine.diagnosis.reliability import FEWEST, estimate
    from provenet.engine.diagnosis.work import recorded_work

    out = Out(as_json=as_json)
    reader = reader_of(database)
    if net is not None:
        known_net(reader, net)
    data: list[dict[str, Any]] = []
    drawn: tuple[Record, Estimate] | None = None
    for record in recorded_work(reader, goals=goal or (), net=net):
        found = estimate(record.work) if len(record.work) >= FEWEST else None
        _show(out, record, found)
        hats = record.pass_hats()
        data.append(
            {
                "net": record.net,
                "net_hash": record.hash,
                "measure": record.measure,
                "cases": len(record.work),
                "cases_without_calls": record.idle,
                "estimate": None if found is None else found.to_json(),
                "repeated_tasks": len(record.tasks),
                "pass_hat": {str(k): share for k, share in hats.items()},
            }
        )
        if found is not None and (drawn is None or found.cases > drawn[1].cases):
            drawn = record, found
    if not data:
        out.line("no case has ended: there is nothing to estimate", "bold")
    if plot is not None and drawn is not None:
        plot.write_text(drawing(*drawn), encoding="utf-8")
        out.line(f"See {plot}", "dim")
    out.data(data)


def drawing(record: Record, found: Estimate) -> str:
    """The recorded path, with the drift and what the spread allows, as SVG."""
    from provenet.engine.diagnosis.reliability import path
    from provenet.visualize.charts import Axis, Point, Series, curves

    steps = 60
    band = []
    for i in range(steps + 1):
        t = found.calls * i / steps
        half = 1.96 * found.sigma * math.sqrt(t)
        band.append(Point(t, found.mu * t, found.mu * t - half, found.mu * t + half))
    walked = Series("recorded y(t)", tuple(Point(t, y) for t, y in path(record.work)), "steps")
    strayed = "cases that missed their goal" if record.measure == "goals" else "answers that did not pass"
    return curves(
        f"{record.net}: {found.cases:,} cases, mu {found.mu:.3g} per call, sigma {found.sigma:.3g}",
        Axis("t, model calls"),
        Axis(f"y(t), {strayed}"),
        [walked, Series("mu t, 95% of paths in the band", tuple(band), "steps")],
    )


def _show(out: Out, record: Record, found: Estimate | None) -> None:
    from provenet.engine.diagnosis.intervals import clopper_pearson
    from provenet.engine.diagnosis.reliability import FEWEST

    calls = sum(w.calls for w in record.work)
    idle = f", {counted(record.idle, 'case')} without a call left out" if record.idle else ""
    cases = counted(len(record.work), "case")
    out.line(f"{record.net}  {record.hash[:8]}   {cases} that ended, {counted(calls, 'call')}{idle}", "bold")
    strayed = (
        "cases that did not end in a goal"
        if record.measure == "goals"
        else "calls whose answer did not pass its contract, and cases that were not done"
    )
    out.line(f"  y counts {strayed}", "dim")
    if found is None:
        out.line(f"  too few cases to estimate anything: it takes {FEWEST}", "yellow")
    elif found.method == "none":
        most = clopper_pearson(0, found.cases).high
        out.line(f"  mu     {found.mu:.4g} per call, sigma 0: nothing varies, so the model has no interval")
        if not found.mu:
            out.line(f"  of cases that strayed, there may still be {most:.1%} (exact, 95 %)")
    else:
        assert found.mu_within is not None
        assert found.sigma_within is not None
        (a, b), (c, d) = found.mu_within, found.sigma_within
        out.line(f"  mu     {found.mu:.4g} per call       95 % between {a:.4g} and {b:.4g}")
        out.line(f"  sigma  {found.sigma:.4g} per root call  95 % between {c:.4g} and {d:.4g}")
        out.line(f"  intervals: {_how(found)}", "dim")
    for k, share in record.pass_hats().items():
        if k == 1:
            out.line(f"  pass^k over {counted(len(record.tasks), 'task')} that were tried several times:")
        out.line(f"    k = {k}   {share:.1%}")


def _how(found: Estimate) -> str:
    if found.method == "exact":
        return f"Student's t and chi-square; increments may be normal (p = {found.normal:.2g})"
    why = []
    if found.normal < 1 - found.confidence:
        why.append(f"increments are not normal (p = {found.normal:.2g})")
    if abs(found.together) > 1.96 / math.sqrt(found.cases):
        why.append(f"they go together (autocorrelation {found.together:.2f})")
    return f"block bootstrap with a fixed seed: {' and '.join(why)}"
