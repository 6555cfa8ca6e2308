"""Words about a case, without the secrets that it holds: what exceptions and rejects quote is hidden."""

from __future__ import annotations

from dataclasses import replace

from provenet.engine.case import LiveCase
from provenet.nets.secrets import secrets_in, without
from provenet.sdb.reject import Reject


def hidden(case: LiveCase, text: str) -> str:
    """A text with ``***`` for every secret of the case's tokens that it quotes."""
    return without(text, _secrets(case)) if case.program.secret_places else text


def hidden_reject(case: LiveCase, why: Reject) -> Reject:
    """A reject signal whose words quote no secret."""
    if not case.program.secret_places:
        return why
    found = _secrets(case)
    expected, got, hint = (without(t, found) for t in (why.expected, why.got, why.hint))
    return replace(why, expected=expected, got=got, hint=hint)


def _secrets(case: LiveCase) -> list[str]:
    types = case.program.types
    return [
        secret
        for place in case.program.secret_places
        for value in case.marking[place]
        for secret in secrets_in(value, types[place])
    ]
