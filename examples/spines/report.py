"""The ablation's page and picture, and its verdict, whichever way it falls."""

from __future__ import annotations

from textwrap import wrap

from provenet.engine.diagnosis.divergence import LEVELS, Level, Share
from provenet.examples.spines.ablation import CHANGES, SPINES, Change, Result, Spine
from provenet.visualize.charts import Axis, Point, Series, curves

COMMAND = "python -m provenet.examples.spines --out docs"


def chart(result: Result) -> str:
    """Committed state over the shift, for each spine and change, as SVG; P5 a little to the right."""
    drawn = []
    for change in CHANGES:
        for number, spine in enumerate(SPINES):
            points = []
            for shift in result.size.shifts:
                share = result.share(spine, change, shift, "committed state")
                low, high = share.interval
                points.append(Point((shift + number) / 100, share.k / share.n, low, high))
            drawn.append(Series(f"{spine}, {_SHORT[change]}", tuple(points)))
    return curves(
        "Cases whose committed state departs from version A's, with 95% intervals",
        Axis("calls in which version B behaves otherwise", low=0, high=1, percent="yes"),
        Axis("share of cases", low=0, high=1, percent="yes"),
        drawn,
    )


_SHORT: dict[Change, str] = {"asked again": "asked again", "changed during the pause": "kept"}


def verdict(result: Result) -> list[str]:
    """What the numbers say of the spines, in sentences."""
    size = result.size
    most = size.shifts[-1]
    pairs = len(size.claims) * len(size.shifts) * len(LEVELS)
    said = []
    invalid = [spine for spine, found in result.spines.items() if not found.control.same]
    if invalid:
        return [f"The measurement is invalid: version A departs from itself on {', '.join(invalid)}."]
    for change in CHANGES:
        apart = result.apart(change)
        what = "Asked again" if change == "asked again" else "Changed during the pause"
        if apart == 0:
            said.append(
                f"{what}, the two spines depart in the very same cases: of {pairs:,} pairs of observations "
                "(case, shift, level) none differs. The choice between P3 and P5 makes no difference here."
            )
            continue
        worse = _worse(result, change)
        how = (
            f"more often on {worse}"
            if worse
            else "with no clear direction: the intervals overlap at every shift"
        )
        said.append(f"{what}, the spines differ in {apart:,} of {pairs:,} pairs of observations, {how}.")
    moved = [
        (
            result.share(spine, "asked again", shift, "committed state").k,
            result.share(spine, "changed during the pause", shift, "committed state").k,
        )
        for spine in SPINES
        for shift in size.shifts
        if shift
    ]
    less = sum(kept < again for again, kept in moved)
    said.append(
        f"Where answers are kept, fewer cases commit another state in {less} of {len(moved)} comparisons "
        "(spine, shift above zero)."
    )
    again, kept = ([result.spines[s].rewritten[change, most] for s in SPINES] for change in CHANGES)
    if any(share.k for share in again) and not any(share.k for share in kept):
        said.append(
            f"So what makes a difference is whether answers are kept. Asked again at a shift of {most} %, "
            f"{_of(again[0])} of the cases on P3 and {_of(again[1])} on P5 have another grade than they were "
            "given before the pause; where answers are kept, none has, on either."
        )
    elif any(share.k for share in kept):
        said.append("Answers from before the pause changed although they were kept: that is a defect.")
    return said


def _worse(result: Result, change: Change) -> Spine | None:
    """The spine that departs more often at some shift and level, by intervals that do not overlap."""
    found: set[Spine] = set()
    one, other = SPINES
    for shift in result.size.shifts:
        for level in LEVELS:
            a, b = (result.share(spine, change, shift, level).interval for spine in (one, other))
            found |= ({one} if a.low > b.high else set()) | ({other} if b.low > a.high else set())
    return found.pop() if len(found) == 1 else None


