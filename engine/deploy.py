"""The deploy gate: a net version starts cases only if what it requires is proved for that very content."""

from __future__ import annotations

from collections import Counter

from provenet.engine.errors import DeployRefused
from provenet.nets.errors import ProvenetError
from provenet.nets.formats.canonical import content_hash, dumps, loads
from provenet.nets.net import Ask, Judge, Net, OnFailure, Perform
from provenet.sdb.handlers import Agent
from provenet.verify.verdict import Report


def gate(agent: Agent, report: Report) -> str:
    """Let a net version through, or say everything that is missing.

    Args:
        agent: The net with its handlers.
        report: What the checker says of it.

    Returns:
        The net's content hash.

    Raises:
        DeployRefused: The report is of another net, leaves a requirement open, or does not re-check; or a
        handler is missing.
    """
    found = content_hash(agent.net)
    reasons: list[str] = []
    if report.net_hash != found:
        reasons.append(
            f"the report is about another content: it says {report.net_hash[:12]}, this net is {found[:12]}; "
            "verify this very net"
        )
        raise DeployRefused(agent.net.name, tuple(reasons))
    reasons += [
        f"{v.property} {v.status}"
        + (f" ({v.subject})" if v.subject else "")
        + (f": {v.reason}" if v.reason else "")
        for v in report.unproved()
    ]
    reasons += uncovered(agent.net, report)
    reasons += unbound(agent) + contended(agent.net)
    try:
        if content_hash(loads(dumps(agent.net))) != found:
            reasons.append("its file form reads back as another net, so it could not be resumed")
    except ProvenetError as error:
        reasons.append(f"its file form cannot be read back, so it could not be resumed: {error.message}")
    if not reasons:
        from provenet.verify.certificate import recheck

        reasons += [f"the evidence does not re-check: {problem}" for problem in recheck(agent.net, report)]
    if reasons:
        raise DeployRefused(agent.net.name, tuple(reasons))
    return found


def uncovered(net: Net, report: Report) -> list[str]:
    """Requirements of a net that a report has no verdict on."""
    said = Counter(v.property for v in report.verdicts)
    missing: list[str] = []
    wanted: Counter[str] = Counter()
    for requirement in net.requirements:
        kind = requirement.kind
        wanted[kind] += 1
        matching = sum(n for p, n in said.items() if p == kind or p.startswith(f"{kind}-"))
        if matching < (wanted[kind] if requirement.args else 1):
            missing.append(f"{requirement.name or kind} is required, and the report says nothing of it")
    return missing


def contended(net: Net) -> list[str]:
    """Effects in flight that something else could make the engine forget.

    While an external effect runs, its token is the record of it: only its own commit, or its failure, may
    take that token away.
    """
    reasons: list[str] = []
    for t in net.transitions:
        if not (isinstance(t.trigger, Perform) and t.trigger.external and t.takes):
            continue
        place = t.takes[0].place
        for other in net.transitions:
            mine = isinstance(other.trigger, OnFailure) and other.trigger.of == t.name
            takes = any(a.place == place for a in other.takes) and (t.guard is None or other.guard is None)
            if other is not t and not mine and (takes or place in other.resets):
                reasons.append(
                    f"{other.name!r} may take a token of {place!r} while effect {t.name!r} runs for it; "
                    "let a transition of its own move the token to a place for the effect alone"
                )
    return reasons


def unbound(agent: Agent) -> list[str]:
    """Handlers that the net uses and that are missing, or are of the wrong kind."""
    reasons = [f"handler {name!r} is bound to nothing" for name in agent.missing()]
    for t in agent.net.transitions:
        try:
            match t.trigger:
                case Ask(handler=name) if name in agent.handlers:
                    agent.proposer(name)
                case Perform(handler=name) if name in agent.handlers:
                    agent.effect(name)
                case Judge(handler=name) if name in agent.handlers:
                    agent.verifier(name)
        except ProvenetError as error:
            reasons.append(error.message)
    return list(dict.fromkeys(reasons))
