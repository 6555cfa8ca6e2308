"""What a run of the demo came to, told by the engine's database and by the outside ledger together."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provenet import Audit, Net, Perform, Role, audit
from provenet.examples.contract_renewal.ledger import ExpectedEffect, Ledger, LedgerReport
from provenet.examples.contract_renewal.people import CasePlan

ENDPOINT_OF: Mapping[str, tuple[str, str]] = {
    "crm.create_draft": ("crm", "draft"),
    "crm.withdraw_draft": ("crm", "withdraw"),
    "billing.apply_offer": ("billing", "offer"),
    "billing.revert_offer": ("billing", "revert"),
    "email.send_letter": ("email", "send"),
    "email.send_correction": ("email", "send"),
    "email.send_binding_letter": ("email", "send"),
}
"""Effect to what the outside ledger calls it."""


@dataclass(slots=True)
class DemoReport:
    """The end of a demo.

    Attributes:
        cases: How many.
        statuses: Cases by status.
        outcomes: Expected path, then outcome, to how many.
        reasons: Outcome and why, to how many.
        rejects: Rejects by rule.
        firings: Firings by role.
        tasks: Tasks for people, by name and how they ended.
        effects: Effects that the engine's log claims, by name.
        spent: What proposals cost.
        ledger: The log's claims against the outside ledger.
        outside: What the outside saw: deliveries, faults.
        left_standing: Effects of called-off cases that were not taken back.
        audit: The audit of the engine's database.
        run: Seconds, firings, and what the demo was made of.
    """

    cases: int
    statuses: dict[str, int]
    outcomes: dict[str, dict[str, int]]
    reasons: dict[str, int]
    rejects: dict[str, int]
    firings: dict[str, int]
    tasks: dict[str, dict[str, int]]
    effects: dict[str, int]
    spent: dict[str, Any]
    ledger: LedgerReport
    outside: dict[str, Any]
    left_standing: int
    audit: Audit
    run: dict[str, Any] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Every case ended, every effect counted once, nothing left standing, and the audit found nothing."""
        ended = set(self.statuses) <= {"done", "killed"}
        return ended and self.ledger.clean and self.audit.clean and not self.left_standing

    @property
    def as_expected(self) -> int:
        """Cases that ended on the path that the customer's record lets expect."""
        return sum(found.get(path, 0) for path, found in self.outcomes.items())

    def to_json(self) -> dict[str, Any]:
        """The report as JSON data."""
        return {
            "clean": self.clean,
            "cases": self.cases,
            "statuses": self.statuses,
            "as_expected": self.as_expected,
            "outcomes": self.outcomes,
            "reasons": self.reasons,
            "rejects": self.rejects,
            "firings": self.firings,
            "tasks": self.tasks,
            "effects": self.effects,
            "spent": self.spent,
            "ledger": {
                "matched": self.ledger.matched,
                "lost": len(self.ledger.lost),
                "doubled": len(self.ledger.doubled),
                "unexpected": len(self.ledger.unexpected),
                "details": None if self.ledger.clean else str(self.ledger),
            },
            "outside": self.outside,
            "left_standing": self.left_standing,
            "audit": self.audit.to_json(),
            "run": self.run,
        }


