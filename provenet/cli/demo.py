"""`provenet demo`: the contract-renewal agent, from proof to audit, with no key and no server."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.printing import ExitCode, JsonFlag, Out, counted, progress, stop

if TYPE_CHECKING:
    from provenet.examples.contract_renewal.demo import Demo, DemoReport

TARGET = "provenet.examples.contract_renewal:agent"
BROKEN = "provenet.examples.contract_renewal:policy_loosened_to_40"


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("demo")(demo_command)


def demo_command(
    *,
    customers: Annotated[
        Path | None, typer.Option(help="A CSV in the Telco churn schema; 200 generated customers by default.")
    ] = None,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Keep database, ledger, pictures and report in this folder.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many customers.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed, other luck.")] = 0,
    model: Annotated[
        str,
        typer.Option(
            help="A model as litellm names it, with its key in the environment; else a seeded stand-in."
        ),
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Prove, run, audit and break the renewal agent.

    It is proved and drawn, runs every customer's renewal through 90 virtual days beside an outside world that
    misbehaves, is audited from inside and outside, and is broken on purpose. No key and no server is needed.
    """
    from provenet.cli.loading import load
    from provenet.cli.proving import checked, made_folder, save, show_report
    from provenet.examples.contract_renewal import demo as driver
    from provenet.examples.contract_renewal.customers import SAMPLE, load_customers
    from provenet.examples.contract_renewal.demo_report import markdown

    out = Out(as_json=as_json)
    # Before a minute of proofs and runs: can the customers be read, can the folder be written?
    source = customers or SAMPLE
    rows = load_customers(source, limit=limit)
    kept = out_dir is not None
    folder = made_folder(out_dir) if out_dir is not None else Path(tempfile.mkdtemp(prefix="provenet-demo-"))
    demo = driver.Demo(folder=folder, customers=source, limit=limit, seed=seed, model=model)
    try:
        driver.claim(demo)
        out.line("1  The agent is proved, for every answer a model could give", "bold cyan")
        loaded = load(TARGET)
        report = checked(loaded, quiet=as_json)
        written = save(loaded, report, folder) if kept else {}
        show_report(out, loaded, report)
        if "picture" in written:
            out.line(f"The net, drawn: {written['picture']}")
        if report.unproved():
            stop(ExitCode.UNKNOWN)
        out.line()
        out.line(f"2  {counted(len(rows.customers), 'renewal')} run through 90 virtual days", "bold cyan")
        if rows.rejected:
            out.line(rows.summary(), "yellow")
        found = _run(out, demo, report)
        _show(out, found)
        out.line()
        out.line("3  The agent is broken on purpose", "bold cyan")
        broken = _break(out, folder if kept else None)
        if kept:
            data = found.to_json() | {"broken": broken}
            (folder / "demo-report.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
            (folder / "demo-report.md").write_text(markdown(found), encoding="utf-8")
            out.line()
            out.line(f"Database, outside ledger, pictures and report are in {folder}. Look around:", "bold")
            out.line(f"  provenet cases --db {demo.database}")
            case = next(iter(_interesting(demo)), "")
            if case:
                out.line(f"  provenet case {case} --db {demo.database}")
            out.line(f"  provenet audit --db {demo.database}")
        else:
            out.line()
            out.line("Add --out DIR to keep the database, the pictures and the report.", "dim")
        out.line(
            "All is well." if found.clean else "Something is wrong; see above.",
            "bold green" if found.clean else "bold red",
        )
        out.data(
            found.to_json()
            | {"broken": broken, "verdicts": _verdicts(report), "folder": str(folder) if kept else None}
        )
    finally:
        if not kept:
            shutil.rmtree(folder, ignore_errors=True)
    stop(ExitCode.DONE if found.clean else ExitCode.FAILED)


def _run(out: Out, demo: Demo, report: Any) -> DemoReport:
    from provenet.examples.contract_renewal.demo import run

    with progress("starting", quiet=out.as_json) as shown:
        if shown is None:
            return run(demo, report=report)
        bar = shown.task_ids[0]
        began = 0.0

        def tell(stage: str, what: Any) -> None:
            nonlocal began
            if stage == "running":
                began = began or time.monotonic()
                rate = what.firings / max(0.1, time.monotonic() - began)
                note = f"{what.done:,} of {what.cases:,} cases   {what.firings:,} firings   {rate:,.0f}/s"
                shown.update(
                    bar, description=f"{what.now:%d %b %Y}", completed=what.done, total=what.cases, note=note
                )
            elif stage == "auditing":
                done, total = what
                shown.update(
                    bar,
                    description="auditing",
                    completed=done,
                    total=total,
                    note=f"{done:,} of {total:,} cases",
                )

        return run(demo, tell, report=report)


def _show(out: Out, found: DemoReport) -> None:
    results = sorted({r for counts in found.outcomes.values() for r in counts})
    out.line("Outcomes against the path that the record lets expect:")
    out.rows(
        [
            (path, *(f"{counts.get(r, 0):,}" if counts.get(r) else "·" for r in results))
            for path, counts in found.outcomes.items()
        ],
        head=("expected", *results),
    )
    share = found.as_expected / found.cases if found.cases else 0
    out.line(f"{found.as_expected:,} of {found.cases:,} ended as expected ({share:.1%}). How, in full:")
    out.rows([(why, f"{count:,}") for why, count in found.reasons.items()])
    out.line()
    out.line("Rejects, each a typed signal in the log:")
    out.rows([(rule, f"{count:,}") for rule, count in list(found.rejects.items())[:14]])
    firings = found.firings
    out.line()
    out.rows(
        [
            ("proposals", f"{firings.get('propose', 0):,}", f"{found.spent['dollars']:.2f} dollars"),
            (
                "retries",
                f"{firings.get('retry', 0):,}",
                f"{firings.get('give_up', 0):,} gave up after the last attempt",
            ),
            ("people", f"{sum(sum(e.values()) for e in found.tasks.values()):,} tasks", _tasks(found)),
            (
                "commits",
                f"{firings.get('commit', 0):,}",
                f"{sum(found.effects.values()):,} effects outside, compensations included",
            ),
            (
                "compensations",
                f"{firings.get('compensate', 0):,}",
                f"{found.left_standing} effects of called-off cases left standing",
            ),
            ("outside", f"{found.outside['deliveries'].get('repeat', 0):,} repeats absorbed", _faults(found)),
        ]
    )
    out.line()
    run = found.run
    out.line(
        f"{run['firings']:,} firings in {run['seconds']:,.1f} s: {run['firings_per_second']:,} a second, "
        f"durable, in {run['commits']:,} transactions",
        "bold",
    )
    ledger = found.ledger
    out.line(
        f"outside ledger: {ledger.matched:,} effects, each exactly once; {len(ledger.lost)} lost, "
        f"{len(ledger.doubled)} doubled, {len(ledger.unexpected)} that nobody claims",
        "bold green" if ledger.clean else "bold red",
    )
    from provenet.cli.reading import show_audit

    show_audit(out, found.audit)


def _tasks(found: DemoReport) -> str:
    return "; ".join(
        f"{task}: " + ", ".join(f"{n:,} {ended}" for ended, n in ends.items())
        for task, ends in found.tasks.items()
    )


def _faults(found: DemoReport) -> str:
    said = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in sorted(found.outside["faults"].items()))
    return f"faults it was made to have: {said or 'none'}"


