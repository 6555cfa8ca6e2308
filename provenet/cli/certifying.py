"""`provenet check-certificate`: is what a certificate file says true of this net?"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from provenet.cli.layout import Column
from provenet.cli.loading import load
from provenet.cli.printing import ExitCode, Failed, JsonFlag, Out, Unusable, counted, progress, stop
from provenet.cli.proving import made_folder, slug, write
from provenet.nets.quick import dataclass

if TYPE_CHECKING:
    from provenet.nets.net import Net, Requirement
    from provenet.verify.independent.check import Certificates, Result
    from provenet.verify.independent.claims import Stated
    from provenet.verify.independent.solvers import Solver
    from provenet.verify.verdict import Verdict

How: TypeAlias = Literal["re-checked", "re-run", "open", "refused"]

_WORDS: Mapping[How, str] = {
    "re-checked": "independently re-checked",
    "re-run": "re-run by the same code",
    "open": "not re-checkable here",
    "refused": "refused",
}
_STYLES = {"RE-CHECKED": "green", "RE-RUN": "cyan", "OPEN": "yellow", "REFUSED": "bold red"}
_CHOICES: Mapping[str, tuple[Solver, ...]] = {"z3": ("z3",), "cvc5": ("cvc5",), "both": ("z3", "cvc5")}


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("check-certificate")(check_certificate_command)


def check_certificate_command(
    *,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="What `provenet verify --certificates DIR` wrote.")
    ],
    net: Annotated[
        str, typer.Argument(metavar="NET", help="module:attr, file.py[:attr], net.json or net.pnml.")
    ],
    solver: Annotated[str, typer.Option(help="z3, cvc5 or both.")] = "z3",
    independent: Annotated[
        bool, typer.Option("--independent", help="Run nothing again: what is not re-checked stays open.")
    ] = False,
    obligations: Annotated[
        Path | None, typer.Option("--obligations", help="Folder for the obligations, one SMT-LIB file each.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each verdict.")] = 60.0,
    as_json: JsonFlag = False,
) -> None:
    """Re-check a certificate, by a small checker that shares no code with the engines that made it.

    What that checker does not know is run again by the engines, and told apart. Ends with 0 where all of it
    holds, 1 where something is refused, 2 where the file is no certificate, 3 where something stays open.
    """
    from provenet.verify.independent.check import read
    from provenet.verify.independent.errors import NotHere
    from provenet.verify.independent.solvers import versions

    out = Out(as_json=as_json)
    if solver not in _CHOICES:
        raise Unusable(f"there is no solver {solver!r}", where="--solver", hint="there are: z3, cvc5, both")
    certificates = read(file)
    loaded = load(net)
    try:
        used = versions(_CHOICES[solver])
    except NotHere as error:
        out.line(f"{error.message}; {error.hint}", "yellow")
        out.data({"file": str(file), "net": net, "error": error.message, "hint": error.hint})
        stop(ExitCode.UNKNOWN)
    done = _independently(loaded.net, certificates, solver, timeout, quiet=as_json)
    if not independent:
        done = _again(loaded.net, done, timeout, quiet=as_json)
    if obligations is not None:
        _written(loaded.net, certificates, made_folder(obligations))
    _show(out, certificates, done, used)
    untold = _untold(loaded.net, certificates)
    if untold:
        out.line(f"The net requires more, of which the file says nothing: {', '.join(untold)}.", "yellow")
    how = {d.how for d in done}
    code = ExitCode.FAILED if "refused" in how else ExitCode.UNKNOWN if "open" in how else ExitCode.DONE
    out.data({**_document(file, net, certificates, done, used, code), "untold": untold})
    stop(code)


@dataclass(frozen=True, slots=True)
class _Done:
    """What became of one verdict of a certificate."""

    result: Result
    how: How
    says: str


def _independently(
    net: Net, certificates: Certificates, solver: str, timeout: float, *, quiet: bool
) -> list[_Done]:
    from provenet.verify.independent.check import check
    from provenet.verify.independent.errors import Refused

    how: Mapping[str, How] = {"re-checked": "re-checked", "refused": "refused", "not re-checked": "open"}
    with progress(f"re-checking {certificates.net}", quiet=quiet) as shown:

        def told(number: int) -> None:
            if shown is not None:
                total = len(certificates.entries)
                note = certificates.entries[number].stated.property
                shown.update(shown.task_ids[0], completed=number, total=total, note=note)

        try:
            results = list(check(net, certificates, solvers=_CHOICES[solver], timeout=timeout, told=told))
        except Refused as error:
            raise Failed(error.message, code=error.code, hint=error.hint) from error
    return [_Done(r, how[r.outcome], r.says) for r in results]


def _again(net: Net, done: Sequence[_Done], timeout: float, *, quiet: bool) -> list[_Done]:
    """Have the engines decide anew what the separate checker left open."""
    from provenet.nets.errors import ProvenetError
    from provenet.verify.check import prove

    left = [d.result.entry for d in done if d.how == "open" and d.result.entry.verdict != "UNKNOWN"]
    wanted = dict.fromkeys(_asked(entry.stated) for entry in left)
    if not wanted:
        return list(done)
    try:
        with progress("running the rest again", quiet=quiet):
            report = prove(net, only=list(wanted), timeout=timeout)
    except ProvenetError:
        return list(done)
    told = _by_statement((d.result.entry.stated, d.result.entry.verdict) for d in done)
    found = _by_statement((v, str(v.status)) for v in report.verdicts)
    return [_compared(d, told, found) if d.how == "open" else d for d in done]


def _asked(stated: Stated) -> str | Requirement:
    """What to ask the engines again."""
    from provenet.nets.net import Requirement
    from provenet.verify.independent.claims import bound_in
    from provenet.verify.independent.errors import Refused

    try:
        k = bound_in(stated) if stated.property == "STATE-2" else None
    except Refused:
        k = None  # no answer has this title, so it stays open
    return stated.property if k is None else Requirement("STATE-2", (("k", k),))


_Verdicts: TypeAlias = Mapping[tuple[str, str, str], Counter[str]]


def _by_statement(verdicts: Iterable[tuple[Stated | Verdict, str]]) -> _Verdicts:
    """How often each verdict is given on the same statement."""
    found: defaultdict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
    for stated, status in verdicts:
        found[_statement(stated)][status] += 1
    return found


def _statement(of: Stated | Verdict) -> tuple[str, str, str]:
    return of.property, of.subject, of.title


def _compared(d: _Done, told: _Verdicts, found: _Verdicts) -> _Done:
    entry = d.result.entry
    statement = _statement(entry.stated)
    again = found.get(statement, Counter())
    if set(again) == {entry.verdict} or (entry.verdict in again and again == told[statement]):
        return _Done(d.result, "re-run", f"{entry.verdict} again")
    if entry.verdict in again:
        return _Done(d.result, "open", "of several things that the net calls so, not all come out so")
    against = [s for s in again if s != "UNKNOWN" and entry.verdict != "UNKNOWN"]
    if against:
        return _Done(d.result, "refused", f"it says {entry.verdict}, a new run says {against[0]}")
    return d


def _untold(net: Net, certificates: Certificates) -> list[str]:
    """Properties that the net requires and the file says nothing of."""
    from provenet.verify.check import requirements_of

    told = {entry.stated.property for entry in certificates.entries}
    required = requirements_of(net) if net.requirements else []
    return list(dict.fromkeys(p.id for p, _ in required if p.id not in told))


def _written(net: Net, certificates: Certificates, folder: Path) -> None:
    from provenet.verify.independent.check import obligations_of

    for number, entry in enumerate(certificates.entries, 1):
        name = slug(f"{entry.stated.property} {entry.stated.subject}")[:80]
        for part, (_, text) in enumerate(obligations_of(net, entry), 1):
            write(folder / f"{number:03}-{name}-{part}.smt2", text.encode())


def _show(out: Out, certificates: Certificates, done: Sequence[_Done], used: Mapping[str, str]) -> None:
    entries = len(certificates.entries)
    out.line(
        f"{certificates.net}  {certificates.net_hash[:8]}   a certificate of {counted(entries, 'verdict')}",
        "bold",
    )
    out.line()
    groups: dict[tuple[How, str, str], list[_Done]] = {}
    for d in done:
        entry = d.result.entry
        groups.setdefault((d.how, entry.verdict, entry.stated.property), []).append(d)
    rows = []
    for how, verdict, prop in sorted(groups, key=lambda key: list(_WORDS).index(key[0])):
        group = groups[how, verdict, prop]
        # What holds is told together; what does not, one by one.
        for part in [[d] for d in group] if how in ("refused", "open") else [group]:
            first = part[0].result.entry.stated
            subject = first.subject if len(part) == 1 else counted(len(part), "subject")
            said = part[0].says if len(part) == 1 else f"{part[0].says}; and so on"
            rows.append([how.upper(), verdict, prop, subject, said])
    whole = Column(fit="whole")
    out.table([whole, whole, whole, Column(), Column()], rows, styles=_STYLES)
    out.line()
    solvers = " and ".join(f"{name} {version}" for name, version in used.items())
    count = sum(d.result.obligations for d in done if d.how == "re-checked")
    sums = [
        f"{sum(d.how == how for d in done)} {words}"
        for how, words in _WORDS.items()
        if any(d.how == how for d in done)
    ]
    end = f" {counted(count, 'obligation')} unsatisfiable by {solvers}." if count else ""
    out.line(f"{', '.join(sums) or 'nothing to check'}.{end}", "bold")


def _document(
    file: Path,
    net: str,
    certificates: Certificates,
    done: Sequence[_Done],
    used: Mapping[str, str],
    code: ExitCode,
) -> dict[str, Any]:
    verdicts = []
    for d in done:
        stated = d.result.entry.stated
        each = {"property": stated.property, "subject": stated.subject, "verdict": d.result.entry.verdict}
        each |= {"how": _WORDS[d.how], "says": d.says}
        verdicts.append({**each, "obligations": d.result.obligations, "seconds": round(d.result.seconds, 4)})
    counts = {words: sum(d.how == how for d in done) for how, words in _WORDS.items()}
    return {
        "file": str(file),
        "net": net,
        "net_hash": certificates.net_hash,
        "made with": dict(certificates.versions),
        "solvers": dict(used),
        "verdicts": verdicts,
        "counts": counts,
        "exit_code": int(code),
    }
