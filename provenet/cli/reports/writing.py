"""The files that `provenet verify` writes for other programs, and the baseline that it reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from provenet.cli.printing import counted
from provenet.cli.reports.baseline import Compared, baseline_text, compared, read_baseline
from provenet.cli.reports.outcome import Outcome, told_apart

_MOST = 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for.

    Attributes:
        sarif: Where to write SARIF.
        junit: Where to write JUnit XML.
        baseline: The baseline to compare with.
        write_baseline: Where to write the findings as a new baseline.
    """

    sarif: Path | None = None
    junit: Path | None = None
    baseline: Path | None = None
    write_baseline: Path | None = None

    @property
    def anything(self) -> bool:
        """Whether any of them was."""
        return any((self.sarif, self.junit, self.baseline, self.write_baseline))

    def checked(self) -> None:
        """Read the baseline before anything is proved.

        Raises:
            Unusable: There is none, or it is none.
        """
        if self.baseline is not None:
            read_baseline(self.baseline)


@dataclass(frozen=True, slots=True)
class Written:
    """What came of it.

    Attributes:
        outcomes: The outcomes, findings marked as new or known where there is a baseline.
        files: What was written, by what it is.
        against: The comparison with the baseline.
    """

    outcomes: tuple[Outcome, ...]
    files: dict[str, Path]
    against: Compared | None


def write_reports(wanted: Wanted, outcomes: Sequence[Outcome]) -> Written:
    """Compare with the baseline and write every file that was asked for."""
    from provenet.cli.proving import write

    given = told_apart(outcomes)
    against = None
    if wanted.baseline is not None:
        against = compared(given, wanted.baseline)
        given = against.outcomes
    files: dict[str, Path] = {}
    if wanted.sarif is not None:
        from provenet.cli.reports.sarif import sarif

        files["sarif"] = wanted.sarif
        write(wanted.sarif, (json.dumps(sarif(given), indent=2, ensure_ascii=False) + "\n").encode())
    if wanted.junit is not None:
        from provenet.cli.reports.junit import junit

        files["junit"] = wanted.junit
        write(wanted.junit, junit(given))
    if wanted.write_baseline is not None:
        files["baseline"] = wanted.write_baseline
        write(wanted.write_baseline, baseline_text(given).encode())
    return Written(given, files, against)


def against_text(against: Compared) -> str:
    """The comparison in one line, and a line for each finding that is new."""
    said = f"Against the baseline: {against.new} new, {against.known} known"
    if against.gone:
        said += f"; {counted(against.gone, 'finding')} of it gone, write it again"
    new = [o for o in against.outcomes if o.novelty == "new"]
    lines = [f"  new  {o.status}  {o.prop}  {o.subject or o.title}  in {o.net}" for o in new[:_MOST]]
    lines += [f"  and {len(new) - _MOST} more"] if len(new) > _MOST else []
    return "\n".join([f"{said}.", *lines])
