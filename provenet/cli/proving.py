"""`provenet render`, and what all commands that prove share: the report on the screen and in a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.layout import Column
from provenet.cli.loading import Loaded, Target, load
from provenet.cli.printing import JsonFlag, Out, Unusable, counted, progress

if TYPE_CHECKING:
    from provenet.cli.traces import Step
    from provenet.nets.net import Net
    from provenet.verify.verdict import Report, Verdict

STYLES = {"PROVED": "green", "REFUTED": "bold red", "UNKNOWN": "yellow"}
_WIDE = 110


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("render")(render_command)


def render_command(
    *,
    target: Target,
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture: .svg, .png or .pdf.")],
    view: Annotated[
        str, typer.Option(help="folded: a box for each contract; expanded: every place.")
    ] = "folded",
    verify: Annotated[bool, typer.Option("--verify", help="Prove first, and show the verdicts.")] = False,
    facts: Annotated[
        bool, typer.Option("--facts", help="Show what is known of tokens; implies --verify.")
    ] = False,
    inscriptions: Annotated[
        bool, typer.Option("--inscriptions", help="Show guards and what arcs carry.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=0.1, help="Seconds for each property, and for the layout.")
    ] = 60.0,
    as_json: JsonFlag = False,
) -> None:
    """Draw a net."""
    out = Out(as_json=as_json)
    kind = output.suffix.lower().lstrip(".")
    if kind not in {"svg", "png", "pdf"}:
        raise Unusable(
            f"no picture is made in the format {output.suffix or '(none)'!r}",
            where=str(output),
            hint="end the name with .svg, .png or .pdf",
        )
    if view not in {"folded", "expanded"}:
        raise Unusable(f"there is no view {view!r}", where="--view", hint="there are: expanded, folded")
    loaded = load(target)
    report = checked(loaded, timeout=timeout, quiet=as_json) if verify or facts else None
    from provenet.visualize import render_net

    with progress("drawing", quiet=as_json):
        picture = render_net(
            loaded.net,
            format=kind,  # type: ignore[arg-type]  # checked above
            view=view,  # type: ignore[arg-type]  # checked above
            report=report,
            facts="on" if facts else "off",
            inscriptions="on" if inscriptions else "off",
            timeout=timeout,
        )
    write(output, picture)
    out.line(f"wrote {output}  ({len(picture):,} bytes)")
    out.data({"file": str(output), "bytes": len(picture), "format": kind, "view": view})


def checked(
    loaded: Loaded, *, only: Sequence[str] | None = None, timeout: float = 60.0, quiet: bool = False
) -> Report:
    """The report on a target's net, with progress on the terminal."""
    from provenet.verify.asked import decide

    with progress(f"verifying {loaded.net.name}", quiet=quiet) as shown:

        def tell(prop: str, done: int, total: int) -> None:
            if shown is not None:
                shown.update(shown.task_ids[0], completed=done, total=total, note=prop)

        return decide(loaded.net, only or None, timeout=timeout, progress=tell)


def mended(
    loaded: Loaded, report: Report, *, only: Sequence[str] | None = None, quiet: bool = False
) -> Report:
    """The report with mends for what is refuted, each verified before it is proposed."""
    if str(report.status()) != "REFUTED":
        return report
    from provenet.verify.asked import WORDS
    from provenet.verify.mending import mends

    asked = [WORDS.get(word.lower(), word) for word in only] if only else None
    # Trying a mend is proving the net once more, so it takes about as long as that did.
    limit = min(max(_LEAST_MENDING, 2 * report.seconds), _MOST_MENDING)
    with progress("trying mends", quiet=quiet):
        return mends(loaded.net, report, only=asked, timeout=limit)


_LEAST_MENDING, _MOST_MENDING = 5.0, 20.0
"""Seconds for all mends of a net together, at least and at most."""


def show_report(
    out: Out, loaded: Loaded, report: Report, written: dict[str, Path] | None = None, *, facts: bool = False
) -> None:
    """A report for people: one line for each property, refutations with their trace, and the sum."""
    if out.as_json:
        return
    net = loaded.net
    out.line(head_line(net, report), "bold")
    out.line()
    _table(out, net, report)
    show_refuted(out, loaded, report, written)
    if facts:
        _facts(out, net, report)
    out.line()
    out.line(footer(report), "bold")
    if written and "report" in written:
        out.line(f"Report, pictures and traces are in {written['report'].parent}")


