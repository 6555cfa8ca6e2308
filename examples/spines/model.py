"""Scripted model versions: one that errs now and then, others that behave otherwise in a share of calls.

Everything is a function of the case, the question and the attempt, so a version answers the same on every
spine and in every run, and a larger shift changes the answers that a smaller one changes, and more.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from provenet import Proposal, Request

Question: TypeAlias = Literal["grade", "offer"]

ERRS = 8
"""Calls in a hundred in which version A is not what it should be."""


def dice(*parts: object) -> int:
    """A number from 0 to 99 that depends on the parts only."""
    return zlib.crc32(repr(parts).encode()) % 100


@dataclass(frozen=True, slots=True)
class Model:
    """A version of the model.

    Attributes:
        shift: In how many calls of a hundred it behaves otherwise than version A.
        questions: Which questions the shift is about; one that is left out is answered as by version A.
        errs: In how many calls of a hundred it errs, shifted or not.
    """

    shift: int = 0
    questions: tuple[Question, ...] = ("grade", "offer")
    errs: int = ERRS

    async def propose(self, request: Request) -> Proposal:
        """Answer a question about a claim."""
        given = request.payload
        if request.returns.name == "Grade":  # type: ignore[union-attr]
            claim = given.payload if hasattr(given, "payload") else given.data
            cents = claim.cents if hasattr(claim, "cents") else claim.claimed
            return self._said("grade", request, (self._grade(request, cents),))
        file = given.view if hasattr(given, "view") else given.data
        return self._said("offer", request, (self._offer(request, file.claimed, file.level),))

    def _grade(self, request: Request, cents: int) -> int:
        level = 1 if cents < 20_000 else 2 if cents < 45_000 else 3
        if self._errs("grade", request):
            level = 2 if level != 2 else 3
        return min(3, level + 1) if self._shifted("grade", request) else level

    def _offer(self, request: Request, cents: int, level: int) -> int:
        offer = {1: cents, 2: cents * 6 // 10}.get(level, 0)
        if self._errs("offer", request):
            offer = 60_000  # the gate refuses that
        return offer * 9 // 10 if self._shifted("offer", request) else offer

    def _errs(self, question: Question, request: Request) -> bool:
        return dice(request.case, question, request.attempt, "errs") < self.errs

    def _shifted(self, question: Question, request: Request) -> bool:
        return question in self.questions and dice(request.case, question, "shift") < self.shift

    def _said(self, question: Question, request: Request, value: tuple[Any, ...]) -> Proposal:
        return Proposal(value, model="b" if self._shifted(question, request) else "a")
