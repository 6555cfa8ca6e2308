"""Verdicts against explicit search, on as many random nets as one likes.

    .venv/bin/python -m tests.verify.differential --examples 10000 --jobs 2

Nets are tried in runs of a hundred, each run in a process of its own with a seed of its own: memory and time
stay those of a hundred nets, and a run that fails is repeated by its ``--seed``. Ends with the verdicts by
property, and with why some are unknown.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.strategies import SearchStrategy

from provenet.nets.net import Net, Requirement
from provenet.verify.check import requirements_of
from provenet.verify.context import Context
from provenet.verify.properties.common import Property
from provenet.verify.verdict import Certificate, Status, Verdict
from tests.verify.explicit import Explicit
from tests.verify.explicit_events import eventually, evt_1, evt_2, responds
from tests.verify.explicit_more import ctl_2, ctl_4, saga_4, sdb_3, sdb_6, state_4
from tests.verify.small_contracts import contract_nets
from tests.verify.small_machines import machine_nets
from tests.verify.small_nets import small_nets

Kind = Literal["nets", "contracts", "machines"]
NETS: dict[Kind, Callable[[], SearchStrategy[Net]]] = {
    "nets": small_nets,
    "contracts": contract_nets,
    "machines": machine_nets,
}
KINDS: tuple[Kind, ...] = tuple(NETS)

ROOT = Path(__file__).parents[2]

_RUN = 100
_PATIENCE = 1_800
"""Seconds for one run: many times what it takes."""


@dataclass
class Tally:
    """What was decided, and why what was not was not."""

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)

    def note(self, r: Requirement, v: Verdict) -> None:
        """Count a verdict."""
        self.verdicts[r.kind, v.status.value] += 1
        if v.status is Status.UNKNOWN:
            # Names and numbers differ from net to net.
            self.reasons[r.kind, re.sub(r"(['\"])[^ ]*\1|\d[\d,]*", "_", v.reason)] += 1

    def lines(self, reasons: int = 25) -> Iterator[str]:
        """For people."""
        for kind in sorted({k for k, _ in self.verdicts}):
            yield f"{kind:10}" + "".join(f" {s.value} {self.verdicts[kind, s.value]:6}" for s in Status)
        for (kind, reason), n in self.reasons.most_common(reasons):
            yield f"{n:6} x {kind} UNKNOWN: {reason}"


def disagreements(net: Net, tally: Tally, *, timeout: float = 2) -> Iterator[str]:
    """Where verdicts and explicit search contradict each other."""
    seen = Explicit(net)
    ctx = Context(net, deadline=0, most_states=2_000)
    proved: list[tuple[Property, Requirement]] = []
    certificates: list[Certificate] = []
    for prop, r in requirements_of(net):
        ctx.deadline = time.monotonic() + timeout
        verdicts = list(prop.check(ctx, r))
        evidence = [c for v in verdicts for c in v.certificates]
        # Those about data; the others are found anew by the same arithmetic and exploration.
        if all(v.status is Status.PROVED for v in verdicts) and any(
            c.data.get("questions") for c in evidence
        ):
            proved.append((prop, r))
            certificates += evidence
        for v in verdicts:
            tally.note(r, v)
            # A contract of several commits has a verdict for each of them.
            about = {other.status for other in verdicts if other.subject == v.subject}
            says = None if v.vacuous or len(about) > 1 else expected(seen, r, v)
            if (v.status, says) in ((Status.PROVED, False), (Status.REFUTED, True)):
                yield f"{r.kind} {v.subject}: {v.status} by {v.method} ({v.reason}), but it is {says}"
            if v.status is Status.REFUTED and v.trace is not None and not v.trace.replays(net):
                yield f"{r.kind}: the trace does not replay"
    ctx.memo.clear()
    again = Context(net, deadline=time.monotonic() + 60, most_states=2_000, hints=certificates)
    for prop, r in proved:
        for v in prop.check(again, r):
            if v.status is not Status.PROVED:
                yield f"{r.kind} {v.subject}: its certificates do not prove it: {v.reason}"
    again.memo.clear()


def expected(seen: Explicit, r: Requirement, verdict: Verdict) -> bool | None:
    """What explicit search says of a verdict's property."""
    match r.kind:
        case "STATE-1":
            return seen.state_1() if seen.net.finals else None
        case "STATE-2":
            return seen.state_2(r.arg("k"))
        case "STATE-3":
            return seen.state_3()
        case "CTL-3":
            return seen.ctl_3()
        case "DATA-1":
            return seen.data_1()
        case "DATA-3":
            return seen.data_3(verdict.subject) if verdict.subject else True
        case "never":
            return seen.never(r.arg("transition"), r.arg("where"))
        case "always":
            return seen.always(r.arg("place"), r.arg("where"))
        case "precedes":
            return seen.precedes(r.arg("first"), r.arg("then"))
        case "bound":
            return seen.bound(r.arg("places"), r.arg("k"))
        case "mutex":
            return seen.mutex(r.arg("places"))
        case "EVT-1":
            return evt_1(seen, verdict.subject)
        case "EVT-2":
            return evt_2(seen, verdict.subject)
        case "responds":
            return responds(seen, {r.arg("trigger")}, {r.arg("response")})
        case "eventually":
            return eventually(seen, r.arg("what"))
        case "SDB-1":
            if seen.net.has_transition(verdict.subject):  # an effect that no contract commits
                return seen.never_fires(verdict.subject)
            return seen.sdb_1(verdict.subject)
        case "SDB-4":
            return seen.sdb_4(verdict.subject)
        case "SDB-5":
            return seen.sdb_5(verdict.subject)
        case "SDB-3":
            return sdb_3(seen, verdict.subject)
        case "SDB-6":
            return sdb_6(seen, verdict.subject)
        case "SAGA-4":
            return saga_4(seen, verdict.subject)
        case "CTL-2":
            return ctl_2(seen)
        case "CTL-4":
            return ctl_4(seen, r)
        case "STATE-4":
            return state_4(seen, r)
        case kind if kind.startswith("SAGA"):
            return seen.saga(verdict.subject)[kind]
        case kind:
            raise AssertionError(kind)


