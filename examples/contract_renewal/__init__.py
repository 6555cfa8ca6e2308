"""The contract-renewal agent: 90 days of a customer's contract, from window to outcome.

The parts that know nothing of Petri nets live here too: the customers it reads (``customers``), the policy
it obeys (``policy_data``), and the outside world that it acts on (``services``, ``client``, ``ledger``).
``agent`` is the target of the command line: ``provenet verify provenet.examples.contract_renewal:agent``.
"""

from __future__ import annotations

from typing import Any

__all__ = ["agent"]


def __getattr__(name: str) -> Any:
    # Looked up when asked for: the outside world's own process needs no nets.
    if name == "agent":
        from provenet.examples.contract_renewal.net import agent

        return agent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
