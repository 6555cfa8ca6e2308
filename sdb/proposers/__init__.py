"""Proposers: a model behind litellm, plain code, a script.

Each answers a ``Request`` with a ``Proposal`` of the asked type or with a ``ProposalFault``, and never with
anything else. What a proposer says is only ever a proposal: a schema-valid discount of 90 per cent passes
here and is the verifier's to refuse.
"""

from __future__ import annotations

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
