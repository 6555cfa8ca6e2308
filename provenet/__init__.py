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
    from provenet.engine import Decision, Engine, RealClock, Task, VirtualClock, audit, transaction
    from provenet.nets.build import NetBuilder
    from provenet.nets.errors import NetError, ProvenetError
    from provenet.nets.expr.build import choose, make
    from provenet.nets.models import Token
    from provenet.nets.net import Net, Requirement
    from provenet.sdb.contract import Contract
    from provenet.sdb.handlers import Agent, Effect, EffectRefused, Proposal, Proposer, Request
    from provenet.sdb.human import Human
    from provenet.sdb.policy import Policy, policy, rule, within
    from provenet.sdb.proposers import function, model, recorded, scripted
    from provenet.sdb.reject import Reject
    from provenet.sdb.saga import Saga
    from provenet.verify.certificate import recheck
    from provenet.verify.check import prove
    from provenet.verify.properties.user import always, bound, mutex, never, precedes
    from provenet.verify.verdict import Report, Verdict
    from provenet.visualize import draw_trace, render_net

__version__ = "0.1.0.dev0"

__all__ = [
    "Agent",
    "Contract",
    "Decision",
    "Effect",
    "EffectRefused",
    "Engine",
    "Human",
    "Net",
    "NetBuilder",
    "NetError",
    "Policy",
    "Proposal",
    "Proposer",
    "ProvenetError",
    "RealClock",
    "Reject",
    "Report",
    "Request",
    "Requirement",
    "Saga",
    "Task",
    "Token",
    "Verdict",
    "VirtualClock",
    "__version__",
    "always",
    "audit",
    "bound",
    "choose",
    "draw_trace",
    "function",
    "make",
    "model",
    "mutex",
    "never",
    "policy",
    "precedes",
    "prove",
    "recheck",
    "recorded",
    "render_net",
    "rule",
    "scripted",
    "transaction",
    "within",
]

# Public name -> the module that defines or re-exports it.
_EXPORTS: dict[str, str] = {
    # Tokens, nets and expressions
    "Token": "provenet.nets.models",
    "Net": "provenet.nets.net",
    "NetBuilder": "provenet.nets.build",
    "Requirement": "provenet.nets.net",
    "choose": "provenet.nets.expr.build",
    "make": "provenet.nets.expr.build",
    # Contracts at the boundary
    "Agent": "provenet.sdb.handlers",
    "Contract": "provenet.sdb.contract",
    "Effect": "provenet.sdb.handlers",
    "EffectRefused": "provenet.sdb.handlers",
    "Human": "provenet.sdb.human",
    "Policy": "provenet.sdb.policy",
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
    "Verdict": "provenet.verify.verdict",
    "always": "provenet.verify.properties.user",
    "bound": "provenet.verify.properties.user",
    "mutex": "provenet.verify.properties.user",
    "never": "provenet.verify.properties.user",
    "precedes": "provenet.verify.properties.user",
    "prove": "provenet.verify.check",
    "recheck": "provenet.verify.certificate",
    # Running
    "Engine": "provenet.engine",
    "Decision": "provenet.engine",
    "Task": "provenet.engine",
    "RealClock": "provenet.engine",
    "VirtualClock": "provenet.engine",
    "audit": "provenet.engine",
    "transaction": "provenet.engine",
    # Pictures
    "draw_trace": "provenet.visualize",
    "render_net": "provenet.visualize",
    # Errors
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
