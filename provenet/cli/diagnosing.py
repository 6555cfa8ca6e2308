"""`provenet diagnose`: failures with known signatures, and whether a change of model made them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from provenet.cli.printing import ExitCode, JsonFlag, Out, Unusable, counted, progress, stop
from provenet.cli.reading import Database, known_net, reader_of

if TYPE_CHECKING:
    from provenet.engine.diagnosis.diagnose import Diagnosis
    from provenet.engine.diagnosis.finding import Finding
    from provenet.engine.diagnosis.procedure import Procedure
    from provenet.engine.diagnosis.rerun import Version
    from provenet.engine.reader import Reader

_RECORDED = "recorded:"
_SHOWN = 5


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("diagnose")(diagnose_command)


def diagnose_command(
    *,
    database: Database,
    net: Annotated[str | None, typer.Option(help="Only cases of this net, by name.")] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            help="The version before: a TARGET whose proposers are asked, or recorded:MODEL, as a model of "
            "this log has answered.",
        ),
    ] = None,
    current: Annotated[
        str | None,
        typer.Option(metavar="VERSION", help="The version now, likewise; the record itself by default."),
    ] = None,
    failure: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="A case that ended there has failed; by default one that a contract gave up on. Parked "
            "ones always have.",
        ),
    ] = None,
    sample: Annotated[int, typer.Option(min=1, help="Most failures to run anew.")] = 20,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    repeat: Annotated[int, typer.Option(min=1, help="How often to run each on a version that is asked.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """Look for failures with known signatures, and ask whether a change of model made them.

    Twelve detectors read the log; nothing but the database is needed. With --prior, sampled failures are run
    anew on the version before and on the one now, where nothing is performed.
    """
    from provenet.engine.diagnosis.diagnose import diagnose
    from provenet.engine.diagnosis.procedure import examine

    out = Out(as_json=as_json)
    reader = reader_of(database)
    if net is not None:
        known_net(reader, net)
    if current is not None and prior is None:
        raise Unusable("--current without --prior", hint="name the version before as well")
    before, now = _version(prior), _version(current)
    places = tuple(failure or ())
    _known_places(reader, places)
    with progress("reading", quiet=as_json) as shown:

        def tell(cases: int) -> None:
            if shown is not None:
                shown.update(shown.task_ids[0], note=counted(cases, "case"))

        found = diagnose(database, net=net, places=places, progress=tell)
    _show(out, database, found)
    if before is None or not found.failed:
        if found.failed:
            failed = f"{len(found.failed):,} of {counted(found.cases, 'case')} failed"
            out.line(
                f"{failed}. --prior VERSION runs some anew, and tells whether the model's change did it."
            )
        out.data(found.to_json() | {"procedure": None})
        stop(ExitCode.FAILED if found.findings else ExitCode.DONE)
    examined = examine(
        database,
        prior=before,
        current=now,
        places=places,
        sample=sample,
        seed=seed,
        repeat=repeat,
        net=net,
    )
    out.line()
    _show_procedure(out, database, examined)
    out.data(found.to_json() | {"procedure": examined.to_json()})
    blamed = examined.count("functional") + examined.count("replay divergence")
    stop(ExitCode.FAILED if found.findings or blamed else ExitCode.DONE)


def _version(said: str | None) -> Version | str | None:
    """A version, as the user names it."""
    if said is None or said.startswith(_RECORDED):
        return None if said is None else said.removeprefix(_RECORDED)
    from provenet.cli.loading import load
    from provenet.engine.diagnosis.rerun import Version
    from provenet.verify.check import prove

    agent = load(said).agent
    return Version(said, agent, prove(agent.net))


def _known_places(reader: Reader, places: tuple[str, ...]) -> None:
    from provenet.nets.errors import did_you_mean

    nets = [reader.net(n["hash"]) for n in reader.nets()]
    known = {p.name for net in nets if net is not None for p in net.places}
    for place in places:
        if place not in known:
            raise Unusable(f"there is no place {place!r}", where="--failure", hint=did_you_mean(place, known))


def _show(out: Out, database: str, found: Diagnosis) -> None:
    nets = ", ".join(repr(n) for n in found.nets) or "no net"
    out.line(f"{nets}   {counted(found.cases, 'case')}, {found.entries:,} log entries")
    for finding in found.findings:
        out.line()
        _show_finding(out, finding)
    for case, why in found.skipped[:_SHOWN]:
        out.line(f"  case {case!r} was not looked at: {why}", "yellow")
    if found.pruned:
        out.line(f"  {counted(found.pruned, 'case')} pruned: nothing is left to look at", "dim")
    out.line()
    if found.findings:
        first = found.findings[0].evidence
        said = f"{counted(len(found.findings), 'finding')} of twelve detectors."
        out.line(said, "bold red")
        if first:
            out.line(f"See: provenet case {shlex.quote(first[0].case)} --db {shlex.quote(database)}", "dim")
    else:
        out.line("None of twelve detectors found anything.", "bold green")


def _show_finding(out: Out, finding: Finding) -> None:
    out.line(f"  {finding.detector}   {finding.net}: {finding.symptom}", "bold")
    out.line(f"        weakness    {finding.weakness}")
    out.line(f"        correction  {finding.correction}")
    for e in finding.evidence[:_SHOWN]:
        entries = ", ".join(map(str, e.entries[:8])) + (", ..." if len(e.entries) > 8 else "")
        what = "entries" if len(e.entries) > 1 else "entry"
        out.line(f"        case {e.case}, {what} {entries}: {e.says}", "dim")
    rest = len(finding.evidence) - _SHOWN
    if rest > 0:
        out.line(f"        {counted(rest, 'more place')}: --json has them", "dim")


def _show_procedure(out: Out, database: str, found: Procedure) -> None:
    from provenet.engine.diagnosis.procedure import CLASSES, MEANINGS

    failed = f"{found.failures:,} of {counted(found.cases, 'case')} failed"
    times = "" if found.repeat == 1 else f", {found.repeat} times each"
    out.line(f"{failed}; {len(found.sample):,} of them were run anew{times}", "bold")
    out.line(f"  before  {found.prior}")
    out.line(f"  now     {found.current}")
    rows = []
    for name in CLASSES:
        low, high = found.share(name)
        of = f"{found.count(name)} of {len(found.sample)}"
        rows.append((name, of, f"{low:.0%} to {high:.0%}", MEANINGS[name]))
    out.rows(rows, head=("", "sampled", "of all, at 95%", ""))
    for f in found.sample:
        if f.why:
            out.line(f"  case {f.case}: {f.why}", "dim")
        elif f.made_up:
            out.line(f"  case {f.case}: receipts were made up for {', '.join(f.made_up)}", "yellow")
    picked = next((f for f in found.sample if f.verdict == "replay divergence"), None)
    if picked is not None:
        out.line(f"See: provenet case {shlex.quote(picked.case)} --db {shlex.quote(database)}", "dim")
