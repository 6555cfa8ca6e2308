"""`provenet verify --formula`: temporal formulas, on nets without data and with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from provenet.cli.loading import Loaded, load
from provenet.cli.printing import ExitCode, Out, Unusable, counted, progress, stop

if TYPE_CHECKING:
    from provenet.nets.requirements import Runs
    from provenet.verify.plain.formula_verdict import FormulaVerdict, Run
    from provenet.verify.plain.net import PTNet

STYLES = {"PROVED": "green", "REFUTED": "bold red", "UNKNOWN": "yellow"}
LONGEST = 60
"""Firings of a run that are shown to people; programs get all."""


def verify_formulas(
    out: Out, target: str, formulas: Sequence[str], *, runs: str | None, timeout: float, jobs: int
) -> NoReturn:
    """Decide formulas, show the verdicts, and end the command."""
    from provenet.verify.plain.net import is_plain

    if runs not in (None, "fair", "all"):
        raise Unusable(f"there are no {runs!r} runs", where="--runs", hint="there are: all, fair")
    loaded = load(target)
    if is_plain(loaded.net) and runs != "fair":
        rows = _without_data(out, loaded, formulas, timeout=timeout, jobs=jobs)
    else:
        rows = _with_data(out, loaded, formulas, "all" if runs == "all" else "fair", timeout=timeout)
    found = {str(row["verdict"]) for row in rows}
    code = (
        ExitCode.FAILED if "REFUTED" in found else ExitCode.UNKNOWN if "UNKNOWN" in found else ExitCode.DONE
    )
    out.data({"target": target, "formulas": rows, "exit_code": int(code)})
    stop(code)


def _without_data(
    out: Out, loaded: Loaded, formulas: Sequence[str], *, timeout: float, jobs: int
) -> list[dict[str, Any]]:
    from provenet.verify.plain.formula_text import parse_formula
    from provenet.verify.plain.formula_verdict import prove_formula
    from provenet.verify.plain.net import plain_net

    net = plain_net(loaded.net)
    asked = [parse_formula(text, net) for text in formulas]
    verdicts = []
    for text, formula in zip(formulas, asked, strict=True):
        with progress(text, quiet=out.as_json):
            verdicts.append(prove_formula(net, formula, timeout=timeout, jobs=jobs))
        _show(out, net, verdicts[-1])
    return [v.to_json(net) for v in verdicts]


def _with_data(
    out: Out, loaded: Loaded, formulas: Sequence[str], runs: Runs, *, timeout: float
) -> list[dict[str, Any]]:
    from provenet.cli.proving import show_report
    from provenet.nets.requirements import formula
    from provenet.verify.check import prove
    from provenet.verify.modal import vocabulary
    from provenet.verify.plain.formula_text import parse_formula

    net = loaded.net
    for text in formulas:  # mistakes come before the first of them is decided
        parse_formula(text, vocabulary(net))
    with progress(f"verifying {net.name}", quiet=out.as_json):
        report = prove(net, only=[formula(text, runs=runs) for text in formulas], timeout=timeout)
    show_report(out, loaded, report)
    return [
        {
            "formula": v.title,
            "runs": runs,
            "verdict": str(v.status),
            "seconds": round(v.seconds, 3),
            "engine": v.method,
            "reason": v.reason,
            "notes": [v.vacuous] if v.vacuous else [],
            "trace": None if v.trace is None else v.trace.to_json(net),
        }
        for v in report.verdicts
    ]


def _show(out: Out, net: PTNet, verdict: FormulaVerdict) -> None:
    status = str(verdict.status)
    out.line(f"{status:8} {verdict.formula}", STYLES[status])
    out.line(f"         {verdict.reason}, {verdict.seconds:.2f} s")
    for note in verdict.notes:
        out.line(f"         but: {note}", "yellow")
    if verdict.run is not None:
        _show_run(out, net, verdict.run)


def _show_run(out: Out, net: PTNet, run: Run) -> None:
    out.line(f"         {run.says}:")
    if not run.path.first and not run.path.loop:
        out.line("           (the initial marking)")
    _firings(out, net, run.path.first)
    if run.path.loop:
        out.line("         then again and again:")
        _firings(out, net, run.path.loop)
    elif run.path.end == "deadlock":
        out.line("         and nothing is enabled any more")


def _firings(out: Out, net: PTNet, firings: Sequence[int]) -> None:
    for n, t in enumerate(firings[:LONGEST], 1):
        out.line(f"           {n:>3}  {net.transitions[t]}")
    if len(firings) > LONGEST:
        out.line(f"           ... and {counted(len(firings) - LONGEST, 'firing')} more; --json has them all")
