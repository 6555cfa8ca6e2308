"""Re-checking a report: does its evidence still hold for this net?

The properties are asked again, but nothing is searched for: a question about data is answered only by the
report's own certificate, whose clauses a plain solver checks one by one; counting arguments are found and
checked by arithmetic; the state graph is explored again. A report about another net, with a certificate
missing, tampered with or about another question, is refused.
"""

from __future__ import annotations

from provenet.nets.errors import ProvenetError
from provenet.nets.formats.canonical import content_hash
from provenet.nets.net import Net
from provenet.verify.check import prove, requirements_of
from provenet.verify.verdict import Report, Status


def recheck(net: Net, report: Report, *, timeout: float = 60.0) -> tuple[str, ...]:
    """What is wrong with a report as evidence for a net.

    Args:
        net: The net.
        report: Its report.
        timeout: Seconds for each property.

    Returns:
        The problems, in words; empty where every required property is proved by evidence that holds.
    """
    if report.net_hash != content_hash(net):
        return (
            (
                f"the report is about {report.net_hash[:8]}, this net is {content_hash(net)[:8]}: "
                "verify it again"
            ),
        )
    problems = [f"{v.property}: {v.status}: {v.reason}" for v in report.unproved()]
    covered = {(v.property) for v in report.verdicts}
    problems += [
        f"{p.id}: the report does not cover it" for p, _ in requirements_of(net) if p.id not in covered
    ]
    problems += [
        f"{v.property}: the trace does not replay"
        for v in report.verdicts
        if v.trace is not None and not v.trace.replays(net)
    ]
    if problems:
        return tuple(problems)
    hints = [c for v in report.verdicts for c in v.certificates]
    try:
        again = prove(net, timeout=timeout, hints=hints)
    except ProvenetError as error:
        return (str(error),)
    return tuple(
        f"{v.property}{f' ({v.subject})' if v.subject else ''}: the evidence does not hold: {v.reason}"
        for v in again.verdicts
        if v.status is not Status.PROVED
    )
