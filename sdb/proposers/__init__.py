"""Proposers: a model behind litellm, plain code, a script.

Each answers a ``Request`` with a ``Proposal`` of the asked type or with a ``ProposalFault``, and never with
anything else. What a proposer says is only ever a proposal: a schema-valid discount of 90 per cent passes
here and is the verifier's to refuse.

A kind of proposer is imported when it is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provenet.sdb.proposers.language_model import ModelProposer, model
    from provenet.sdb.proposers.plain_code import FunctionProposer, function
    from provenet.sdb.proposers.script import Recorder, Recording, ScriptedProposer, recorded, scripted

__all__ = [
    "FunctionProposer",
    "ModelProposer",
    "Recorder",
    "Recording",
    "ScriptedProposer",
    "function",
    "model",
    "recorded",
    "scripted",
]

_HOMES = {
    "language_model": ("ModelProposer", "model"),
    "plain_code": ("FunctionProposer", "function"),
    "script": ("Recorder", "Recording", "ScriptedProposer", "recorded", "scripted"),
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that holds it, once."""
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