def one_run(kind: Kind, number: int, examples: int, timeout: float) -> None:
    """Try some nets in this process; prints figures as a line of JSON.

    Raises:
        AssertionError: A disagreement, on a net made as small as possible.
    """
    tally = Tally()
    done = 0

    @settings(max_examples=examples, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @seed(number)
    @given(NETS[kind]())
    def agree(net: Net) -> None:
        nonlocal done
        done += 1
        found = list(disagreements(net, tally, timeout=timeout))
        assert not found, found

    agree()
    figures = {
        "done": done,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "verdicts": [[*key, n] for key, n in tally.verdicts.items()],
        "reasons": [[*key, n] for key, n in tally.reasons.items()],
    }
    print(json.dumps(figures))


def _in_a_process(run: tuple[Kind, int], *, examples: int, timeout: float) -> dict[str, Any]:
    kind, number = run
    asked = ["--kind", kind, "--seed", str(number), "--examples", str(examples), "--timeout", str(timeout)]
    command = [sys.executable, "-m", "tests.verify.differential", "--one-run", *asked]
    began = time.monotonic()
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, timeout=_PATIENCE, check=False, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return {"run": run, "problem": f"it did not end within {_PATIENCE} s"}
    seconds = {"run": run, "seconds": time.monotonic() - began}
    if ended.returncode:
        return {**seconds, "problem": ended.stdout + ended.stderr}
    return {**seconds, **json.loads(ended.stdout.splitlines()[-1])}


def many_runs(
    kinds: Sequence[Kind] = KINDS, *, examples: int, first: int = 1, jobs: int = 1, timeout: float = 2
) -> list[str]:
    """Try so many nets of each kind, in processes; the problems found.

    Args:
        kinds: Which nets.
        examples: How many of each.
        first: The first run's seed.
        jobs: Processes at a time.
        timeout: Seconds for each property of a net.
    """
    runs = [(kind, first + n) for n in range(-(-examples // _RUN)) for kind in kinds]
    tally, done, problems = Tally(), Counter[str](), list[str]()
    with ThreadPoolExecutor(jobs) as pool:
        for found in pool.map(partial(_in_a_process, examples=min(_RUN, examples), timeout=timeout), runs):
            kind, number = found["run"]
            if "problem" in found:
                problems.append(f"--kind {kind} --seed {number}: {found['problem']}")
                print(problems[-1], flush=True)
                continue
            done[kind] += found["done"]
            for verdict in found["verdicts"]:
                tally.verdicts[verdict[0], verdict[1]] += verdict[2]
            for reason in found["reasons"]:
                tally.reasons[reason[0], reason[1]] += reason[2]
            figures = f"{found['seconds']:.0f} s, {found['megabytes']} MB"
            print(f"{done[kind]:6} {kind}: seed {number}, {figures}", flush=True)
    print(*tally.lines(), f"{done.total():,} nets, {len(problems)} problems", sep="\n", flush=True)
    return problems


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.verify.differential", description=__doc__)
    parser.add_argument("--kind", choices=KINDS, help="nets of one kind only")
    parser.add_argument("--examples", type=int, default=10_000, help="how many of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the first run (%(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (%(default)s)")
    parser.add_argument("--timeout", type=float, default=2, help="seconds for each property (%(default)s)")
    parser.add_argument("--one-run", action="store_true", help="one run, in this process")
    told = parser.parse_args()
    if told.one_run:
        one_run(told.kind or "nets", told.seed, told.examples, told.timeout)
        return
    problems = many_runs(
        [told.kind] if told.kind else KINDS,
        examples=told.examples,
        first=told.seed,
        jobs=told.jobs,
        timeout=told.timeout,
    )
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
