"""Renewal policy v7 as typed constants.

The net turns these numbers into policy expressions; nothing here decides anything by itself, so a
changed limit changes the proof and the run together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType


class Trigger(StrEnum):
    """What sends a case to a person."""

    CONTRACT_MERGER = "contract_merger"
    DISCOUNT_OVER_POLICY = "discount_over_policy"
    PII_PRESENT = "pii_present"


class Role(StrEnum):
    """Who may decide, or stop everything."""

    SPECIALIST = "human_specialist"
    COUNSEL = "counsel"
    PRIVACY_OFFICER = "privacy_officer"
    DIRECTOR_AI = "director_ai"
    VP_ENGINEERING = "vp_engineering"
    ON_CALL = "on_call"


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscountPolicy:
    """How much may be given away.

    Attributes:
        max_pct: Above this an offer is denied.
        warn_pct: Above this an offer passes and is sampled for review.
        overrides: Customers whose own ceiling replaces ``max_pct``.
        escalate_pct: Above this the close itself needs a person, whoever approved the offer.
    """

    max_pct: int
    warn_pct: int
    overrides: Mapping[str, int]
    escalate_pct: int

    def ceiling(self, customer_id: str) -> int:
        """The highest discount that this customer may be offered without a person."""
        return self.overrides.get(customer_id, self.max_pct)


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoClosePolicy:
    """What may be closed without a person."""

    max_term_months: int
    mergers: Trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottlePolicy:
    """Caps on what the agent does; the tightest wins."""

    actions_per_minute: int
    dollars_per_day: Decimal
    actions_per_tenant_hour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Days of the renewal, counted to the contract's end (day 0)."""

    window_opens: int = -90
    scoring: int = -60
    plan_end_of_life: int = -47
    outreach: int = -30
    close_or_escalate: int = -7
    terminal: int = 0
    idle_expiry: timedelta = timedelta(days=30)

    def since_window(self, day: int) -> timedelta:
        """How long after the window opened ``day`` is: ``since_window(-60)`` is 30 days."""
        return timedelta(days=day - self.window_opens)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalPolicy:
    """One version of the whole policy."""

    version: str
    discount: DiscountPolicy
    auto_close: AutoClosePolicy
    throttle: ThrottlePolicy
    escalation: Mapping[Trigger, tuple[Role, ...]]
    kill_switch: frozenset[Role]
    audit_retention: timedelta
    calendar: Calendar


POLICY_V7 = RenewalPolicy(
    version="v7",
    discount=DiscountPolicy(
        max_pct=30,
        warn_pct=20,
        overrides=MappingProxyType({"C-001": 35, "C-012": 40}),
        escalate_pct=50,
    ),
    auto_close=AutoClosePolicy(max_term_months=36, mergers=Trigger.CONTRACT_MERGER),
    throttle=ThrottlePolicy(
        actions_per_minute=60, dollars_per_day=Decimal("100.00"), actions_per_tenant_hour=12
    ),
    escalation=MappingProxyType(
        {
            Trigger.CONTRACT_MERGER: (Role.SPECIALIST,),
            Trigger.DISCOUNT_OVER_POLICY: (Role.COUNSEL, Role.SPECIALIST),
            Trigger.PII_PRESENT: (Role.PRIVACY_OFFICER,),
        }
    ),
    kill_switch=frozenset({Role.DIRECTOR_AI, Role.VP_ENGINEERING, Role.ON_CALL}),
    audit_retention=timedelta(days=2555),
    calendar=Calendar(),
)
