"""`provenet replay`: recorded runs told again, and how far they depart under another version."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from provenet.cli.forking import receipts_of
from provenet.cli.printing import ExitCode, JsonFlag, Out, Unusable, counted, stop
from provenet.cli.reading import Database, reader_of

if TYPE_CHECKING:
    from provenet.engine.diagnosis.divergence import Comparison, Divergence
    from provenet.engine.diagnosis.rerun import Version
    from provenet.engine.diagnosis.retelling import Retold
    from provenet.engine.reader import Reader

Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds for each property to prove.")]

SHOWN = 12
"""Cases whose first departure is shown."""


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("replay")(replay_command)


def replay_command(
    *,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[TARGET]",
            help="The agent of the record: whose verifiers are asked and, with --against, whose proposers.",
            show_default=False,
        ),
    ] = None,
    database: Database,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="TARGET", help="Another version of it, to be measured."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="SIM", help="Where its runs are kept: a new database, or a simulation."),
    ] = None,
    cases: Annotated[
        list[str] | None, typer.Option("--cases", metavar="CASE", help="Only this one; several times.")
    ] = None,
    receipt: Annotated[
        list[str] | None,
        typer.Option("--receipt", metavar="EFFECT=JSON", help="What an effect returns in new runs."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw the shares as SVG, with --against.")
    ] = None,
    timeout: Timeout = 60.0,
    as_json: JsonFlag = False,
) -> None:
    """Replay recorded runs.

    Without --against every run is told again from recorded proposals: the same entries, hashes and tokens,
    bit for bit. With it the cases run anew, in a simulation: TARGET (or the record, where none is named),
    TARGET once more as a control, then the other version. Nothing is performed, and the record is never
    written to.
    """
    out, reader = Out(as_json=as_json), reader_of(database)
    wanted = _known(reader, cases)
    if against is None:
        for option, given in (("--to", to), ("--receipt", receipt), ("--plot", plot)):
            if given:
                raise Unusable(f"{option} goes with --against", where=option, hint="name another version")
        _tell_again(out, reader, target, wanted)
    from provenet.engine.diagnosis.divergence import measure
    from provenet.engine.diagnosis.rerun import Version

    a = Version("the record") if target is None else _version("A", target, reader, timeout, as_json=as_json)
    b = _version("B", against, reader, timeout, as_json=as_json)
    found = measure(reader, a, b, cases=wanted, to=to, receipts=receipts_of(receipt))
    _show(out, found, names=(target or "as recorded", against))
    if plot is not None and found.measured is not None:
        plot.write_text(drawing(found.measured), encoding="utf-8")
        out.line(f"See {plot}", "dim")
    if to is not None and found.measured is not None:
        out.line(f"Look: provenet cases --db {to}", "dim")
    out.data(found.to_json())
    stop(ExitCode.DONE if found.same else ExitCode.FAILED)


def drawing(found: Comparison) -> str:
    """The shares of cases that differ, with their intervals, as SVG."""
    from provenet.engine.diagnosis.divergence import LEVELS
    from provenet.visualize.charts import shares

    rows = []
    for level in LEVELS:
        share = found.share(level)
        low, high = share.interval
        rows.append((level, share.k / share.n if share.n else 0.0, low, high, f"{share.k:,} of {share.n:,}"))
    return shares(f"Cases in which {found.names[1]} departs from {found.names[0]}, with 95% intervals", rows)


# told again


def _tell_again(out: Out, reader: Reader, target: str | None, cases: Sequence[str] | None) -> NoReturn:
    from provenet.cli.loading import load
    from provenet.engine.diagnosis.divergence import replay

    found = replay(reader, () if target is None else (load(target).agent,), cases=cases)
    other = [told for told in found if not told.same]
    for told in other[:SHOWN]:
        out.line(f"  {told.case}  {_where(told)}", "red")
    if len(other) > SHOWN:
        out.line(f"  … and {len(other) - SHOWN:,} more", "red")
    entries = sum(told.entries for told in found)
    said = "the same, bit for bit" if not other else f"{len(other):,} of {len(found):,} diverge"
    out.line(
        f"{counted(len(found), 'case')} told again, {entries:,} entries: {said}",
        "bold green" if not other else "bold red",
    )
    followed, unasked = sum(t.followed for t in found), sum(t.unasked for t in found)
    if followed:
        out.line(
            f"  {followed:,} entries depend on personal data that cannot be read, and were taken as they are"
        )
    if unasked:
        out.line(
            f"  {unasked:,} answers of verifiers that are functions were taken as they are: name the agent"
        )
    if trimmed := sum(t.first > 1 for t in found):
        out.line(f"  {counted(trimmed, 'log')} begins later than its case: told from there on", "dim")
    out.data({"same": not other, "cases": [told.to_json() for told in found]})
    stop(ExitCode.FAILED if other else ExitCode.DONE)


def _cut(text: str, most: int) -> str:
    said = text or "(nothing more)"
    return said if len(said) <= most else said[: most - 1] + "…"


def _where(told: Retold) -> str:
    at = told.departure
    if at is None:
        return f"its tokens are not those that its log leads to: {told.recorded[:12]}, told {told.state[:12]}"
    return f"entry {at.seq}: recorded {_cut(at.was, 100)}, told {_cut(at.now, 100)}"


# run anew


def _version(name: str, target: str, reader: Reader, timeout: float, *, as_json: bool) -> Version:
    """An agent with what is proved of it: as it was deployed there, or now."""
    from provenet.cli.loading import load
    from provenet.cli.proving import checked
    from provenet.engine.diagnosis.rerun import Version
    from provenet.nets.formats.canonical import content_hash
    from provenet.verify.verdict import Report

    loaded = load(target)
    known = reader.report(content_hash(loaded.net))
    if known is not None:
        return Version(name, loaded.agent, Report.from_json(known, loaded.net))
    return Version(name, loaded.agent, checked(loaded, timeout=timeout, quiet=as_json))


def _known(reader: Reader, cases: Iterable[str] | None) -> list[str] | None:
    """The cases that were asked for; refuses an unknown one with the names that there are."""
    wanted = [*dict.fromkeys(cases or ())]
    for case in wanted:
        reader.case(case)
    return wanted or None


def _show(out: Out, found: Divergence, *, names: tuple[str, str]) -> None:
    from provenet.engine.diagnosis.divergence import LEVELS

    a, b = found.control.names[0], "B"
    total = len(found.control.cases)
    if not total:
        out.line("no case could be run anew: there is nothing to measure", "bold")
        _skipped(out, found)
        return
    out.line(f"{a}: {names[0]}   {b}: {names[1]}   {counted(total, 'case')}", "bold")
    apart = sum(not c.same for c in found.control.cases)
    if apart:
        out.line(f"  control: {a} against {a} again differs in {apart:,} of {total:,} cases", "bold red")
        _departures(out, found.control)
        out.line(
            "  The measurement is invalid: whatever came next would tell nothing about the versions.", "red"
        )
        _skipped(out, found)
        return
    out.line(f"  control: {a} against {a} again differs in 0 of {total:,} cases", "green")
    off = sum(not c.same for c in found.record.cases)
    own = found.record.names[1] == "the record"
    run = "run anew, against itself" if own else f"{a} against the record"
    why = "" if own or not off else f": {a} is not what ran then, or its answers vary from run to run"
    out.line(f"  {run}: {off:,} of {total:,} cases differ{why}", "yellow" if off else "dim")
    if found.measured is None:
        return
    rows = []
    for level in LEVELS:
        share = found.measured.share(level)
        low, high = share.interval
        rows.append((level, f"{share.k:,}", f"{share.k / share.n:.1%}", f"{low:.1%} to {high:.1%}"))
    out.rows(rows, head=(f"{b} against {a}", "cases", "share", "95 % interval"))
    differ, of = found.measured.points
    out.line(f"  single decisions that differ: {differ:,} of {of:,}", "dim")
    _invented(out, found.measured)
    _departures(out, found.measured)
    _skipped(out, found)


def _invented(out: Out, found: Comparison) -> None:
    made = Counter(name for c in found.cases for name in c.made_up)
    if made:
        cases = counted(found.counterfactual.k, "case")
        effects = ", ".join(f"{name} ({n:,})" for name, n in sorted(made.items()))
        out.line(f"  counterfactual: {cases} asked what the record has no answer to: {effects};", "yellow")
        out.line("  stand-ins made it up, and what comes after rests on that", "yellow")


def _departures(out: Out, found: Comparison) -> None:
    parted = [c for c in found.cases if c.departure is not None]
    if not parted:
        return
    out.line("  first departure of each case:")
    rows = []
    for c in parted[:SHOWN]:
        assert c.departure is not None
        at = c.departure
        rows.append((c.case, str(at.seq), _cut(at.was, 60), _cut(at.now, 60)))
    out.rows(rows, head=("case", "entry", *found.names), indent=4)
    if len(parted) > SHOWN:
        out.line(f"    … and {len(parted) - SHOWN:,} more")


def _skipped(out: Out, found: Divergence) -> None:
    for why, count in Counter(why for _, why in found.skipped).items():
        out.line(f"  left out: {counted(count, 'case')}: {why}", "dim")
