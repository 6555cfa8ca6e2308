"""Record histories that later versions must replay: ``python -m tests.golden.record``, once for each release.

They go into a folder named after the version. Of each run, the cases are kept that together fire everything
that fires in it. ``--databases`` takes databases that another version wrote (brought to the present tables
by ``provenet upgrade``) in place of fresh runs.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import provenet
from provenet.engine import Reader
from provenet.engine.case import GENESIS, chain
from provenet.engine.testing import History, replay_history
from tests.golden.runs import run_all, run_renewal

HERE = Path(__file__).resolve().parent

MOST = 4
"""Histories of one run: each carries its net, and nets are large."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", default=provenet.__version__, help="who wrote them")
    parser.add_argument("--databases", type=Path, nargs="*", help="databases; by default, new runs")
    parser.add_argument("--to", type=Path, default=HERE)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        databases = given.databases or [*asyncio.run(run_all(Path(folder))), run_renewal(Path(folder))]
        for path in record(databases, given.to / given.version, given.version):
            print(path)


def record(databases: Iterable[Path], folder: Path, version: str) -> Iterator[Path]:
    """Write the histories of some databases; each is replayed before it is kept."""
    for database in databases:
        for history in chosen(database):
            path = folder / f"{history.net.name} {history.case}.json".replace(" ", "-")
            replace(history, version=version).save(path)
            replay_history(path)
            yield path


def chosen(database: Path) -> list[History]:
    """Few histories that fire everything that fires in a database."""
    reader = Reader(database)
    left = {
        case.id: {(line.kind, line.transition) for line in reader.log(case.id)} for case in reader.cases()
    }
    kept: list[str] = []
    while len(kept) < MOST and any(left.values()):
        best = max(left, key=lambda case: (len(left[case]), case))
        kept.append(best)
        seen = left.pop(best)
        left = {case: steps - seen for case, steps in left.items()}
    return [History.of(reader, case) for case in kept]


def rewritten(history: History, old: str, new: str) -> History:
    """A history that says something else in its first entry with ``old``, with a chain that fits.

    Such a one is kept as ``divergent/orders-accepts-90.json``: a discount that the policy refuses.
    """
    at = next(e.seq for e in history if old in e.data)
    entries, head = [], GENESIS
    for e in history:
        data = e.data.replace(old, new) if e.seq == at else e.data
        head = chain(head, history.case, e.seq, e.kind, transition=e.transition, at=e.at, data=data)
        entries.append(replace(e, data=data, hash=head.hex()))
    return replace(history, entries=tuple(entries))


if __name__ == "__main__":
    main()
