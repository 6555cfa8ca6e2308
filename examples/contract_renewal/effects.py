"""The effects of the renewal agent: CRM, billing and e-mail, each call under its idempotency key.

Nothing here decides anything and nothing here retries: the net does the one, the engine the other.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from provenet import Effect, EffectRefused, ProvenetError, Request, Term, Token, make
from provenet.examples.contract_renewal.tokens import Correction, Done, Draft, Letter, Offer

if TYPE_CHECKING:
    from provenet.examples.contract_renewal.client import OutsideClient, Receipt

OUTSIDE_URL = "PROVENET_RENEWAL_OUTSIDE"
"""Environment variable with the outside world's URL, for runs that are not started by the demo."""

_UNDO_TRIES = 20
"""Tries of a compensation before its case is parked for a person."""


class Effects:
    """The agent's effects over one client of the outside world.

    Args:
        outside: A client, or the URL of the outside world; by default the environment names it. It is
            looked at on the first call only, so the net builds, verifies and draws with no outside world
            at all.
        timeout: How long one try of an effect may take.
    """

    def __init__(
        self, outside: OutsideClient | str | None = None, *, timeout: timedelta = timedelta(seconds=5)
    ) -> None:
        self._outside = outside

        def effect(
            name: str,
            run: Callable[[Request], Awaitable[Done]],
            payload: type[Token],
            tries: int | None = None,
        ) -> Effect:
            return Effect(name, run, payload, Done, timeout=timeout, tries=tries)

        # Without a bound on tries, an effect is repeated until it is done or refused for good: its fate is
        # never given up as unknown. What undoes one is: a person hears of what cannot be undone (SAGA-4).
        self.create_draft = effect("crm.create_draft", self._create_draft, Draft)
        self.withdraw_draft = effect("crm.withdraw_draft", self._withdraw_draft, Done, _UNDO_TRIES)
        self.apply_offer = effect("billing.apply_offer", self._apply_offer, Offer)
        self.revert_offer = effect("billing.revert_offer", self._revert_offer, Done, _UNDO_TRIES)
        self.send_letter = effect("email.send_letter", self._send_letter, Letter)
        self.send_correction = effect("email.send_correction", self._send_correction, Correction, _UNDO_TRIES)
        self.send_binding_letter = effect("email.send_binding_letter", self._send_binding_letter, Offer)

    @staticmethod
    def correction(payload: Term, receipt: Term) -> Term:
        """The payload of a correction, from the letter and its receipt."""
        return make(Correction, customer=payload.customer, of=receipt.key)

    async def close(self) -> None:
        """Close the connections."""
        if self._outside is not None and not isinstance(self._outside, str):
            await self._outside.close()

    async def _create_draft(self, request: Request) -> Done:
        draft: Draft = request.payload
        return await self._done(
            request,
            self._client().create_draft(
                key=request.key,
                case_id=request.case,
                customer=draft.customer,
                plan=draft.plan,
                term_months=draft.term_months,
            ),
        )

    async def _withdraw_draft(self, request: Request) -> Done:
        undo = self._client().withdraw_draft(
            key=request.key, case_id=request.case, undoes=request.payload.key
        )
        return await self._done(request, undo)

    async def _apply_offer(self, request: Request) -> Done:
        offer: Offer = request.payload
        return await self._done(
            request,
            self._client().apply_offer(
                key=request.key,
                case_id=request.case,
                customer=offer.customer,
                discount_pct=offer.discount_pct,
                term_months=offer.term_months,
            ),
        )

    async def _revert_offer(self, request: Request) -> Done:
        undo = self._client().revert_offer(key=request.key, case_id=request.case, undoes=request.payload.key)
        return await self._done(request, undo)

    async def _send_letter(self, request: Request) -> Done:
        letter: Letter = request.payload
        values = {"discount_pct": letter.discount_pct, "term_months": letter.term_months}
        return await self._email(request, letter.customer, letter.template, values)

    async def _send_correction(self, request: Request) -> Done:
        correction: Correction = request.payload
        return await self._email(request, correction.customer, "correction", {"of": correction.of})

    async def _send_binding_letter(self, request: Request) -> Done:
        offer: Offer = request.payload
        values = {"discount_pct": offer.discount_pct, "term_months": offer.term_months}
        return await self._email(request, offer.customer, "binding_offer", values)

    async def _email(self, request: Request, to: str, template: str, values: Mapping[str, object]) -> Done:
        send = self._client().send_email(
            key=request.key, case_id=request.case, to=to, template=template, values=values
        )
        return await self._done(request, send)

    async def _done(self, request: Request, call: Awaitable[Receipt]) -> Done:
        from provenet.examples.contract_renewal.client import ServiceRefused

        try:
            receipt = await call
        except ServiceRefused as error:
            raise EffectRefused(error.message, where=error.where, hint=error.hint) from error
        return Done(key=request.key, reference=receipt.reference)

    def _client(self) -> OutsideClient:
        if self._outside is None or isinstance(self._outside, str):
            # Here and not at the top: a net is built, proved and drawn with no HTTP client at all.
            from provenet.examples.contract_renewal.client import OutsideClient

            url = self._outside or os.environ.get(OUTSIDE_URL, "")
            if not url:
                raise ProvenetError(
                    "the renewal agent has no outside world to act on",
                    where="contract renewal",
                    hint="start one: python -m provenet.examples.contract_renewal.services --db outside.db, "
                    f"and set {OUTSIDE_URL} to the URL that it prints",
                )
            self._outside = OutsideClient(url)
        return self._outside
