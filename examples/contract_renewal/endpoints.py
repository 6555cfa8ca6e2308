"""What the outside world offers: its endpoints, and the check of what comes in.

=========================  =======  ========  ================================
path                       service  verb      undone by
=========================  =======  ========  ================================
POST /crm/drafts           crm      draft     POST /crm/drafts/withdraw
POST /crm/drafts/withdraw  crm      withdraw
POST /billing/offers       billing  offer     POST /billing/offers/revert
POST /billing/offers/revert  billing  revert
POST /email                email    send      nothing: irreversible
=========================  =======  ========  ================================

The world does *not* know the renewal policy: a 90% discount is a fine request to it. Whether such a request
ever arrives is what the agent's net has to answer for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

MAX_KEY = 200
MAX_TEXT = 2_000


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request body."""

    name: str
    expected: str
    check: Callable[[object], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One thing that the outside world does when asked.

    Attributes:
        path: Where it is asked for.
        service: ``crm``, ``billing`` or ``email``.
        verb: What is done; ``(service, verb)`` names the kind of effect in the ledger.
        done: Status word of the answer.
        undoes: The verb of the same service that this one compensates, empty for forward effects.
        undone_by: Path of the compensation, empty where there is none.
        fields: The body it asks for; other fields are kept and not looked at.
    """

    path: str
    service: str
    verb: str
    done: str
    undoes: str = ""
    undone_by: str = ""
    fields: tuple[Field, ...]

    def mistake(self, body: Mapping[str, object]) -> dict[str, object] | None:
        """The first field that is not as expected, as the body of a refusal; ``None`` if all are."""
        for field in self.fields:
            value = body.get(field.name)
            if not field.check(value):
                got = "nothing" if field.name not in body else repr(value)[:80]
                return {
                    "error": f"{field.name}: expected {field.expected}, got {got}",
                    "field": field.name,
                    "expected": field.expected,
                    "got": got,
                }
        return None


def _text(value: object) -> bool:
    # isprintable also keeps out lone surrogates, which no database stores
    return isinstance(value, str) and 0 < len(value) <= MAX_TEXT and value.isprintable()


def _int_between(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


_CASE = Field("case_id", "the id of a case", _text)
_CUSTOMER = Field("customer", "the id of a customer", _text)
_DISCOUNT = Field("discount_pct", "a whole number from 0 to 100", _int_between(0, 100))
_TERM = Field("term_months", "a whole number from 1 to 120", _int_between(1, 120))
_PLAN = Field("plan", "the name of a plan", _text)
_UNDOES = Field("undoes", "the idempotency key of what is to be undone", _text)

CRM_DRAFT = Endpoint(
    path="/crm/drafts",
    service="crm",
    verb="draft",
    done="created",
    undone_by="/crm/drafts/withdraw",
    fields=(_CASE, _CUSTOMER, _PLAN, _TERM),
)
CRM_WITHDRAW = Endpoint(
    path="/crm/drafts/withdraw",
    service="crm",
    verb="withdraw",
    done="withdrawn",
    undoes="draft",
    fields=(_CASE, _UNDOES),
)
BILLING_OFFER = Endpoint(
    path="/billing/offers",
    service="billing",
    verb="offer",
    done="applied",
    undone_by="/billing/offers/revert",
    fields=(_CASE, _CUSTOMER, _DISCOUNT, _TERM),
)
BILLING_REVERT = Endpoint(
    path="/billing/offers/revert",
    service="billing",
    verb="revert",
    done="reverted",
    undoes="offer",
    fields=(_CASE, _UNDOES),
)
EMAIL_SEND = Endpoint(
    path="/email",
    service="email",
    verb="send",
    done="sent",
    fields=(_CASE, Field("to", "a recipient", _text), Field("template", "the name of a template", _text)),
)

ENDPOINTS: Mapping[str, Endpoint] = {
    e.path: e for e in (CRM_DRAFT, CRM_WITHDRAW, BILLING_OFFER, BILLING_REVERT, EMAIL_SEND)
}
