"""Run the ablation: `python -m provenet.examples.spines`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from provenet.examples.spines.ablation import Size, ablate
from provenet.examples.spines.report import chart, page


def main() -> None:
    """Measure, then print the report, or write it with its picture."""
    usual = Size()
    words = argparse.ArgumentParser(description="The same agent on two spines, and a change of its model.")
    words.add_argument("--tasks", type=int, default=usual.tasks, help="different claims")
    words.add_argument("--tries", type=int, default=usual.tries, help="tries of each")
    words.add_argument("--shifts", type=int, nargs="+", default=usual.shifts, help="in calls of a hundred")
    words.add_argument("--out", type=Path, help="folder for ablation.md and pictures/ablation.svg")
    given = words.parse_args()
    size = Size(given.tasks, given.tries, tuple(given.shifts))
    result = ablate(size, said=lambda line: print(line, file=sys.stderr))  # noqa: T201  a program's own words
    if given.out is None:
        sys.stdout.write(page(result))
        return
    (given.out / "pictures").mkdir(parents=True, exist_ok=True)
    (given.out / "ablation.md").write_text(page(result), encoding="utf-8")
    (given.out / "pictures" / "ablation.svg").write_text(chart(result), encoding="utf-8")


if __name__ == "__main__":
    main()