def show_refuted(out: Out, loaded: Loaded, report: Report, written: dict[str, Path] | None = None) -> None:
    """What is refuted or unknown, each with its reason, its trace and its mend."""
    if out.as_json:
        return
    names = {id(v): name for name, v in traced(loaded.net, report)}
    for v in report.verdicts:
        if str(v.status) != "PROVED":
            out.line()
            _explain(out, loaded, v, names.get(id(v), ""), written or {})
            for name, made in mended_nets(report).items():
                if written and name in written and any(m.net == made for m in v.mends):
                    out.line(f"    The mended net is in {written[name]}", "dim")


def head_line(net: Net, report: Report) -> str:
    """Name, hash and size of a net."""
    return (
        f"{net.name}  {report.net_hash[:8]}   {counted(len(net.places), 'place')}  "
        f"{counted(len(net.transitions), 'transition')}  {counted(len(net.contracts), 'contract')}"
    )


def footer(report: Report) -> str:
    """The sum of a report in one line."""
    counts = {s: sum(str(v.status) == s for v in report.verdicts) for s in STYLES}
    said = ", ".join(f"{n} {s.lower()}" for s, n in counts.items() if n) or "nothing to prove"
    end = "Deployable." if not report.unproved() else "Not deployable."
    return f"{said} in {report.seconds:.1f} s. {end}"


def save(loaded: Loaded, report: Report, folder: Path) -> dict[str, Path]:
    """Write report, traces and pictures to a folder; the files by what they are."""
    from provenet.nets.formats.canonical import pretty
    from provenet.visualize import RenderError, draw_trace, render_net

    net = loaded.net
    made_folder(folder)
    written = {"report": folder / "report.json", "picture": folder / f"{slug(net.name)}.svg"}
    write(written["report"], _json(report.to_json(net)))
    try:
        write(written["picture"], render_net(net, report=report))
    except RenderError as error:
        del written["picture"]
        write(folder / "picture-error.txt", str(error).encode())
    for name, mended_net in mended_nets(report).items():
        written[name] = folder / name
        write(written[name], pretty(mended_net).encode())
    for name, verdict in traced(net, report):
        assert verdict.trace is not None
        written[f"{name}.json"] = folder / f"{name}.json"
        content: dict[str, Any] = {"net": net.name, "net_hash": report.net_hash, "property": verdict.property}
        content |= {"title": verdict.title, "reason": verdict.reason, "trace": verdict.trace.to_json(net)}
        write(written[f"{name}.json"], _json(content))
        try:
            picture = draw_trace(net, verdict.trace, verdict=verdict)
        except RenderError:
            continue
        written[f"{name}.svg"] = folder / f"{name}.svg"
        write(written[f"{name}.svg"], picture)
    return written


def save_certificate(loaded: Loaded, report: Report, folder: Path) -> Path:
    """Write the certificate of a report to a folder."""
    from provenet.verify.certify import certificate_of

    path = made_folder(folder) / f"{slug(loaded.net.name)}.certificate.json"
    write(path, _json(certificate_of(loaded.net, report)))
    return path


def traced(net: Net, report: Report) -> list[tuple[str, Verdict]]:
    """The verdicts that have a trace, with a name for their files: ``renewal.never-1``."""
    counts: dict[str, int] = {}
    found = []
    for v in report.verdicts:
        if v.trace is not None:
            counts[v.property] = counts.get(v.property, 0) + 1
            found.append((f"{slug(net.name)}.{slug(v.property)}-{counts[v.property]}", v))
    return found


def mended_nets(report: Report) -> dict[str, Net]:
    """The nets that mends make, with a name for the file of each: ``renewal.mended-1.json``."""
    different: list[Net] = []
    for v in report.verdicts:
        different += [m.net for m in v.mends if m.net not in different]
    return {f"{slug(report.net)}.mended-{n}.json": made for n, made in enumerate(different, start=1)}


def slug(name: str) -> str:
    """A name as part of a file name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower() or "net"


def made_folder(folder: Path) -> Path:
    """A folder that exists and can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unusable(
            f"the folder cannot be made: {error.strerror}", where=str(folder), hint="name another folder"
        ) from error
    return folder


