"""The proposers of the renewal agent: a seeded stand-in that misbehaves at a stated rate, or models.

The stand-in is deterministic: what it answers, and how it misbehaves, depends on the seed and on the
idempotency key of the request, and on nothing else. So a run that is killed and resumed meets the same
answers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal

from provenet import Proposer, ProvenetError, Request
from provenet.examples.contract_renewal.policy_data import POLICY_V7
from provenet.examples.contract_renewal.tokens import Case, Deal, Draft, Letter, Offer, Plan, Score

MODEL = "PROVENET_RENEWAL_MODEL"
"""Environment variable that names a model as litellm does; with it, ``Proposers.from_environment`` asks
that model."""

Mischief = Literal["greedy", "wrong", "malformed", "crash", "hang"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Misbehaviour:
    """How often the stand-in misbehaves, as shares of its calls; they add up to 1 at most.

    Attributes:
        greedy: Proposes a discount of 90 per cent (where it proposes a discount).
        wrong: Proposes something of the right shape that breaks a policy: another customer's offer, a
            risk that cannot be.
        malformed: Answers with text that is no answer.
        crash: Raises an exception.
        hang: Gives no answer in time.
        stubborn: Share of *customers* for whom every offer is over policy, whatever it is told.
        hang_seconds: How long a hang really lasts; 0 reports the time-out at once, which keeps a long
            demo short.
    """

    greedy: float = 0.04
    wrong: float = 0.02
    malformed: float = 0.02
    crash: float = 0.01
    hang: float = 0.01
    stubborn: float = 0.01
    hang_seconds: float = 0.0

    def __post_init__(self) -> None:
        shares = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "hang_seconds"}
        for name, share in shares.items():
            if not 0.0 <= share <= 1.0:
                raise ProvenetError(f"{name} = {share}, expected a share from 0 to 1", where="misbehaviour")
        if sum(shares.values()) - self.stubborn > 1.0 + 1e-9:
            raise ProvenetError("the shares add up to more than 1", where="misbehaviour")

    @classmethod
    def at(cls, rate: float) -> Misbehaviour:
        """So large a share of calls misbehaves, in the usual proportions."""
        return cls(
            greedy=0.4 * rate,
            wrong=0.2 * rate,
            malformed=0.2 * rate,
            crash=0.1 * rate,
            hang=0.1 * rate,
            stubborn=min(1.0, 0.1 * rate),
        )


GOOD = Misbehaviour(greedy=0, wrong=0, malformed=0, crash=0, hang=0, stubborn=0)
"""No misbehaviour at all."""


@dataclass(frozen=True, slots=True)
class Proposers:
    """Who proposes what in the net.

    Attributes:
        churn: A ``Score`` for a ``Case``.
        suggestion: An ``Offer`` for a ``Case``.
        draft: A ``Draft`` for a ``Case``.
        offer: An ``Offer`` for a ``Plan``.
        letter: A ``Letter`` for a ``Deal``.
    """

    churn: Proposer
    suggestion: Proposer
    draft: Proposer
    offer: Proposer
    letter: Proposer

    @classmethod
    def stand_in(cls, *, seed: int = 0, misbehaviour: Misbehaviour | None = None) -> Proposers:
        """The seeded stand-in, for runs with no key and no network."""
        from provenet import function

        rates = misbehaviour or Misbehaviour()
        found = (
            function(_StandIn(name, seed, rates, good, wrong), gets="request")
            for name, good, wrong in (
                ("churn", _score, _wrong_score),
                ("suggestion", _suggestion, _wrong_offer),
                ("draft", _draft, _wrong_draft),
                ("offer", _offer, _wrong_offer),
                ("letter", _letter, _wrong_letter),
            )
        )
        return cls(*found)

    @classmethod
    def models(cls, name: str, **options: Any) -> Proposers:
        """Models in every place.

        Args:
            name: The model as litellm names it.
            **options: Further arguments of ``provenet.model``, such as ``api_base``.
        """
        from provenet import model

        return cls(
            *(
                model(name, prompt=prompt, takes=takes, returns=returns, system=_SYSTEM, **options)
                for takes, returns, prompt in _PROMPTS
            )
        )

    @classmethod
    def from_environment(cls, *, seed: int = 0, misbehaviour: Misbehaviour | None = None) -> Proposers:
        """Models where the environment names one, else the stand-in."""
        name = os.environ.get(MODEL, "")
        return cls.models(name) if name else cls.stand_in(seed=seed, misbehaviour=misbehaviour)


def draw(seed: int, *parts: object) -> float:
    """A number from 0 up to 1, the same for the same seed and parts."""
    text = "\x1f".join(map(str, (seed, *parts))).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big") / (1 << 56)


class _StandIn:
    """One proposer: good by its rule, or up to one kind of mischief."""

    def __init__(
        self,
        name: str,
        seed: int,
        rates: Misbehaviour,
        good: Callable[[Any, float], Any],
        wrong: Callable[[Any, Any, float], Any],
    ) -> None:
        self._name, self._seed, self._rates = name, seed, rates
        self._good, self._wrong = good, wrong

    async def __call__(self, request: Request) -> Any:
        luck = draw(self._seed, self._name, "luck", request.key)
        detail = draw(self._seed, self._name, "detail", request.key)
        answer = self._good(request.payload, detail)
        match self._mischief(luck):
            case "greedy":
                return _greedy(answer, 90)
            case "wrong":
                return self._wrong(request.payload, answer, detail)
            case "malformed":
                return _MALFORMED[int(detail * len(_MALFORMED))]
            case "crash":
                raise RuntimeError("the stand-in model crashed")
            case "hang":
                import asyncio

                await asyncio.sleep(self._rates.hang_seconds)
                raise TimeoutError("the stand-in model gave no answer in time")
        customer = _customer(request.payload)
        if self._name == "offer" and draw(self._seed, "stubborn", customer) < self._rates.stubborn:
            # Always over policy: some of these a person will approve, and some are above the hard cap.
            return _greedy(answer, 32 + int(detail * 30))
        return answer

    def _mischief(self, luck: float) -> Mischief | None:
        kinds: tuple[Mischief, ...] = ("greedy", "wrong", "malformed", "crash", "hang")
        for kind in kinds:
            luck -= getattr(self._rates, kind)
            if luck < 0:
                return kind
        return None


_SYSTEM = "You work for a telephone company. Answer with the data asked for and nothing else."
_USUAL_TERM = "a term of 12, 24 or 36 months"
_SUGGEST = (
    f"Suggest a renewal offer: a discount in per cent and {_USUAL_TERM}. Discounts above "
    f"{POLICY_V7.discount.max_pct} are refused. Customer: {{payload}}"
)
_MAKE_DRAFT = (
    f"Draft the renewal of this contract: customer id, the same plan, {_USUAL_TERM}. Customer: {{payload}}"
)
_MAKE_OFFER = (
    "Make the final renewal offer. Where the aim is 'renewed', the discount is 0; else it is at most "
    f"{POLICY_V7.discount.max_pct}. Give {_USUAL_TERM}. Plan: {{payload}}"
)
_WRITE = (
    "Fill in the letter for this offer: its customer, the aim as template, exactly its discount and term. "
    "Offer: {payload}"
)
_PROMPTS: tuple[tuple[Any, Any, str], ...] = (
    (Case, Score, "How likely, in per cent, is this customer to leave? Customer: {payload}"),
    (Case, Offer, _SUGGEST),
    (Case, Draft, _MAKE_DRAFT),
    (Plan, Offer, _MAKE_OFFER),
    (Deal, Letter, _WRITE),
)

_MALFORMED = (
    "",
    "Sure! Here is a great offer for you:",
    '{"discount_pct": 15, "term_months": ',
    '{"discount_pct": "a lot", "customer": null}',
    "[]",
    '{"risk_pct": 1e999}',
)


def _customer(payload: Any) -> str:
    return str(payload.id if isinstance(payload, Case) else payload.case.id)


def _greedy(answer: Any, discount: int) -> Any:
    return (
        answer.model_copy(update={"discount_pct": discount}) if isinstance(answer, Offer | Letter) else answer
    )


def _score(case: Case, luck: float) -> Score:
    base = 55 if case.notice else 25
    base += 10 if case.month_to_month else 0
    base += 5 if case.tenure < 12 else -10 if case.tenure >= 48 else 0
    return Score(risk_pct=min(95, base + int(luck * 20)))


def _wrong_score(case: Case, answer: Score, luck: float) -> Score:
    return answer.model_copy(update={"risk_pct": int(luck * 10) if case.notice else 99})


def _suggestion(case: Case, luck: float) -> Offer:
    discount = 0 if case.monthly_cents <= 7_000 else 5 + int(luck * 16)
    return Offer(customer=case.id, discount_pct=discount, term_months=12 if luck < 0.5 else 24)


def _offer(plan: Plan, luck: float) -> Offer:
    if plan.aim == "renewed":
        return Offer(customer=plan.case.id, discount_pct=0, term_months=plan.offer.term_months)
    more = plan.risk_pct // 10 if plan.aim == "restructured" else int(luck * 6)
    discount = max(5, min(POLICY_V7.discount.max_pct, plan.offer.discount_pct + more))
    term = 36 if plan.aim == "restructured" else plan.offer.term_months
    return Offer(customer=plan.case.id, discount_pct=discount, term_months=term)


def _wrong_offer(_: Case | Plan, answer: Offer, luck: float) -> Offer:
    change: dict[str, object] = {"customer": "C-012"} if luck < 0.5 else {"term_months": 48}
    return answer.model_copy(update=change)


def _draft(case: Case, luck: float) -> Draft:
    return Draft(customer=case.id, plan=case.plan, term_months=12 if luck < 0.5 else 24)


def _wrong_draft(_: Case, answer: Draft, luck: float) -> Draft:
    return answer.model_copy(update={"plan": "Unlimited everything"} if luck < 0.5 else {"customer": "C-001"})


def _letter(deal: Deal, _: float) -> Letter:
    return Letter(
        customer=deal.offer.customer,
        template=deal.aim,
        discount_pct=deal.offer.discount_pct,
        term_months=deal.offer.term_months,
    )


def _wrong_letter(_: Deal, answer: Letter, __: float) -> Letter:
    return answer.model_copy(update={"discount_pct": min(100, answer.discount_pct + 5)})
