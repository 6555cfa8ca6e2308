"""Nets of the Model Checking Contest: how much is answered, how fast, and what each technique is worth.

Run it with ``python benchmarks/contest.py FOLDER``. The folder holds one folder for each net, with
``model.pnml``, the examinations' XML files and ``verdicts.json``; a ``peers.csv`` beside them is shown too.
``--without NAME`` leaves an engine or a reduction out, ``--only NAME`` leaves all other engines out, and
``--ablate`` does the first for each in turn, on the examinations that are not over in a second.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from provenet.nets.formats.pnml import read_pnml
from provenet.verify.plain import temporal as tl
from provenet.verify.plain.answer import Budget, Reachable
from provenet.verify.plain.bounds import upper_bounds
from provenet.verify.plain.contest import Bound, read_properties
from provenet.verify.plain.engines.on_reduced import OnReduced
from provenet.verify.plain.logic import holds
from provenet.verify.plain.net import PTNet, plain_net
from provenet.verify.plain.plan import reachability_stages
from provenet.verify.plain.portfolio import Stage, answers
from provenet.verify.plain.reductions import RULES

EXAMINATIONS = (
    "ReachabilityCardinality",
    "ReachabilityFireability",
    "ReachabilityDeadlock",
    "UpperBounds",
)
SHORT = {"ReachabilityCardinality": "RC", "ReachabilityFireability": "RF", "ReachabilityDeadlock": "RD"}
AT_ONCE = 1.0
"""Seconds below which an examination says nothing about what its engines are worth."""


@dataclass(frozen=True)
class Result:
    """What became of one examination of one net."""

    net: str
    examination: str
    known: int
    right: int
    wrong: tuple[str, ...]
    open: tuple[str, ...]
    seconds: float
    cpu: float
    engines: dict[str, int]


def main() -> None:
    options = _options()
    folders = sorted(p.parent for p in options.folder.glob("*/verdicts.json"))
    if options.net:
        folders = [f for f in folders if f.name in options.net]
    stages = list(chosen(reachability_stages(), options.without, options.only))
    results = list(_run(folders, options, stages))
    _totals(results, options.folder)
    report: dict[str, object] = {"results": [asdict(r) for r in results]}
    if options.ablate is not None:
        report["ablation"] = _ablation(folders, options, results)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))
    sys.exit(1 if any(r.wrong for r in results) else 0)


def chosen(stages: Sequence[Stage], without: Sequence[str], only: Sequence[str]) -> Iterator[Stage]:
    """The stages of a plan that are left when engines or reductions are taken out of it."""
    for stage in stages:
        engine = stage.engine
        if isinstance(engine, OnReduced):
            parts = {"reductions", engine.inner.name}
            engine = replace(engine, rules=tuple(r for r in engine.rules if r not in without))
        else:
            parts = {engine.name}
        if not parts & set(without) and (not only or parts <= set(only)):
            yield replace(stage, engine=engine)


def examined(folder: Path, examination: str, stages: Sequence[Stage], options: argparse.Namespace) -> Result:
    """Run one examination."""
    began = time.monotonic()
    used = _cpu()
    budget = Budget.seconds(options.seconds)
    net = plain_net(read_pnml(folder / "model.pnml"))
    truth = json.loads((folder / "verdicts.json").read_text())["verdicts"][examination]
    if not isinstance(truth, dict):
        truth = {f"{folder.name}-{examination}": truth}
    found: dict[str, bool | int] = {}
    engines: dict[str, int] = defaultdict(int)
    for name, value, engine in _answers(folder, examination, net, budget, stages, options.jobs):
        found[name] = value
        engines[engine] += 1
    known = {q: a for q, a in truth.items() if isinstance(a, bool | int)}
    return Result(
        folder.name,
        examination,
        len(known),
        sum(found.get(q) == a for q, a in known.items()),
        tuple(q for q, a in known.items() if q in found and found[q] != a),
        tuple(q for q in known if q not in found),
        round(time.monotonic() - began, 3),
        round(_cpu() - used, 3),
        dict(engines),
    )


def _answers(
    folder: Path, examination: str, net: PTNet, budget: Budget, stages: Sequence[Stage], jobs: int
) -> Iterator[tuple[str, bool | int, str]]:
    asked = read_properties(folder / f"{examination}.xml", net)
    bounds = [(a.id, a.question.places) for a in asked if isinstance(a.question, Bound)]
    if bounds:
        for i, most, by in upper_bounds(net, [b for _, b in bounds], budget, jobs=jobs, stages=stages):
            yield bounds[i][0], most, " + ".join(by)
    questions: list[tuple[str, tl.Reach]] = []
    for a in asked:
        if isinstance(a.question, Bound):
            continue
        formula = tl.simplified(a.question)
        asks = tl.as_reachability(formula)
        if asks is not None:
            questions.append((a.id, asks))
        elif isinstance(formula, tl.Now):
            yield a.id, holds(formula.formula, net.initial), "logic"
    goals = [r.goal for _, r in questions]
    for i, answer in answers(net, goals, budget, stages=stages, jobs=jobs):
        name, asks = questions[i]
        yield name, isinstance(answer, Reachable) == asks.holds_if, answer.engine


def _run(folders: Sequence[Path], options: argparse.Namespace, stages: Sequence[Stage]) -> Iterator[Result]:
    for folder in folders:
        for examination in options.examination:
            if not (folder / f"{examination}.xml").exists():
                continue
            result = examined(folder, examination, stages, options)
            text = f"{result.net:32} {SHORT.get(examination, 'UB'):2} {result.right:3}/{result.known:<3}"
            text += f" {len(result.wrong):2} wrong {result.seconds:7.1f} s {result.cpu:7.1f} CPU-s"
            left = ", ".join(q.rsplit("-", 1)[-1] for q in result.open)
            print(text + (f"   open: {left}" if left else ""), flush=True)
            yield result


def _totals(results: Sequence[Result], folder: Path) -> None:
    peers = _peers(folder / "peers.csv", {r.net for r in results})
    print()
    for examination in dict.fromkeys(r.examination for r in results):
        rows = [r for r in results if r.examination == examination]
        known, right = sum(r.known for r in rows), sum(r.right for r in rows)
        text = f"{examination:26} {right}/{known} ({100 * right / max(1, known):.1f}%)"
        text += f"  wrong {sum(len(r.wrong) for r in rows)}  {sum(r.seconds for r in rows):.0f} s"
        for tool, (answered, asked) in peers.get(examination, {}).items():
            text += f"   {tool} {answered}/{asked} ({100 * answered / asked:.1f}%)"
        print(text)
    engines: dict[str, int] = defaultdict(int)
    for r in results:
        for engine, n in r.engines.items():
            engines[engine] += n
    print("answered by: " + ", ".join(f"{e} {n}" for e, n in sorted(engines.items(), key=lambda x: -x[1])))
    for r in results:
        for q in r.wrong:
            print(f"WRONG: {q}")


def _ablation(
    folders: Sequence[Path], options: argparse.Namespace, base: Sequence[Result]
) -> list[dict[str, object]]:
    """What is lost, and how much longer it takes, without each engine and each reduction."""
    hard = {(r.net, r.examination) for r in base if r.seconds > AT_ONCE}
    stages = reachability_stages()
    engines = [e.inner if isinstance(e := s.engine, OnReduced) else e for s in stages]
    rows: list[dict[str, object]] = []
    print(f"\nablation, on {len(hard)} examinations")
    names = options.ablate or [*dict.fromkeys(e.name for e in engines), "reductions", *RULES]
    for name in (None, *names):
        kept = list(chosen(stages, [] if name is None else [name], []))
        again = [examined(f, e, kept, options) for f in folders for e in EXAMINATIONS if (f.name, e) in hard]
        row = {
            "without": name or "nothing",
            "answered": sum(r.right for r in again),
            "wrong": sum(len(r.wrong) for r in again),
            "seconds": round(sum(r.seconds for r in again), 1),
            "cpu": round(sum(r.cpu for r in again), 1),
        }
        rows.append(row)
        print(
            "without {without:22} {answered:4} answered {seconds:8.1f} s {cpu:8.1f} CPU-s".format(**row),
            flush=True,
        )
    return rows


def _peers(path: Path, nets: set[str]) -> dict[str, dict[str, tuple[int, int]]]:
    """For each examination and tool: answered, asked."""
    out: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    if path.exists():
        with path.open(newline="") as lines:
            for row in csv.DictReader(lines):
                if row["net"] in nets:
                    answered, asked = out[row["examination"]].get(row["tool"], (0, 0))
                    right = row["answer"] == row["truth"]
                    out[row["examination"]][row["tool"]] = (answered + right, asked + 1)
    return out


def _cpu() -> float:
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in both)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each examination of a net")
    parser.add_argument("--jobs", type=int, default=1, help="engines that run at once")
    parser.add_argument("--examination", action="append", choices=EXAMINATIONS)
    parser.add_argument("--net", action="append", help="only this net")
    parser.add_argument("--without", action="append", default=[], help="leave an engine or reduction out")
    parser.add_argument("--only", action="append", default=[], help="leave all other engines out")
    parser.add_argument("--ablate", nargs="*", metavar="NAME", help="leave each out in turn; none: all")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.examination = options.examination or list(EXAMINATIONS)
    return options


if __name__ == "__main__":
    main()