def write(path: Path, content: bytes) -> None:
    """Write a file, or say why not."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise Unusable(
            f"the file cannot be written: {error.strerror}",
            where=str(path),
            hint="check the folder, its permissions and the free space",
        ) from error


def _table(out: Out, net: Net, report: Report) -> None:
    # A narrow terminal has room for what is proved, a wide one also for how.
    wide = out.width >= _WIDE
    rows = []
    groups = _groups(report)
    silent = [
        g
        for g in groups
        if all(v.vacuous for v in g)
        and str(g[0].status) == "PROVED"
        # That a killed case is not compensated must be seen before one is.
        and not (net.sagas and g[0].property == "CTL-2")
    ]
    for group in groups:
        if len(silent) > _MOST_SILENT and group in silent:
            continue
        first = group[0]
        vacuous = next((v.vacuous for v in group if v.vacuous), "")
        title = first.title + (f" (vacuous: {vacuous})" if vacuous else "")
        methods = ", ".join(dict.fromkeys(v.method for v in group if v.method))
        middle = [title, _subjects(net, group), methods] if wide else [title]
        took = f"{sum(v.seconds for v in group) * 1000:,.0f} ms"
        rows.append([str(first.status), first.property, *middle, took])
    if len(silent) > _MOST_SILENT:
        ids = ", ".join(dict.fromkeys(g[0].property for g in silent))
        text = f"hold for want of anything to check (vacuous): {ids}"
        rows.insert(0, ["PROVED", f"{len(silent)} others", text, *([""] * (3 if wide else 1))])
    whole = Column(fit="whole")
    middles = [Column(), Column(), Column(style="dim")] if wide else [Column()]
    columns = [whole, whole, *middles, Column(fit="whole", align="right", style="dim")]
    out.table(columns, rows, styles=STYLES)


_MOST_SILENT = 3
"""How many properties may each say in a line of their own that there was nothing to check."""


def _groups(report: Report) -> list[list[Verdict]]:
    groups: dict[tuple[str, str, str], list[Verdict]] = {}
    for v in report.verdicts:
        groups.setdefault((str(v.status), v.property, v.title), []).append(v)
    order = {"PROVED": 0, "UNKNOWN": 1, "REFUTED": 2}
    return sorted(groups.values(), key=lambda g: order[str(g[0].status)])


def _subjects(net: Net, group: Sequence[Verdict]) -> str:
    if len(group) == 1:
        return group[0].subject
    contracts = {c.id for c in net.contracts}
    noun = "contract" if all(v.subject.split(":")[0].split(".")[0] in contracts for v in group) else "subject"
    return counted(len(group), noun)


def _explain(out: Out, loaded: Loaded, v: Verdict, name: str, written: dict[str, Path]) -> None:
    net = loaded.net
    style = STYLES[str(v.status)]
    out.line(f"  {v.status}  {v.property}  {v.title}" + (f"  ({v.subject})" if v.subject else ""), style)
    if v.reason:
        out.line(f"    {v.reason}")
    if v.witness and v.trace is None:
        out.line("    " + ", ".join(f"{k} = {x}" for k, x in v.witness.items()))
    if v.trace is not None:
        from provenet.cli.traces import start_text, steps_of

        for line in start_text(net, v.trace.start):
            out.line(f"      0  starts with {line}", "dim")
        show_steps(out, list(steps_of(net, v.trace, witness=v.witness)))
    if v.mend:
        out.line(f"    Mend: {v.told_mend()}", "green")
    if v.trace is not None:
        files = [written[f] for f in (f"{name}.svg", f"{name}.json") if f in written]
        if files:
            out.line(f"    See {', '.join(map(str, files))}", "dim")
            out.line(f"    Step through it: provenet simulate {loaded.target} --trace {files[-1]}", "dim")
        else:
            out.line("    Add --out DIR for a picture of it and a trace to step through.", "dim")
    elif str(v.status) == "UNKNOWN":
        out.line("    UNKNOWN is never a pass. Try a longer --timeout.", "dim")


def show_steps(out: Out, steps: Sequence[Step], *, most: int = 40) -> None:
    """Steps as aligned lines; of a long run its beginning and its end."""
    cut = steps
    left_out = 0
    if len(steps) > most:
        cut = [*steps[: most // 2], *steps[-(most // 2) :]]
        left_out = len(steps) - len(cut)
    role_width = max((len(s.role) for s in cut), default=0)
    name_width = min(32, max((len(s.name) for s in cut), default=0))
    for position, s in enumerate(cut):
        if left_out and position == most // 2:
            out.line(f"         … {left_out:,} steps not shown", "dim")
        changes = "   ".join(s.changes)
        style = {"✗": "yellow", "●": "bold", "■": "red"}.get(s.glyph, "")
        out.line(
            f"     {s.number:>2}  {s.glyph} {s.role:<{role_width}}  {s.name:<{name_width}}  {changes}"
            + (f"   [{s.note}]" if s.note else ""),
            style,
        )


def _facts(out: Out, net: Net, report: Report) -> None:
    known: dict[str, list[str]] = {}
    for v in report.verdicts:
        for place, fact in v.facts.items():
            if fact not in known.setdefault(place, []):
                known[place].append(fact)
    out.line()
    out.line("What is known of every token, in every run:", "bold")
    order = [p.name for p in net.places if p.name in known]
    out.rows([(place, " and ".join(known[place])) for place in order] or [("", "no proof needed any fact")])


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()