def examine(
    database: Path,
    ledger: Path,
    net: Net,
    plans: Mapping[str, CasePlan],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> DemoReport:
    """Read a finished run back from both sides.

    Args:
        database: The engine's.
        ledger: The outside world's.
        net: The net that ran.
        plans: The cases' plans by case id.
        progress: Told how many cases of how many the audit has replayed.
    """
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        statuses = dict(db.execute("SELECT status, count(*) FROM provenet_case GROUP BY status"))
        outcomes, reasons, called_off = _outcomes(db, plans)
        roles = {t.name: t.role for t in net.transitions}
        firings: Counter[str] = Counter()
        query = "SELECT transition, count(*) FROM provenet_event WHERE kind = 'fire' GROUP BY transition"
        for name, count in db.execute(query):
            firings[str(roles[name])] += count
        rejects = _rejects(db, net)
        claims = _claims(db, net)
        tasks: dict[str, dict[str, int]] = {}
        query = "SELECT task, coalesce(choice, status), count(*) FROM provenet_task GROUP BY 1, 2"
        for task, ended, count in db.execute(query):
            tasks.setdefault(task, {})[ended] = count
        spent = _spent(db)
    handlers = Counter(name for name, _ in claims)
    with closing(Ledger(ledger)) as book:
        reconciled = book.reconcile(claim for _, claim in claims)
        outside = {
            "effects": {".".join(kind): count for kind, count in book.counts().items()},
            "deliveries": dict(book.deliveries()),
            "faults": dict(book.faults()),
        }
        left = sum(e.case_id in called_off for e in book.outstanding())
    return DemoReport(
        cases=sum(statuses.values()),
        statuses=statuses,
        outcomes=outcomes,
        reasons=reasons,
        rejects=dict(rejects.most_common()),
        firings=dict(firings.most_common()),
        tasks=tasks,
        effects=dict(sorted(handlers.items())),
        spent=spent,
        ledger=reconciled,
        outside=outside,
        left_standing=left,
        audit=audit(database, progress=progress),
    )


def markdown(report: DemoReport) -> str:
    """The report as a page of Markdown."""
    run, ledger = report.run, report.ledger
    results = sorted({r for found in report.outcomes.values() for r in found})
    lines = ["# Contract renewal: the run", ""]
    lines.append(
        f"{report.cases:,} renewals through 90 virtual days in {run.get('seconds', 0):,.1f} s: "
        f"{run.get('firings', 0):,} firings, {run.get('firings_per_second', 0):,} a second. "
        f"Proposers: {run.get('proposers')}, seed {run.get('seed')}."
    )
    lines += ["", "## Outcomes against expected paths", ""]
    lines.append("| expected | " + " | ".join(results) + " |")
    lines.append("|---|" + "---:|" * len(results))
    for path, found in report.outcomes.items():
        lines.append(f"| {path} | " + " | ".join(f"{found.get(r, 0):,}" for r in results) + " |")
    for title, counts in (
        ("Why cases ended", report.reasons),
        ("Rejects by rule", report.rejects),
        ("Firings by role", report.firings),
        ("Effects", report.effects),
    ):
        lines += ["", f"## {title}", "", "| | |", "|---|---:|"]
        lines += [f"| {name} | {count:,} |" for name, count in counts.items()]
    lines += ["", "## Decisions by people", "", "| task | | |", "|---|---|---:|"]
    lines += [
        f"| {task} | {ended} | {n:,} |" for task, ends in report.tasks.items() for ended, n in ends.items()
    ]
    lines += ["", "## Told from outside", ""]
    lines.append(
        f"{ledger.matched:,} effects that the log claims were done exactly once; {len(ledger.lost)} lost, "
        f"{len(ledger.doubled)} doubled, {len(ledger.unexpected)} that nobody claims. "
        f"{report.left_standing} effects of called-off cases were left standing."
    )
    audited = report.audit
    lines += ["", "## Audit", ""]
    lines.append(
        f"{audited.events:,} log entries of {audited.cases:,} cases replayed through the firing rule: "
        + ("nothing is wrong." if audited.clean else f"{len(audited.problems)} problems.")
    )
    lines += [f"- {p}" for p in audited.problems[:50]]
    return "\n".join(lines) + "\n"


def _outcomes(
    db: sqlite3.Connection, plans: Mapping[str, CasePlan]
) -> tuple[dict[str, dict[str, int]], dict[str, int], set[str]]:
    table: dict[str, Counter[str]] = {}
    reasons: Counter[str] = Counter()
    called_off: set[str] = set()
    for case, status, place, outcome in db.execute(
        "SELECT id, status, outcome_place, outcome FROM provenet_case"
    ):
        expected = str(plans[case].expected) if case in plans else "(not planned)"
        told = json.loads(outcome) if outcome else None
        result = told["result"] if isinstance(told, dict) else status
        table.setdefault(expected, Counter())[result] += 1
        reasons[f"{result}: {told['why']}" if isinstance(told, dict) else status] += 1
        if place == "called off":
            called_off.add(case)
    ordered = {path: dict(found.most_common()) for path, found in sorted(table.items())}
    return ordered, dict(reasons.most_common()), called_off


def _rejects(db: sqlite3.Connection, net: Net) -> Counter[str]:
    """Reject signals by contract and rule, as they stand in the log."""
    found: Counter[str] = Counter()
    for t in net.by_role(Role.REJECT, Role.FAULT, Role.FAIL):
        for (data,) in db.execute("SELECT data FROM provenet_event WHERE transition = ?", (t.name,)):
            brought = json.loads(data).get("bring", {})
            signal = next((v for v in brought.values() if isinstance(v, dict) and "rule" in v), None)
            found[f"{t.contract}: {signal['rule'] if signal else str(t.role)}"] += 1
    return found


def _claims(db: sqlite3.Connection, net: Net) -> list[tuple[str, ExpectedEffect]]:
    """Every effect that the log says was performed."""
    claims = []
    for t in net.transitions:
        if not isinstance(t.trigger, Perform):
            continue
        service, verb = ENDPOINT_OF[t.trigger.handler]
        for case, data in db.execute(
            "SELECT c.id, e.data FROM provenet_event e JOIN provenet_case c ON c.no = e.case_no"
            " WHERE e.kind = 'fire' AND e.transition = ?",
            (t.name,),
        ):
            key = json.loads(data)["note"]["key"]
            claims.append((t.trigger.handler, ExpectedEffect(case, service, verb, key)))
    return claims


def _spent(db: sqlite3.Connection) -> dict[str, Any]:
    states = dict(db.execute("SELECT state, count(*) FROM provenet_proposal GROUP BY state"))
    tokens_in, tokens_out = db.execute(
        "SELECT coalesce(sum(tokens_in), 0), coalesce(sum(tokens_out), 0) FROM provenet_proposal"
    ).fetchone()
    dollars = db.execute("SELECT coalesce(sum(CAST(cost_usd AS REAL)), 0) FROM provenet_proposal").fetchone()[
        0
    ]
    return {
        "proposals": states,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "dollars": round(dollars, 4),
    }