def page(result: Result) -> str:
    """The report as a page of the documentation."""
    size = result.size
    controls = [
        f"| {spine} | {found.retold.k} of {found.retold.n} | "
        f"{sum(not c.same for c in found.control.cases)} of {len(found.control.cases)} |"
        for spine, found in result.spines.items()
    ]
    return _PAGE.format(
        command=COMMAND,
        tasks=size.tasks,
        tries=size.tries,
        verdict="\n\n".join("\n".join(wrap(sentence, 118)) for sentence in verdict(result)),
        control="\n".join(controls),
        measured="\n".join(line for change in CHANGES for line in _table(result, change)),
        passes="\n".join(_passes(result)),
    )


_PAGE = """\
# P3 or P5: an ablation

<!-- Written by `{command}`; change the example, not this page. -->

A published method expects replay divergence of agents over an event log (P3), and advises a shared row (P5)
against it. Here the same agent stands on both spines: the same two questions to a model, the same gate, the
same effect, the same two goals, which the checker proves within reach on both. A claim for a lost parcel is
graded, waits three days for bank details, gets an offer, and is paid or declined (`examples/spines/`).

The model is scripted. Version A errs in 8 calls of a hundred; version B behaves otherwise in a share of calls
that is turned up from 0 to 100 %. There are {tasks} claims, tried {tries} times each, on each spine. Two
changes are measured against A, on the same inputs and events:

- **asked again**: all questions go to B. That is a projection which is rebuilt through its consumers;
- **changed during the pause**: what A said before the pause is kept, and B is asked from there on. That is a
  restart which keeps answers: in a row, or in a log, as the engine's own log does.

## Verdict

{verdict}

The published expectation compares a log whose consumers are asked again with a row that is kept. That is the
difference between the two changes above, and none between the two spines. A row cannot be rebuilt by asking
again, which makes P5 safe by construction. A log is as safe where recovery replays recorded answers and asks
nobody, and that is what the engine does with every log (`provenet replay`).

## The control first

| spine | recorded runs told again, the same | A against A again: cases that differ |
|---|---|---|
{control}

![Committed state over the shift](pictures/ablation.svg)

P5's points are drawn a little to the right of P3's.

{measured}
{passes}
## What this cannot tell

- It is one agent, and its model is scripted. That both spines give the model the same information is by
  construction; a consumer that sees only its event, or a worker that sees an old row, would answer otherwise.
- Intervals (Wilson's, 95 %) take cases as independent, which tries of one claim are not quite.
- Effects that A never asked for got made-up receipts: no bank refused anything in B's runs.
- Events out of order and writers in conflict, for which the spines do differ, do not occur here: those are
  for the proofs and detectors of the two patterns.

`{command}` runs it again; `--tasks`, `--tries` and `--shifts` change its size.
"""


def _table(result: Result, change: Change) -> list[str]:
    lines = [
        f"## {change[0].upper()}{change[1:]}",
        "",
        "| shift | spine | decisions | outcome | committed state | another grade |",
        "|---|---|---|---|---|---|",
    ]
    for shift in result.size.shifts:
        for spine in SPINES:
            shares = [_cell(result.share(spine, change, shift, level)) for level in _levels()]
            grade = _of(result.spines[spine].rewritten[change, shift])
            lines.append(f"| {shift} % | {spine} | {' | '.join(shares)} | {grade} |")
    return [*lines, ""]


def _passes(result: Result) -> list[str]:
    tries = result.size.tries
    ks = [k for k in (1, 2, 3, 4, 6, 8) if k <= tries]
    lines = [
        "## All of k tries",
        "",
        "pass^k = C(c, k) / C(n, k) for each claim, averaged. A try succeeds where the claim ends as with a",
        "model that never errs and never shifts.",
        "",
        f"| shift | spine | {' | '.join(f'k = {k}' for k in ks)} |",
        f"|---|---|{'---|' * len(ks)}",
    ]
    for shift in result.size.shifts:
        for spine, found in result.spines.items():
            cells = [f"{float(found.pass_hat(shift, k)):.1%}" for k in ks]
            lines.append(f"| {shift} % | {spine} | {' | '.join(cells)} |")
    return [*lines, ""]


def _levels() -> tuple[Level, ...]:
    return LEVELS


def _cell(share: Share) -> str:
    low, high = share.interval
    return f"{share.k / share.n:.0%} ({low:.0%} to {high:.0%})"


def _of(share: Share) -> str:
    return f"{share.k / share.n:.0%}"