def _break(out: Out, folder: Path | None) -> dict[str, Any]:
    """Verify a mutant and show the counterexample."""
    from provenet.cli.loading import load
    from provenet.cli.proving import checked, mended, save, show_refuted
    from provenet.examples.contract_renewal.mutants import mutant

    name = "policy loosened to 40"
    out.line(f"The mutant {name!r}: {mutant(name).broken}.")
    loaded = load(BROKEN)
    report = checked(loaded, only=["never"], quiet=out.as_json)
    report = mended(loaded, report, only=["never"], quiet=out.as_json)
    written = save(loaded, report, folder / "broken") if folder is not None else {}
    show_refuted(out, loaded, report, written)
    out.line()
    out.line(f"The same by hand: provenet verify {BROKEN}", "dim")
    return {"mutant": name, "verdicts": _verdicts(report)}


def _verdicts(report: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for v in report.verdicts:
        counts[str(v.status)] = counts.get(str(v.status), 0) + 1
    return counts


def _interesting(demo: Demo) -> list[str]:
    """A case worth looking at: one that a person decided on and that took something back."""
    import sqlite3
    from contextlib import closing

    with closing(sqlite3.connect(f"file:{demo.database}?mode=ro", uri=True)) as db:
        rows = db.execute(
            "SELECT c.id FROM provenet_case c JOIN provenet_task t ON t.case_no = c.no"
            " ORDER BY c.version DESC LIMIT 1"
        ).fetchall()
    return [str(r[0]) for r in rows]
