"""Why a certificate does not pass."""

from __future__ import annotations

from provenet.nets.errors import ProvenetError


class Refused(ProvenetError):
    """The evidence does not show what the certificate claims."""

    code = "PN610"


class NotHere(ProvenetError):
    """This checker cannot tell: the evidence is of a kind, or about something, that it does not know."""

    code = "PN611"
