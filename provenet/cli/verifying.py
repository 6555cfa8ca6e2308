"""`provenet verify`: one net with all its evidence, or many nets in one table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from provenet.cli.loading import load
from provenet.cli.printing import ExitCode, JsonFlag, Out, Unusable, progress, stop
from provenet.cli.proving import checked, mended, save, save_certificate, show_report, write

if TYPE_CHECKING:
    from provenet.cli.reports.outcome import Steps
    from provenet.cli.reports.writing import Wanted
    from provenet.verify.verdict import Report

_CODES = {"PROVED": ExitCode.DONE, "REFUTED": ExitCode.FAILED, "UNKNOWN": ExitCode.UNKNOWN}


def register(app: typer.Typer) -> None:
    """Add this module's command."""
    app.command("verify")(verify_command)


def verify_command(
    *,
    targets: Annotated[
        list[str],
        typer.Argument(
            metavar="TARGET...",
            help="module:attr, file.py[:attr], net.json or net.pnml; several, or a pattern: 'nets/*.pnml'.",
            show_default=False,
        ),
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", help="A property (SDB-1), a family (SAGA), or a requirement's name; repeatable."
        ),
    ] = None,
    properties: Annotated[
        list[str] | None,
        typer.Option(
            "--property",
            help="The same, or a word: soundness, relaxed-soundness, safeness, boundedness, "
            "deadlock-freedom; repeatable.",
        ),
    ] = None,
    formulas: Annotated[
        list[str] | None,
        typer.Option("--formula", help="A formula of CTL or LTL: 'AG (sent -> AF done)'; repeatable."),
    ] = None,
    runs: Annotated[
        str | None,
        typer.Option(
            "--runs",
            help="What formulas are about: fair runs, or all. Default: all on a net without data, else fair.",
            show_default=False,
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for each property.")] = 60.0,
    jobs: Annotated[int, typer.Option(min=1, help="Processes at a time, for many nets.")] = 1,
    facts: Annotated[
        bool, typer.Option("--facts", help="Show what is known of every token, place by place.")
    ] = False,
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder for the report, the traces and the pictures.")
    ] = None,
    certificates: Annotated[
        Path | None,
        typer.Option("--certificates", help="Folder for the certificate that `check-certificate` re-checks."),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", help="One page: verdicts, picture, facts, traces to step through."),
    ] = None,
    sarif: Annotated[
        Path | None, typer.Option("--sarif", help="Findings as SARIF 2.1.0, for code hosts and editors.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Verdicts as JUnit XML, for build servers.")
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option("--baseline", help="Fail only on findings that this file does not have.")
    ] = None,
    write_baseline: Annotated[
        Path | None, typer.Option("--write-baseline", help="Write the findings of this run for --baseline.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Prove or refute what a net requires.

    Whatever a model could answer: a verdict holds for every value of the type that it may answer with.
    """
    from provenet.cli.reports.writing import Wanted

    out = Out(as_json=as_json)
    asked = list(dict.fromkeys([*(only or ()), *(properties or ())]))
    wanted = Wanted(sarif, junit, baseline, write_baseline)
    wanted.checked()
    if formulas:
        alone = {
            "another target": len(targets) > 1 or any(map(_is_pattern, targets)),
            "--property": bool(asked),
            "--facts": facts,
            "--out": out_dir is not None,
            "--html": html is not None,
            "--certificates": certificates is not None,
            "a report or baseline": wanted.anything,
        }
        if given := [name for name, is_given in alone.items() if is_given]:
            raise Unusable(
                f"{given[0]} cannot be combined with --formula",
                where="provenet verify",
                hint="run the command once for each",
            )
        from provenet.cli.formulas import verify_formulas

        verify_formulas(out, targets[0], formulas, runs=runs, timeout=timeout, jobs=jobs)
    if runs is not None:
        raise Unusable("--runs says what a formula is about, and there is none", where="provenet verify")
    if len(targets) > 1 or any(map(_is_pattern, targets)):
        alone = {"--facts": facts, "--out": out_dir is not None, "--html": html is not None}
        alone["--certificates"] = certificates is not None
        if given := [name for name, is_given in alone.items() if is_given]:
            raise Unusable(
                f"{given[0]} is for one net, and these are several",
                where="provenet verify",
                hint="name one target, or leave it out; --sarif, --junit and --json take any number of nets",
            )
        _many(out, targets, asked, wanted, jobs=jobs, timeout=timeout)
    loaded = load(targets[0])
    report = checked(loaded, only=asked, timeout=timeout, quiet=as_json)
    report = mended(loaded, report, only=asked, quiet=as_json)
    written: dict[str, Path] = {}
    if out_dir is not None:
        written = save(loaded, report, out_dir)
    if certificates is not None:
        written["certificate"] = save_certificate(loaded, report, certificates)
    if html is not None:
        from provenet.visualize.page import report_page

        with progress("drawing", quiet=as_json):
            page = report_page(loaded.net, report)
        written["html"] = html
        write(html, page)
    code = _CODES[str(report.status())]
    data = _document(targets[0], asked, report)
    data |= report.to_json(loaded.net)
    show_report(out, loaded, report, written, facts=facts)
    if wanted.anything:
        from provenet.cli.many import exit_code
        from provenet.cli.reports.outcome import outcomes_of
        from provenet.cli.reports.writing import against_text, write_reports

        done = write_reports(wanted, outcomes_of(loaded, report))
        written |= done.files
        code = exit_code(done.outcomes)
        if done.against is not None:
            out.line(against_text(done.against))
            data["baseline"] = done.against.to_json()
    data["status"] = str(report.status())
    data["files"] = {name: str(path) for name, path in written.items()}
    out.data(data)
    stop(code)


def _is_pattern(target: str) -> bool:
    if not set(target) & set("*?["):
        return False
    from provenet.cli.many import is_pattern

    return is_pattern(target)


def _many(
    out: Out, targets: list[str], asked: list[str], wanted: Wanted, *, jobs: int, timeout: float
) -> None:
    from provenet.cli.many import checked_words, exit_code, expanded, verify_many
    from provenet.cli.reports.writing import against_text, write_reports

    files = expanded(targets)
    checked_words(files, asked)
    steps: Steps = "told" if wanted.sarif or wanted.junit else "left out"
    outcomes = verify_many(out, files, asked or None, jobs=jobs, timeout=timeout, steps=steps)
    if wanted.anything:
        done = write_reports(wanted, outcomes)
        outcomes = done.outcomes
        if done.against is not None:
            out.line(against_text(done.against))
            if out.as_json:  # standard output holds one row a line
                sys.stderr.write(f"{against_text(done.against)}\n")
    stop(exit_code(outcomes))


def _document(target: str, asked: list[str], report: Report) -> dict[str, Any]:
    """What a row for many nets says, for programs that ask one property of one net."""
    if len(asked) != 1:
        return {"target": target}
    from provenet.cli.checking import summary

    return {"target": target, "property": asked[0], **summary(report)}
