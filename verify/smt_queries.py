"""Small queries to the solver, many of them.

Making a solver costs more than most of the queries of a proof, so one solver answers all of those whose
models nobody asks for: each query's constraints are asserted on top of nothing and taken back afterwards.
With the theory of strings each query gets a solver of its own, since that theory is at its best without a
history.

A query is first given an *effort*, counted by the solver, and only where that is not enough some time: a
clock needs a thread, and on a busy machine waiting for that thread takes longer than the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import z3

from provenet.verify.smt_values import Strings

_EFFORT = 200_000
_SHORT_MS = 500


@dataclass(slots=True, eq=False)
class Queries:
    """Answers whether constraints hold together.

    Attributes:
        strings: How strings are written in the constraints.
    """

    strings: Strings
    _shared: z3.Solver | None = None

    def check(self, constraints: Sequence[z3.BoolRef], timeout_ms: int) -> z3.CheckSatResult:
        """``sat``, ``unsat`` or ``unknown``.

        Args:
            constraints: What is to hold together.
            timeout_ms: Limit for the solver.
        """
        if self.strings == "theory" or timeout_ms < _SHORT_MS:
            return decide(constraints, timeout_ms)[0]
        solver = self._shared or _solver()
        # A solver that was stopped half-way, by its limit or by an error, is not used again.
        self._shared = None
        solver.set("rlimit", _EFFORT)
        solver.push()
        solver.add(*constraints)
        answer = solver.check()
        if answer == z3.unknown:
            return decide(constraints, timeout_ms)[0]
        solver.pop()
        self._shared = solver
        return answer


def decide(constraints: Sequence[z3.BoolRef], timeout_ms: int) -> tuple[z3.CheckSatResult, z3.Solver]:
    """Whether constraints hold together, and the solver that knows a model or the reason why not.

    Args:
        constraints: What is to hold together.
        timeout_ms: Limit for the solver.
    """
    if timeout_ms >= _SHORT_MS:
        solver = _solver()
        solver.set("rlimit", _EFFORT)
        solver.add(*constraints)
        answer = solver.check()
        if answer != z3.unknown:
            return answer, solver
    solver = _solver()
    solver.set("timeout", max(1, timeout_ms))
    solver.add(*constraints)
    return solver.check(), solver


def _solver() -> z3.Solver:
    solver = z3.SimpleSolver()
    solver.set("random_seed", 1)
    return solver
