"""Provenet: LLM agents as Petri nets whose every effect passes a proof and a deterministic check.

Public names are loaded on first use, so that ``import provenet`` costs milliseconds and a command
pays only for what it runs. To publish a name, add it in three places below: the ``TYPE_CHECKING``
imports (for checkers and editors), ``_EXPORTS`` (for Python) and ``__all__`` (for readers).
``tests/test_packaging.py`` holds the three equal.

The checker is ``provenet.prove(net)``, since ``provenet.verify`` is the package that it lives in.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provenet.engine import (
        Decision,
        Engine,
        Keys,
        Progress,
        Reader,
        RealClock,
        Retention,
        Task,
        Throttle,
        VirtualClock,
        transaction,
    )
    from provenet.engine.access import Access
    from provenet.engine.audit import Audit, audit
    from provenet.engine.errors import EngineError
    from provenet.nets.build import NetBuilder
    from provenet.nets.errors import NetError, ProvenetError
    from provenet.nets.expr.build import Term, choose, make
    from provenet.nets.models import Personal, Secret, Token
    from provenet.nets.net import Label, Net, Perform, Requirement, Role
    from provenet.nets.patterns.delegation import Child, Delegation, by_priority, weighted
    from provenet.nets.patterns.gate import Budget, Gate
    from provenet.nets.patterns.machine import Move, StateMachine, Worker
    from provenet.nets.patterns.oversight import Approval, Escalation, KillSwitch, Level, Oversight, RateLimit
    from provenet.nets.patterns.scatter import Peer, ScatterGather
    from provenet.nets.patterns.sequencing import Consumer, EventType, OldVersion, Sequencing
    from provenet.nets.patterns.slot import Slot
    from provenet.nets.patterns.supervision import Heartbeat, Supervised
    from provenet.nets.requirements import (
        always,
        at_least_as_strict,
        bound,
        cap,
        eventually,
        formula,
        machine,
        mutex,
        never,
        opaque,
        precedes,
        responds,
    )
    from provenet.sdb.contract import Contract
    from provenet.sdb.handlers import (
        Agent,
        Backoff,
        Effect,
        EffectRefused,
        NotFilledIn,
        Proposal,
        Proposer,
        Request,
    )
    from provenet.sdb.human import Human
    from provenet.sdb.policy import Policy, PolicyRule, policy, rule, within
    from provenet.sdb.proposers import function, model, recorded, scripted
    from provenet.sdb.reject import Reject
    from provenet.sdb.saga import KILL_SIGNAL, Saga
    from provenet.verify.certificate import recheck
    from provenet.verify.check import prove
    from provenet.verify.policy_diff import policy_diff
    from provenet.verify.verdict import Report, Verdict
    from provenet.visualize import draw_trace, render_net

__version__ = "0.1.0.dev0"

__all__ = [
    "KILL_SIGNAL",
    "Access",
    "Agent",
    "Approval",
    "Audit",
    "Backoff",
    "Budget",
    "Child",
    "Consumer",
    "Contract",
    "Decision",
    "Delegation",
    "Effect",
    "EffectRefused",
    "Engine",
    "EngineError",
    "Escalation",
    "EventType",
    "Gate",
    "Heartbeat",
    "Human",
    "Keys",
    "KillSwitch",
    "Label",
    "Level",
    "Move",
    "Net",
    "NetBuilder",
    "NetError",
    "NotFilledIn",
    "OldVersion",
    "Oversight",
    "Peer",
    "Perform",
    "Personal",
    "Policy",
    "PolicyRule",
    "Progress",
    "Proposal",
    "Proposer",
    "ProvenetError",
    "RateLimit",
    "Reader",
    "RealClock",
    "Reject",
    "Report",
    "Request",
    "Requirement",
    "Retention",
    "Role",
    "Saga",
    "ScatterGather",
    "Secret",
    "Sequencing",
    "Slot",
    "StateMachine",
    "Supervised",
    "Task",
    "Term",
    "Throttle",
    "Token",
    "Verdict",
    "VirtualClock",
    "Worker",
    "__version__",
    "always",
    "at_least_as_strict",
    "audit",
    "bound",
    "by_priority",
    "cap",
    "choose",
    "draw_trace",
    "eventually",
    "formula",
    "function",
    "machine",
    "make",
    "model",
    "mutex",
    "never",
    "opaque",
    "policy",
    "policy_diff",
    "precedes",
    "prove",
    "recheck",
    "recorded",
    "render_net",
    "responds",
    "rule",
    "scripted",
    "transaction",
    "weighted",
    "within",
]

# Public name -> the module that defines or re-exports it.
_EXPORTS: dict[str, str] = {
    # Tokens, nets and expressions
    "Personal": "provenet.nets.models",
    "Secret": "provenet.nets.models",
    "Token": "provenet.nets.models",
    "Label": "provenet.nets.net",
    "Net": "provenet.nets.net",
    "NetBuilder": "provenet.nets.build",
    "Perform": "provenet.nets.net",
    "Requirement": "provenet.nets.net",
    "Role": "provenet.nets.net",
    "Term": "provenet.nets.expr.build",
    "choose": "provenet.nets.expr.build",
    "make": "provenet.nets.expr.build",
    # Patterns
    "Child": "provenet.nets.patterns.delegation",
    "Delegation": "provenet.nets.patterns.delegation",
    "by_priority": "provenet.nets.patterns.delegation",
    "weighted": "provenet.nets.patterns.delegation",
    "Consumer": "provenet.nets.patterns.sequencing",
    "EventType": "provenet.nets.patterns.sequencing",
    "OldVersion": "provenet.nets.patterns.sequencing",
    "Sequencing": "provenet.nets.patterns.sequencing",
    "Slot": "provenet.nets.patterns.slot",
    "Approval": "provenet.nets.patterns.oversight",
    "Escalation": "provenet.nets.patterns.oversight",
    "KillSwitch": "provenet.nets.patterns.oversight",
    "Level": "provenet.nets.patterns.oversight",
    "Oversight": "provenet.nets.patterns.oversight",
    "RateLimit": "provenet.nets.patterns.oversight",
    "Peer": "provenet.nets.patterns.scatter",
    "ScatterGather": "provenet.nets.patterns.scatter",
    "Move": "provenet.nets.patterns.machine",
    "StateMachine": "provenet.nets.patterns.machine",
    "Worker": "provenet.nets.patterns.machine",
    # Contracts at the boundary
    "Agent": "provenet.sdb.handlers",
    "Budget": "provenet.nets.patterns.gate",
    "Contract": "provenet.sdb.contract",
    "Backoff": "provenet.sdb.handlers",
    "Effect": "provenet.sdb.handlers",
    "EffectRefused": "provenet.sdb.handlers",
    "Gate": "provenet.nets.patterns.gate",
    "Heartbeat": "provenet.nets.patterns.supervision",
    "NotFilledIn": "provenet.sdb.handlers",
    "Human": "provenet.sdb.human",
    "KILL_SIGNAL": "provenet.sdb.saga",
    "Policy": "provenet.sdb.policy",
    "PolicyRule": "provenet.sdb.policy",
    "Proposal": "provenet.sdb.handlers",
    "Proposer": "provenet.sdb.handlers",
    "Reject": "provenet.sdb.reject",
    "Request": "provenet.sdb.handlers",
    "Saga": "provenet.sdb.saga",
    "policy": "provenet.sdb.policy",
    "rule": "provenet.sdb.policy",
    "within": "provenet.sdb.policy",
    # Proposers
    "function": "provenet.sdb.proposers",
    "model": "provenet.sdb.proposers",
    "recorded": "provenet.sdb.proposers",
    "scripted": "provenet.sdb.proposers",
    # Proofs
    "Report": "provenet.verify.verdict",
    "Supervised": "provenet.nets.patterns.supervision",
    "Verdict": "provenet.verify.verdict",
    "always": "provenet.nets.requirements",
    "at_least_as_strict": "provenet.nets.requirements",
    "bound": "provenet.nets.requirements",
    "cap": "provenet.nets.requirements",
    "eventually": "provenet.nets.requirements",
    "formula": "provenet.nets.requirements",
    "machine": "provenet.nets.requirements",
    "mutex": "provenet.nets.requirements",
    "never": "provenet.nets.requirements",
    "opaque": "provenet.nets.requirements",
    "policy_diff": "provenet.verify.policy_diff",
    "precedes": "provenet.nets.requirements",
    "prove": "provenet.verify.check",
    "responds": "provenet.nets.requirements",
    "recheck": "provenet.verify.certificate",
    # Running
    "Engine": "provenet.engine",
    "Access": "provenet.engine.access",
    "Keys": "provenet.engine",
    "Reader": "provenet.engine",
    "Retention": "provenet.engine",
    "Decision": "provenet.engine",
    "Progress": "provenet.engine",
    "Task": "provenet.engine",
    "RealClock": "provenet.engine",
    "VirtualClock": "provenet.engine",
    "Audit": "provenet.engine.audit",
    "audit": "provenet.engine.audit",
    "Throttle": "provenet.engine",
    "transaction": "provenet.engine",
    # Pictures
    "draw_trace": "provenet.visualize",
    "render_net": "provenet.visualize",
    # Errors
    "EngineError": "provenet.engine.errors",
    "NetError": "provenet.nets.errors",
    "ProvenetError": "provenet.nets.errors",
}


def __getattr__(name: str) -> object:
    """Load a public name from the module that holds it, once."""
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'provenet' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
