"""The contract-renewal agent: 90 days of a customer's contract, from window to outcome.

The parts that know nothing of Petri nets live here too: the customers it reads (``customers``), the policy
it obeys (``policy_data``), and the outside world that it acts on (``services``, ``client``, ``ledger``).
``agent`` is the target of the command line: ``provenet verify provenet.examples.contract_renewal:agent``.
Each mutant is one too, under its name with underscores: ``...contract_renewal:verifier_bypassed``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from provenet import Net

__all__ = ["agent", "cases"]


def cases(path: Path) -> Iterator[tuple[str, dict[str, object]]]:
    """The cases of a customer file, for ``provenet run TARGET --input customers.csv``.

    Raises:
        CustomerFileError: The file cannot be read, or rows of it are broken.
    """
    from provenet.examples.contract_renewal.customers import CustomerFileError, load_customers
    from provenet.examples.contract_renewal.people import DAY_0
    from provenet.examples.contract_renewal.tokens import case_of

    found = load_customers(path)
    if found.rejected:
        raise CustomerFileError(found.summary(), where=str(path), hint="mend these rows first")
    for customer in found.customers:
        yield customer.renewal_id, {"waiting": case_of(customer, day0=DAY_0)}


def __getattr__(name: str) -> Any:
    # Looked up when asked for: the outside world's own process needs no nets.
    if name == "agent":
        from provenet.examples.contract_renewal.net import agent

        return agent
    if not name.startswith("_"):
        found = _mutant(name)
        if found is not None:
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _mutant(name: str) -> Callable[[], Net] | None:
    """A function that returns the broken net of that name; ``None`` where there is no such mutant."""
    from provenet.examples.contract_renewal.mutants import MUTANTS
    from provenet.examples.contract_renewal.net import agent

    found = next((m for m in MUTANTS if re.sub(r"[^a-z0-9]+", "_", m.name.lower()) == name), None)
    return None if found is None else lambda: found(agent().net)
