"""The net of the renewal agent: 90 days from the window to an outcome, in one saga scope.

::

    waiting ─event window.open─▶ ┬─ score churn ────▶ risk ───────┐
               (once)            ├─ draft offer ────▶ suggested ──┼─join─▶ ready ─day -60─▶ scoring
                                 └─ draft contract ─▶ registered ─┘                           │
                                    (writes to the CRM)                                       │
        ┌── go on? ── specialist ◀── merger, or notice within a longer contract ──────────────┤
        │                └─ no, or no answer ─▶ escalated                                     │
        └──────────────▶ planned ◀── restructure / offer / renew ─────────────────────────────┘
                           │  └─ plan.discontinued (exactly once) ─▶ replanned
                         day -30
                           ▼
                        make offer (policy v7, billing) ─▶ write letter (e-mail) ─▶ offer sent ─▶ accept
                           └─ attempts spent ─▶ review ◀── negotiate ───────────────────┤        decline
                                                  │ a person approves that very offer   └─ 30 idle days
                                                  ▼
                        publish approved offer (cap 50, billing) ─▶ send binding letter ─▶ final sent

    accept ─day -7─▶ closed                 everything else compensates in reverse order ─▶ called off

An escalated case is called off too: whoever takes it over starts from a clean slate, with no half-made
offer on the customer's account.

Two e-mails, because CTL-1 tells them apart: the ordinary letter can be taken back by a correction, which
is its compensation. The letter about an over-policy offer binds us for good, so it is irreversible and
needs a person's approval of that very offer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from provenet import (
    Agent,
    Contract,
    Human,
    Label,
    NetBuilder,
    Policy,
    PolicyRule,
    Requirement,
    Saga,
    Term,
    always,
    at_least_as_strict,
    bound,
    cap,
    choose,
    eventually,
    machine,
    make,
    mutex,
    never,
    policy,
    precedes,
    responds,
    rule,
)
from provenet.examples.contract_renewal.effects import Effects
from provenet.examples.contract_renewal.policy_data import POLICY_V7, Trigger
from provenet.examples.contract_renewal.proposers import Proposers
from provenet.examples.contract_renewal.tokens import (
    Case,
    Counter,
    Deal,
    Draft,
    Letter,
    Offer,
    Outcome,
    Plan,
    PlanChange,
    Risk,
    Score,
    Signals,
    Why,
)

OPEN = "window.open"
DISCONTINUED = "plan.discontinued"
ACCEPT = "customer.accept"
DECLINE = "customer.decline"
NEGOTIATE = "customer.negotiate"

APPROVE_OFFER = "approve offer"
GO_ON = "let the agent go on"

UNDONE = ("draft contract", "make offer", "write letter", "publish approved offer")
"""Contracts whose commits are undone when the case is called off."""

CATALOGUE = (
    "SDB-1",
    "SDB-2",
    "SDB-3",
    "SDB-4",
    "SDB-5",
    "SDB-6",
    "SAGA-1",
    "SAGA-2",
    "SAGA-3",
    "SAGA-4",
    "CTL-1",
    "CTL-2",
    "CTL-3",
    "STATE-1",
    "STATE-2",
    "STATE-3",
    "EVT-1",
    "EVT-2",
    "DATA-1",
    "DATA-2",
    "DATA-3",
    "FLOW-1",
)
"""Properties of the catalogue that must be proved before this agent is deployed."""

_P = POLICY_V7
_DAY = _P.calendar
_TERMS = (12, 24, 36)
_DECIDE_WITHIN = timedelta(days=7)
_EXPENSIVE, _HIGH = 9_500, 7_000
"""Cents a month above which a month-to-month contract is restructured, and any other gets an offer."""


def agent(*, proposers: Proposers | None = None, effects: Effects | None = None) -> Agent:
    """The renewal agent.

    Without arguments it has the seeded stand-in proposers, and finds the outside world through the
    environment.
    """
    return Agent.of(build(proposers=proposers, effects=effects))


def build(*, proposers: Proposers | None = None, effects: Effects | None = None) -> NetBuilder:
    """The net of the renewal agent, with its handlers.

    Args:
        proposers: What proposes; by default the seeded stand-in.
        effects: What reaches the outside; by default over the URL that the environment names.
    """
    return _Renewal(proposers or Proposers.stand_in(), effects or Effects()).build()


class _Renewal:
    """One net under construction: the places that its sections share."""

    def __init__(self, proposers: Proposers, effects: Effects) -> None:
        self.proposers, self.effects = proposers, effects
        self.net = net = NetBuilder("contract renewal")
        self.waiting = net.entry("waiting", Case)
        self.ready = net.place("ready", Signals)
        self.watching = net.place("watching", label="watching for an end of life")
        self.planned = net.place("planned", Plan)
        self.outreach = net.place("outreach", Plan)
        self.priced = net.place("priced", Deal)
        self.review = net.place("review", Deal)
        self.approved = net.place("approved", Deal)
        self.special = net.place("special", Deal)
        self.sent = net.place("offer sent", Deal)
        self.final_sent = net.place("final sent", Deal)
        self.agreed = net.place("agreed", Deal)
        self.won = net.place("won", Outcome)
        self.lost = net.place("lost", Outcome)
        self.closed = net.final("closed", Outcome)
        self.called_off = net.final("called off", Outcome)
        self.scope = net.add(Saga("case", outcome=Outcome, completes=self.closed, aborts=self.called_off))

    def build(self) -> NetBuilder:
        self._window()
        self._scoring()
        self._end_of_life()
        self._offer()
        self._letter()
        self._over_policy()
        self._replies()
        self._ends()
        self._outside()
        self.net.require(*CATALOGUE, *user_requirements())
        return self.net

    def _window(self) -> None:
        """The window opens once; three agents work side by side."""
        net = self.net
        to_score, to_suggest, to_draft = (
            net.place(f"to {what}", Case) for what in ("score", "suggest", "draft")
        )
        # The token that waits is consumed: nothing waits for a second event, so a duplicate is refused.
        net.event(
            "open window",
            event=OPEN,
            takes={"c": self.waiting},
            puts={to_score: "c", to_suggest: "c", to_draft: "c", self.watching: None},
        )
        net.timer(
            "window never opens",
            after=lambda c: c.day0,
            takes={"c": self.waiting},
            puts={self.lost: _ended("expired", "window_not_opened")},
        )
        risk, no_score = net.place("risk", Risk), net.place("no score", Case)
        net.add(
            Contract(
                "score churn",
                takes=to_score,
                gives=risk,
                propose=self.proposers.churn,
                returns=Score,
                verify=CHURN,
                emit=lambda proposal: make(Risk, pct=proposal.risk_pct, source="model"),
                otherwise=no_score,
            )
        )
        net.route(
            "substitute risk",
            takes={"c": no_score},
            puts={risk: lambda: make(Risk, pct=50, source="substituted")},
        )
        suggested, no_offer = net.place("suggested", Offer), net.place("no offer", Case)
        net.add(
            Contract(
                "draft offer",
                takes=to_suggest,
                gives=suggested,
                propose=self.proposers.suggestion,
                returns=Offer,
                verify=discount_policy("discount draft v7", lambda inputs: inputs),
                otherwise=no_offer,
            )
        )
        net.route(
            "substitute offer",
            takes={"c": no_offer},
            puts={suggested: lambda c: make(Offer, customer=c.id, discount_pct=0, term_months=12)},
        )
        registered = net.place("registered", Case)
        net.add(
            Contract(
                "draft contract",
                takes=to_draft,
                gives=registered,
                propose=self.proposers.draft,
                returns=Draft,
                verify=DRAFT,
                commit=self.effects.create_draft,
                undo=self.effects.withdraw_draft,
                saga=self.scope,
                emit=lambda inputs: inputs,
                requires=lambda proposal, inputs: proposal.customer == inputs.id,
                otherwise=self.lost,
                escalate=_ended("escalated", "no_draft"),
                on_failure=self.lost,
                fail_emit=_ended("escalated", "no_draft"),
            )
        )
        net.route(
            "join",
            takes={"r": risk, "o": suggested, "c": registered},
            puts={self.ready: lambda r, o, c: make(Signals, case=c, risk=r, offer=o)},
        )

    def _scoring(self) -> None:
        """Day -60: what does this renewal aim at, and may the agent go on by itself?"""
        net = self.net
        scoring = net.place("scoring", Signals)
        specialist = net.place("specialist", Plan)
        net.timer(
            "scoring day",
            after=lambda s: s.case.day0 + timedelta(days=_DAY.scoring),
            takes={"s": self.ready},
            puts={scoring: "s"},
        )

        def aiming(aim: object) -> Callable[[Term], Term]:
            return lambda s: make(
                Plan, case=s.case, aim=aim(s) if callable(aim) else aim, risk_pct=s.risk.pct, offer=s.offer
            )

        for name, when, target, aim in (
            ("needs a specialist", _for_specialist, specialist, _best_aim),
            ("restructure", lambda s: ~_for_specialist(s) & _restructures(s), self.planned, "restructured"),
            (
                "make an offer",
                lambda s: ~_for_specialist(s) & ~_restructures(s) & (s.case.monthly_cents > _HIGH),
                self.planned,
                "renewed_with_offer",
            ),
            (
                "renew as it is",
                lambda s: ~_for_specialist(s) & ~_restructures(s) & (s.case.monthly_cents <= _HIGH),
                self.planned,
                "renewed",
            ),
        ):
            net.route(name, takes={"s": scoring}, when=when, puts={target: aiming(aim)})
        net.add(
            Human(
                GO_ON,
                takes=specialist,
                approve=self.planned,
                deny=self.lost,
                who=str(_P.escalation[Trigger.CONTRACT_MERGER][0]),
                within=_DECIDE_WITHIN,
                on_deny=_ended("escalated", "taken_over"),
            )
        )

    def _end_of_life(self) -> None:
        """Until day -30 a plan may be discontinued: its replacement swaps into the waiting token, once.

        Outreach takes either a token that nothing has changed (with the watch, so that a later event is
        refused) or one that has absorbed its change. A token with a change still pending cannot go out,
        so no stale plan is ever offered.
        """
        net = self.net
        changed = net.place("plan changed", PlanChange)
        replanned = net.place("replanned", Plan)
        net.event(
            "discontinue plan",
            event=DISCONTINUED,
            takes={"w": self.watching},
            brings={"change": PlanChange},
            puts={changed: "change"},
        )
        net.route(
            "absorb change",
            takes={"p": self.planned, "change": changed},
            puts={
                replanned: lambda p, change: p.with_(
                    case=p.case.with_(plan=choose(p.case.plan == change.old, change.new, p.case.plan))
                )
            },
        )
        day = timedelta(days=_DAY.outreach)
        net.timer(
            "outreach day",
            after=lambda p: p.case.day0 + day,
            takes={"p": self.planned, "w": self.watching},
            puts={self.outreach: "p"},
        )
        net.timer(
            "outreach day, plan changed",
            after=lambda p: p.case.day0 + day,
            takes={"p": replanned},
            puts={self.outreach: "p"},
        )

    def _offer(self) -> None:
        """Day -30: an offer under policy v7, committed to billing.

        A person decides on what the policy refuses to the end.
        """
        self.net.add(
            Contract(
                "make offer",
                takes=self.outreach,
                gives=self.priced,
                propose=self.proposers.offer,
                returns=Offer,
                verify=discount_policy(
                    f"discount {_P.version}",
                    lambda inputs: inputs.case,
                    rule(
                        "no discount without need",
                        lambda proposal, inputs: (inputs.aim != "renewed") | (proposal.discount_pct == 0),
                        field="discount_pct",
                        hint="a plain renewal takes no discount",
                    ),
                ),
                commit=self.effects.apply_offer,
                undo=self.effects.revert_offer,
                saga=self.scope,
                requires=lambda proposal, inputs: (
                    (proposal.discount_pct <= _P.discount.escalate_pct)
                    & (proposal.customer == inputs.case.id)
                ),
                emit=lambda proposal, inputs: _deal(inputs, proposal),
                otherwise=self.review,
                escalate=lambda proposal, inputs: _deal(inputs, proposal.or_else(inputs.offer)),
                on_failure=self.lost,
                fail_emit=_ended("escalated", "no_billing"),
            )
        )

    def _letter(self) -> None:
        """The letter says what billing says, or it is not sent."""
        self.net.add(
            Contract(
                "write letter",
                takes=self.priced,
                gives=self.sent,
                propose=self.proposers.letter,
                returns=Letter,
                verify=LETTER,
                commit=self.effects.send_letter,
                undo=self.effects.send_correction,
                undo_payload=self.effects.correction,
                saga=self.scope,
                requires=lambda proposal, inputs: (
                    (proposal.customer == inputs.offer.customer)
                    & (proposal.discount_pct == inputs.offer.discount_pct)
                ),
                emit=lambda inputs: inputs,
                otherwise=self.lost,
                escalate=_ended("escalated", "no_letter"),
            )
        )

    def _over_policy(self) -> None:
        """A person approves that very offer, or it is off; the hard cap holds even then."""
        net = self.net
        net.add(
            Human(
                APPROVE_OFFER,
                takes=self.review,
                approve=self.approved,
                deny=self.lost,
                who=str(_P.escalation[Trigger.DISCOUNT_OVER_POLICY][0]),
                within=_DECIDE_WITHIN,
                on_deny=_ended("denied", "offer_denied"),
            )
        )
        net.add(
            Contract(
                "publish approved offer",
                takes=self.approved,
                gives=self.special,
                verify=CAP,
                commit=self.effects.apply_offer,
                undo=self.effects.revert_offer,
                saga=self.scope,
                payload=lambda proposal: proposal.offer,
                requires=lambda proposal: proposal.offer.discount_pct <= _P.discount.escalate_pct,
                otherwise=self.lost,
                escalate=_ended("denied", "over_the_cap"),
                on_failure=self.lost,
                fail_emit=_ended("escalated", "no_billing"),
            )
        )
        net.add(
            Contract(
                "send binding letter",
                takes=self.special,
                gives=self.final_sent,
                verify=BINDING,
                commit=self.effects.send_binding_letter,
                irreversible=True,
                saga=self.scope,
                payload=lambda proposal: proposal.offer,
                requires=lambda proposal: proposal.offer.term_months <= _P.auto_close.max_term_months,
                otherwise=self.lost,
                escalate=_ended("escalated", "no_letter"),
            )
        )

    def _replies(self) -> None:
        """The customer accepts, declines, negotiates once, or says nothing."""
        net = self.net
        for place, which in ((self.sent, "offer"), (self.final_sent, "final offer")):
            net.event(f"accept {which}", event=ACCEPT, takes={"d": place}, puts={self.agreed: "d"})
            net.event(
                f"decline {which}",
                event=DECLINE,
                takes={"d": place},
                puts={self.lost: _ended("churned", "declined")},
            )
        net.event(
            "negotiate",
            event=NEGOTIATE,
            takes={"d": self.sent},
            brings={"asked": Counter},
            puts={
                self.review: lambda d, asked: d.with_(offer=d.offer.with_(discount_pct=asked.discount_pct))
            },
        )
        net.timer(
            "30 idle days",
            after=_DAY.idle_expiry,
            takes={"d": self.sent},
            puts={self.lost: _ended("expired", "no_reply")},
        )
        net.timer(
            "day 0",
            after=lambda d: d.case.day0,
            takes={"d": self.final_sent},
            puts={self.lost: _ended("expired", "no_reply")},
        )

    def _ends(self) -> None:
        """Day -7 closes what was agreed; all else compensates; the kill switch works at any time."""
        net, scope = self.net, self.scope
        net.timer(
            "closing day",
            after=lambda d: d.case.day0 + timedelta(days=_DAY.close_or_escalate),
            takes={"d": self.agreed},
            puts={
                self.won: lambda d: make(
                    Outcome,
                    result=d.aim,
                    why="accepted",
                    discount_pct=d.offer.discount_pct,
                    sampled=d.sampled,
                )
            },
        )
        scope.complete(net, "close", takes={"o": self.won}, outcome="o")
        scope.abort(net, "call off", takes={"o": self.lost}, outcome="o")
        scope.kill(
            net,
            "kill",
            outcome=Outcome(result="killed", why="kill_switch", discount_pct=0, sampled=False),
        )

    def _outside(self) -> None:
        """What comes from outside: where an event is ignored on purpose, and whose word is not to be trusted.

        A case is private from the start. What a customer asks for is untrusted: it reaches billing only after
        a person has approved that very offer. Plan changes come from our own product system.
        """
        net = self.net
        net.ignore(OPEN, unless=[self.waiting])
        net.ignore(DISCONTINUED, unless=[self.watching])
        for event in (ACCEPT, DECLINE):
            net.ignore(event, unless=[self.sent, self.final_sent])
        net.ignore(NEGOTIATE, unless=[self.sent])
        net.label(self.waiting, Label.PRIVATE)
        net.label("negotiate", Label.UNTRUSTED)


# policies


def discount_policy(name: str, case: Callable[[Term], Term], *more: PolicyRule) -> Policy:
    """The discount policy over an ``Offer``, for inputs in which ``case`` finds the case.

    Args:
        name: Name and version.
        case: The case within the contract's inputs.
        *more: Further rules.
    """
    limits = _P.discount
    return policy(
        name,
        rule(
            "own customer",
            lambda proposal, inputs: proposal.customer == case(inputs).id,
            field="customer",
            hint="make the offer to the customer of this case",
        ),
        rule(
            "discount within the ceiling",
            lambda proposal: ~_over_ceiling(proposal),
            field="discount_pct",
            hint=f"at most {limits.max_pct}%, unless the customer has a ceiling of its own",
        ),
        rule(
            "usual term",
            lambda proposal: proposal.term_months.one_of(*_TERMS),
            field="term_months",
            hint=f"one of {', '.join(map(str, _TERMS))} months",
        ),
        *more,
    )


def _over_ceiling(offer: Term) -> Term:
    """Above the discount that this customer may be offered without a person."""
    limits = _P.discount
    over: Term = offer.discount_pct > limits.max_pct
    for customer, ceiling in limits.overrides.items():
        over = over & ((offer.customer != customer) | (offer.discount_pct > ceiling))
    return over


CHURN = policy(
    "churn v1",
    rule(
        "notice scores high",
        lambda proposal, inputs: ~inputs.notice | (proposal.risk_pct >= 50),
        field="risk_pct",
        hint="a customer who has given notice scores at least 50",
    ),
    rule(
        "loyalty scores low",
        lambda proposal, inputs: inputs.notice | (inputs.tenure < 48) | (proposal.risk_pct <= 60),
        field="risk_pct",
        hint="without notice, a customer of four years scores at most 60",
    ),
)

DRAFT = policy(
    "draft v2",
    rule("own customer", lambda proposal, inputs: proposal.customer == inputs.id, field="customer"),
    rule("same plan", lambda proposal, inputs: proposal.plan == inputs.plan, field="plan"),
    rule("usual term", lambda proposal: proposal.term_months.one_of(*_TERMS), field="term_months"),
)

LETTER = policy(
    "letter v3",
    rule(
        "to the offer's customer",
        lambda proposal, inputs: proposal.customer == inputs.offer.customer,
        field="customer",
    ),
    rule(
        "says the discount that billing has",
        lambda proposal, inputs: proposal.discount_pct == inputs.offer.discount_pct,
        field="discount_pct",
    ),
    rule(
        "says the term that billing has",
        lambda proposal, inputs: proposal.term_months == inputs.offer.term_months,
        field="term_months",
    ),
    rule("right template", lambda proposal, inputs: proposal.template == inputs.aim, field="template"),
)

CAP = policy(
    "hard cap v1",
    rule(
        "discount within the cap",
        lambda proposal: proposal.offer.discount_pct <= _P.discount.escalate_pct,
        field="offer.discount_pct",
        retryable=False,
    ),
    rule(
        "own customer",
        lambda proposal: proposal.offer.customer == proposal.case.id,
        field="offer.customer",
        retryable=False,
    ),
)

BINDING = policy(
    "binding letter v1",
    rule(
        "no notice given",
        lambda proposal: ~proposal.case.notice,
        field="case.notice",
        hint="a lawyer writes to customers who have given notice: a binding letter may revive the contract",
        retryable=False,
    ),
    rule(
        "binds for three years at most",
        lambda proposal: proposal.offer.term_months <= _P.auto_close.max_term_months,
        field="offer.term_months",
        hint="a lawyer writes what binds for longer",
        retryable=False,
    ),
)

COMPANY = policy(
    "company limits v1",
    rule("discount within the cap", lambda proposal: proposal.discount_pct <= _P.discount.escalate_pct),
    rule(
        "binds for three years at most",
        lambda proposal: proposal.term_months <= _P.auto_close.max_term_months,
    ),
)
"""What the company lets any agent offer; no version of an agent's own policy may be looser."""


# requirements of our own


def user_requirements() -> tuple[Requirement, ...]:
    """What must be proved of this agent beyond the catalogue."""
    hard_cap = _P.discount.escalate_pct
    return (
        never(
            effect="billing.apply_offer",
            of=Offer,
            where=lambda payload: _over_ceiling(payload),  # noqa: PLW0108 - its name says what it is about
            unless=APPROVE_OFFER,
            name=f"no offer above {_P.discount.max_pct}% (customer overrides aside) reaches billing "
            "unless a person approved that very offer",
        ),
        never(
            effect="billing.apply_offer",
            of=Offer,
            where=lambda payload: payload.discount_pct > hard_cap,
            name=f"no offer above {hard_cap}% reaches billing, whoever approves it",
        ),
        precedes(
            "billing.apply_offer",
            "email.send_letter",
            name="no letter is sent before billing has an offer",
        ),
        precedes(
            APPROVE_OFFER,
            "email.send_binding_letter",
            name="no binding letter is sent before a person has approved an offer",
        ),
        always(
            "offer sent",
            of=Deal,
            where=lambda it: it.offer.customer == it.case.id,
            name="an offer that is out was made to the customer of its case",
        ),
        mutex("offer sent", "final sent", "agreed", "review", name="one offer at a time"),
        bound("closed", "called off", k=1, name="a case ends once"),
        eventually("closed", "called off", name="every case ends, whoever stays silent"),
        responds("kill", "case.aborted", name="a case that is killed is called off"),
        at_least_as_strict(
            "make offer",
            than=COMPANY,
            of=Offer,
            name="no version of the offer policy is looser than the company's limits",
        ),
        cap(
            "email.send_letter",
            "email.send_binding_letter",
            most=2,
            name="a customer gets two letters at most",
        ),
        machine(
            states={
                "open": "case.open",
                "calling off": ("case.aborting", *(f"{contract}.undoing" for contract in UNDONE)),
                "closing": "case.completing",
                "closed": "closed",
                "called off": "called off",
            },
            moves={"open": ("calling off", "closing"), "calling off": "called off", "closing": "closed"},
            name="a case is open, ending or ended, and never goes back",
        ),
    )


# conditions and tokens


def _for_specialist(s: Term) -> Term:
    needed: Term = s.case.merger | (s.case.notice & ~s.case.month_to_month)
    return needed


def _restructures(signals: Term) -> Term:
    does: Term = signals.case.month_to_month & (signals.case.monthly_cents > _EXPENSIVE)
    return does


def _best_aim(signals: Term) -> Term:
    """What the other branches of scoring would aim at, for a case that a specialist lets go on."""
    high = choose(signals.case.monthly_cents > _HIGH, "renewed_with_offer", "renewed")
    return choose(_restructures(signals), "restructured", high)


def _deal(plan: Term, offer: Term) -> Term:
    return make(
        Deal, case=plan.case, aim=plan.aim, offer=offer, sampled=offer.discount_pct > _P.discount.warn_pct
    )


def _ended(result: str, why: Why) -> Callable[[], Term]:
    """An outcome without a sale; what it gave away is nothing, since everything is taken back."""
    return lambda: make(Outcome, result=result, why=why, discount_pct=0, sampled=False)
